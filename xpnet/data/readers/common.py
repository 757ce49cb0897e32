"""What the readers share: the request, the result, bounded reading, the choice of columns."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xpnet.errors import DataError

__all__ = [
    "MAX_RATIO",
    "Array",
    "Columns",
    "Readable",
    "Request",
    "Table",
    "as_features",
    "check_declared",
    "check_memory",
    "choose_columns",
    "listed",
    "memory_limit",
    "read_bounded",
    "read_error",
]

Array: TypeAlias = NDArray[Any]

MAX_RATIO = 1032
"""No deflate stream expands further than this (zlib's technical details)."""

_CHUNK = 1 << 20
_TARGET_NAMES = ("target", "label", "class", "y")


@dataclass(frozen=True)
class Request:
    """What is asked of a reader.

    Attributes
    ----------
    training : bool
        Whether the file must have targets.
    target : str or None
        The name of the target; None for the usual names of the format.
    feature_names : tuple of str or None
        The model's columns in its order; None in training, or where it has no names.
    n_features : int or None
        How many features the model takes.
    """

    training: bool
    target: str | None = None
    feature_names: tuple[str, ...] | None = None
    n_features: int | None = None


class Table(NamedTuple):
    """What a reader returns; nothing is checked yet but what the format itself demands."""

    x: Array
    y: Array | None
    feature_names: tuple[str, ...] | None = None
    target_name: str | None = None
    x_test: Array | None = None
    y_test: Array | None = None


class Columns(NamedTuple):
    """Which columns of a table are the features, in order, and which is the target."""

    features: list[int]
    target: int | None


class Readable(Protocol):
    """The part of a binary stream that bounded reading needs."""

    def read(self, size: int, /) -> bytes: ...  # noqa: D102


def read_error(path: Path, message: str) -> DataError:
    """Make a `DataError` about one file: a single line that begins with its path."""
    return DataError(f"{_one_line(str(path), 300)}: {_one_line(message, 1000)}")


def read_bounded(stream: Readable, size: int) -> bytearray:
    """Read at most `size` bytes, without reserving memory that the stream may not fill."""
    data = bytearray()
    while len(data) < size:
        chunk = stream.read(min(_CHUNK, size - len(data)))
        if not chunk:
            break
        data += chunk
    return data


def memory_limit() -> int:
    """Return the bytes that one array may take: half of the machine's memory, or 8 GiB where that is not told."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return 8 << 30


def check_memory(path: Path, rows: int, columns: int) -> None:
    """Raise where a float64 matrix of this shape would not fit."""
    size, limit = rows * columns * 8, memory_limit()
    if size > limit:
        raise read_error(
            path,
            f"too large: expected a matrix of at most {limit / 2**30:.3g} GiB; received {rows} rows of {columns} "
            f"features, {size / 2**30:.3g} GiB as float64; use fewer features or rows",
        )


def as_features(x: Array) -> Array:
    """Keep uint8 and float32; turn every other kind of number into float64; flatten images."""
    if x.dtype.kind not in "biuf":
        return x  # refused later, with the other checks
    x = x.reshape(len(x), -1) if x.ndim > 2 and len(x) else x
    kept = x.dtype == np.uint8 or x.dtype == np.float32
    with np.errstate(over="ignore"):  # a long double beyond float64 becomes infinity, which is refused later
        return x.astype(x.dtype.newbyteorder("=") if kept else np.float64, copy=False)


def check_declared(path: Path, size: int) -> None:
    """Raise where the bytes that a header declares would not fit: compressed, they are cheap to declare and to hold."""
    if size > (limit := memory_limit()):
        raise read_error(
            path,
            f"too large: expected at most {limit / 2**30:.3g} GiB of data; received {size / 2**30:.3g} GiB by its "
            "header; if it is what it should be, store it uncompressed and read it in pieces (--memory-limit)",
        )


def listed(names: Iterable[object], limit: int = 20) -> str:
    """Join names for a message, the first `limit` of them."""
    texts = [_one_line(str(name), 60) for name in names]
    more = f", ... ({len(texts)} in all)" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more


def choose_columns(path: Path, names: Sequence[str], header: bool, request: Request) -> Columns:
    """Find the features and the target among the columns of a table.

    Without a header the columns are called 1, 2, ...; features are then taken by position.
    """
    duplicates = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if duplicates:
        raise read_error(
            path, f"duplicate columns: expected each name once; received {listed(duplicates)} more than once"
        )
    chosen = (_for_training if request.training else _for_model if header else _by_position)(path, names, request)
    if not chosen.features:
        raise read_error(path, f"no features: expected a column beside the target; received only {listed(names)}")
    return chosen


def _for_training(path: Path, names: Sequence[str], request: Request) -> Columns:
    if request.target is None:
        lowered = [name.strip().lower() for name in names]
        target = next((lowered.index(name) for name in _TARGET_NAMES if name in lowered), None)
        wanted = f"a column called {', '.join(_TARGET_NAMES[:-1])} or {_TARGET_NAMES[-1]}"
    else:
        target = names.index(request.target) if request.target in names else None
        wanted = f"a column {request.target!r}"
    if target is None:
        raise read_error(
            path,
            f"no target: expected {wanted}, separated by commas; received the columns {listed(names)}; "
            "name one of them as the target",
        )
    return Columns([i for i in range(len(names)) if i != target], target)


def _for_model(path: Path, names: Sequence[str], request: Request) -> Columns:
    target = names.index(request.target) if request.target is not None and request.target in names else None
    if request.feature_names is None:
        return _by_position(path, names, request)
    missing = [name for name in request.feature_names if name not in names]
    known = set(request.feature_names) | {request.target}
    extra = [name for name in names if name not in known]
    if missing or extra:
        parts = [f"{what} {listed(columns)}" for what, columns in (("missing", missing), ("extra", extra)) if columns]
        raise read_error(
            path,
            f"columns: expected the model's features {listed(request.feature_names)}; received a table with "
            f"{' and '.join(parts)}; rename, add or remove columns",
        )
    position = {name: i for i, name in enumerate(names)}
    return Columns([position[name] for name in request.feature_names], target)


def _by_position(path: Path, names: Sequence[str], request: Request) -> Columns:
    """Take the features as they stand: all the columns, or all but the target if there is one column more."""
    wanted = len(request.feature_names) if request.feature_names is not None else request.n_features
    target = names.index(request.target) if request.target is not None and request.target in names else None
    if wanted is not None and len(names) == wanted:
        return Columns(list(range(wanted)), None)
    features = [i for i in range(len(names)) if i != target]
    if wanted is not None and len(features) != wanted:
        raise read_error(
            path, f"features: expected {wanted}, as in training; received {len(features)} columns: {listed(names)}"
        )
    return Columns(features, target)


def _one_line(text: str, limit: int) -> str:
    """Escape what would break a line or cannot be printed, and cut what is too long."""
    text = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text[: limit + 1])
    return text if len(text) <= limit else text[: limit - 3] + "..."


Reader: TypeAlias = Callable[[Path, Request], Table]
