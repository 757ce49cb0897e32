"""Checks on samples and targets."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from xpnet.data.scaling import row_blocks
from xpnet.errors import DataError, XpnetWarning, shown

__all__ = [
    "as_floats",
    "check_data",
    "check_finite",
    "check_lengths",
    "feature_array",
    "target_array",
    "warn_of_merged",
]

Array: TypeAlias = NDArray[Any]

_FIRST_ROWS = 100  # of which a column is looked at before all of it is


def check_data(x: ArrayLike, y: ArrayLike | None = None, feature_names: Sequence[str] | None = None) -> None:
    """Check that samples and targets can be used for training or prediction.

    Messages count rows and columns from 1, and name the column where `feature_names` are given.

    Parameters
    ----------
    x : array_like, shape (n_samples, n_features)
    y : array_like, shape (n_samples,) or (n_samples, n_outputs), optional
    feature_names : sequence of str, optional

    Raises
    ------
    DataError
        There are no samples or no features, the number of dimensions is wrong, `x` and `y` differ in length, the
        features are not numbers, or a value is NaN or infinite (the message names the first).
    """
    _check_unmasked(x, "features")
    x = np.asarray(x)
    if x.ndim != 2:
        raise DataError(f"features: expected an array of shape (n_samples, n_features); received shape {x.shape}")
    if len(x) == 0:
        raise DataError(f"no samples: expected at least one row; received features of shape {x.shape}")
    if x.shape[1] == 0:
        raise DataError(f"no features: expected at least one column; received features of shape {x.shape}")
    if x.dtype.kind not in "biuf":
        raise DataError(f"features: expected real numbers; received dtype {x.dtype}; encode text as numbers first")
    if feature_names is not None and len(feature_names) != x.shape[1]:
        raise DataError(
            f"features: expected {len(feature_names)} columns, one for each name; received {x.shape[1]} columns"
        )
    check_finite(x, "features", feature_names)
    if y is None:
        return
    values = target_array(y)
    check_lengths(x, values)
    check_finite(values, "targets", None)


def _check_unmasked(values: Any, what: str) -> None:
    if np.ma.is_masked(values):
        raise DataError(f"{what}: expected a value in each place; received masked ones; fill them in first")


def check_lengths(x: Any, y: Any) -> None:
    """Check that there is one target for each sample, in arrays of any library.

    Raises
    ------
    DataError
    """
    rows, targets = x.shape[0], y.shape[0]
    if rows != targets:
        raise DataError(
            f"unequal lengths: expected one target for each sample; received {rows} rows, {targets} targets"
        )


def check_finite(values: Array, what: str, names: Sequence[str] | None, first_row: int = 0) -> None:
    """Check that no value is NaN or infinite.

    Parameters
    ----------
    values : ndarray, shape (n_samples,) or (n_samples, n_columns)
        Arrays of other types than floats always pass.
    what : {"features", "targets"}
        For the message.
    names : sequence of str or None
        Names of the columns, for the message.
    first_row : int
        The row of the whole data with which `values` begin, for the message.

    Raises
    ------
    DataError
        The message gives the place of the first such value, by row and then by column.
    """
    if values.dtype.kind != "f":
        return
    for rows in row_blocks(values):
        finite = np.isfinite(values[rows])
        if not finite.all():
            row, *column = (int(i) for i in np.argwhere(~finite)[0])
            value = values[rows][(row, *column)]
            where = ""
            if column:
                where = f"column {shown(names[column[0]]):.60}, " if names is not None else f"column {column[0] + 1}, "
            raise DataError(
                f"{what}: expected finite numbers; received {value} in {where}row "
                f"{first_row + rows.start + row + 1}; remove the row or fill in the value"
            )


def feature_array(x: Any, names: Sequence[str] | None = None) -> Array:
    """Return features as an array of real numbers.

    Parameters
    ----------
    x : array_like, data frame or Arrow table, shape (n_samples, n_features)
    names : sequence of str, optional
        Names of the columns in their order. Columns that have names of their own are put into this order.

    Raises
    ------
    DataError
        A column is missing, a value is masked, or the values are not real numbers.
    """
    own = [*getattr(x, "column_names", getattr(x, "columns", ()))]
    if names is not None and own and own != [*names] and all(isinstance(name, str) for name in own):
        for name in names:
            if name not in own:
                raise DataError(
                    f"features: expected the columns of the training data; received none named {name!r:.60}; give "
                    "data with these names, or an array"
                )
        x = x.select([*names]) if hasattr(x, "select") else x[[*names]]
    _check_unmasked(x, "features")
    values = np.asarray(x)
    if values.dtype.kind == "O" and not any(isinstance(value, str | bytes) for value in values.flat):
        try:
            values = values.astype(np.float64)
        except (TypeError, ValueError, OverflowError) as exc:
            raise DataError(f"features: expected real numbers; received others: {exc}") from exc
    if values.dtype.kind not in "biuf":
        raise DataError(f"features: expected real numbers; received dtype {values.dtype}; encode text as numbers first")
    return values


def as_floats(values: Array, dtype: DTypeLike, what: str, names: Sequence[str] | None = None) -> Array:
    """Return numbers in a floating-point type; they are copied only if needed.

    Parameters
    ----------
    values : ndarray, shape (n_samples,) or (n_samples, n_columns)
    dtype : dtype
    what, names
        As for `check_finite`.

    Raises
    ------
    DataError
        A value is NaN or infinite, or too large for `dtype`.
    """
    with np.errstate(all="ignore"):
        converted = values.astype(dtype, order="C", copy=False)
        # One sum takes half the time of looking at each value, and tells nothing only where it is not finite.
        if np.isfinite(np.add.reduce(converted, axis=None)) or np.isfinite(converted).all():
            return converted
    check_finite(values, what, names)
    most = np.finfo(converted.dtype).max
    raise DataError(
        f"{what}: expected numbers that {converted.dtype} can hold, up to {most:.2g}; received larger ones; rescale "
        "them or use a wider type"
    )


def warn_of_merged(values: Array, converted: Array, what: str, names: Sequence[str] | None = None) -> None:
    """Warn of the first column whose values differ, but are one number after a conversion.

    Parameters
    ----------
    values, converted : ndarray, shape (n_samples,) or (n_samples, n_columns)
        Numbers before and after the conversion to another type.
    what, names
        As for `check_finite`.
    """
    values, converted = values.reshape(len(values), -1), converted.reshape(len(values), -1)
    first = converted[0]
    for column in np.flatnonzero((converted[:_FIRST_ROWS] == first).all(axis=0)):
        before = values[:, column]
        if (before != before[0]).any() and (converted[:, column] == first[column]).all():
            low, high = before.min(), before.max()
            where = f"column {column + 1}" if names is None else f"column {names[int(column)]!r:.60}"
            warnings.warn(
                f"{what}: the values of {where}, {low} to {high}, are one number in {converted.dtype}. "
                "Subtract an offset, scale them, or use a wider type.",
                XpnetWarning,
                stacklevel=4,
            )
            return


def target_array(y: ArrayLike) -> Array:
    """Return targets as an array of shape (n_samples,) or (n_samples, n_outputs > 1), with text as str.

    An array of objects becomes an array of the type that the objects have.

    Raises
    ------
    DataError
        There are no targets, they have another shape, one is masked, or they are neither numbers nor text.
    """
    _check_unmasked(y, "targets")
    try:
        values = np.asarray(y)
        if values.dtype.kind == "O" and not all(isinstance(value, str) for value in values.flat):
            values = np.asarray(values.tolist())
            if values.dtype.kind in "SU":
                raise DataError("targets: expected text or numbers; received both in one column")
    except (ValueError, OverflowError) as exc:
        if isinstance(exc, DataError):
            raise
        raise DataError("targets: expected one value for each sample; received sequences of unequal length") from exc
    if values.ndim not in (1, 2) or (values.ndim == 2 and values.shape[1] == 0):
        raise DataError(
            f"targets: expected an array of shape (n_samples,) or (n_samples, n_outputs); received {values.shape}"
        )
    if len(values) == 0:
        raise DataError("no samples: expected at least one target; received none")
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "backslashreplace")
    if values.dtype.kind not in "biufUST" and not isinstance(values.flat[0], str):
        raise DataError(
            f"targets: expected numbers or text; received {shown(values.flat[0]):.60} (dtype {values.dtype})"
        )
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
