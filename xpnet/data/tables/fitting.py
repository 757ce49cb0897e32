"""Fit the encoding of a table to its training part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xpnet.data.row_sample import RowSample, sample_limit
from xpnet.data.scaling import Scaler, fit_scaler
from xpnet.data.tables.columns import ColumnPlan, frequent_categories
from xpnet.data.tables.date_parts import varying_parts
from xpnet.data.tables.encoders import (
    CategoryColumn,
    Column,
    DateColumn,
    NumberColumn,
    OrderedColumn,
    TruthColumn,
)
from xpnet.data.tables.encoding import TableEncoding
from xpnet.data.tables.values import as_keys, as_moments, as_values, decimal_sign
from xpnet.errors import DataError

__all__ = ["feature_sample", "fit_encoding", "fit_to_sample"]

Array: TypeAlias = NDArray[Any]

_BLOCK_VALUES = 1 << 22


def fit_encoding(plans: Sequence[ColumnPlan], tables: Iterable[pa.Table], *, scale: str = "robust") -> TableEncoding:
    """Fit the encoding of the columns that are features.

    Medians, scales and the counts of categories are those of the training rows: of all, if there are at most 131,072
    (fewer with more than 256 columns), else of every k-th row, where k is a power of two. They do not depend on how the
    rows are cut into tables.

    Parameters
    ----------
    plans : sequence of ColumnPlan
        Of `plan_columns`.
    tables : iterable of pyarrow.Table
        The training part, in one piece or in several.
    scale : str
        The scaling of numbers, ranks and dates; see `xpnet.data.scaling.fit_scaler`.

    Raises
    ------
    DataError
        There are no features or no rows, or a column is missing.
    InvalidParameterError
        `scale` is unknown.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from xpnet.data.tables.columns import plan_columns
    >>> from xpnet.data.tables.summary import TableSummary
    >>> table = pa.table({"age": ["1", "5", None, "9"], "sex": ["m", "f", "f", "f"]})
    >>> summary = TableSummary()
    >>> summary.add(table)
    >>> encoding = fit_encoding(plan_columns(summary), [table], scale="minmax")
    >>> encoding.feature_names
    ('age', 'age (missing)', 'sex=m')
    >>> encoding.transform(table).tolist()
    [[0.0, 0.0, 1.0], [0.5, 0.0, -1.0], [0.5, 1.0, -1.0], [1.0, 0.0, -1.0]]
    """
    sample = feature_sample(plans)
    names = [plan.name for plan in plans if plan.is_feature]
    for table in tables:
        sample.add(table.select(names))
    return fit_to_sample(plans, sample, scale)


def feature_sample(plans: Sequence[ColumnPlan]) -> RowSample:
    """Return an empty sample of rows, to which `fit_to_sample` fits an encoding."""
    n_features = sum(plan.is_feature for plan in plans)
    if not n_features:
        raise DataError("no features: expected at least one column that is encoded; received none")
    return RowSample(sample_limit(n_features), pa.concat_tables)


def fit_to_sample(plans: Sequence[ColumnPlan], sample: RowSample, scale: str) -> TableEncoding:
    """Fit the encoding to a sample of the columns that are features; see `fit_encoding`."""
    features = [plan for plan in plans if plan.is_feature]
    if not sample.n:
        raise DataError("no rows: expected training rows to fit the encoding to; received none")
    table = sample.rows()
    columns = tuple(_fit_column(plan, table.column(i), decimal_sign(table.schema)) for i, plan in enumerate(features))
    return _fit_scaling(columns, table, scale, _known_gaps(features))


def _known_gaps(plans: Sequence[ColumnPlan]) -> dict[str, tuple[str, ...]]:
    return {plan.name: tuple(plan.summary.totals.unread) for plan in plans if plan.summary.totals.unread}


def _fit_column(plan: ColumnPlan, column: pa.ChunkedArray, decimal: Any) -> Column:
    if plan.kind == "number":
        return NumberColumn(plan.name, plan.reading, plan.reading.decimal == plan.summary.decimal, False)
    values = as_values([column], [plan.name])
    if plan.kind == "ordered":
        return OrderedColumn(plan.name, plan.summary.levels or (), False)
    if plan.kind == "boolean":
        return TruthColumn(plan.name, plan.reading)
    if plan.kind == "date":
        moments = as_moments(values, plan.reading)
        known = moments[~np.isnat(moments)]
        return DateColumn(plan.name, plan.reading, varying_parts(known), len(known) < len(moments))
    return _fit_categories(plan.name, values, decimal, plan.summary.n_rows)


def _fit_categories(name: str, values: pa.Array, decimal: Any, n_rows: int) -> CategoryColumn:
    counted = values.drop_null().value_counts()
    counts: dict[str, int] = {}
    keys = as_keys(counted.field("values"), decimal).to_pylist()
    for key, count in zip(keys, counted.field("counts").to_pylist(), strict=True):
        counts[key] = counts.get(key, 0) + count
    ranked = sorted(counts, key=lambda key: (-counts[key], key))
    chosen = frequent_categories(np.array([counts[key] for key in ranked], dtype=np.int64), n_rows)
    frequent = [key for key, is_chosen in zip(ranked, chosen, strict=True) if is_chosen]
    flag = values.null_count > 0 and len(frequent) != 2
    return CategoryColumn(name, tuple(frequent), len(frequent) < len(ranked), flag)


def _fit_scaling(
    columns: tuple[Column, ...], table: pa.Table, scale: str, gaps: dict[str, tuple[str, ...]]
) -> TableEncoding:
    """Return the encoding with flags for the numbers that are missing, and with medians and scales.

    Numbers of two values become 0 and 1 where others are standardised: a rare one would be many standard deviations
    away, and a row that has it would decide the validation loss.
    """
    scaled = tuple(column for column in columns if column.n_scaled)
    n = sum(column.n_scaled for column in scaled)
    unscaled = TableEncoding(scaled, np.full(n, np.nan), Scaler("none", np.zeros(n), np.ones(n)), gaps)
    x = unscaled.transform(table, np.float64)[:, unscaled.scaled_features]
    owners = [column.name for column in scaled for _ in range(column.n_scaled)]
    missing: dict[str, bool] = dict(zip(owners, np.isnan(x).any(axis=0).astype(object), strict=True))
    columns = tuple(
        replace(column, flag=bool(missing[column.name])) if isinstance(column, NumberColumn | OrderedColumn) else column
        for column in columns
    )
    fill, shift, width = np.zeros(n), np.zeros(n), np.ones(n)
    step = max(1, _BLOCK_VALUES // max(1, len(x)))
    kind = fit_scaler(scale, np.zeros((1, 1))).kind
    for start in range(0, n, step):
        part = slice(start, start + step)
        fill[part] = fit_scaler("robust", x[:, part]).shift
        filled = np.where(np.isnan(x[:, part]), fill[part], x[:, part])
        scaler = fit_scaler(scale, x[:, part] if scale == "robust" else filled)
        shift[part], width[part] = scaler.shift, scaler.scale
    if kind == "standard":
        low, high = np.fmin.reduce(x, axis=0), np.fmax.reduce(x, axis=0)
        two = ((x == low) | (x == high) | np.isnan(x)).all(axis=0) & (low < high)
        shift[two], width[two] = low[two], (high - low)[two]
    return TableEncoding(columns, fill, Scaler(kind, shift, width), gaps)
