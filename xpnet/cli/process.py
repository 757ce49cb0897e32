"""What the command line decides for its whole process; a program that calls `main` with arguments is left alone."""

from __future__ import annotations

import logging
import os
import sys
from types import FrameType
from typing import Any

from xpnet.threads import THREAD_VARIABLES, can_start_thread

__all__ = ["own_process"]

_ON_PYARROW = ("xpnet", "pyarrow")


class _PyarrowWithoutPandas:
    """Hide pandas from pyarrow, and from nobody else; an entry of `sys.meta_path`.

    pyarrow imports pandas when it makes its first array, because data frames may come. Commands read files, and the
    import takes a fifth of a second. pyarrow's compiled code has no frame of its own, so that its imports seem to come
    from the code that calls it.
    """

    def find_spec(self, name: str, *_: Any) -> None:
        if name != "pandas":
            return
        frame = sys._getframe(1)
        while frame.f_back is not None and _module_of(frame).startswith("importlib."):
            frame = frame.f_back
        if _module_of(frame).partition(".")[0] in _ON_PYARROW:
            raise ModuleNotFoundError("commands need no data frames", name=name)


def _module_of(frame: FrameType) -> str:
    """Return the name of the module whose code runs in a frame; code of `exec` may have none."""
    return str(frame.f_globals.get("__name__", ""))


def own_process() -> None:
    """Prepare a process that does nothing but run a command."""
    if not can_start_thread():
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    os.environ.pop("MPLBACKEND", None)  # pictures are drawn into memory; Matplotlib refuses to load with a wrong one
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it takes a temporary folder where there is no home
    if not any(isinstance(finder, _PyarrowWithoutPandas) for finder in sys.meta_path):
        sys.meta_path.insert(0, _PyarrowWithoutPandas())
