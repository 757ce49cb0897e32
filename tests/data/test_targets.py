"""Targets: the task that they define, and their encoding."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet.data.targets import encode_targets, infer_task
from xpnet.errors import DataError, UnknownNameError

TASKS = {
    "text": (["a", "b"], "classification"),
    "objects": (np.array(["a", "b"], dtype=object), "classification"),
    "booleans": ([True, False], "classification"),
    "few integers": ([3, 1, 3, -1], "classification"),
    "a column": ([[3], [1], [3]], "classification"),
    "a hundred classes": (np.arange(100).repeat(11), "classification"),
    "twenty values in forty samples": (np.arange(40) // 2, "classification"),
    "no value twice": (np.arange(15) * 1000 + 7, "regression"),
    "whole floats": ([0.0, 1.0, 1.0], "classification"),
    "object integers": (np.array([1, 2], dtype=object), "classification"),
    "prices": (np.arange(1000) * 100, "regression"),
    "whole floats, many": (np.arange(300.0), "regression"),
    "floats": ([0.5, 1.0], "regression"),
    "flags": ([[0, 1], [1, 1]], "multilabel"),
    "boolean matrix": (np.eye(3, dtype=bool), "multilabel"),
    "integer matrix": ([[0, 1], [2, 1]], "regression"),
    "float matrix": ([[0.0, 1.0], [1.0, 1.0]], "regression"),
}


@pytest.mark.parametrize("case", TASKS)
def test_the_task_follows_from_the_targets(case):
    y, task = TASKS[case]
    assert infer_task(y) == task


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([], "no samples"),
        (np.zeros((2, 2, 2)), "received (2, 2, 2)"),
        (np.zeros((2, 0)), "received (2, 0)"),
        (5, "received ()"),
        (np.array(["a", 1], dtype=object), "received both"),
        (np.array([None, None]), "received None"),
        ([[1], [1, 2]], "unequal length"),
        ([1j, 2j], "complex128"),
        ([["a", "b"], ["c", "d"]], "text targets: expected one column; received 2"),
    ],
)
def test_targets_of_no_task(y, words):
    with pytest.raises(DataError) as caught:
        infer_task(y)
    assert words in str(caught.value)


@pytest.mark.parametrize("labels", [["b", "a", "c"], [7, -1, 3], [True, False, True], [2.0, 0.0, 1.0]])
def test_labels_become_indices_into_the_sorted_classes(labels):
    encoded, classes = encode_targets(labels, "classification")
    assert encoded.dtype == np.int32
    assert encoded.shape == (3,)
    assert classes.tolist() == sorted(set(labels))
    assert classes[encoded].tolist() == labels
    again, _ = encode_targets(labels[::-1], "classification", classes)
    assert again.tolist() == encoded[::-1].tolist()


def test_numeric_labels_are_found_among_text_classes():
    assert encode_targets([2, 1, 2], "classification", ["1", "2", "x"])[0].tolist() == [1, 0, 1]
    assert encode_targets([2.0, 1.0], "classification", ["1", "2", "x"])[0].tolist() == [1, 0]


@pytest.mark.parametrize(("task", "y"), [("regression", [1, 2, 3]), ("multilabel", [[0, 1], [1, 1]])])
def test_other_targets_become_a_float64_matrix(task, y):
    encoded, classes = encode_targets(y, task)
    assert classes is None
    assert encoded.dtype == np.float64
    assert encoded.tolist() == np.reshape(y, (len(y), -1)).tolist()


@pytest.mark.parametrize(
    ("y", "task", "classes", "words"),
    [
        (["a", "a"], "classification", None, "one class: expected at least two"),
        (["a", "z"], "classification", ["a", "b"], "unknown label: expected one of a, b; received 'z' in row 2"),
        ([0, 5], "classification", [0, 1], "unknown label: expected one of 0, 1; received '5' in row 2"),
        (["a"], "classification", [0, 1], "unknown label"),
        ([7], "classification", ["a", "b"], "unknown label"),
        (["b"], "classification", np.arange(30).astype(str), ", ..."),
        ([0.5, 1.0], "classification", None, "received 0.5 in row 1; is the task regression?"),
        ([0.0, np.nan], "classification", None, "received nan in row 2"),
        ([[0, 1]], "classification", None, "is the task multilabel?"),
        (["a", "b"], "regression", None, "expected numbers; received text such as"),
        ([1.0, np.inf], "regression", None, "received inf in row 2"),
        ([[1.0, 2.0], [np.nan, 1.0]], "regression", None, "received nan in column 1, row 2"),
        ([[0, 1], [0, 2]], "multilabel", None, "expected 0 and 1 only; received [0.0, 2.0] in row 2"),
    ],
)
def test_targets_that_do_not_fit(y, task, classes, words):
    with pytest.raises(DataError) as caught:
        encode_targets(y, task, classes)
    assert words in str(caught.value)


def test_an_unknown_task():
    with pytest.raises(UnknownNameError, match="Did you mean 'regression'"):
        encode_targets([1, 2], "regresion")


@pytest.mark.parametrize(
    ("y", "shown"),
    [([7, 7], "7"), ([7.0, 7.0], "7.0"), (["a", "a"], "'a'"), (np.array(["a"], object), "'a'"), ([True], "True")],
)
def test_one_class_is_shown_as_the_user_wrote_it(y: list[object], shown: str) -> None:
    with pytest.raises(DataError, match=f"expected at least two classes; received only {shown}$"):
        encode_targets(y, "classification")
