"""The encoding of tables as nodes of an ONNX graph, with one input for each column.

Inputs have the shape (n_samples, 1). Numbers and truth values are floating-point numbers, NaN where they are missing;
categories are text, empty where it is missing; dates are whole microseconds since 1970, the lowest int64 where they are
missing, as NumPy has them in datetime64[us].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from xpnet.data.scaling import Scaler
from xpnet.data.tables.encoders import CategoryColumn, Column, DateColumn, NumberColumn, OrderedColumn, TruthColumn
from xpnet.data.tables.encoding import TableEncoding
from xpnet.errors import InvalidParameterError, shown
from xpnet.model.onnx.dates import cycles, is_missing, moments_of, year_of
from xpnet.model.onnx.graph import ML, Graph, Tensor
from xpnet.model.onnx.scaling import scaled

__all__ = ["encoded"]

_MISSING_TEXT = ""


class Features(NamedTuple):
    """The features of one column, each of shape (n_samples, n).

    Attributes
    ----------
    numbers : tuple of Tensor
        Those that are scaled, NaN where they are missing.
    indicators : Tensor or None
        Those that are not, in the type of the features.
    flag : bool
        Whether another indicator says where the number is missing.
    """

    numbers: tuple[Tensor, ...]
    indicators: Tensor | None = None
    flag: bool = False


def encoded(graph: Graph, encoding: TableEncoding, numbers: np.dtype[Any], features: np.dtype[Any]) -> Tensor:
    """Add the inputs of a table, and return its features, (n_samples, n_features).

    Parameters
    ----------
    graph : Graph
    encoding : TableEncoding
    numbers, features : dtype
        Type of the inputs that are numbers, and of the result.

    Raises
    ------
    InvalidParameterError
        ONNX cannot express the encoding of a column, which is named.
    """
    parts: list[Tensor] = []
    places: list[int] = []  # of each feature in the result
    groups: dict[np.dtype[Any], _Numbers] = {}
    start = n_scaled = 0
    for column in encoding.columns:
        if type(column) not in _COLUMNS or not column.name:
            raise InvalidParameterError(
                f"to_onnx: column {shown(column.name):.60}: expected a name, and an encoding that ONNX can express; "
                f"received {type(column).__name__}. Convert a model without this column."
            )
        found = _COLUMNS[type(column)](graph, column, numbers, features)
        for i, tensor in enumerate(found.numbers):
            group = groups.setdefault(tensor.dtype, _Numbers([], [], [], [], []))
            group.tensors.append(tensor)
            group.scaled.append(n_scaled)
            group.places.append(start + i)
            n_scaled += 1
            if found.flag and i == 0:
                group.flagged.append(len(group.tensors) - 1)
                group.flag_places.append(start + column.n_features - 1)
        if found.indicators is not None:
            parts.append(found.indicators)
            places += range(start + len(found.numbers), start + column.n_features - found.flag)
        start += column.n_features
    for group in groups.values():
        parts += group.features(graph, encoding, features)
        places += group.places + group.flag_places
    x = graph.concat(parts, axis=1)
    order = np.argsort(places)
    if (order == np.arange(len(order))).all():
        return x
    return graph.take(x, graph.constant(order, np.int64, "order"), axis=1)


class _Numbers(NamedTuple):
    """Numbers of one type, which are filled and scaled together."""

    tensors: list[Tensor]
    scaled: list[int]  # the index of each among all features that are scaled
    places: list[int]
    flagged: list[int]  # the tensors that have a flag
    flag_places: list[int]

    def features(self, graph: Graph, encoding: TableEncoding, dtype: np.dtype[Any]) -> list[Tensor]:
        """Return the scaled numbers, and the flags if there are any."""
        x = graph.concat(self.tensors, axis=1)
        missing = graph.isnan(x)
        x = graph.where(missing, graph.constant(encoding.fill[self.scaled], x.dtype, "fill"), x)
        scaler = encoding.scaler
        own = Scaler(scaler.kind, scaler.shift[self.scaled], scaler.scale[self.scaled])
        parts = [graph.astype(scaled(graph, own, x), dtype)]
        if self.flagged:
            flags = graph.take(missing, graph.constant(self.flagged, np.int64, "flagged"), axis=1)
            parts.append(graph.astype(flags, dtype))
        return parts


def _number(graph: Graph, column: NumberColumn, numbers: np.dtype[Any], _: np.dtype[Any]) -> Features:
    return Features((graph.add_input(column.name, numbers, (None, 1)),), flag=column.flag)


def _ordered(graph: Graph, column: OrderedColumn, numbers: np.dtype[Any], _: np.dtype[Any]) -> Features:
    ranks = [float(rank) for rank in range(len(column.levels))]
    return Features(
        (_looked_up(graph, column, dict(zip(column.levels, ranks, strict=True)), np.nan, numbers),), None, column.flag
    )


def _truth(graph: Graph, column: TruthColumn, numbers: np.dtype[Any], features: np.dtype[Any]) -> Features:
    x = graph.add_input(column.name, numbers, (None, 1))
    true, false = (graph.astype(graph.apply("Equal", x, value, dtype=bool), features) for value in (1.0, 0.0))
    return Features((), true - false)


def _category(graph: Graph, column: CategoryColumn, _: np.dtype[Any], features: np.dtype[Any]) -> Features:
    n, width = len(column.categories), column.n_features
    if column.is_binary:
        values = dict(zip(column.categories, (-1.0, 1.0), strict=True))
        return Features((), _looked_up(graph, column, values, 0.0, features))
    pool, missing = (float(n) if column.pool else -1.0), (width - 1.0 if column.flag else -1.0)
    indices = {_MISSING_TEXT: missing} | {category: float(i) for i, category in enumerate(column.categories)}
    hot = _looked_up(graph, column, indices, pool, np.dtype(np.float32))
    each = graph.constant(np.arange(width), np.float32, "categories")
    return Features((), graph.astype(graph.apply("Equal", hot, each, dtype=bool), features))


def _looked_up(graph: Graph, column: Column, values: dict[str, float], other: float, dtype: np.dtype[Any]) -> Tensor:
    """Add an input of texts, and return the number of each."""
    texts = graph.add_input(column.name, np.str_, (None, 1))
    found = graph.apply(
        "LabelEncoder",
        texts,
        dtype=np.float32,
        domain=ML,
        keys_strings=list(values),
        values_floats=list(values.values()),
        default_float=other,
    )
    return graph.astype(found, dtype)


def _date(graph: Graph, column: DateColumn, _: np.dtype[Any], features: np.dtype[Any]) -> Features:
    received = graph.add_input(column.name, np.int64, (None, 1))
    missing, moments = is_missing(graph, received), moments_of(graph, received)
    numbers = [graph.astype(moments.microseconds, np.float64) / 86_400e6]
    if column.n_scaled > 1:
        numbers.append(graph.astype(year_of(moments), np.float64))
    waves = cycles(graph, moments, column.parts)
    known = [graph.where(missing, 0.0, wave) for wave in waves]
    return Features(
        tuple(graph.where(missing, np.nan, number) for number in numbers),
        graph.astype(graph.concat(known, axis=1), features) if known else None,
        column.flag,
    )


_COLUMNS: dict[type[Column], Callable[..., Features]] = {
    NumberColumn: _number,
    OrderedColumn: _ordered,
    TruthColumn: _truth,
    CategoryColumn: _category,
    DateColumn: _date,
}
