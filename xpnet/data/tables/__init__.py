"""Tables: from a file to record batches, and from columns of any type to a matrix of numbers."""

from xpnet.submodules import submodules_of

__getattr__ = submodules_of(__name__)
