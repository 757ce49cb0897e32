"""The exceptions of xpnet: each message is one line, and each exception keeps its cause."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

__all__ = [
    "BackendNotInstalledError",
    "DataError",
    "DeviceIndexError",
    "DeviceUnavailableError",
    "DivergenceError",
    "DuplicateBackendError",
    "InvalidParameterError",
    "ModelFormatError",
    "OutOfMemoryError",
    "UnknownBackendError",
    "UnknownNameError",
    "XpnetError",
    "XpnetWarning",
    "printable",
    "size_text",
]


class XpnetError(Exception):
    """Base class of every error that xpnet raises on purpose; the command line prints one line and exits with 2."""


class XpnetWarning(UserWarning):
    """Something went wrong but the run continues; the command line prints one line."""


class InvalidParameterError(XpnetError, ValueError):
    """A parameter has an invalid value."""


class UnknownNameError(InvalidParameterError):
    """An unknown name, for example of an activation, a loss, a data set or a preset."""

    @classmethod
    def among(cls, kind: str, received: str, known: Iterable[str]) -> UnknownNameError:
        """Return the error whose message lists the known names and suggests the closest one."""
        names = sorted(known)
        near = difflib.get_close_matches(received.lower(), names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return cls(f"unknown {kind}: expected one of {', '.join(names)}; received {received!r}.{hint}")


class DataError(XpnetError, ValueError):
    """A data file or an array cannot be used for training or prediction."""


class ModelFormatError(XpnetError, ValueError):
    """A model file cannot be read or does not match the data."""


class DivergenceError(XpnetError, ArithmeticError):
    """The loss became NaN or infinite; the command line exits with 3.

    Attributes
    ----------
    run : xpnet.training.trainer.Run
        The parameters of the last epoch with a finite loss, and the history.
    """

    def __init__(self, message: str, run: Any) -> None:
        super().__init__(message)
        self.run = run


class UnknownBackendError(UnknownNameError):
    """No backend has this name."""


class DuplicateBackendError(XpnetError):
    """Two backends are registered under the same name."""


class BackendNotInstalledError(XpnetError, ImportError):
    """The array library of a backend is not installed."""


class DeviceUnavailableError(XpnetError, RuntimeError):
    """The array library is installed, but it has no such device or no driver for it."""


class DeviceIndexError(XpnetError, IndexError):
    """The device index is too high: there are fewer devices of this kind."""


class OutOfMemoryError(XpnetError, MemoryError):
    """The device or the host has too little free memory.

    Attributes
    ----------
    device : str
    needed, free : int or None
        Bytes of the array that could not be allocated, and free bytes after the failed computation was released.
    """

    def __init__(self, device: str, needed: int | None, free: int | None, advice: str = "") -> None:
        advice = advice or "Use a smaller batch, fewer samples or a smaller network."
        sizes = f"expected room for {size_text(needed)}; received {size_text(free)} free"
        super().__init__(f"out of memory on {device}: {sizes}. {advice}")
        self.device, self.needed, self.free = device, needed, free


def printable(text: str) -> str:
    r"""Replace line breaks and other characters that a terminal would obey by their escapes.

    Examples
    --------
    >>> print(printable("a\x1b[31mb"))
    a\x1b[31mb
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def size_text(size: float | None) -> str:
    """Format a number of bytes for a message, for example ``"512 MB"``."""
    if size is None:
        return "an unknown number of bytes"
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
