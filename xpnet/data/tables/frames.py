"""Tables from data frames, dictionaries of columns, and arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from xpnet.errors import DataError, shown

__all__ = ["as_table"]


def as_table(x: Any, names: Sequence[str] | None = None) -> pa.Table:
    """Return a table of any library as an Arrow table; the columns keep their types.

    Parameters
    ----------
    x : data frame, dict of columns, or array_like of shape (n_rows, n_columns)
        A pandas, polars or Arrow table, or anything else that narwhals or Arrow's interface can read. Text may stand
        beside numbers in an array of objects or a nested list; each column then gets a type of its own.
    names : sequence of str, optional
        Names of the columns. By default those of `x` as text, or 1, 2, ... if it has none.

    Raises
    ------
    DataError
        `x` is no table, has no columns, or a column has no single type.

    Examples
    --------
    >>> import numpy as np
    >>> as_table(np.eye(2)).column_names
    ['1', '2']
    >>> as_table({"a": [1, None], "b": ["x", "y"]}).num_rows
    2
    """
    if len(getattr(x, "shape", (0, 0))) == 1:
        raise DataError(f"table: expected a table of rows and columns; received {type(x).__name__} of shape {x.shape}")
    if hasattr(x, "iloc"):  # pandas allows names that occur twice
        _check_names([str(name) for name in x.columns])
    table = _from_frame(x) if _is_frame(x) else _from_columns(x) if isinstance(x, Mapping) else _from_array(x)
    if table.num_columns == 0:
        raise DataError(f"table: expected at least one column; received none in {table.num_rows:,} rows")
    if names is not None:
        if len(names) != table.num_columns:
            raise DataError(
                f"table: expected {len(names):,} columns, one for each name; received {table.num_columns:,}"
            )
        table = table.rename_columns(list(names))
    _check_names(table.column_names)
    return table


def _check_names(names: Sequence[str]) -> None:
    name, n = Counter(names).most_common(1)[0] if names else ("", 1)
    if n > 1:
        raise DataError(f"table: expected columns of different names; received {shown(name):.60} more than once")


def _is_frame(x: Any) -> bool:
    return hasattr(x, "__arrow_c_stream__") or hasattr(type(x), "columns")


def _from_frame(frame: Any) -> pa.Table:
    if isinstance(frame, pa.Table):
        return frame
    if isinstance(frame, pa.RecordBatch):
        return pa.Table.from_batches([frame])
    import narwhals as nw  # slow to import

    native = nw.from_native(frame, pass_through=True)
    if isinstance(native, nw.LazyFrame):
        native = native.collect()
    if not isinstance(native, nw.DataFrame):
        if hasattr(frame, "__arrow_c_stream__"):
            return pa.table(frame)
        raise DataError(f"table: expected a data frame that narwhals knows; received {type(frame).__name__}")
    if native.implementation.is_pandas_like():
        return _from_pandas(native.to_native())
    return native.to_arrow()


def _from_pandas(frame: Any) -> pa.Table:
    """Return a pandas frame without its index; a column of mixed objects becomes text."""
    names = [str(name) for name in frame.columns]
    kinds = set(frame.dtypes)
    if len(kinds) == 1 and isinstance(kind := kinds.pop(), np.dtype) and kind.kind in "biuf":
        return _from_array(frame.to_numpy()).rename_columns(names)
    try:
        return pa.Table.from_pandas(frame.set_axis(names, axis=1), preserve_index=False).replace_schema_metadata(None)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return pa.Table.from_arrays([_column(frame.iloc[:, i], name) for i, name in enumerate(names)], names=names)


def _column(values: Any, name: str) -> pa.Array | pa.ChunkedArray:
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return _mixed(values, name)


def _mixed(values: Any, name: str) -> pa.Array:
    """Return values of several types as text, as a file would hold them."""
    texts = []
    for value in np.asarray(values, dtype=object).ravel():
        if not isinstance(value, str | float | int | bool | np.generic | None):
            raise DataError(
                f"table: column {shown(name):.60}: expected numbers, text, truth values or dates; "
                f"received {shown(value):.40}"
            )
        missing = value is None or value != value
        texts.append(None if missing else str(value))
    return pa.array(texts, pa.string())


def _from_columns(columns: Mapping[Any, Any]) -> pa.Table:
    arrays = [
        values if isinstance(values, pa.Array | pa.ChunkedArray) else _column(values, str(name))
        for name, values in columns.items()
    ]
    lengths = {len(array) for array in arrays}
    if len(lengths) > 1:
        raise DataError(
            f"table: expected columns of equal length; received {', '.join(map(str, sorted(lengths)))} rows"
        )
    return pa.Table.from_arrays(arrays, names=[str(name) for name in columns])


def _from_array(x: Any) -> pa.Table:
    try:
        array = np.asarray(x)
    except ValueError as exc:
        raise DataError("table: expected rows of equal length; received rows of several lengths") from exc
    if array.ndim == 2 and array.dtype.kind == "U" and not isinstance(x, np.ndarray):
        array = np.array(x, dtype=object)  # NumPy has turned the numbers of a nested list into text
    if array.ndim != 2:
        raise DataError(f"table: expected a data frame, or an array of two dimensions; received shape {array.shape}")
    names = [str(i + 1) for i in range(array.shape[1])]
    if array.dtype.kind not in "biufUSOMm":
        raise DataError(f"table: expected numbers, text, truth values or dates; received dtype {array.dtype}")
    columns = np.asfortranarray(array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("=")))
    if array.dtype.kind in "biuf":
        return pa.Table.from_arrays([pa.array(columns[:, i]) for i in range(len(names))], names=names)
    return pa.Table.from_arrays([_column(columns[:, i], name) for i, name in enumerate(names)], names=names)
