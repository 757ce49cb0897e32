"""Checks on samples and targets."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet.data.checks import as_floats, check_data, feature_array, warn_of_merged
from xpnet.errors import DataError, XpnetWarning

X = np.random.default_rng(0).normal(size=(12, 3))


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


def test_masked_values_are_refused() -> None:
    masked = np.ma.masked_array(X, X > 1)
    for check in (
        lambda: check_data(masked, X[:, 0]),
        lambda: check_data(X, masked[:, 0]),
        lambda: feature_array(masked),
    ):
        with pytest.raises(DataError, match="expected a value in each place; received masked ones"):
            check()
    check_data(np.ma.masked_array(X, False), X[:, 0])


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (X.astype(str), "received dtype <U32; encode text"),
        (X.astype(object).astype(str).astype(object), "received dtype object; encode text"),
        (X + 1j, "received dtype complex128"),
        (np.full((2, 3), np.datetime64("2020-01-01")), r"received dtype datetime64\[D\]"),
        (np.full((2, 3), 10**400, object), "expected real numbers; received others: int too large"),
        (np.full((2, 3), {}, object), "expected real numbers; received others"),
    ],
)
def test_features_are_numbers(x: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        feature_array(x)


def test_columns_with_names_are_taken_by_their_names() -> None:
    pandas, pyarrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    frame = pandas.DataFrame(X, columns=["a", "b", "c"])
    for given in (frame, frame[["c", "a", "b"]], frame.assign(d="text")[["d", "b", "a", "c"]]):
        np.testing.assert_array_equal(feature_array(given, ("a", "b", "c")), X)
        table = pyarrow.table({name: given[name] for name in given.columns})
        np.testing.assert_array_equal(feature_array(table, ("a", "b", "c")), X)
    mixed = frame.assign(b=frame["b"] > 0)  # an array of objects
    np.testing.assert_array_equal(feature_array(mixed, ("a", "b", "c"))[:, 1], X[:, 1] > 0)
    np.testing.assert_array_equal(feature_array(pandas.DataFrame(X), ("a", "b", "c")), X)  # the names are numbers
    with pytest.raises(DataError, match="expected the columns of the training data; received none named 'z'"):
        feature_array(frame, ("a", "z", "c"))


@pytest.mark.parametrize("value", [1e39, -1e300])
def test_numbers_that_a_type_cannot_hold(value: float) -> None:
    x = _with(value, 4, 2)
    assert as_floats(x, "float64", "features") is x
    with pytest.raises(DataError, match=r"expected numbers that float32 can hold, up to 3.4e\+38; received larger"):
        as_floats(x, "float32", "features")
    with pytest.raises(DataError, match="received nan in column 3, row 5"):
        as_floats(_with(np.nan, 4, 2), "float32", "features")
    large = np.full((2, 3), 3e38)
    np.testing.assert_array_equal(as_floats(large, "float32", "features"), large.astype("float32"))  # their sum is not


@pytest.mark.parametrize("offset", [10**18, 1e9])
def test_numbers_that_are_one_number_in_a_type(offset: float) -> None:
    x = np.tile(np.arange(3), (200, 1)) * np.arange(200)[:, None].clip(150) + offset  # the first 151 rows are equal
    assert np.unique(x[:, 2]).size > 1
    with pytest.warns(
        XpnetWarning, match="features: the values of column 'b', .* are one number in float32. Scale them"
    ):
        warn_of_merged(x, (x - x.min() + 1e12).astype("float32"), "features", ("a", "b", "c"))
    warn_of_merged(x, x - offset, "features")
    warn_of_merged(np.full((5, 2), offset), np.full((5, 2), offset, "float32"), "features")  # equal before
