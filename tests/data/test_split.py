"""Splits into training, validation and test parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnet.data.split import split, split_rows
from xpnet.errors import DataError, InvalidParameterError

LABELS = np.repeat([0, 1, 2], [100, 50, 30]).astype(np.int32)
ROWS = np.arange(180)[:, None]


@given(
    seed=st.integers(0, 2**80),
    validation=st.floats(0, 0.4),
    test=st.floats(0, 0.4),
    stratify=st.booleans(),
)
@settings(deadline=None, max_examples=50)
def test_the_parts_are_disjoint_and_complete(seed, validation, test, stratify):
    keywords = {"validation_fraction": validation, "test_fraction": test, "stratify": stratify, "seed": seed}
    parts = split(ROWS, LABELS, **keywords)
    xs = [x for x in (parts.x_train, parts.x_validation, parts.x_test) if x is not None]
    ys = [y for y in (parts.y_train, parts.y_validation, parts.y_test) if y is not None]
    assert sorted(np.concatenate(xs)[:, 0].tolist()) == ROWS[:, 0].tolist()
    assert len(xs) == len(ys) == 1 + (validation > 0) + (test > 0)
    for x, y in zip(xs, ys, strict=True):
        assert np.array_equal(LABELS[x[:, 0]], y)
        assert np.array_equal(x, np.sort(x, axis=0))
    again = split(ROWS, LABELS, **keywords)
    assert np.array_equal(parts.x_train, again.x_train)


def test_stratified_parts_keep_the_proportions_and_the_seed_draws_them():
    parts = split(ROWS, LABELS, validation_fraction=0.1, test_fraction=0.2, stratify=True, seed=1)
    assert np.bincount(parts.y_test).tolist() == [20, 10, 6]
    assert np.bincount(parts.y_validation).tolist() == [10, 5, 3]
    assert np.bincount(parts.y_train).tolist() == [70, 35, 21]
    other = split(ROWS, LABELS, validation_fraction=0.1, test_fraction=0.2, stratify=True, seed=2)
    assert not np.array_equal(parts.x_test, other.x_test)
    assert not np.array_equal(parts.x_validation, other.x_validation)


def test_the_seed_draws_the_validation_part_too():
    parts = [split(ROWS, LABELS, validation_fraction=0.2, test_fraction=0, stratify=True, seed=s) for s in (1, 2)]
    assert not np.array_equal(parts[0].x_validation, parts[1].x_validation)


def test_an_unstratified_draw_is_another():
    counts = {
        tuple(np.bincount(split(ROWS, LABELS, validation_fraction=0, test_fraction=0.2, stratify=False, seed=s).y_test))
        for s in range(5)
    }
    assert len(counts) > 1


def test_the_counts_are_rounded():
    parts = split(
        np.zeros((1797, 1)), np.zeros(1797), validation_fraction=0, test_fraction=297 / 1797, stratify=False, seed=0
    )
    assert (len(parts.x_train), len(parts.x_test)) == (1500, 297)
    tiny = split(ROWS[:10], LABELS[:10], validation_fraction=0.01, test_fraction=0, stratify=False, seed=0)
    assert len(tiny.x_validation) == 1


@pytest.mark.parametrize("labels", [[0] * 9 + [1], list(range(10)), [0, 1] * 5])
def test_too_few_samples_of_a_class_are_drawn_unstratified(labels):
    parts = split(ROWS[:10], np.array(labels), validation_fraction=0.1, test_fraction=0.1, stratify=True, seed=0)
    assert (len(parts.x_train), len(parts.x_validation), len(parts.x_test)) == (8, 1, 1)


def test_a_matrix_of_targets_is_split_unstratified():
    y = np.eye(2)[np.arange(180) % 2]
    parts = split(ROWS, y, validation_fraction=0.5, test_fraction=0, stratify=True, seed=0)
    assert np.array_equal(parts.y_train, y[parts.x_train[:, 0]])


def test_no_fraction_copies_nothing_and_a_test_part_is_kept():
    parts = split(
        ROWS,
        LABELS,
        validation_fraction=0,
        test_fraction=0.3,
        stratify=True,
        seed=0,
        x_test=ROWS[:3],
        y_test=LABELS[:3],
    )
    assert parts.x_train is ROWS
    assert parts.x_validation is None
    assert parts.y_validation is None
    assert parts.x_test.tolist() == [[0], [1], [2]]
    assert parts.y_test.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (
            {"validation_fraction": 1.0},
            InvalidParameterError,
            "validation_fraction: expected a number from 0 to less than 1",
        ),
        (
            {"test_fraction": -0.1},
            InvalidParameterError,
            "less than 1; received -0.1",
        ),
        (
            {"test_fraction": np.nan},
            InvalidParameterError,
            "less than 1; received nan",
        ),
        ({"seed": -1}, InvalidParameterError, "seed: expected an integer of at least 0; received -1"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, InvalidParameterError, "leave samples to train on"),
        ({"y": LABELS[:3]}, DataError, "received 180 rows, 3 targets"),
        ({"x_test": ROWS}, DataError, "expected both x_test and y_test"),
    ],
)
def test_splits_that_cannot_be(change, error, words):
    keywords = {"y": LABELS, "validation_fraction": 0.1, "test_fraction": 0.1, "stratify": True, "seed": 0} | change
    with pytest.raises(error) as caught:
        split(ROWS, **keywords)
    assert words in str(caught.value)


def test_one_sample_cannot_be_split():
    with pytest.raises(InvalidParameterError, match="received 1 samples"):
        split(ROWS[:1], LABELS[:1], validation_fraction=0.1, test_fraction=0, stratify=True, seed=0)


# Whole groups and times


def rows_of(n: int = 300, validation: float = 0.2, test: float = 0.3, **keywords: Any) -> list[np.ndarray]:
    return list(
        split_rows(
            np.zeros(n), validation_fraction=validation, test_fraction=test, stratify=True, **{"seed": 0, **keywords}
        )
    )


@given(
    seed=st.integers(0, 2**40), validation=st.floats(0, 0.4), test=st.floats(0, 0.4),
    groups=st.lists(st.integers(0, 40), min_size=60, max_size=200).filter(lambda groups: len(set(groups)) > 2),
)  # fmt: skip
@settings(deadline=None, max_examples=50)
def test_each_group_is_in_one_part(seed: int, validation: float, test: float, groups: list[int]) -> None:
    parts = rows_of(len(groups), validation, test, groups=np.asarray(groups), seed=seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(groups)))
    held = [{groups[row] for row in part} for part in parts]
    assert sum(map(len, held)) == len(set(groups))
    assert [bool(names) for names in held] == [True, validation > 0, test > 0]
    assert all((np.diff(part) > 0).all() for part in parts)
    again = rows_of(len(groups), validation, test, groups=np.asarray(groups), seed=seed)
    assert all(map(np.array_equal, parts, again))


def test_the_sizes_of_parts_are_as_near_as_whole_groups_allow() -> None:
    parts = rows_of(groups=np.repeat(np.arange(30).astype(str), 10))
    assert [len(part) for part in parts] == [150, 60, 90]
    orders = {tuple(rows_of(groups=np.repeat(np.arange(30), 10), seed=seed)[2].tolist()) for seed in range(5)}
    assert len(orders) == 5
    train, validation, test = rows_of(groups=np.repeat(np.arange(3), 100))  # a group is more than any part
    assert {len(train), len(validation), len(test)} == {100}


def test_the_latest_rows_are_the_test_part() -> None:
    times = np.random.default_rng(0).permutation(300).astype(float)
    train, validation, test = rows_of(times=times)
    assert [len(train), len(validation), len(test)] == [150, 60, 90]
    assert times[train].max() < times[validation].min()
    assert times[validation].max() < times[test].min()
    assert all(map(np.array_equal, rows_of(times=times, seed=7), (train, validation, test)))


def test_rows_of_one_time_are_in_the_later_part() -> None:
    times = np.repeat(np.arange(10.0), 30)
    train, validation, test = rows_of(validation=0.15, test=0.25, times=times)
    assert np.unique(times[test]).tolist() == [7, 8, 9]
    assert np.unique(times[validation]).tolist() == [6]
    assert np.unique(times[train]).tolist() == [0, 1, 2, 3, 4, 5]


def test_rows_without_a_time_are_trained_on() -> None:
    times = np.arange(300.0)
    times[::3] = np.nan
    train, validation, test = rows_of(times=times)
    assert np.isnan(times[train]).sum() == 100
    assert not np.isnan(times[np.concatenate([validation, test])]).any()
    assert (len(validation), len(test)) == (60, 90)


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"groups": np.zeros(300), "times": np.arange(300.0)}, "group: expected none with a column of times"),
        ({"groups": np.repeat([0, 1], 150)}, "group: expected at least 3 groups, one for each part; received 2"),
        ({"times": np.repeat([0.0, 1.0], 150)}, "time: expected enough different times .*received 2 different times"),
        ({"times": np.full(300, np.nan)}, "time: expected enough different times .*received 0 different times"),
    ],
)
def test_groups_and_times_that_do_not_suffice(keywords: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidParameterError, match=words):
        rows_of(**keywords)
    if "times" in keywords and "groups" not in keywords:
        return
    assert len(rows_of(groups=np.repeat([0, 1], 150), test=0)[1]) == 150
