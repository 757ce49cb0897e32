"""The inputs of the estimators of tables: from tables of any library to columns with a plan."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array

from xpnet.data.tables.columns import ColumnPlan, plan_columns
from xpnet.data.tables.describe import check_features
from xpnet.data.tables.frames import as_table
from xpnet.data.tables.summary import TableSummary
from xpnet.errors import DataError, InvalidParameterError, shown
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
        dtype: Any = object if isinstance(x, list | tuple) else None  # NumPy would make texts of numbers among texts
        x = check_array(host(x), dtype=dtype, ensure_all_finite=False, estimator=estimator)
    table = as_table(x)
    if len(table) == 0:
        raise DataError(f"no samples: expected at least one row; received a table of {table.num_columns} columns")
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
        raise DataError(
            f"X has {table.num_columns} features, but {name} is expecting {estimator.n_features_in_} features as input."
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
    wishes = {parameter: getattr(estimator, parameter) for parameter in COLUMN_CONSTRAINTS}
    for parameter, given in wishes.items():
        if not isinstance(given, str):
            wishes[parameter] = [_name(estimator, table, parameter, column) for column in given]
    summary = TableSummary()
    summary.add(table)
    plans = plan_columns(summary, **wishes)
    check_features(plans, option=lambda parameter, column: f"{parameter}=[{shown(column):.60}]")
    return plans


def _name(estimator: Any, table: pa.Table, parameter: str, column: Any) -> str:
    """Return the name of a column that a parameter gives: by its name, or by its index where columns have no names."""
    if isinstance(column, str) or hasattr(estimator, "feature_names_in_"):
        return str(column)
    if isinstance(column, Integral) and 0 <= int(column) < table.num_columns:
        return str(table.column_names[int(column)])
    raise InvalidParameterError(
        f"{parameter}: expected indices of columns from 0 to {table.num_columns - 1}, as X has no names; received "
        f"{shown(column)}."
    )
