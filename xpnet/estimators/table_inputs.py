"""The inputs of the estimators of tables: from tables of any library to columns with a plan."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array

from xpnet.data.tables.columns import ColumnPlan, plan_columns
from xpnet.data.tables.describe import check_features
from xpnet.data.tables.frames import as_table
from xpnet.data.tables.summary import TableSummary
from xpnet.errors import DataError, InvalidParameterError
from xpnet.estimators.inputs import host

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["COLUMN_CONSTRAINTS", "plan_features", "read_features", "table_tags"]

# Parameters that name columns.
COLUMN_CONSTRAINTS: dict[str, Any] = {name: ["array-like"] for name in ("categorical", "numeric", "date", "drop")}


def table_tags(tags: Any) -> Any:
    """Return scikit-learn's tags of an estimator that takes tables."""
    tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
    return tags


def read_features(estimator: Any, x: Any, *, reset: bool) -> pa.Table:
    """Return data as a table, and set or check the attributes of an estimator that describe the columns.

    Parameters
    ----------
    estimator : BaseEstimator
    x : data frame, Arrow table, mapping of columns, or (n_samples, n_features) array
    reset : bool
        Whether the estimator learns the columns. Else the table gets their names where one of the two has no names.

    Raises
    ------
    ValueError
        The data have no rows, another number of columns, or are no table.
    """
    is_mapping = isinstance(x, Mapping) and not issparse(x)  # one of SciPy's sparse matrices is a dictionary
    named = is_mapping or hasattr(x, "__arrow_c_stream__") or hasattr(type(x), "columns")
    name = type(estimator).__name__
    if not named:
        dtype = object if isinstance(x, list | tuple) else None  # NumPy would make texts of numbers among texts
        x = check_array(host(x), dtype=dtype, ensure_all_finite=False, estimator=estimator)
    table = as_table(x)
    if len(table) == 0:
        raise DataError(f"X: expected at least one row; received a table of {table.num_columns} columns")
    if reset:
        if len(table) < 2:
            raise DataError("X: expected at least 2 samples; received 1 sample")
        estimator.n_features_in_, estimator._columns = table.num_columns, tuple(table.column_names)
        vars(estimator).pop("feature_names_in_", None)
        if named:
            estimator.feature_names_in_ = np.asarray(table.column_names, dtype=object)
        return table
    fitted_with_names = hasattr(estimator, "feature_names_in_")
    if named and fitted_with_names:
        return table
    if table.num_columns != estimator.n_features_in_:
        raise ValueError(
            f"X has {table.num_columns} features, but {name} is expecting {estimator.n_features_in_} features as input."
        )
    if fitted_with_names:
        warnings.warn(
            f"X does not have valid feature names, but {name} was fitted with feature names. They are taken in their "
            "order.",
            stacklevel=3,
        )
    return table.rename_columns(estimator._columns)


def plan_features(estimator: Any, table: pa.Table) -> tuple[ColumnPlan, ...]:
    """Decide what is done with each column, by what the columns hold and by the parameters of an estimator.

    Raises
    ------
    DataError
        No column is left, or one holds free text.
    InvalidParameterError
        A parameter names a column that does not exist, or that cannot be read so.
    """
    by_index = {} if hasattr(estimator, "feature_names_in_") else dict(enumerate(table.column_names))
    wishes = {}
    for parameter in COLUMN_CONSTRAINTS:
        given = getattr(estimator, parameter)
        if isinstance(given, str):
            raise InvalidParameterError(f"{parameter}: expected a sequence of columns; received {given!r}.")
        wishes[parameter] = [by_index.get(column, str(column)) for column in given]
    summary = TableSummary()
    summary.add(table)
    plans = plan_columns(summary, **wishes)
    check_features(plans, told=lambda option, column: f"{option}=[{column!r:.60}]")
    return plans
