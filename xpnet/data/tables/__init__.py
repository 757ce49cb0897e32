"""Tables: files with named columns of any type, and their encoding as numbers."""
