"""Tables of other libraries as Arrow tables."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from xpnet.data.tables.frames import as_table
from xpnet.errors import DataError


def test_pandas_columns_keep_their_types():
    frame = pd.DataFrame(
        {
            "number": [1.5, np.nan, 2.0],
            "text": ["x", None, "z"],
            "category": pd.Categorical(["u", "v", None]),
            "ordered": pd.Categorical(["lo", "hi", "lo"], ["lo", "hi"], ordered=True),
            "day": pd.to_datetime(["2012-01-01", None, "2012-01-03"]),
            "bool": [True, False, True],
            "mixed": [1, "x", None],
            "Int64": pd.array([1, None, 3], "Int64"),
            5: [1, 2, 3],
        },
        index=[7, 8, 9],
    )
    table = as_table(frame)
    assert table.column_names == [str(name) for name in frame.columns]
    assert table["number"].to_pylist() == [1.5, None, 2.0]
    assert table["mixed"].to_pylist() == ["1", "x", None]
    assert table["day"].to_pylist()[0] == datetime.datetime(2012, 1, 1)
    assert table["Int64"].to_pylist() == [1, None, 3]
    assert not table["category"].type.ordered
    assert table["ordered"].type.ordered
    assert table["bool"].type == pa.bool_()


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (np.array([[1.5, 2], [3, 4]]), {"1": [1.5, 3], "2": [2, 4]}),
        (np.array([[1.5, 2], [3, 4]], dtype=">f4").T, {"1": [1.5, 2], "2": [3, 4]}),
        (np.array([[1, "a"], [2, None]], dtype=object), {"1": [1, 2], "2": ["a", None]}),
        ([[1, "a"], [2, "b"]], {"1": [1, 2], "2": ["a", "b"]}),
        (np.array([["1", "x"]]), {"1": ["1"], "2": ["x"]}),
        ({"a": np.array([1, 2]), "b": ["x", None]}, {"a": [1, 2], "b": ["x", None]}),
        (pd.DataFrame({"a": [1, 2], "b": [3, 4]}), {"a": [1, 2], "b": [3, 4]}),
        (pa.table({"a": [1]}), {"a": [1]}),
        (pa.record_batch({"a": [1]}), {"a": [1]}),
    ],
)
def test_other_tables(x, expected):
    assert as_table(x).to_pydict() == expected
    names = [f"c{i}" for i in range(len(expected))]
    assert as_table(x, names).column_names == names


def test_polars():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"a": [1, None], "b": ["x", "y"]})
    assert as_table(frame).to_pydict() == as_table(frame.lazy()).to_pydict() == {"a": [1, None], "b": ["x", "y"]}


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((2, 0)), "at least one column"),
        ([1, 2], r"two dimensions; received shape \(2,\)"),
        ([[1], [1, 2]], "rows of equal length"),
        ({"a": [1], "b": [1, 2]}, "columns of equal length; received 1, 2 rows"),
        (np.eye(2) * 1j, "received dtype complex128"),
        ({"a": [object()]}, "column 'a': expected numbers, text, truth values or dates"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "different names; received 'a' more than once"),
    ],
)
def test_what_is_no_table_is_refused(x, words):
    with pytest.raises(DataError, match=words):
        as_table(x)


def test_names_must_fit():
    with pytest.raises(DataError, match="expected 1 columns, one for each name; received 2"):
        as_table(np.eye(2), ["a"])
