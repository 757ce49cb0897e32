"""Tables and arrays: reading, encoding, scaling, splitting, named data sets, and streams of blocks."""
