"""Folds of cross-validation: which rows are held out, by chance, by groups or by time."""

from __future__ import annotations

import warnings
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xpnet.errors import InvalidParameterError
from xpnet.seeds import Purpose, seed_sequence

__all__ = ["fold_rows"]

Array: TypeAlias = NDArray[Any]


def fold_rows(
    y: Array,
    n_folds: int,
    *,
    stratify: bool,
    seed: int,
    groups: Array | None = None,
    times: Array | None = None,
) -> list[tuple[Array, Array]]:
    """Return the rows to train on and the rows that are held out, for each fold of scikit-learn's splitters.

    Rows are held out once. With `times` the first of `n_folds` + 1 stretches of time is never held out.

    Parameters
    ----------
    y : ndarray, shape (n_samples,) or (n_samples, n_outputs)
    n_folds : int
    stratify : bool
        Keep the class proportions of `y` in each fold. If every class has fewer samples than there are folds, or `y` is
        a matrix, the folds are not stratified.
    seed : int
        The same seed gives the same folds.
    groups : ndarray, shape (n_samples,), optional
        Rows of one group are all in one fold. The folds are then not stratified.
    times : ndarray, shape (n_samples,), optional
        Numbers. Each fold trains on all rows before the stretch of time that it holds out, and on rows without a time,
        which are NaN. Rows of one time are all in one stretch. The seed has no effect.

    Returns
    -------
    list of (ndarray, ndarray)
        Indices of rows, each in ascending order.

    Raises
    ------
    InvalidParameterError
        There are fewer than two folds, or fewer rows, groups or times than the folds need.
    """
    if times is not None:
        return _by_time(times, n_folds)
    of = "rows" if groups is None else "groups"
    _check(n_folds, len(y) if groups is None else np.unique(groups).size, of)
    from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold  # slow to import

    state = int(seed_sequence(seed, Purpose.FOLDS).generate_state(1)[0])
    labels = None if not stratify or y.ndim > 1 else np.unique(y, return_inverse=True)[1]
    if groups is not None:
        kind, labels = GroupKFold, None
    elif labels is not None and np.bincount(labels).max() >= n_folds:
        kind = StratifiedKFold
    else:
        kind = KFold
    folds = kind(n_folds, shuffle=True, random_state=state)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)  # it is in some folds only
        return [(np.sort(train), np.sort(held)) for train, held in folds.split(np.empty(len(y)), labels, groups)]


def _by_time(times: Array, n_folds: int) -> list[tuple[Array, Array]]:
    known = np.sort(times[np.isfinite(times)])
    _check(n_folds, np.unique(known).size - 1, "different times after the first")
    from sklearn.model_selection import TimeSeriesSplit

    starts = [known[held[0]] for _, held in TimeSeriesSplit(n_folds).split(known)]
    ends = [*starts[1:], np.inf]
    folds = [
        (np.flatnonzero(~(times >= start)), np.flatnonzero((times >= start) & (times < end)))
        for start, end in zip(starts, ends, strict=True)
    ]
    if any(not len(train) or not len(held) for train, held in folds):
        raise InvalidParameterError(
            f"cv: expected enough different times for {n_folds} folds; received {np.unique(known).size} different "
            f"times in {len(times)} rows. Use fewer folds or another column."
        )
    return folds


def _check(n_folds: int, most: int, of: str) -> None:
    if not 2 <= n_folds <= most:
        raise InvalidParameterError(f"cv: expected from 2 folds to {most}, the number of {of}; received {n_folds}.")
