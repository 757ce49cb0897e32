"""Folds: what each holds out, by chance, in proportion, by groups and by time."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet.data.folds import fold_rows
from xpnet.errors import InvalidParameterError

Y = np.repeat(["a", "b", "c"], (24, 12, 4))


def held_out(folds: list[tuple[np.ndarray, np.ndarray]]) -> list[int]:
    return sorted(row for _, held in folds for row in held)


@pytest.mark.parametrize("stratify", [False, True])
def test_each_row_is_held_out_once_and_trained_on_otherwise(stratify: bool) -> None:
    folds = fold_rows(Y, 4, stratify=stratify, seed=0)
    assert held_out(folds) == list(range(40))
    for train, held in folds:
        assert sorted([*train, *held]) == list(range(40))
        assert (np.diff(train) > 0).all()
        assert (np.diff(held) > 0).all()


def test_class_proportions_are_kept() -> None:
    for _, held in fold_rows(Y, 4, stratify=True, seed=0):
        assert np.unique(Y[held], return_counts=True)[1].tolist() == [6, 3, 1]


@pytest.mark.parametrize("y", [Y, np.arange(40) % 7 + 0.5, np.ones((40, 2))], ids=["classes", "numbers", "labels"])
def test_the_seed_decides(y: np.ndarray) -> None:
    first, again, other = (fold_rows(y, 4, stratify=y.ndim == 1, seed=seed) for seed in (2**40, 2**40, 1))
    assert all((a[1] == b[1]).all() for a, b in zip(first, again, strict=True))
    assert any(list(a[1]) != list(b[1]) for a, b in zip(first, other, strict=True))


def test_a_rare_class_is_in_some_folds_only() -> None:
    folds = fold_rows(Y, 6, stratify=True, seed=0)  # no warning of scikit-learn's
    assert held_out(folds) == list(range(40))
    assert held_out(fold_rows(np.arange(40), 6, stratify=True, seed=0)) == list(range(40))  # all classes are rare


def test_groups_stay_together() -> None:
    groups = np.arange(40) % 9
    folds = fold_rows(Y, 3, stratify=True, seed=0, groups=groups)
    assert held_out(folds) == list(range(40))
    assert all(not {*groups[train]} & {*groups[held]} for train, held in folds)


def test_a_fold_trains_on_the_past_only() -> None:
    times = np.random.default_rng(0).permutation(40) // 2 * 1.0  # each time twice
    times[:3] = np.nan
    folds = fold_rows(Y, 4, stratify=True, seed=0, times=times)
    starts = []
    for train, held in folds:
        assert np.nanmax(times[train]) < times[held].min()
        assert {0, 1, 2} <= {*train}  # rows without a time
        starts.append(times[held].min())
    assert starts == sorted(starts)
    assert len({row for _, held in folds for row in held}) == len(held_out(folds))
    assert held_out(folds)[-1] == 39
    assert max(times[held].max() for _, held in folds) == np.nanmax(times)


@pytest.mark.parametrize(
    ("n_folds", "keys", "message"),
    [
        (1, {}, "from 2 folds to 40, the number of rows; received 1"),
        (41, {}, "from 2 folds to 40, the number of rows; received 41"),
        (4, {"groups": np.arange(40) % 3}, "from 2 folds to 3, the number of groups; received 4"),
        (4, {"times": np.arange(40) % 4 * 1.0}, "from 2 folds to 3, the number of different times after the first"),
        (3, {"times": np.repeat([0.0, 1, 2, 3], (1, 1, 1, 37))}, "enough different times for 3 folds; received 4"),
    ],
)
def test_too_few_rows_for_the_folds(n_folds: int, keys: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        fold_rows(Y, n_folds, stratify=True, seed=0, **keys)
