"""Fingerprints: a few numbers that tell whether data are the same as before, and if not, what has changed.

Every value of a table has a 64-bit code. A column's digest is the sum of its codes with a pseudo-random weight for each
row, and a row's hash is the sum of its codes with a pseudo-random weight for each column name; all sums are modulo
2**64 (multilinear hashing: Carter and Wegman, "Universal classes of hash functions", 1979). The sum of the mixed row
hashes does not depend on the order of the rows, nor of the columns. No digest depends on how the rows are cut into
blocks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xpnet.communicator import in_turn
from xpnet.data.dataset import Dataset
from xpnet.data.readers.common import join_names
from xpnet.data.shared_rows import SharedRows

__all__ = ["Fingerprint", "column_names", "describe_change", "fingerprint_dataset"]

Codes = NDArray[np.uint64]

_CHUNK = 1 << 18  # values that are hashed at once, so that they stay in the processor's cache
_LONG = 1024  # bytes of a text from which a library's hash is faster
_MISSING = np.uint64(0x6D697373696E6721)


class Fingerprint:
    """The fingerprint of a table, whose blocks are added one after the other.

    Parameters
    ----------
    names : sequence of str
        The names of the columns.

    Examples
    --------
    >>> import numpy as np
    >>> x, y = np.arange(6.0).reshape(3, 2), np.asarray(["a", "b", "a"])
    >>> before, now = Fingerprint(["u", "v", "label"]), Fingerprint(["u", "v", "label"])
    >>> before.add(x, y)
    >>> now.add(x[2:], y[2:])
    >>> now.add(x[:2], y[:2])
    >>> describe_change(before.to_dict(), now.to_dict())
    'the same rows in another order'
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._weights = np.asarray([_code_of(name.encode(errors="surrogatepass")) for name in names], np.uint64)
        self._columns = np.zeros(len(names), np.uint64)
        self._rows, self._content = 0, 0

    def add(self, *columns: Any) -> None:
        """Add a block of rows.

        Parameters
        ----------
        *columns : ndarray or pyarrow.ChunkedArray
            The columns in the order of the names. An array (n_rows, n) holds n of them.
        """
        n_rows = len(columns[0])
        place = _mix(np.arange(self._rows, self._rows + n_rows, dtype=np.uint64))
        rows = np.zeros(n_rows, np.uint64)
        first = 0
        for column in columns:
            for start, codes in _codes(column):
                here = slice(start, start + len(codes))
                these = slice(first, first + codes.shape[1])
                self._columns[these] += np.einsum("i,ij->j", place[here], codes)
                rows[here] += np.einsum("ij,j->i", codes, self._weights[these])
            first += column.shape[1] if isinstance(column, np.ndarray) and column.ndim > 1 else 1
        self._content = (self._content + int(_mix(rows).sum(dtype=np.uint64))) % 2**64
        self._rows += n_rows

    def to_dict(self) -> dict[str, Any]:
        """Return the fingerprint as plain values."""
        return {
            "rows": self._rows,
            "names": self._names,
            "columns": [f"{digest:016x}" for digest in self._columns.tolist()],
            "content": f"{self._content:016x}",
        }


