"""A trained model and its file."""

from xpnet.model.model import Model
from xpnet.model.model_file import load_model, save_model

__all__ = ["Model", "load_model", "save_model"]
