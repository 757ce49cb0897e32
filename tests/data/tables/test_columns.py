"""What is done with each column, and what users are told."""

from __future__ import annotations

import datetime
import decimal

import numpy as np
import pyarrow as pa
import pytest

from xpnet.data.tables.columns import frequent_categories, plan_columns
from xpnet.data.tables.describe import check_features, describe_left_out, describe_unparsed
from xpnet.data.tables.summary import TableSummary
from xpnet.errors import DataError, InvalidParameterError

N = 40
OTHER = [str(i * 37 % 41 + 0.5) for i in range(N)]


def plan(columns, **options):
    summary = TableSummary()
    summary.add(pa.table(columns))
    return plan_columns(summary, **options)


def repeated(*values):
    return [values[i % len(values)] for i in range(N)]


KINDS = {
    "numbers": (OTHER, "number", "numbers", "scaled"),
    "missing": (["", *OTHER[1:]], "number", "numbers, 1 not a number", "median, missing flag, scaled"),
    "null": ([None, *OTHER[1:]], "number", "numbers, 2 % missing", "median, missing flag, scaled"),
    "thousands": (repeated("1,234", "5", "2,000"), "number", "numbers", "scaled"),
    "currency": (repeated("$5", "$7.50", "$9"), "number", "numbers", "scaled"),
    "per cent": (repeated("5%", "7 %"), "number", "per cent", "scaled"),
    "0 and 1": (repeated(0, 1), "number", "numbers", "scaled"),
    "decimals": (repeated(decimal.Decimal("1.25"), decimal.Decimal(3)), "number", "numbers", "scaled"),
    "half": (np.arange(N, dtype=np.float16) / 2, "number", "numbers", "scaled"),
    "truth": (repeated("True", "False"), "boolean", "true or false", "one column of -1 and 1"),
    "yes": (repeated("yes", "no", None), "boolean", "true or false, 32 % missing", "one column of -1 and 1, missing 0"),
    "bool": (repeated(True, False), "boolean", "true or false", "one column of -1 and 1"),
    "two": (repeated("m", "f"), "category", "text", "one column of -1 and 1"),
    "three": (repeated("a", "b", "c"), "category", "text", "one-hot, 3 values"),
    "gap": (repeated("a", "b", "c", None), "category", "text, 25 % missing", "one-hot, 3 values, missing as one more"),
    "one text": (repeated("a", None), "category", "text, 50 % missing", "one-hot, 1 value"),
    "codes": (repeated("01", "02", "10"), "category", "codes with zeros in front", "one-hot, 3 values"),
    "dates": (repeated("2012/01/01", "2012/01/02"), "date", "dates", None),
    "days": (repeated(datetime.date(2012, 1, 1), datetime.date(2013, 1, 1)), "date", "dates", None),
    "no order": (
        repeated("01/02/2012", "03/04/2012"), "left out",
        "dates whose day and month cannot be told apart; write 2012-01-31", "left out",
    ),
    "Unnamed: 0": (repeated("5", "3"), "left out", "a column without a name", "left out"),
    "": (range(N), "left out", "row numbers", "left out"),
    "__index_level_0__": (range(5, N + 5), "left out", "a column without a name", "left out"),
    "count": (map(str, range(1, N + 1)), "left out", "they count the rows", "left out"),
    "PassengerId": (range(100, 100 + N), "left out", "whole numbers unique to each row", "left out"),
    "price": (range(100, 100 + N), "number", "numbers", "scaled"),
    "user id": (repeated(3, 5), "number", "numbers", "scaled"),
    "unique": ([f"name {i}" for i in range(N)], "left out", "a value unique to each row", "left out"),
    "constant": (repeated("1.0", "1"), "left out", "one value, 1", "left out"),
    "one number": (repeated(1.0, None), "left out", "one value, 1, else missing", "left out"),
    "one date": (repeated("2012-01-01"), "left out", "one value, 2012-01-01", "left out"),
    "nothing": (repeated(None), "left out", "no values", "left out"),
    "lists": (repeated([1], [2]), "left out", "list<item: int64>, which cannot be encoded", "left out"),
    "note": (
        [f"a long text about the case number {i // 2}, with a comma" for i in range(N)], "category", "text",
        "one-hot, 20 values",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_what_is_done_with_a_column(name):
    values, kind, reason, action = KINDS[name]
    found, _ = plan({name: pa.array(list(values)), "other": OTHER})
    assert (found.name, found.kind, found.reason) == (name, kind, reason)
    assert action in (found.action, None)


def test_pandas_categories():
    codes = pa.array([i % 4 for i in range(N)]).dictionary_encode()
    sizes = pa.DictionaryArray.from_arrays(pa.array([i % 3 for i in range(N)]), ["s", "m", "l"], ordered=True)
    category, ordered = plan({"codes": codes, "sizes": sizes})
    assert (category.kind, category.action) == ("category", "one-hot, 4 values")
    assert (ordered.kind, ordered.action) == ("ordered", "rank among 3, scaled")


def test_many_categories_and_free_text():
    words = [f"word{i % 95 if i > 5 else -i}" for i in range(1000)]
    text = [f"the customer said, for the {i % 100}th time, that it was late" for i in range(1000)]
    many, free = plan({"words": words, "text": text})
    assert many.action == "one-hot, 95 values of 100, the rare ones pooled"
    assert free.kind == "refused"
    with pytest.raises(DataError, match=r"column 'text': .*free text.*--drop text.*--categorical text"):
        check_features([many, free])
    check_features(plan({"words": words, "text": text}, categorical=["text"]))


@pytest.mark.parametrize(
    ("counts", "n_rows", "expected"),
    [
        ([9, 3, 2, 1], 15, [True, True, False, False]),
        ([2, 2, 1], 5, [True, True, False]),
        ([1, 1, 1], 3, [False, False, False]),
        ([9, 1], 10, [True, True]),
        ([], 0, []),
        ([5] * 300, 1500, [True] * 256 + [False] * 44),
        ([5000] * 300, 10**6, [True] * 64 + [False] * 236),
    ],
)
def test_which_categories_get_a_feature_of_their_own(counts, n_rows, expected):
    assert frequent_categories(np.array(counts, dtype=np.int64), n_rows).tolist() == expected


def test_more_text_than_is_kept_is_left_out():
    summary = TableSummary(limit=10)
    summary.add(pa.table({"a": [f"t{i % 30}" for i in range(90)], "id": [1000 + i for i in range(90)]}))
    assert [each.reason for each in plan_columns(summary)] == [
        "more than 10 different texts",
        "whole numbers unique to each row",
    ]


def test_the_user_overrides():
    columns = {
        "count": range(N), "code": repeated("3", "5"), "day": repeated(20120131, 20120201), "x": OTHER,
        "mixed": repeated("1", "a", "2"), "no order": repeated("01/02/2012", "03/04/2012"),
    }  # fmt: skip
    columns = {name: pa.array(list(values)) for name, values in columns.items()}
    plans = plan(columns, categorical=["code"], numeric=["count", "mixed"], date=["day"], drop=["x"])
    assert [each.kind for each in plans] == ["number", "category", "date", "left out", "number", "left out"]
    assert plans[0].reason == "numbers, as told"
    assert plans[3].reason == "as told"
    assert [each.name for each in plan(columns, exclude=["x", "day"])] == ["count", "code", "mixed", "no order"]
    for options, words in {
        "categorical: .*'cod'.*Did you mean 'code'": {"categorical": ["cod"]},
        "drop: .*'x', named in numeric too": {"numeric": ["x"], "drop": ["x"]},
        "numeric: .*'no order': expected numbers; received '01/02/2012'": {"numeric": ["no order"]},
        "date: .*'no order': day and month cannot be told apart": {"date": ["no order"]},
        "date: .*'code': expected dates; received '3'": {"date": ["code"]},
    }.items():
        with pytest.raises(InvalidParameterError, match=options):
            plan(columns, **words)


def test_a_column_that_counts_the_rows_is_better_than_none():
    (only,) = plan({"f": range(N)})
    assert only.kind == "number"
    (only,) = plan({"": range(N)})
    assert only.kind == "left out"


def test_no_features_are_refused_with_each_cause():
    plans = plan({"f": [1.0, None, 1.0], "g": ["a", "a", "a"]})
    expected = r"column 'f': one value, 1, else missing in row 2; column 'g': one value, a. To use"
    with pytest.raises(DataError, match=expected):
        check_features(plans)
    with pytest.raises(DataError, match="in line 3"):
        check_features(plans, where=lambda row: f"line {row + 2}")
    with pytest.raises(DataError, match="none besides the target"):
        check_features([])
    with pytest.raises(DataError, match=r"column 'x': expected finite numbers; .* in row 3"):
        check_features(plan({"x": ["1", "2", "1e999", "inf"]}))


@pytest.mark.parametrize(
    "value", ["<1.0", "1_000", "0x10", "1e", "12%", "2020-01-01", "1d5", "+-1", "1 2", "'1'", "\u0661"]
)
def test_a_number_in_another_notation_is_not_lost(value):
    columns = {"a b": [*OTHER[:20], value, *OTHER[20:], "-"]}
    with pytest.raises(DataError) as caught:
        check_features(plan(columns), where=lambda row: f"line {row + 2}")
    assert f"column 'a b': expected numbers; received {value!r} in line 22; " in str(caught.value)
    assert "--numeric 'a b'" in str(caught.value)
    check_features(plan(columns, numeric=["a b"]))
    check_features(plan({"a": [*OTHER, "-"]}))  # no number for sure


def test_one_line_says_what_is_left_out_and_what_cannot_be_read():
    income = [*OTHER[:11], "-", *OTHER[12:-1], "<1"]
    plans = plan({"Unnamed: 0": list(range(N)), "income": income, "name": [f"n{i}" for i in range(N)]})
    assert describe_left_out(plans) == "left out: 'Unnamed: 0' (row numbers), 'name' (a value unique to each row)"
    assert describe_unparsed(plans, "row {}".format) == (
        "taken as missing: '-' in column 'income' (1 row, the first in row 11), "
        "'<1' in column 'income' (1 row, the first in row 39)"
    )
    assert describe_left_out(plans[1:2]) == describe_unparsed(plans[2:], str) == ""
    many = plan({f"c{j}": ["a"] * 3 for j in range(20)})
    assert describe_left_out(many).endswith(", and 8 more")
