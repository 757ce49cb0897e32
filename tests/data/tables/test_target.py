"""What the target is taken for, and its values."""

from __future__ import annotations

import datetime
import decimal
import json

import numpy as np
import pyarrow as pa
import pytest

from xpnet.data.tables.summary import TableSummary
from xpnet.data.tables.target import TargetPlan, plan_target
from xpnet.errors import DataError, InvalidParameterError

PRICES = [f"{100 + 0.37 * i:.2f}" for i in range(300)]


def plan(values, task=None, metadata=None):
    summary = TableSummary()
    summary.add(pa.table({"y": pa.array(values)}, metadata=metadata))
    return plan_target(summary.columns[0], task)


CASES = {
    "prices": (PRICES, "float", "regression", np.array(PRICES, dtype=float).tolist()),
    "few numbers": (["0", "1", "1"] * 9, "integer", "classification", [0, 1, 1] * 9),
    "many numbers": ([str(100 * i) for i in range(1000)], "integer", "regression", list(range(0, 100_000, 100))),
    "counts": ([str(i % 101) for i in range(5000)], "integer", "regression", [i % 101 for i in range(5000)]),
    "many labels": ([str(i % 100) for i in range(5000)], "integer", "classification", [i % 100 for i in range(5000)]),
    "delays": ([str(i % 30 - 10) for i in range(5000)], "integer", "regression", [i % 30 - 10 for i in range(5000)]),
    "signs": (["-1", "1"] * 20, "integer", "classification", [-1, 1] * 20),
    "whole decimals": (["1.0", "2.0"] * 9, "float", "classification", [1, 2] * 9),
    "thousands": ([f"{i},250" for i in range(1, 99)], "float", "regression", [1000.0 * i + 250 for i in range(1, 99)]),
    "zeros in front": (["007", "7"] * 9, "text", "classification", ["007", "7"] * 9),
    "fixed width": (["01", "02"] * 9, "text", "classification", ["01", "02"] * 9),
    "19 digits": (["1234567890123456781", "1234567890123456782"] * 9, "text", "classification", None),
    "20 digits": (["10000000000000000000", "10000000000000000001"] * 9, "text", "classification", None),
    "dates": (["2012-01-01", "2012-01-02"] * 9, "text", "classification", None),
    "True": (["True", "False"] * 9, "boolean", "classification", [True, False] * 9),
    "yes": (["yes", "no"] * 9, "text", "classification", None),
    "text": (["a", "b"] * 9, "text", "classification", None),
    "numbers and a text": ([*["1", "2"] * 50, "x"], "text", "classification", None),
    "bool": ([True, False] * 9, "boolean", "classification", [True, False] * 9),
    "int64": ([1234567890123456781, 1234567890123456782] * 9, "integer", "classification", None),
    "whole floats": ([1.0, 2.0] * 9, "integer", "classification", [1, 2] * 9),
    "floats": ([1.5, 2.0] * 9, "float", "regression", [1.5, 2.0] * 9),
    "decimals": ([decimal.Decimal("1.5")] * 9, "float", "regression", [1.5] * 9),
    "dates of Arrow": ([datetime.date(2012, 1, 1)] * 9, "text", "classification", ["2012-01-01"] * 9),
    "categories": (pa.array(["a", "b"] * 9).dictionary_encode(), "text", "classification", ["a", "b"] * 9),
    "large text": (pa.array(["a", "b"] * 9, pa.large_string()), "text", "classification", ["a", "b"] * 9),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_the_target_is_taken_for(case):
    values, kind, task, expected = CASES[case]
    target = plan(values)
    assert (target.kind, target.task, target.n_left_out) == (kind, task, 0)
    read, keep = target.read(pa.array(values))
    assert read.tolist() == (values if expected is None else expected)
    assert read.dtype == {"text": object, "integer": np.int64, "float": np.float64, "boolean": np.bool_}[kind]
    assert keep.all()


@pytest.mark.parametrize("marker", [None, "<1.0", "n.a."])
def test_one_row_without_a_number_is_left_out(marker):
    values = [*PRICES[:137], marker, *PRICES[138:]]
    target = plan(values)
    assert (target.task, target.n_left_out) == ("regression", 1)
    assert target.unread == (() if marker is None else ((marker, 1, 137),))
    read, keep = target.read(pa.array(values))
    assert np.flatnonzero(~keep).tolist() == [137]
    assert read.tolist() == [float(price) for price in values[:137] + values[138:]]
    parts = [target.read(pa.array(values[start : start + 7], pa.string())) for start in range(0, 300, 7)]
    assert np.concatenate([each for each, _ in parts]).tolist() == read.tolist()
    loaded = TargetPlan.from_dict(json.loads(json.dumps(target.to_dict())))
    assert loaded.read(pa.array(values))[0].tolist() == read.tolist()


def test_the_decimal_sign_is_that_of_each_table():
    target = plan(["1,5", "2,25", "3"], metadata={b"decimal": b","})
    assert target.read(pa.array(["1.234,5"]), ",")[0].tolist() == [1234.5]
    assert target.read(pa.array(["1,234.5"]), ".")[0].tolist() == [1234.5]


def test_the_user_chooses_the_task():
    assert plan(["0", "1"] * 9, "regression").task == "regression"
    assert plan([str(100 * i) for i in range(99)], "classification").task == "classification"
    assert plan([*["1", "2"] * 50, "3", "x"], "classification").kind == "text"
    target = plan(["True", "False"] * 9, "regression")
    assert target.read(pa.array(["True", "False"]))[0].tolist() == [1, 0]
    assert plan([*["1", "2"] * 50, "x"], "regression").n_left_out == 1
    for values in (["a", "b"] * 9, ["2012-01-01", "2012-01-02"] * 9):
        with pytest.raises(InvalidParameterError, match="task: expected classification"):
            plan(values, "regression")
    with pytest.raises(InvalidParameterError, match="task: expected regression for numbers with decimals"):
        plan(PRICES, "classification")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([f"name {i}" for i in range(30)], "labels that several rows share; received 30 different texts in 30 rows"),
        (pa.array([None, None], pa.string()), "expected values; received 2 rows without any"),
        ([[1], [2]], "expected numbers or labels; received list"),
    ],
)
def test_a_target_that_says_nothing_is_refused(values, words):
    with pytest.raises(DataError, match=words):
        plan(values)


