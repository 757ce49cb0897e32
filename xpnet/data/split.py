"""Splits of a data set into training, validation and test parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xpnet.data.checks import check_lengths
from xpnet.data.draw import draw, draw_in_proportion
from xpnet.data.shared_rows import take_rows
from xpnet.errors import DataError, InvalidParameterError, shown
from xpnet.seeds import Purpose, seed_sequence

__all__ = ["Split", "draw_rows", "part_sizes", "split", "split_rows"]

Array: TypeAlias = NDArray[Any]


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
    x: Array,
    y: Array,
    *,
    validation_fraction: float,
    test_fraction: float,
    stratify: bool,
    seed: int,
    x_test: Array | None = None,
    y_test: Array | None = None,
) -> Split:
    """Split samples at random into training, validation and test parts.

    Samples keep their original order within each part.

    Parameters
    ----------
    x : ndarray or SharedRows, shape (n_samples, n_features)
    y : ndarray, shape (n_samples,) or (n_samples, n_outputs)
    validation_fraction, test_fraction : float in [0, 1)
        Fractions of all samples. The sizes are rounded to the nearest integer and are at least 1; 0 means no such
        part.
    stratify : bool
        Keep the class proportions of `y` in each part. If a class has too few samples for this, or `y` is a matrix,
        the split is not stratified.
    seed : int
        The same seed gives the same parts.
    x_test, y_test : ndarray, optional
        The test part that comes with the data set. It is used as it is, and `test_fraction` is ignored.

    Raises
    ------
    InvalidParameterError
        A fraction is out of range, or no samples are left for training.
    DataError
        `x` and `y` differ in length, or only one of `x_test` and `y_test` is given.
    """
    check_lengths(x, y)
    if (x_test is None) != (y_test is None):
        raise DataError("test part: expected both x_test and y_test; received only one of them")
    train, validation, test = split_rows(
        y,
        validation_fraction=validation_fraction,
        test_fraction=0.0 if x_test is not None else test_fraction,
        stratify=stratify,
        seed=seed,
    )
    all_train = len(train) == len(x)  # then no copy is needed
    return Split(
        x_train=x if all_train else take_rows(x, train),
        y_train=y if all_train else y[train],
        x_validation=take_rows(x, validation) if len(validation) else None,
        y_validation=y[validation] if len(validation) else None,
        x_test=take_rows(x, test) if len(test) else x_test,
        y_test=y[test] if len(test) else y_test,
    )


def split_rows(
    y: Array,
    *,
    validation_fraction: float,
    test_fraction: float,
    stratify: bool,
    seed: int,
    groups: Array | None = None,
    times: Array | None = None,
) -> tuple[Array, Array, Array]:
    """Return the rows of the training, validation and test part, each in ascending order.

    Parameters
    ----------
    y : ndarray, shape (n_samples,) or (n_samples, n_outputs)
    validation_fraction, test_fraction, stratify, seed
        As for `split`.
    groups : ndarray, shape (n_samples,), optional
        Rows of one group are all in one part. The sizes are then as near to the fractions as whole groups allow, and
        the split is not stratified.
    times : ndarray, shape (n_samples,), optional
        Numbers; a row without one is NaN and belongs to the training part. The test part has the latest rows, and the
        validation part the latest of the rest. Rows of one time are all in one part. The seed has no effect.

    Raises
    ------
    InvalidParameterError
        A fraction is out of range, both `groups` and `times` are given, or no samples are left for training.
    """
    if seed < 0:
        raise InvalidParameterError(f"seed: expected an integer of at least 0; received {shown(seed)}")
    if groups is not None and times is not None:
        raise InvalidParameterError("group: expected none with a column of times; received both; choose one")
    n_validation, n_test = part_sizes(len(y), validation_fraction, test_fraction)
    if groups is not None:
        return _whole_groups(groups, n_validation, n_test, seed)
    if times is not None:
        return _by_time(times, n_validation, n_test)
    seeds = [int(state) for state in seed_sequence(seed, Purpose.PARTS).generate_state(2)]
    rest, test = _draw_part(np.arange(len(y)), y, n_test, stratify, seeds[0])
    train, validation = _draw_part(rest, y, n_validation, stratify, seeds[1])
    return train, validation, test


def _whole_groups(groups: Array, n_validation: int, n_test: int, seed: int) -> tuple[Array, Array, Array]:
    """Draw groups in random order: first for the test part, then for validation, the rest for training."""
    _, group_of_row, counts = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed_sequence(seed, Purpose.PARTS, 2)).permutation(counts.size)
    sums = np.cumsum(counts[order])
    n_parts = 1 + (n_test > 0) + (n_validation > 0)
    if counts.size < n_parts:
        raise InvalidParameterError(
            f"group: expected at least {n_parts} groups, one for each part; received {counts.size}; leave the option "
            "out or set a fraction to 0"
        )
    # The number of groups whose rows come nearest to the size of the part; each part has at least one.
    after_test = _nearest(sums, n_test, 0, counts.size - n_parts + 1) if n_test else 0
    start = int(sums[after_test - 1]) if after_test else 0
    after_validation = _nearest(sums - start, n_validation, after_test, counts.size - 1) if n_validation else after_test
    part_of_group = np.zeros(counts.size, dtype=np.int8)
    part_of_group[order[:after_test]] = 2
    part_of_group[order[after_test:after_validation]] = 1
    part = part_of_group[group_of_row]
    return np.flatnonzero(part == 0), np.flatnonzero(part == 1), np.flatnonzero(part == 2)


def _nearest(sums: Array, size: int, after: int, most: int) -> int:
    """Return how many groups come nearest to `size` rows: more than `after`, at most `most`."""
    candidates = np.arange(after + 1, most + 1)
    return int(candidates[np.argmin(np.abs(sums[candidates - 1] - size))])


def _by_time(times: Array, n_validation: int, n_test: int) -> tuple[Array, Array, Array]:
    """Cut the rows at two times; the rows of one time stay together, in the later part."""
    known = np.sort(times[np.isfinite(times)])
    part = np.zeros(len(times), dtype=np.int8)
    n_late = 0
    for size, number in ((n_test, 2), (n_validation, 1)):
        n_late += size
        if not size or n_late > known.size:
            continue
        late = (times >= known[known.size - n_late]) & (part == 0)
        part[late] = number
    parts = tuple(np.flatnonzero(part == number) for number in range(3))
    if not len(parts[0]) or (n_test and not len(parts[2])) or (n_validation and not len(parts[1])):
        raise InvalidParameterError(
            f"time: expected enough different times for the parts; received {np.unique(known).size} different times in "
            f"{len(times)} rows; use another column or other fractions"
        )
    return parts[0], parts[1], parts[2]


def part_sizes(n_samples: int, validation_fraction: float, test_fraction: float) -> tuple[int, int]:
    """Return the numbers of validation and test samples.

    Raises
    ------
    InvalidParameterError
        A fraction is out of range, or no samples are left for training.
    """
    fractions = {"validation_fraction": validation_fraction, "test_fraction": test_fraction}
    for name, fraction in fractions.items():
        if not 0 <= fraction < 1:
            raise InvalidParameterError(f"{name}: expected a number from 0 to less than 1; received {shown(fraction)}")
    n_validation, n_test = (max(1, round(fraction * n_samples)) if fraction else 0 for fraction in fractions.values())
    if n_validation + n_test >= n_samples:
        raise InvalidParameterError(
            f"validation_fraction and test_fraction: expected to leave samples to train on; received {n_samples} "
            f"samples, of which {n_validation} for validation and {n_test} for testing; use smaller fractions or more "
            "data"
        )
    return n_validation, n_test


def draw_rows(
    n_rows: int, size: int | float, labels: ArrayLike | None, random_state: int | np.random.RandomState
) -> tuple[Array, Array]:
    """Draw rows at random as scikit-learn's `train_test_split` does.

    Parameters
    ----------
    n_rows : int
    size : int or float
        How many rows to draw, or which fraction of them.
    labels : array_like, shape (n_rows, ...), optional
        Keep the proportions of these labels.
    random_state : int or RandomState

    Returns
    -------
    rest, drawn : ndarray of int
        Indices of the rows that were not drawn and of those that were, in random order.

    Raises
    ------
    ValueError
        There are too few rows. The message is scikit-learn's.
    """
    from sklearn.model_selection import train_test_split  # slow to import

    rest: Any
    drawn: Any
    rest, drawn = train_test_split(np.arange(n_rows), test_size=size, stratify=labels, random_state=random_state)
    return rest, drawn


def _draw_part(rows: Array, y: Array, size: int, stratify: bool, seed: int) -> tuple[Array, Array]:
    """Draw `size` of the rows; return the other rows and the drawn ones, each sorted."""
    if size == 0:
        return rows, rows[:0]
    labels = y[rows] if stratify and y.ndim == 1 else None
    if labels is not None:
        counts = np.unique(labels, return_counts=True)[1]
        if counts.min() < 2 or min(size, len(rows) - size) < counts.size:
            labels = None
    drawn = draw(len(rows), size, seed) if labels is None else draw_in_proportion(labels, size, seed)
    return np.delete(rows, drawn), rows[drawn]
