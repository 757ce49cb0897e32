"""What all readers share: the options of a read, the result, errors, and limits on sizes."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xpnet.communicator import Communicator, share_of
from xpnet.data.checks import warn_of_merged
from xpnet.errors import DataError, printable, size_text
from xpnet.memory import available_bytes

__all__ = [
    "TARGET_NAMES",
    "Array",
    "RawData",
    "ReadOptions",
    "Readable",
    "as_features",
    "check_content",
    "check_memory",
    "join_names",
    "kept_itemsize",
    "make_read_error",
    "max_array_bytes",
    "max_content_bytes",
    "naming",
    "read_bounded",
    "reading",
    "skip",
]

Array: TypeAlias = NDArray[Any]

_MAX_GROWTH = 256
_ALWAYS_ALLOWED = 64 << 20
_TEXT_BYTES = 64  # of a str and its place in a list
_CHUNK = 1 << 20
TARGET_NAMES = ("target", "label", "class", "y")


@dataclass(frozen=True)
class ReadOptions:
    """What a reader reads from a file.

    Attributes
    ----------
    training : bool
        Whether the file must have targets.
    target : str or None
        The name of the target; None for the usual names of the format.
    feature_names : tuple of str or None
        The model's columns in its order; None in training, or if the model has no names.
    n_features : int or None
        The number of features that the model takes.
    index_base : int or None
        The first index of the LIBSVM file that the model was trained on.
    communicator : Communicator or None
        Each rank reads its share of the features, and all targets; None reads all.
    """

    training: bool
    target: str | None = None
    feature_names: tuple[str, ...] | None = None
    n_features: int | None = None
    index_base: int | None = None
    communicator: Communicator | None = None

    def share(self, n_rows: int) -> slice:
        """Return the rows of the features that this process reads."""
        if self.communicator is None:
            return slice(0, n_rows)
        return share_of(n_rows, self.communicator.rank, self.communicator.size)


class RawData(NamedTuple):
    """The content of a file or folder, before the checks that all formats share; the attributes are `Dataset`'s."""

    x: Array
    y: Array | None
    feature_names: tuple[str, ...] | None = None
    target_name: str | None = None
    x_test: Array | None = None
    y_test: Array | None = None
    index_base: int | None = None
    image_shape: tuple[int, ...] | None = None


class Readable(Protocol):
    """Object with a `read` method, for `read_bounded`."""

    def read(self, size: int, /) -> bytes: ...  # noqa: D102


def make_read_error(path: Path, message: str) -> DataError:
    """Return a `DataError` about a file, whose message is one line that begins with the path."""
    return DataError(f"{_one_line(str(path), 300)}: {_one_line(message, 1000)}")


