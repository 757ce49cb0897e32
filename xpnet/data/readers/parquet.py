"""Parquet and Arrow, read with pyarrow (the extra ``data``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.data.readers.common import (
    Array,
    RawData,
    ReadOptions,
    check_matrix_shape,
    choose_columns,
    join_names,
    make_read_error,
    reading,
)

__all__ = ["arrow_data", "read_arrow", "read_parquet", "reading_arrow"]


def read_parquet(path: Path, options: ReadOptions) -> RawData:
    """Read a table of numbers; the target may be text."""
    with reading_arrow(path, "a Parquet file"):
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            metadata = file.metadata
            check_matrix_shape(path, metadata.num_rows, metadata.num_columns)
            uncompressed = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
            check_matrix_shape(path, uncompressed // 8, 1)
            table = file.read()
        return arrow_data(path, table, options)


def read_arrow(path: Path, options: ReadOptions) -> RawData:
    """Read a table of numbers from Arrow's file format (Feather 2); the target may be text."""
    with reading_arrow(path, "an Arrow file"):
        import pyarrow as pa

        check_matrix_shape(path, path.stat().st_size // 8, 1)
        with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
            return arrow_data(path, reader.read_all(), options)


@contextmanager
def reading_arrow(path: Path, what: str) -> Iterator[None]:
    """Convert the errors of pyarrow, also that it is missing, into errors about a file, as `reading` does."""
    try:
        import pyarrow as pa
    except ImportError as exc:
        raise make_read_error(
            path, "Parquet and Arrow need pyarrow, which is not installed: pip install pyarrow"
        ) from exc
    damage = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError, MemoryError)
    with reading(path, damage, f"broken: expected {what} ({{:.200}}); write it again"):
        yield


def arrow_data(path: Path, table: Any, options: ReadOptions) -> RawData:
    """Return the features and targets of an Arrow table.

    Raises
    ------
    DataError
        The table has no rows, lacks a requested column, or has a feature that is not a number.
    """
    names = [str(name) for name in table.column_names]
    if not names or table.num_rows == 0:
        raise make_read_error(path, f"no samples: expected rows; received none, only the columns {join_names(names)}")
    features, target = choose_columns(path, names, True, options)
    columns = [_numbers(path, names[i], table.column(i), "a feature must be") for i in features]
    dtype = np.float32 if all(column.dtype == np.float32 for column in columns) else np.float64
    x = np.empty((table.num_rows, len(columns)), dtype=dtype)
    for i, column in enumerate(columns):
        x[:, i] = column
    y = None if target is None else _targets(path, names[target], table.column(target))
    return RawData(x, y, tuple(names[i] for i in features), None if target is None else names[target])


def _numbers(path: Path, name: str, column: Any, what: str) -> Array:
    import pyarrow as pa

    types = pa.types
    kind = column.type
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind)):
        raise make_read_error(
            path,
            f"column {name!r:.60}: expected numbers, as {what}; received type {kind}; encode it as numbers or drop it",
        )
    _check_nulls(path, name, column)
    if types.is_decimal(kind):
        column = column.cast(pa.float64())
    return np.asarray(column.to_numpy())


def _targets(path: Path, name: str, column: Any) -> Array:
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        _check_nulls(path, name, column)
        return np.array(column.to_pylist(), dtype=str)
    return _numbers(path, name, column, "a target that is not text must be")


def _check_nulls(path: Path, name: str, column: Any) -> None:
    if column.null_count:
        row = column.is_null().index(True).as_py() + 1
        raise make_read_error(path, f"column {name!r:.60}, row {row}: expected a value; received null; fill it in")
