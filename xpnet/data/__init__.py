"""Tables and arrays: reading, checking, encoding, scaling, splitting, named data sets, and streams of blocks."""

from xpnet.submodules import submodules_of

__getattr__ = submodules_of(__name__)
