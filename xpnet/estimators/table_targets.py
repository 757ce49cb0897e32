"""Targets of the estimators of tables: series and arrays of any kind, without gaps."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array

from xpnet.errors import DataError
from xpnet.estimators.inputs import host

__all__ = ["name_of", "read_labels", "read_values"]


def read_labels(y: Any) -> np.ndarray:
    """Return class labels, (n_samples,), as texts, numbers or truth values.

    Raises
    ------
    ValueError
        A label is missing, the labels are of several types, or they are quantities.
    """
    y = column_or_1d(_array(y), warn=True)
    _check_gaps(y)
    if y.dtype.kind == "O":
        if len({isinstance(label, str) for label in y}) > 1:
            kinds = " and ".join(sorted({type(label).__name__ for label in y}))
            raise DataError(f"y: expected labels of one type; received {kinds}; convert them to text")
        y = np.asarray(y.tolist())
    check_classification_targets(y)
    return y


def read_values(y: Any) -> np.ndarray:
    """Return numbers, (n_samples,) or (n_samples, n_outputs), in float64.

    Raises
    ------
    ValueError
        A number is missing or infinite, or a value is no number.
    """
    y = _array(y)
    _check_gaps(y)
    values: np.ndarray = check_array(y, dtype=np.float64, ensure_2d=False, input_name="y")
    if values.ndim == 2 and values.shape[1] == 1:
        values = column_or_1d(values, warn=True)
    return values


def name_of(y: Any) -> str | None:
    """Return the name of a series, None for other targets and for a series without a name."""
    name = getattr(y, "name", None)
    return name if isinstance(name, str) and name else None


def _array(y: Any) -> np.ndarray:
    if y is None:
        raise ValueError("This estimator requires y to be passed, but the target y is None.")  # scikit-learn's words
    y = host(y)
    return np.asarray(y, dtype=object if isinstance(y, list | tuple) else None)  # NumPy would make numbers text


def _check_gaps(y: np.ndarray) -> None:
    if y.dtype.kind == "O":
        gaps = np.asarray([each is None or type(each).__name__ == "NAType" or each != each for each in y.ravel()])
    else:
        gaps = np.isnan(y) if y.dtype.kind in "fc" else np.isnat(y) if y.dtype.kind in "mM" else np.zeros(y.shape, bool)
    if gaps.any():
        raise DataError(
            f"y: expected a target in each row; received {np.count_nonzero(gaps):,} of {len(y):,} rows without; remove "
            "these rows"
        )
