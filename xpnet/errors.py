"""The exceptions of xpnet: each is one line for a user, and each keeps its cause."""

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
    "size_text",
]


class XpnetError(Exception):
    """Base of every error that xpnet raises on purpose; the command line prints it as one line and exits with 2."""


class XpnetWarning(UserWarning):
    """Something went wrong, and the run goes on; the command line prints it as one line."""


class InvalidParameterError(XpnetError, ValueError):
    """A parameter has a value that it cannot have."""


class UnknownNameError(InvalidParameterError):
    """A name that is in no table: an activation, a loss, a data set, a preset ..."""

    @classmethod
    def among(cls, kind: str, received: str, known: Iterable[str]) -> UnknownNameError:
        """Build the message that lists the known names and the nearest one."""
        names = sorted(known)
        near = difflib.get_close_matches(received.lower(), names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return cls(f"unknown {kind}: expected one of {', '.join(names)}; received {received!r}.{hint}")


class DataError(XpnetError, ValueError):
    """A data file or an array cannot be used."""


class ModelFormatError(XpnetError, ValueError):
    """A model file cannot be read, or does not fit the data."""


class DivergenceError(XpnetError, ArithmeticError):
    """The loss is no longer finite; the command line exits with 3.

    Attributes
    ----------
    run : xpnet.training.trainer.Run
        What there is: the parameters of the last good epoch, and the history.
    """

    def __init__(self, message: str, run: Any) -> None:
        super().__init__(message)
        self.run = run


class UnknownBackendError(UnknownNameError):
    """No backend is registered under that name."""


class DuplicateBackendError(XpnetError):
    """Two backends claim one name."""


class BackendNotInstalledError(XpnetError, ImportError):
    """The array library of a backend is not installed."""


class DeviceUnavailableError(XpnetError, RuntimeError):
    """The array library is there, but it has no such device, or no driver for it."""


class DeviceIndexError(XpnetError, IndexError):
    """There are devices of that kind, but not so many."""


class OutOfMemoryError(XpnetError, MemoryError):
    """A device's memory, or the host's, does not hold what was asked for.

    Attributes
    ----------
    device : str
    needed, free : int or None
        Bytes of the array that found no room, and those that were left for it without what is being computed.
    """

    def __init__(self, device: str, needed: int | None, free: int | None, advice: str = "") -> None:
        advice = advice or "Use a smaller batch, fewer samples or a smaller network."
        sizes = f"expected room for {size_text(needed)}; received {size_text(free)} free"
        super().__init__(f"out of memory on {device}: {sizes}. {advice}")
        self.device, self.needed, self.free = device, needed, free


def size_text(size: float | None) -> str:
    """Return a size as a user reads it: ``"512 MB"``."""
    if size is None:
        return "an unknown number of bytes"
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
