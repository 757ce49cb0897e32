"""Features that give the target away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xpnet.data.row_sample import RowSample
from xpnet.data.tables.columns import ColumnPlan
from xpnet.data.tables.summary import ColumnSummary
from xpnet.data.tables.target import TargetPlan
from xpnet.data.tables.values import as_keys, as_numbers, as_values, decimal_sign

__all__ = ["LEAK_ROWS", "Leak", "find_leaks"]

Array: TypeAlias = NDArray[Any]

LEAK_ROWS = 1 << 14
_PERFECT = 1e-9  # how far a correlation may be from 1


class Leak(NamedTuple):
    """A feature that equals the target.

    Attributes
    ----------
    name : str
    reason : str
    """

    name: str
    reason: str


def find_leaks(
    table: pa.Table, plans: Sequence[ColumnPlan], target: TargetPlan, target_summary: ColumnSummary
) -> tuple[Leak, ...]:
    """Find features that equal the target, or are another name or another unit for it.

    For classes, each value of such a feature occurs with one class only, and each class with one value. For numbers,
    the feature is a linear function of the target. At most 16,384 rows are looked at.

    Parameters
    ----------
    table : pyarrow.Table
        With the features and the target.
    plans : sequence of ColumnPlan
    target : TargetPlan
    target_summary : ColumnSummary
        Of the target.

    Examples
    --------
    >>> from xpnet.data.tables.columns import plan_columns
    >>> from xpnet.data.tables.summary import TableSummary
    >>> from xpnet.data.tables.target import plan_target
    >>> table = pa.table({"x": list("abcabcabcb"), "code": list("1221121122"), "y": list("nyynnynnyy")})
    >>> summary = TableSummary()
    >>> summary.add(table)
    >>> y = summary.columns[2]
    >>> find_leaks(table, plan_columns(summary, exclude=["y"]), plan_target(y), y)
    (Leak(name='code', reason='each of its values occurs with one class only'),)
    """
    features = [plan for plan in plans if plan.is_feature and _is_alike(plan.summary, target_summary, target)]
    sample = RowSample(LEAK_ROWS, pa.concat_tables)
    sample.add(table.select([target.name, *(plan.name for plan in features)]))
    rows, decimal = sample.rows(), decimal_sign(table.schema)
    y, keep = target.read(rows.column(0), decimal)
    reason = {"classification": "each of its values occurs with one class only"}.get(
        target.task, "it is a linear function of the target"
    )
    found = []
    for index, plan in enumerate(features, 1):
        values = as_values([rows.column(index)], [plan.name]).filter(pa.array(keep))
        if target.task == "regression":
            leaks = _is_linear(as_numbers(values, plan.reading), y.astype(np.float64))
        else:
            leaks = _is_renaming(values, np.unique(y, return_inverse=True)[1])
        if leaks:
            found.append(Leak(plan.name, reason))
    return tuple(found)


def _is_alike(feature: ColumnSummary, target: ColumnSummary, plan: TargetPlan) -> bool:
    """Return False if the number of distinct values shows that the feature is no leak; there may be many features."""
    if plan.task == "classification":
        return feature.n_distinct <= target.n_distinct and 2 * feature.n_distinct <= feature.n_present
    return feature.reading.kind != "text" and 2 * feature.n_distinct > target.n_distinct


def _is_renaming(values: pa.Array, classes: Array) -> bool:
    encoded = values.dictionary_encode()
    present = values.is_valid().to_numpy(zero_copy_only=False)
    if 2 * present.sum() < len(values):
        return False
    keys = as_keys(encoded.dictionary).dictionary_encode().indices.to_numpy()
    codes = keys[encoded.indices.drop_null().to_numpy()].astype(np.int64)
    classes = classes[present]
    n = np.unique(classes).size
    pairs = np.unique(codes * (classes.max(initial=0) + 1) + classes).size
    return bool(n > 1 and n == pairs == np.unique(codes).size and 2 * n <= len(codes))


def _centred(values: Array) -> Array:
    """Return values with the mean 0, at most 2 in size, so that their squares do not overflow."""
    values = values / (np.abs(values).max() or 1)
    return np.asarray(values - values.mean())


def _is_linear(x: Array, y: Array) -> bool:
    both = ~np.isnan(x) & np.isfinite(x)
    if 2 * both.sum() < len(y) or np.unique(y[both]).size < 3:
        return False
    x, y = (_centred(values[both]) for values in (x, y))
    scale = np.sqrt((x**2).sum() * (y**2).sum())
    return bool(scale > 0 and abs((x * y).sum()) > (1 - _PERFECT) * scale)
