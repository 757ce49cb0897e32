"""A trained model and its file."""

from xpnet.submodules import submodules_of

__getattr__ = submodules_of(__name__)
