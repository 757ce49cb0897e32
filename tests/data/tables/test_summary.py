"""Statistics of columns: right, and the same however the rows are cut into blocks."""

from __future__ import annotations

import datetime
import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnet.data.tables.parse import Reading
from xpnet.data.tables.summary import TableSummary
from xpnet.errors import DataError

CELLS = st.sampled_from(
    [None, "0", "1", "2", "1.5", "-", "a", "b c", "1,5", "inf", "12%", "2012-01-31", "31/01/2012", "yes"]
)


def summarise(tables, limit=100_000):
    summary = TableSummary(limit=limit)
    for table in tables:
        summary.add(table)
    return summary.columns


def facts(column):
    return (
        column.name, column.n_rows, column.n_missing, column.first_missing, column.values.to_pylist(),
        column.counts.tolist(), column.is_complete, column.is_unique, column.is_row_number, column.totals,
    )  # fmt: skip


def cut(table, places):
    edges = [0, *sorted(place % (len(table) + 1) for place in places), len(table)]
    return [table.slice(start, stop - start) for start, stop in itertools.pairwise(edges)]


@given(
    rows=st.lists(st.tuples(CELLS, CELLS, st.none() | st.floats(width=16), st.none() | st.integers(0, 3)), min_size=1),
    places=st.lists(st.integers(0, 100)),
    limit=st.integers(1, 6),
)
@settings(deadline=None, max_examples=60)
def test_the_summary_does_not_depend_on_the_blocks(rows, places, limit):
    a, b, c, d = zip(*rows, strict=True)
    table = pa.table({
        "a": pa.array(a, pa.string()), "b": pa.array(b, pa.string()), "c": pa.array(c, pa.float64()),
        "row": pa.array(range(len(rows))), "d": pa.array(d, pa.int64()),
        "e": pa.array(map(str, range(1, len(rows) + 1))),
    })  # fmt: skip
    whole = [facts(column) for column in summarise([table], limit)]
    assert [facts(column) for column in summarise(cut(table, places), limit)] == whole
    alone = [facts(summarise(cut(table.select([name]), places), limit)[0]) for name in table.column_names]
    assert alone == whole


def test_wide_tables_are_summarised_column_by_column():
    rng = np.random.default_rng(0)
    words = np.array(["1", "2", "x", "yes", "no", None], dtype=object)
    columns = {
        f"c{j}": pa.array(words[rng.integers(0, rng.integers(1, 7), 9)].tolist(), pa.string()) for j in range(700)
    }
    table = pa.table(columns)
    wide = [facts(column) for column in summarise([table.slice(0, 4), table.slice(4)])]
    assert wide == [facts(summarise([table.select([name])])[0]) for name in table.column_names]


def test_what_a_column_holds():
    table = pa.table({"a": ["5", None, "7", "5", "-", None]})
    (column,) = summarise([table])
    assert column.values.to_pylist() == ["5", "7", "-"]
    assert column.counts.tolist() == [2, 1, 1]
    assert (column.n_rows, column.n_missing, column.first_missing) == (6, 2, 1)
    assert column.reading == Reading("text")
    assert column.examples(2) == ("5", "7")
    (column,) = summarise([pa.table({"a": [*map(str, range(5, 16)), "<1", None, "<1"]})])
    assert column.reading == Reading("text")  # 11 of 13
    (column,) = summarise([pa.table({"a": [*map(str, range(5, 45)), "<1", None, "<1", "2.5", "?"]})])
    assert column.reading == Reading("number")
    assert column.totals.unread == {"<1": [2, 40], "?": [1, 44]}
    assert (column.totals.n_read, column.totals.n_whole, column.totals.low, column.totals.high) == (41, 40, 2.5, 44)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["0", "1", "2"], True),
        (["1", "2", "3"], True),
        (["0", "1", "3"], False),
        (["0", None, "2"], False),
        (["2", "3", "4"], False),
        ([0, 1, 2], True),
        ([1.0, 2.0, 3.0], True),
        ([True, False, True], False),
    ],
)
def test_row_numbers_count_from_0_or_1(values, expected):
    table = pa.table({"a": values})
    assert summarise([table])[0].is_row_number is expected
    assert summarise([table.slice(0, 1), table.slice(1)])[0].is_row_number is expected


def test_too_many_distinct_values_are_not_kept():
    values = [f"{i}.5" for i in range(30)]
    (column,) = summarise([pa.table({"a": values[:7]}), pa.table({"a": values[7:]})], limit=10)
    assert column.values.to_pylist() == values[:10]
    assert column.distinct == "more than 10"
    assert column.is_unique
    assert (column.totals.n_read, column.totals.low, column.totals.high) == (30, 0.5, 29.5)
    (column,) = summarise([pa.table({"a": ["0.5", *values]})], limit=10)
    assert not column.is_unique


def test_ordered_categories_and_types_that_cannot_be_encoded():
    sizes = pa.DictionaryArray.from_arrays([0, 1, None], ["small", "large"], ordered=True)
    table = pa.table({"size": sizes, "list": [[1], [2], []], "day": [datetime.date(2012, 1, 1)] * 3})
    size, lists, day = summarise([table, table])
    assert size.levels == ("small", "large")
    assert (size.n_missing, size.n_rows, lists.n_rows) == (2, 6, 6)
    assert day.reading == Reading("date")
    assert day.examples() == ("2012-01-01",)


def test_tables_of_other_columns_are_refused():
    summary = TableSummary()
    summary.add(pa.table({"a": ["1"], "b": ["2"]}))
    with pytest.raises(DataError, match="column 'b' of type int64 instead of string"):
        summary.add(pa.table({"a": ["1"], "b": [2]}))
    with pytest.raises(DataError, match="received columns a, c"):
        summary.add(pa.table({"a": ["1"], "c": ["2"]}))
    with pytest.raises(DataError, match="no rows"):
        _ = TableSummary().columns
