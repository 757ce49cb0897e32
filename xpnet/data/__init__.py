"""Tables and arrays: reading, checking, encoding, scaling, splitting, named data sets, and streams of blocks."""
