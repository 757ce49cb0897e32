"""Data in memory: what it is, whether it can be used, and its parts.

Targets and scaling have modules of their own; their public names are here too, as the three are used together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xpnet.data.scaling import Scaler, ScalerKind, fit_scaler
from xpnet.data.targets import Task, check_finite, encode_targets, infer_task, target_array
from xpnet.errors import DataError, InvalidParameterError
from xpnet.seeds import Purpose, stream

__all__ = [
    "Dataset",
    "Scaler",
    "ScalerKind",
    "Split",
    "Task",
    "check_data",
    "encode_targets",
    "fit_scaler",
    "infer_task",
    "split",
]

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples and targets as a reader or a named data set gives them.

    Attributes
    ----------
    name : str
        What to call it in messages and folder names.
    x : ndarray, shape (n_samples, n_features)
        uint8 for images, else float64; float32 is kept.
    y : ndarray, shape (n_samples,) or (n_samples, n_outputs)
        Raw targets: integers, strings, booleans or floats.
    feature_names : tuple of str or None
    target_name : str or None
        The target's column, key or file, where it has one.
    x_test, y_test : ndarray or None
        The data set's own test part.
    """

    name: str
    x: Array
    y: Array
    feature_names: tuple[str, ...] | None = None
    target_name: str | None = None
    x_test: Array | None = None
    y_test: Array | None = None


def check_data(x: ArrayLike, y: ArrayLike | None = None, feature_names: Sequence[str] | None = None) -> None:
    """Raise where samples or targets cannot be used.

    Rows are samples counted from 1, columns likewise, also by name where `feature_names` are given.

    Parameters
    ----------
    x : array_like, shape (n_samples, n_features)
    y : array_like, shape (n_samples,) or (n_samples, n_outputs), optional
    feature_names : sequence of str, optional

    Raises
    ------
    DataError
        No samples or no features, a wrong number of dimensions, unequal lengths, features that are not numbers, or a
        NaN or infinity (the first of them is named).
    """
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
        raise DataError(f"features: expected {len(feature_names)} columns, one a name; received {x.shape[1]}")
    check_finite(x, "features", feature_names)
    if y is None:
        return
    values = target_array(y)
    if len(values) != len(x):
        raise DataError(f"unequal lengths: expected one target a sample; received {len(x)} rows, {len(values)} targets")
    check_finite(values, "targets", None)


@dataclass(frozen=True, eq=False)
class Split:
    """The parts of a data set; validation and test are None where their fraction is 0."""

    x_train: Array
    y_train: Array
    x_validation: Array | None
    y_validation: Array | None
    x_test: Array | None
    y_test: Array | None


def split(
    dataset_x: Array,
    y: Array,
    *,
    validation_fraction: float,
    test_fraction: float,
    stratify: bool,
    seed: int,
    x_test: Array | None = None,
    y_test: Array | None = None,
) -> Split:
    """Draw training, validation and test parts; within a part the samples keep their order.

    Parameters
    ----------
    dataset_x : ndarray, shape (n_samples, n_features)
    y : ndarray, shape (n_samples,) or (n_samples, n_outputs)
    validation_fraction, test_fraction : float in [0, 1)
        Both of all the samples given, rounded to the nearest count and at least one; 0 means no such part.
    stratify : bool
        Keep the proportions of the classes in `y`. Where a class has too few samples for that, or `y` is a matrix,
        the draw is a plain one.
    seed : int
        The same seed draws the same parts.
    x_test, y_test : ndarray, optional
        The data set's own test part: used as it is, and `test_fraction` is not.

    Raises
    ------
    InvalidParameterError
        A fraction out of range, or fractions that leave nothing to train on.
    DataError
        `dataset_x` and `y` differ in length, or only one of `x_test` and `y_test` is given.
    """
    if len(dataset_x) != len(y):
        raise DataError(
            f"unequal lengths: expected one target a sample; received {len(dataset_x)} rows, {len(y)} targets"
        )
    if (x_test is None) != (y_test is None):
        raise DataError("test part: expected both x_test and y_test; received only one of them")
    fractions = {
        "validation_fraction": validation_fraction,
        "test_fraction": 0.0 if x_test is not None else test_fraction,
    }
    for name, fraction in fractions.items():
        if not 0 <= fraction < 1:
            raise InvalidParameterError(f"{name}: expected a number from 0 to less than 1; received {fraction!r}")
    if seed < 0:
        raise InvalidParameterError(f"seed: expected an integer of 0 or more; received {seed!r}")
    n = len(dataset_x)
    n_validation, n_test = (max(1, round(fraction * n)) if fraction else 0 for fraction in fractions.values())
    if n_validation + n_test >= n:
        raise InvalidParameterError(
            f"validation_fraction and test_fraction: expected to leave samples to train on; received {n} samples, "
            f"of which {n_validation} for validation and {n_test} for testing; use smaller fractions or more data"
        )
    seeds = [int(state) for state in stream(seed, Purpose.PARTS).generate_state(2)]
    rest, test = _draw(np.arange(n), y, n_test, stratify, seeds[0])
    train, validation = _draw(rest, y, n_validation, stratify, seeds[1])
    whole = len(train) == n  # nothing drawn: no need for a copy
    return Split(
        x_train=dataset_x if whole else dataset_x[train],
        y_train=y if whole else y[train],
        x_validation=dataset_x[validation] if n_validation else None,
        y_validation=y[validation] if n_validation else None,
        x_test=dataset_x[test] if n_test else x_test,
        y_test=y[test] if n_test else y_test,
    )


def _draw(rows: Array, y: Array, count: int, stratify: bool, seed: int) -> tuple[Array, Array]:
    """Take `count` of `rows` by chance; return the others and those, each in order."""
    if count == 0:
        return rows, rows[:0]
    from sklearn.model_selection import train_test_split  # slow to import

    labels = y[rows] if stratify and y.ndim == 1 else None
    if labels is not None:
        counts = np.unique(labels, return_counts=True)[1]
        if counts.min() < 2 or min(count, len(rows) - count) < counts.size:
            labels = None
    rest, drawn = train_test_split(rows, test_size=count, stratify=labels, random_state=seed)
    return np.sort(rest), np.sort(drawn)
