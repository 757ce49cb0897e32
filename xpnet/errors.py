"""The exceptions of xpnet: each is one line for a user, and each keeps its cause."""

from __future__ import annotations

import difflib
import os
import re
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
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
    "memory_errors",
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
    run : xpnet.trainer.Run
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
        super().__init__(
            f"out of memory on {device}: expected room for {_size(needed)}; received {_size(free)} free. {advice}"
        )
        self.device, self.needed, self.free = device, needed, free


_UNITS = {"bytes": 0, "KiB": 1, "MiB": 2, "GiB": 3, "TiB": 4, "PiB": 5, "EiB": 6}
_NEEDED = re.compile(r"allocat(?:e|ing) ([\d.,]+) (\w+)")  # NumPy, PyTorch, CuPy and XLA all say it so
_OUT_OF_MEMORY = re.compile("out of memory|can't allocate memory", re.IGNORECASE)


def _size(n: int | None) -> str:
    if n is None:
        return "an unknown number of bytes"
    power = min((max(n, 1).bit_length() - 1) // 10, len(_UNITS) - 1)
    return f"{n / 1024**power:,.4g} {[*_UNITS][power]}"


def _free_on_the_host() -> int | None:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on every system
        return None


@contextmanager
def memory_errors(device: str, free: Callable[[], int | None] = _free_on_the_host) -> Iterator[None]:
    """Raise an `OutOfMemoryError` for whatever a library raises where memory is short; adapters use it in their scope.

    Raises
    ------
    OutOfMemoryError
    """
    try:
        yield
    except (MemoryError, RuntimeError) as exc:
        message = str(exc)
        if isinstance(exc, XpnetError) or not (isinstance(exc, MemoryError) or _OUT_OF_MEMORY.search(message)):
            raise
        traceback.clear_frames(exc.__traceback__)  # they hold what was being computed
        found = _NEEDED.search(message)
        needed = None
        if found and found[2] in _UNITS:
            needed = int(float(found[1].replace(",", "")) * 1024 ** _UNITS[found[2]])
        raise OutOfMemoryError(device, needed, free()) from exc
