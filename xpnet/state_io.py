"""Old name of `xpnet.training.checkpoint_file`, kept for compatibility."""

from xpnet.training.checkpoint_file import load_state, save_state

__all__ = ["load_state", "save_state"]