def test_numbers_that_do_not_fit_are_refused_by_row():
    with pytest.raises(
        DataError, match=rf"target 'y': .*finite numbers; received an infinite one in row {len(PRICES) + 1}"
    ):
        plan([*PRICES, "1e999"])
    target = plan(PRICES)
    with pytest.raises(DataError, match="target 'y': expected finite numbers; received inf in row 13"):
        target.read(pa.array(["1", "2", "1e999"]), first_row=10)
    labels = plan(["0", "1"] * 9)
    with pytest.raises(DataError, match=r"target 'y': expected whole numbers; received 1.5 in row 2"):
        labels.read(pa.array(["1", "1.5"]))


@pytest.mark.parametrize("content", [None, {}, {"name": "y"}, {**plan(["a", "b"]).to_dict(), "kind": "texts"}])
def test_malformed_content_is_refused(content):
    with pytest.raises(DataError, match=r"expected .*received"):
        TargetPlan.from_dict(content)


def test_numbers_beside_texts_are_no_labels():
    summary = TableSummary()
    summary.add(pa.table({"y": [f"{i}.5" if i % 3 else "low" for i in range(90)]}))
    with pytest.raises(DataError, match="received 60 different numbers and texts such as 'low'; leave the rows"):
        plan_target(summary.columns[0])
    assert plan_target(summary.columns[0], "classification").kind == "text"