def fingerprint_dataset(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Return the fingerprints of a data set in memory: ``"data"`` and, if it has one of its own, ``"test part"``."""
    parts = {"data": (dataset.x, dataset.y), "test part": (dataset.x_test, dataset.y_test)}
    found = {}
    for name, (x, y) in parts.items():
        if x is not None and y is not None:
            shared: Any = x if isinstance(x, SharedRows) else None
            own: tuple[Any, Any] = (x, y) if shared is None else (shared.own, y[shared.positions])
            found[name] = in_turn(
                None if shared is None else shared.communicator,
                Fingerprint(column_names(dataset, own[0], y)),
                partial(_add, columns=own),
                Fingerprint.to_dict,
            )
    return found


def _add(fingerprint: Fingerprint, columns: tuple[Any, ...]) -> None:
    fingerprint.add(*columns)


class _Named(Protocol):
    @property
    def feature_names(self) -> tuple[str, ...] | None: ...
    @property
    def target_name(self) -> str | None: ...


def column_names(data: _Named, x: NDArray[Any], y: NDArray[Any]) -> list[str]:
    """Return the names of all columns of features and targets; columns without a name are called by their number."""
    features = data.feature_names or [f"feature {i}" for i in range(1, x.shape[1] + 1)]
    target = data.target_name or "target"
    n_targets = 1 if y.ndim == 1 else y.shape[1]
    return [*features, *([target] if n_targets == 1 else [f"{target} {i}" for i in range(1, n_targets + 1)])]


def describe_change(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Return what has changed between two fingerprints of `Fingerprint.to_dict`, or None if nothing has."""
    columns, old_columns = (dict(zip(each["names"], each["columns"], strict=True)) for each in (now, before))
    changes = [
        f"{what} {join_names(map(repr, names), 5)}"
        for what, names in (
            ("without the column", [name for name in old_columns if name not in columns]),
            ("with the new column", [name for name in columns if name not in old_columns]),
        )
        if names
    ]
    if now["rows"] != before["rows"]:
        changes.append(f"{now['rows']:,} rows in place of {before['rows']:,}")
    if changes:
        return " and ".join(changes)
    if now["content"] != before["content"]:
        names = [name for name, digest in columns.items() if digest != old_columns[name]]
        where = "all columns" if len(names) == len(columns) > 1 else f"the column {join_names(map(repr, names), 5)}"
        return f"other values in {where}"
    if columns != old_columns:
        return "the same rows in another order"
    return "the same columns in another order" if now["names"] != before["names"] else None


def _mix(values: Codes) -> Codes:
    """Return pseudo-random numbers for consecutive ones: SplitMix64 (Steele, Lea and Flood 2014)."""
    z = (values + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Codes = z ^ (z >> np.uint64(31))
    return mixed


def _code_of(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def _codes(column: Any) -> Iterator[tuple[int, Codes]]:
    """Yield the codes of a column or of several, (n, n_columns), in chunks, each with its first row."""
    if not isinstance(column, np.ndarray):
        start = 0
        for chunk in column.chunks:
            yield start, _arrow_codes(chunk)[:, None]
            start += len(chunk)
        return
    matrix = column.reshape(len(column), -1)
    step = max(1, _CHUNK // max(1, matrix.shape[1]))
    for start in range(0, len(matrix), step):
        yield start, _array_codes(matrix[start : start + step])


def _array_codes(array: NDArray[Any]) -> Codes:
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind in "biu":
        return array.astype(np.int64 if kind != "u" else np.uint64).view(np.uint64)
    if kind == "f" and size <= 8:
        native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
        return native.view(f"u{size}").astype(np.uint64)
    texts, inverse = np.unique(array.astype(str), return_inverse=True)
    codes = np.asarray([_code_of(text.encode(errors="surrogatepass")) for text in texts.tolist()], np.uint64)
    return codes[inverse].reshape(array.shape)


def _arrow_codes(array: Any) -> Codes:
    import pyarrow as pa  # slow to import, and only for data that are pyarrow's

    kind = array.type
    if pa.types.is_dictionary(kind):
        codes: Codes = _arrow_codes(array.dictionary)[array.indices.fill_null(0).to_numpy(zero_copy_only=False)]
    elif pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        codes = _array_codes(array.fill_null(False if pa.types.is_boolean(kind) else 0).to_numpy(zero_copy_only=False))
    else:
        codes = _text_codes(array.cast(pa.large_binary() if pa.types.is_binary(kind) else pa.large_string()))
    if array.null_count:
        codes = np.where(array.is_null().to_numpy(zero_copy_only=False), _MISSING, codes)
    return codes


def _text_codes(array: Any) -> Codes:
    """Return the codes of texts: hashes of their bytes, eight at a time in all texts together."""
    _, offsets_buffer, data = array.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64, len(array) + 1, 8 * array.offset)
    first, last = (int(offsets[0]), int(offsets[-1])) if len(array) else (0, 0)
    padded = b"" if data is None else memoryview(data)[first:last].tobytes()
    # The eight bytes from each position on; the last ones are padded.
    words = np.ndarray(len(padded) + 1, "<u8", padded + bytes(8), strides=(1,))
    starts, lengths = offsets[:-1] - first, np.diff(offsets)
    codes = _mix(lengths.astype(np.uint64))
    rows = np.flatnonzero((lengths > 0) & (lengths <= _LONG))
    for position in range(0, _LONG, 8):
        rows = rows[lengths[rows] > position]
        if not len(rows):
            break
        unused = np.maximum(0, 8 - (lengths[rows] - position)) * 8
        word = words[starts[rows] + position] & (np.uint64(2**64 - 1) >> unused.astype(np.uint64))
        codes[rows] = _mix(codes[rows] ^ word)
    for row in np.flatnonzero(lengths > _LONG):
        codes[row] = _code_of(padded[starts[row] : starts[row] + lengths[row]])
    return codes
