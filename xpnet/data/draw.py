"""Random draws of rows, equal to those of scikit-learn's `train_test_split`, which takes a second to import."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw", "draw_in_proportion"]

Array: TypeAlias = NDArray[Any]


def draw(n_rows: int, size: int, seed: int) -> Array:
    """Return the indices of `size` rows, drawn without replacement, in ascending order."""
    return np.sort(np.random.RandomState(seed).permutation(n_rows)[:size])


def draw_in_proportion(labels: Array, size: int, seed: int) -> Array:
    """Return the indices of `size` rows, drawn from each class in proportion, in ascending order.

    Parameters
    ----------
    labels : ndarray, shape (n_rows,)
        Each class has at least two rows, and there are at least as many rows drawn, and left, as there are classes.
    size : int
    seed : int
    """
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    rng = np.random.RandomState(seed)
    left = _share(counts, len(labels) - size, rng)
    drawn = _share(counts - left, size, rng)
    by_class = np.split(np.argsort(classes, kind="stable"), np.cumsum(counts)[:-1])
    rows = []
    for members, n_left, n_drawn in zip(by_class, left, drawn, strict=True):
        order = members[rng.permutation(len(members))]
        rows.append(order[n_left : n_left + n_drawn])
    return np.sort(np.concatenate(rows))


def _share(counts: Array, n: int, rng: np.random.RandomState) -> Array:
    """Return how many of `n` draws fall to each class: its share, rounded so that the sum is `n`, ties at random."""
    exact = counts / counts.sum() * n
    whole = np.floor(exact)
    missing = int(n - whole.sum())
    remainder = exact - whole
    for value in np.unique(remainder)[::-1]:
        if missing == 0:
            break
        tied = np.flatnonzero(remainder == value)
        chosen = rng.choice(tied, size=min(len(tied), missing), replace=False)
        whole[chosen] += 1
        missing -= len(chosen)
    counted: Array = whole.astype(np.int64)
    return counted