@contextmanager
def reading(
    path: Path, damage: tuple[type[BaseException], ...] = (), message: str = "damaged file ({})"
) -> Iterator[None]:
    """Convert errors raised while a file is read into a `DataError` about the file.

    Parameters
    ----------
    path : Path
    damage : tuple of exception types
        Exceptions that mean a damaged file.
    message : str
        The message for a damaged file; ``{}`` is replaced by the text of the exception.

    Raises
    ------
    DataError
        The code inside the context raised an OSError or an exception of `damage`.
    """
    try:
        yield
    except DataError:
        raise
    except damage as exc:
        reason = (str(exc).strip() or type(exc).__name__).partition("\n")[0]
        raise make_read_error(path, message.format(reason)) from exc
    except OSError as exc:
        raise make_read_error(path, f"cannot be read: {exc.strerror or exc}") from exc


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Begin the message of a `DataError` with the path, if it does not begin with it already."""
    try:
        yield
    except DataError as exc:
        if str(exc).startswith(_one_line(str(path), 300)):
            raise
        raise make_read_error(path, str(exc)) from exc


def read_bounded(file: Readable, size: int) -> bytearray:
    """Read at most `size` bytes; memory is allocated only for bytes that the file has."""
    data = bytearray()
    while len(data) < size:
        chunk = file.read(min(_CHUNK, size - len(data)))
        if not chunk:
            break
        data += chunk
    return data


def skip(file: Any, size: int) -> int:
    """Skip at most `size` bytes of a file, and return how many there were; packed data are read for that."""
    if isinstance(file, io.BufferedReader):
        here, end = file.tell(), file.seek(0, io.SEEK_END)
        return file.seek(min(here + size, end)) - here
    left = size
    while left and (chunk := file.read(min(_CHUNK, left))):
        left -= len(chunk)
    return size - left


def max_array_bytes() -> int:
    """Return the memory that the content of a file may take: half of what is free, or 8 GiB if that is unknown.

    The other half is for the copies that training makes.
    """
    return (available_bytes() // 2) or (8 << 30)


def max_content_bytes(stored: int, growth: int = _MAX_GROWTH, *, in_pieces: bool = False) -> int:
    """Return the budget of a file of `stored` bytes: the bytes that all that is read from it may become in memory.

    It is `growth` bytes for each byte, at least 64 MiB, and at most `max_array_bytes`. Data that people have stay far
    below the ratio; a few kilobytes that declare, or decompress to, gigabytes exceed it.

    Parameters
    ----------
    stored : int
    growth : int
    in_pieces : bool
        Whether only parts of the content are in memory at a time, so that the free memory is no limit.
    """
    allowed = max(growth * stored, _ALWAYS_ALLOWED)
    return allowed if in_pieces else min(allowed, max_array_bytes())


def check_content(
    path: Path, size: int, stored: int, what: str = "content", growth: int = _MAX_GROWTH, *, in_pieces: bool = False
) -> None:
    """Check what the content of a file becomes in memory, before the memory is allocated.

    Parameters
    ----------
    path : Path
    size : int
        Bytes that the content becomes: numbers as they are kept, text with its Python objects.
    stored : int
        Bytes of the file.
    what : str
        The content, for the message.
    growth, in_pieces : int, bool
        As for `max_content_bytes`.

    Raises
    ------
    DataError
        The size exceeds `max_content_bytes`.
    """
    if size <= (limit := max_content_bytes(stored, growth, in_pieces=in_pieces)):
        return
    if limit == max_content_bytes(stored, growth, in_pieces=True):
        allowed = f"for a file of {size_text(stored)}"
        remedy = "use fewer columns or rows, or store the data uncompressed (.npy, np.savez)"
    else:
        allowed, remedy = "half of the free memory", "use fewer columns or rows, or read it in pieces (--memory-limit)"
    raise make_read_error(
        path,
        f"too large: expected at most {size_text(limit)} in memory, {allowed}; received {what} of {size_text(size)}; "
        f"{remedy}",
    )


def check_memory(size: int, what: str) -> None:
    """Check, before it is allocated, that what is made of a table fits into half of the free memory.

    Raises
    ------
    DataError
        It does not.
    """
    if size > _ALWAYS_ALLOWED and size > (limit := max_array_bytes()):
        raise DataError(
            f"too large: expected at most {size_text(limit)} in memory, half of the free memory; received {what} of "
            f"{size_text(size)}; use fewer columns or rows, or read the table in pieces (--memory-limit)"
        )


def as_features(x: Array) -> Array:
    """Keep uint8 and float32, convert other numbers to float64, and flatten images to (n_samples, n_features)."""
    if x.dtype.kind not in "biuf":
        return x  # refused later, with the other checks
    x = x.reshape(len(x), math.prod(x.shape[1:])) if x.ndim > 2 else x
    with np.errstate(over="ignore"):  # a long double beyond float64 becomes infinite, which is refused later
        converted = x.astype(_kept_dtype(x.dtype), copy=False)
    if x.ndim and x.size and converted.dtype != x.dtype:
        warn_of_merged(x, converted, "features")  # integers of more than 53 bits
    return converted


def _kept_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    native = dtype.newbyteorder("=")
    return native if native in (np.uint8, np.float32) else np.dtype(np.float64)


def kept_itemsize(dtype: np.dtype[Any]) -> int:
    """Return the bytes that a value of an array becomes: a number as `as_features` keeps it, text as Python's object.

    Text is stored as wide as the longest of an array, with 4 bytes for each character.
    """
    if dtype.kind in "SU":
        return _TEXT_BYTES + dtype.itemsize * (4 if dtype.kind == "S" else 1)
    return max(dtype.itemsize, _kept_dtype(dtype).itemsize)


def join_names(names: Iterable[object], limit: int = 20) -> str:
    """Join names for a message, at most `limit` of them."""
    texts = [_one_line(str(name), 60) for name in names]
    more = f", ... ({len(texts)} in all)" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more


def _one_line(text: str, limit: int) -> str:
    """Escape line breaks and characters that cannot be printed, and shorten a long text."""
    text = printable(text[: limit + 1])
    return text if len(text) <= limit else text[: limit - 3] + "..."


Reader: TypeAlias = Callable[[Path, ReadOptions], RawData]
