"""Keep what only Sphinx reads, and what it writes, out of the doctests."""

collect_ignore = ["_build", "_ext", "conf.py", "gallery", "make_pictures.py", "reference/generated"]
