"""The encoder of tables, a transformer in scikit-learn's sense, and what it shares with the estimators of tables."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from array_api_compat import is_array_api_obj
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils import check_array
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from xpnet.data.tables.columns import ColumnPlan, plan_columns
from xpnet.data.tables.describe import check_features
from xpnet.data.tables.encoding import TableEncoding
from xpnet.data.tables.fitting import fit_encoding
from xpnet.data.tables.frames import as_table
from xpnet.data.tables.summary import TableSummary
from xpnet.errors import DataError, InvalidParameterError
from xpnet.estimators.inputs import host
from xpnet.estimators.parameters import store

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["COLUMN_CONSTRAINTS", "TableEncoder", "plan_features", "read_features", "table_tags"]

# Parameters that name columns.
COLUMN_CONSTRAINTS: dict[str, Any] = {name: ["array-like"] for name in ("categorical", "numeric", "date", "drop")}


class TableEncoder(TransformerMixin, BaseEstimator):
    """Encode the columns of a table as numbers: fill, scale and clip numbers, split dates, one-hot encode categories.

    Parameters
    ----------
    categorical, numeric, date : sequence of str
        Columns that are taken as such, whatever they hold. Without names, as in an array, columns are given by their
        indices.
    drop : sequence of str
        Columns to leave out.
    scale : str
        Scaling of numbers, ranks and dates: ``"robust"``, ``"standard"``, ``"minmax"`` or ``"none"``.
    dtype : {"float32", "float64"}

    Attributes
    ----------
    encoding_ : TableEncoding
    plans_ : tuple of ColumnPlan
        What is done with each column, and why.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Names of the columns, if they have names.

    Examples
    --------
    >>> from xpnet import TableEncoder
    >>> table = {"age": [31, None, 7, 52], "sex": ["m", "f", "f", "m"]}
    >>> encoder = TableEncoder(scale="minmax").fit(table)
    >>> encoder.get_feature_names_out().tolist()
    ['age', 'age (missing)', 'sex=m']
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **COLUMN_CONSTRAINTS,
        "scale": [str],
        "dtype": [StrOptions({"float32", "float64"})],
    }

    scale: str
    dtype: str

    def __init__(
        self,
        *,
        categorical: Sequence[str] = (),
        numeric: Sequence[str] = (),
        date: Sequence[str] = (),
        drop: Sequence[str] = (),
        scale: str = "robust",
        dtype: str = "float64",
    ) -> None:
        store(self, locals())

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn what the columns hold, medians, scales and categories.

        Parameters
        ----------
        X : data frame, Arrow table, mapping of columns, or (n_samples, n_features) array
        y : None
            Ignored.
        """
        table = read_features(self, X, reset=True)
        self.plans_ = plan_features(self, table)
        self.encoding_: TableEncoding = fit_encoding(self.plans_, [table], scale=self.scale)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return a table as numbers, (n_samples, n_features_out).

        Columns are found by name; others are ignored.

        Raises
        ------
        DataError
            A column is missing, or its values cannot be read.
        """
        check_is_fitted(self)
        return self.encoding_.transform(read_features(self, X, reset=False), self.dtype)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the features."""
        check_is_fitted(self)
        return np.asarray(self.encoding_.feature_names, dtype=object)

    def __sklearn_tags__(self) -> Any:
        return table_tags(super().__sklearn_tags__())


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
    named = not (isinstance(x, list | tuple) or is_array_api_obj(x) or hasattr(x, "tocsr"))
    name = type(estimator).__name__
    if not named:
        dtype = object if isinstance(x, list | tuple) else None  # NumPy would make texts of numbers among texts
        x = check_array(host(x), dtype=dtype, ensure_all_finite=False, estimator=estimator)
    table = as_table(x)
    if reset:
        if len(table) < 2:
            raise DataError(f"X: expected at least 2 samples; received {len(table)} sample{'s' * (len(table) != 1)}")
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
    has_names = hasattr(estimator, "feature_names_in_")
    wishes = {}
    for parameter in COLUMN_CONSTRAINTS:
        given = getattr(estimator, parameter)
        wishes[parameter] = [str(each) if has_names else _by_index(table, parameter, each) for each in given]
    summary = TableSummary()
    summary.add(table)
    plans = plan_columns(summary, **wishes)
    check_features(plans, option=lambda parameter, name: f"{parameter}=[{name!r}]")
    return plans


def _by_index(table: pa.Table, parameter: str, index: Any) -> str:
    if isinstance(index, Integral) and 0 <= int(index) < table.num_columns:
        return str(table.column_names[int(index)])
    raise InvalidParameterError(
        f"{parameter}: expected indices of columns from 0 to {table.num_columns - 1}, as X has no names; received "
        f"{index!r}."
    )
