"""Old name of `xpnet.model.model_file`, kept for compatibility."""

from xpnet.model.model_file import FORMAT_VERSION, load_model, save_model

__all__ = ["FORMAT_VERSION", "load_model", "save_model"]
