"""The encoding of tables as a scikit-learn transformer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from xpnet.data.tables.fitting import fit_encoding
from xpnet.estimators.table_inputs import plan_features, read_features, table_tags

__all__ = ["TableEncoder"]


class TableEncoder(TransformerMixin, BaseEstimator):
    """Encode a table with columns of any type as numbers for a network.

    Numbers get the median where they are missing, a flag for that, and a scale; truth values and categories of two
    values become -1 and 1; other categories become one-hot, with rare and unknown ones pooled and missing as one more;
    ordered pandas categories become ranks; dates become elapsed days, the year, and cycles. Text that looks like
    numbers, truth values or dates is taken as such. Columns that say nothing about other rows are left out: row
    numbers, one value, a value unique to each row.

    Parameters
    ----------
    categorical, numeric, date : sequence of str
        Columns that are taken as such, whatever they hold. Columns without names are given by their indices.
    drop : sequence of str
        Columns to leave out.
    scale : str
        Scaling of numbers, ranks and dates: ``"robust"`` (median, interquartile range and a smooth clip),
        ``"standard"``, ``"minmax"`` or ``"none"``.

    Attributes
    ----------
    encoding_ : TableEncoding
        What has been fitted.
    plans_ : tuple of ColumnPlan
        What is done with each column, and why.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only if the table has names.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"age": [31, None, 7, 50], "city": ["Rome", "Oslo", "Rome", "Bern"]})
    >>> encoder = TableEncoder(scale="none").set_output(transform="pandas")
    >>> encoder.fit_transform(table)
        age  age (missing)  city=Rome  city (other)
    0  31.0            0.0        1.0           0.0
    1  31.0            1.0        0.0           1.0
    2   7.0            0.0        1.0           0.0
    3  50.0            0.0        0.0           1.0
    """

    def __init__(
        self,
        *,
        categorical: Sequence[str] = (),
        numeric: Sequence[str] = (),
        date: Sequence[str] = (),
        drop: Sequence[str] = (),
        scale: str = "robust",
    ) -> None:
        self.categorical = categorical
        self.numeric = numeric
        self.date = date
        self.drop = drop
        self.scale = scale

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the encoding.

        Parameters
        ----------
        X : data frame, dict of columns, or array_like of shape (n_samples, n_columns)
            A table of pandas, polars or Arrow, or of any library that narwhals knows.
        y : ignored

        Raises
        ------
        DataError
            No column is a feature, or one holds free text.
        InvalidParameterError
            A parameter names a column that does not exist, or one that cannot be taken as it says.
        """
        table = read_features(self, X, reset=True)
        self.plans_ = plan_features(self, table)
        self.encoding_ = fit_encoding(self.plans_, [table], scale=self.scale)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Encode a table. Columns are found by name, others are ignored; without names they are taken in their order.

        Parameters
        ----------
        X : data frame, dict of columns, or array_like of shape (n_samples, n_columns)

        Returns
        -------
        ndarray of float64, shape (n_samples, n_features)

        Raises
        ------
        DataError
            A column is missing, most of its values cannot be read, or a number is infinite.
        """
        check_is_fitted(self)
        return self.encoding_.transform(read_features(self, X, reset=False), np.float64)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the features.

        Parameters
        ----------
        input_features : array_like of str, optional
            Must be `feature_names_in_`, if given.

        Returns
        -------
        ndarray of str, shape (n_features,)
        """
        check_is_fitted(self)
        if input_features is not None:
            _check_feature_names_in(self, input_features)
        return np.asarray(self.encoding_.feature_names, dtype=object)

    def __sklearn_tags__(self) -> Tags:
        return table_tags(super().__sklearn_tags__())
