"""What all readers share: the options of a read, the result, errors, limits on sizes, and the choice of columns."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xpnet.errors import DataError

__all__ = [
    "MAX_RATIO",
    "TARGET_NAMES",
    "Array",
    "Columns",
    "RawData",
    "ReadOptions",
    "Readable",
    "as_features",
    "check_array_bytes",
    "check_matrix_shape",
    "choose_columns",
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


class Columns(NamedTuple):
    """Indices of the feature columns, in order, and of the target column."""

    features: list[int]
    target: int | None


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


def choose_columns(path: Path, names: Sequence[str], header: bool, options: ReadOptions) -> Columns:
    """Choose the features and the target among the columns of a table.

    Without a header the columns are called 1, 2, ... and the features of a model are chosen by position.

    Raises
    ------
    DataError
        A name occurs twice, a requested column is missing, or no features are left.
    """
    duplicates = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if duplicates:
        raise make_read_error(
            path, f"duplicate columns: expected each name once; received {join_names(duplicates)} more than once"
        )
    choose = _columns_for_training if options.training else _columns_by_name if header else _columns_by_position
    chosen = choose(path, names, options)
    if not chosen.features:
        raise make_read_error(
            path, f"no features: expected at least one column beside the target; received only {join_names(names)}"
        )
    return chosen


def _columns_for_training(path: Path, names: Sequence[str], options: ReadOptions) -> Columns:
    if options.target is None:
        lowered = [name.strip().lower() for name in names]
        target = next((lowered.index(name) for name in TARGET_NAMES if name in lowered), None)
        wanted = f"a column called {', '.join(TARGET_NAMES[:-1])} or {TARGET_NAMES[-1]}"
    else:
        target = names.index(options.target) if options.target in names else None
        wanted = f"a column {options.target!r}"
    if target is None:
        raise make_read_error(
            path,
            f"no target: expected {wanted}; received the columns {join_names(names)}; name one of them as the target",
        )
    return Columns([i for i in range(len(names)) if i != target], target)


def _columns_by_name(path: Path, names: Sequence[str], options: ReadOptions) -> Columns:
    """Choose the model's columns by their names."""
    target = names.index(options.target) if options.target is not None and options.target in names else None
    if options.feature_names is None:
        return _columns_by_position(path, names, options)
    missing = [name for name in options.feature_names if name not in names]
    known = set(options.feature_names) | {options.target}
    extra = [name for name in names if name not in known]
    if missing or extra:
        wrong = [
            f"{what} {join_names(columns)}" for what, columns in (("missing", missing), ("extra", extra)) if columns
        ]
        raise make_read_error(
            path,
            f"columns: expected the model's features {join_names(options.feature_names)}; received a table with "
            f"{' and '.join(wrong)}; rename, add or remove columns",
        )
    position = {name: i for i, name in enumerate(names)}
    return Columns([position[name] for name in options.feature_names], target)


def _columns_by_position(path: Path, names: Sequence[str], options: ReadOptions) -> Columns:
    """Choose all columns, or all except the target column if it is present."""
    wanted = len(options.feature_names) if options.feature_names is not None else options.n_features
    target = names.index(options.target) if options.target is not None and options.target in names else None
    if wanted is not None and len(names) == wanted:
        return Columns(list(range(wanted)), None)
    features = [i for i in range(len(names)) if i != target]
    if wanted is not None and len(features) != wanted:
        raise make_read_error(
            path, f"features: expected {wanted}, as in training; received {len(features)} columns: {join_names(names)}"
        )
    return Columns(features, target)


def _one_line(text: str, limit: int) -> str:
    """Escape line breaks and characters that cannot be printed, and shorten a long text."""
    text = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text[: limit + 1])
    return text if len(text) <= limit else text[: limit - 3] + "..."


Reader: TypeAlias = Callable[[Path, ReadOptions], RawData]
