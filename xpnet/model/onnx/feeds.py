"""Data as the inputs of an ONNX model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from xpnet.data.tables.encoders import CategoryColumn, Column, DateColumn, NumberColumn, OrderedColumn, TruthColumn
from xpnet.data.tables.frames import as_table
from xpnet.data.tables.values import as_keys, as_moments, as_numbers, as_values, decimal_sign

if TYPE_CHECKING:
    from xpnet.model.model import Model

__all__ = ["onnx_feeds"]


def onnx_feeds(model: Model, x: Any, dtype: str | None = None) -> dict[str, np.ndarray]:
    """Return raw features as the inputs of the model's ONNX graph, as `onnxruntime.InferenceSession.run` takes them.

    Parameters
    ----------
    model : Model
    x : (n_samples, n_columns) array, data frame or Arrow table
        As `Model.predict` takes them.
    dtype : {"float32", "float64"} or None
        As for `Model.to_onnx`.

    Returns
    -------
    dict of str to ndarray
        For a table one array (n_samples, 1) for each column, else the array ``"x"``, (n_samples, n_features).

    Examples
    --------
    >>> import numpy as np, xpnet
    >>> from xpnet.model.onnx import onnx_feeds
    >>> network = xpnet.Network([2, 2])
    >>> model = xpnet.Model(network, network.init().vector, "classification")
    >>> onnx_feeds(model, [[1, 2]])
    {'x': array([[1., 2.]])}
    """
    numbers = np.dtype(dtype or model.vector.dtype)
    if model.encoding is None:
        return {"x": model.checked(x).astype(numbers)}
    table = as_table(x)
    decimal = decimal_sign(table.schema)
    feeds = {}
    for column, name in zip(model.encoding.columns, model.encoding.names_in(table.column_names), strict=True):
        values = as_values([table.column(name)], [name])
        feeds[column.name] = _FEEDS[type(column)](column, values, decimal, numbers)[:, None]
    return feeds


def _number(column: NumberColumn, values: pa.Array, decimal: Any, dtype: np.dtype[Any]) -> np.ndarray:
    return as_numbers(values, column.reading_for(decimal)).astype(dtype)


def _truth(column: TruthColumn, values: pa.Array, _: Any, dtype: np.dtype[Any]) -> np.ndarray:
    return ((as_numbers(values, column.reading) + 1) / 2).astype(dtype)


def _text(_: Column, values: pa.Array, decimal: Any, __: np.dtype[Any]) -> np.ndarray:
    return np.array(as_keys(values, decimal).fill_null("").to_pylist(), dtype=object)


def _date(column: DateColumn, values: pa.Array, _: Any, __: np.dtype[Any]) -> np.ndarray:
    return as_moments(values, column.reading).astype(np.int64)


_FEEDS: dict[type[Column], Callable[..., np.ndarray]] = {
    NumberColumn: _number,
    TruthColumn: _truth,
    CategoryColumn: _text,
    OrderedColumn: _text,
    DateColumn: _date,
}
