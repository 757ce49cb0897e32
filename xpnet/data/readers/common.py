"""What all readers share: the options of a read, the result, errors, and limits on sizes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xpnet.errors import DataError, printable

__all__ = [
    "MAX_RATIO",
    "TARGET_NAMES",
    "Array",
    "RawData",
    "ReadOptions",
    "Readable",
    "as_features",
    "check_array_bytes",
    "check_matrix_shape",
    "join_names",
    "make_read_error",
    "max_array_bytes",
    "naming",
    "read_bounded",
    "reading",
]

Array: TypeAlias = NDArray[Any]

MAX_RATIO = 1032
"""The largest ratio by which deflate can compress (zlib's technical details)."""

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
    """

    training: bool
    target: str | None = None
    feature_names: tuple[str, ...] | None = None
    n_features: int | None = None
    index_base: int | None = None


class RawData(NamedTuple):
    """The content of a file or folder, before the checks that all formats share; the attributes are `Dataset`'s."""

    x: Array
    y: Array | None
    feature_names: tuple[str, ...] | None = None
    target_name: str | None = None
    x_test: Array | None = None
    y_test: Array | None = None
    index_base: int | None = None


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


def max_array_bytes() -> int:
    """Return the largest size that one array may have: half of the machine's memory, or 8 GiB if that is unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return 8 << 30


def check_array_bytes(path: Path, size: int) -> None:
    """Check the number of bytes that a header declares: a small compressed file can declare a huge array.

    Raises
    ------
    DataError
        The size exceeds `max_array_bytes`.
    """
    if size > (limit := max_array_bytes()):
        raise make_read_error(
            path,
            f"too large: expected at most {limit / 2**30:.3g} GiB of data; received {size / 2**30:.3g} GiB by its "
            "header; if this size is right, store the data uncompressed and read it in pieces (--memory-limit)",
        )


def check_matrix_shape(path: Path, rows: int, columns: int) -> None:
    """Check that a float64 matrix of this shape fits into memory.

    Raises
    ------
    DataError
        Its size exceeds `max_array_bytes`.
    """
    size, limit = rows * columns * 8, max_array_bytes()
    if size > limit:
        raise make_read_error(
            path,
            f"too large: expected a matrix of at most {limit / 2**30:.3g} GiB; received {rows} rows of {columns} "
            f"features, {size / 2**30:.3g} GiB as float64; use fewer features or rows",
        )


def as_features(x: Array) -> Array:
    """Keep uint8 and float32, convert other numbers to float64, and flatten images to (n_samples, n_features)."""
    if x.dtype.kind not in "biuf":
        return x  # refused later, with the other checks
    x = x.reshape(len(x), -1) if x.ndim > 2 and len(x) else x
    kept = x.dtype == np.uint8 or x.dtype == np.float32
    with np.errstate(over="ignore"):  # a long double beyond float64 becomes infinite, which is refused later
        return x.astype(x.dtype.newbyteorder("=") if kept else np.float64, copy=False)


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
