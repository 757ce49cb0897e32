"""Checks, targets, splits and scaling."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xpnet.data.checks import check_data
from xpnet.data.scaling import fit_scaler
from xpnet.data.split import split
from xpnet.data.targets import encode_targets, infer_task
from xpnet.errors import DataError, InvalidParameterError, UnknownNameError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3))
FEW = settings(deadline=None, max_examples=50)

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


def _with(value: float, row: int, column: int) -> np.ndarray:
    x = X.copy()
    x[row, column] = value
    x[row + 1] = value
    return x


@pytest.mark.parametrize(
    ("x", "y", "names", "words"),
    [
        (X[:0], None, None, "no samples"),
        (X[:, :0], None, None, "no features"),
        (X[0], None, None, "received shape (3,)"),
        (np.array([["a"]]), None, None, "expected real numbers; received dtype <U1"),
        (X, [1, 2], None, "unequal lengths: expected one target for each sample; received 12 rows, 2 targets"),
        (X, None, ["a", "b"], "expected 2 columns, one for each name; received 3"),
        (
            _with(np.nan, 4, 2),
            None,
            ["a", "b", "c"],
            "features: expected finite numbers; received nan in column 'c', row 5",
        ),
        (_with(-np.inf, 7, 1), None, None, "received -inf in column 2, row 8"),
        (_with(np.inf, 7, 1).astype(np.float32), None, None, "received inf in column 2, row 8"),
        (
            X,
            np.where(np.arange(12) == 9, np.nan, 1.0),
            None,
            "targets: expected finite numbers; received nan in row 10",
        ),
        (X, np.full((12, 2), np.inf), None, "targets: expected finite numbers; received inf in column 1, row 1"),
    ],
)
def test_data_that_cannot_be_used(x, y, names, words):
    with pytest.raises(DataError) as caught:
        check_data(x, y, names)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_first_nan_is_found_beyond_the_first_block():
    x = np.zeros((3000, 700), dtype=np.float32)
    x[2999, 3] = np.nan
    with pytest.raises(DataError, match="column 4, row 3000"):
        check_data(x)


def test_good_data_passes():
    check_data(X, np.arange(12), ["a", "b", "c"])
    check_data(np.zeros((2, 2), np.uint8), np.array(["a", "b"]))


LABELS = np.repeat([0, 1, 2], [100, 50, 30]).astype(np.int32)
ROWS = np.arange(180)[:, None]


@given(
    seed=st.integers(0, 2**80),
    validation=st.floats(0, 0.4),
    test=st.floats(0, 0.4),
    stratify=st.booleans(),
)
@FEW
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


@pytest.mark.parametrize("spec", ["none", "standard", "minmax", "divide:16"])
@given(x=hnp.arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(1, 4)), elements=st.floats(-1e6, 1e6)))
@FEW
def test_scaling_is_undone_by_its_inverse(spec, x):
    scaler = fit_scaler(spec, x)
    assert scaler.kind == spec.partition(":")[0]
    assert scaler.shift.dtype == scaler.scale.dtype == np.float64
    assert scaler.shift.shape == scaler.scale.shape == (x.shape[1],)
    z = scaler.transform(x, "float64")
    np.testing.assert_allclose(scaler.inverse(z), x, rtol=1e-12, atol=1e-12 * (1 + np.abs(x).max()))
    np.testing.assert_array_equal(z, (x - scaler.shift) / scaler.scale)


def test_what_each_scaling_does():
    x = RNG.normal(3, 5, size=(2000, 600))
    x[:, 1] = 0.1
    z = fit_scaler("standard", x).transform(x, "float64")
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.delete(z.std(axis=0), 1), 1, rtol=1e-12)
    z = fit_scaler("minmax", x).transform(x, "float64")
    assert np.delete(z.min(axis=0), 1).tolist() == [0] * 599
    assert np.delete(z.max(axis=0), 1).tolist() == [1] * 599
    np.testing.assert_allclose(fit_scaler("divide:16", x).transform(x, "float64"), x / 16)
    np.testing.assert_array_equal(fit_scaler("none", x).transform(x, "float64"), x)


@pytest.mark.parametrize("spec", ["standard", "minmax"])
def test_a_constant_column_has_scale_one(spec):
    scaler = fit_scaler(spec, np.full((1000, 1), 0.1))
    assert scaler.scale.tolist() == [1.0]
    assert abs(scaler.transform(np.array([[0.1]]), "float64")[0, 0]) < 1e-12


def test_large_offsets_keep_their_digits_in_float32():
    x = 1e9 + np.arange(4.0)[:, None]
    z = fit_scaler("minmax", x).transform(x, np.float32)
    assert z.dtype == np.float32
    np.testing.assert_allclose(z[:, 0], [0, 1 / 3, 2 / 3, 1], rtol=1e-6)


@pytest.mark.parametrize("spec", ["none", "standard", "minmax", "divide:255"])
def test_images_are_scaled_without_a_float64_copy(spec):
    x = RNG.integers(0, 256, size=(20000, 784), dtype=np.uint8)
    before = x.copy()
    scaler = fit_scaler(spec, x)
    tracemalloc.start()
    z = scaler.transform(x, np.float32)
    fit_scaler(spec, x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert z.dtype == np.float32
    assert peak < z.nbytes + 40 * 2**20
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "Standard",
        "standart",
        "standard:2",
        "none:",
        "divide",
        "divide:",
        "divide:0",
        "divide:-1",
        "divide:nan",
        "divide:inf",
        "divide:x",
    ],
)
def test_unknown_scalings(spec):
    with pytest.raises(InvalidParameterError) as caught:
        fit_scaler(spec, X)
    assert "expected" in str(caught.value)
    assert repr(spec) in str(caught.value)


def test_scaling_refuses_what_it_cannot_represent():
    with pytest.raises(DataError, match="column 2 is too large"):
        fit_scaler("standard", np.array([[0.0, 1e308], [0.0, -1e308]]))
    with pytest.raises(DataError, match=r"float32 can hold; received 1e\+300 in column 1, row 2"):
        fit_scaler("none", X[:, :1]).transform(np.array([[0.0], [1e300]]), "float32")
    scaler = fit_scaler("standard", X)
    for use in (lambda x: scaler.transform(x, "float64"), scaler.inverse):
        with pytest.raises(DataError, match=r"expected shape \(n_samples, 3\); received \(12, 2\)"):
            use(X[:, :2])
    with pytest.raises(DataError, match=r"received \(0, 3\)"):
        fit_scaler("standard", X[:0])
