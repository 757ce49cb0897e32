"""Checks on samples and targets."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet.data.checks import check_data
from xpnet.errors import DataError

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
