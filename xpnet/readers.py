"""Old name of `xpnet.data.readers`, kept for compatibility."""

from xpnet.data.readers import SUFFIXES, read_dataset, read_features

__all__ = ["SUFFIXES", "read_dataset", "read_features"]
