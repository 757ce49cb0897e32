"""Tables: from a file to record batches, and from columns of any type to a matrix of numbers."""
