"""The exceptions of xpnet: each message is one line, and each exception keeps its cause."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from reprlib import Repr
from types import MappingProxyType
from typing import Any

__all__ = [
    "BackendNotInstalledError",
    "DataError",
    "DeviceIndexError",
    "DeviceUnavailableError",
    "DivergenceError",
    "DuplicateBackendError",
    "InvalidParameterError",
    "LibraryNotInstalledError",
    "ModelFormatError",
    "OutOfMemoryError",
    "RankError",
    "UnknownBackendError",
    "UnknownNameError",
    "UnknownValuesWarning",
    "XpnetError",
    "XpnetWarning",
    "printable",
    "shown",
    "shown_settings",
    "size_text",
]


class XpnetError(Exception):
    """Base class of every error that xpnet raises on purpose; the command line prints one line and exits with 2."""


class XpnetWarning(UserWarning):
    """Something went wrong but the run continues; the command line prints one line."""


class UnknownValuesWarning(XpnetWarning):
    """A table has many values that training did not have: they are taken for missing or for no known category."""


class InvalidParameterError(XpnetError, ValueError):
    """A parameter has an invalid value."""


class UnknownNameError(InvalidParameterError):
    """An unknown name, for example of an activation, a loss, a data set or a preset."""

    @classmethod
    def among(
        cls, kind: str, received: str, known: Iterable[str], synonyms: Mapping[str, str] = MappingProxyType({})
    ) -> UnknownNameError:
        """Return the error whose message lists the known names and suggests the one that is meant.

        Parameters
        ----------
        synonyms : mapping of str to str
            What others call it, in lower case and with underscores, to what it is called here: a known name, with
            options, and with a remark after a space.
        """
        names = sorted(known)
        lowered = received.lower()
        near, _, remark = synonyms.get(lowered.replace("-", "_"), "").partition(" ")
        if re.split("[:@]", near)[0] not in names:
            near, remark = next(iter(difflib.get_close_matches(lowered, names, n=1)), ""), ""
        hint = f" Did you mean {near!r}?" if near else ""
        hint += f" {remark}" if remark else ""
        return cls(f"unknown {kind}: expected one of {', '.join(names)}; received {shown(received)}.{hint}")


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


class RankError(XpnetError, RuntimeError):
    """Another of the processes that train one network together failed, and says why."""


class UnknownBackendError(UnknownNameError):
    """No backend has this name."""


class DuplicateBackendError(XpnetError):
    """Two backends are registered under the same name."""


class BackendNotInstalledError(XpnetError, ImportError):
    """The array library of a backend is not installed."""


class LibraryNotInstalledError(XpnetError, ImportError):
    """An optional library is not installed."""


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


def shown(value: Any) -> str:
    """Format a received value for a message, on one line and of limited length.

    Numbers and texts are written as Python's own, whichever library they come from.

    Examples
    --------
    >>> import numpy as np
    >>> print(shown(np.int64(7)), shown([np.float32(0.1), "a"]), shown(10**5000))
    7 [0.1, 'a'] an integer of 16610 bits
    """
    return _SHOWN.repr(value)


def shown_settings(self: Any) -> str:
    """Return the representation of a dataclass of settings: those that differ from their defaults, each shortened.

    Classes take it as their method ``__repr__``.
    """
    said = ((field, _SHORT.repr(getattr(self, field.name))) for field in fields(self))
    changed = (f"{field.name}={value}" for field, value in said if value != repr(field.default))
    return f"{type(self).__name__}({', '.join(changed)})"


class _Shown(Repr):
    def __init__(self, most_items: int, most_characters: int) -> None:
        super().__init__()
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdict = self.maxdeque = most_items
        self.maxstring = self.maxother = self.maxlong = most_characters

    def repr1(self, x: Any, level: int) -> str:
        if isinstance(x, str):
            return self.repr_str(str(x), level)
        is_number = getattr(x, "ndim", None) == 0 and not hasattr(x, "__len__")  # and no array without dimensions
        return str(x) if is_number else super().repr1(x, level)

    def repr_instance(self, x: Any, level: int) -> str:
        return " ".join(super().repr_instance(x, level).split())

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write out longer ones.
        return super().repr_int(x, level) if x.bit_length() < 10_000 else f"an integer of {x.bit_length()} bits"


_SHOWN = _Shown(20, 500)
_SHORT = _Shown(8, 200)
