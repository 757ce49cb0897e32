"""Optional libraries: imported when they are used, with the command that installs a missing one."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from xpnet.errors import LibraryNotInstalledError

__all__ = ["import_library"]


def import_library(name: str, extra: str) -> Any:
    """Import a module of an optional library.

    Parameters
    ----------
    name : str
        Full name of the module.
    extra : str
        The extra of xpnet that installs the library.

    Raises
    ------
    LibraryNotInstalledError
        The library is not installed.

    Examples
    --------
    >>> import_library("json", "onnx").dumps([1])
    '[1]'
    """
    library = name.partition(".")[0]
    try:
        return import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] != library:  # the library is there, but broken
            raise
        raise LibraryNotInstalledError(
            f"{extra}: expected the library {library}; received a Python without it. "
            f"Install it: pip install 'xpnet[{extra}]'"
        ) from exc
