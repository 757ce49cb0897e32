"""Text as numbers, truth values, and dates."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnet.data.tables.dates import parse_dates
from xpnet.data.tables.parse import Reading, find_reading, read_numbers, read_truth

NAN = float("nan")
NUMBERS = {
    ".": {
        "1": 1, "+1": 1, "-1.5e3": -1500, ".5": 0.5, "5.": 5, "1E+2": 100, "007": 7, "inf": np.inf,
        "-Infinity": -np.inf,
        "1e999": np.inf, "1,234": 1234, "-1,234.5": -1234.5, "12,345,678": 12345678, "1 234": 1234, "1'234.5": 1234.5,
        "1\u00a0234": 1234, "$5": 5, "$ 1,200.50": 1200.5, "-$3": -3, "$-3": -3, "5 €": 5, "USD 7": 7, "nan": NAN,
        "12,34": NAN, "1,2345": NAN, "1_000": NAN, "0x10": NAN, "1e": NAN, "12%": NAN, "2020-01-01": NAN,
        "\u0661\u0662": NAN,
        "\uff11\uff12": NAN, "1d5": NAN, "+-1": NAN, "--1": NAN, "1 2": NAN, "'1'": NAN, "1,5": NAN, "": NAN, "-": NAN,
        ".": NAN,
        "1.2.3": NAN, "$": NAN, "<1.0": NAN, "1,234 567": NAN,
    },
    ",": {
        "1": 1, "1,5": 1.5, ",5": 0.5, "-3": -3, "1.234,5": 1234.5, "1.234": 1234, "1 234,5": 1234.5, "€ 3,20": 3.2,
        "1,5e3": 1500, "12.5": NAN, "1,2,3": NAN, "a": NAN,
    },
}  # fmt: skip


@pytest.mark.parametrize("decimal", NUMBERS)
@pytest.mark.parametrize("together", [True, False])
def test_numbers_are_read_in_each_notation(decimal, together):
    cases = NUMBERS[decimal]
    texts = [list(cases)] if together else [[text] for text in cases]
    read = np.concatenate([read_numbers(pa.array(each), decimal) for each in texts])
    np.testing.assert_array_equal(read, list(cases.values()))


def test_per_cent_is_read_if_it_is_expected():
    np.testing.assert_array_equal(
        read_numbers(pa.array(["12%", "3.5 %", "4", "1,200 %"]), percent=True), [12, 3.5, NAN, 1200]
    )
    np.testing.assert_array_equal(read_numbers(pa.array(["3,5%", None]), ",", percent=True), [3.5, NAN])


@given(st.lists(st.floats(allow_nan=False) | st.none()))
@settings(deadline=None, max_examples=60)
def test_written_floats_are_read_exactly(values):
    read = read_numbers(pa.array([None if value is None else repr(value) for value in values], pa.string()))
    np.testing.assert_array_equal(read, [NAN if value is None else value for value in values])


@given(st.lists(st.text(max_size=12)), st.sampled_from([".", ","]), st.booleans())
@settings(deadline=None, max_examples=60)
def test_a_value_is_read_alike_alone_and_beside_others(texts, decimal, percent):
    values = pa.array(texts, pa.string())
    together = read_numbers(values, decimal, percent=percent)
    alone = [read_numbers(values.slice(i, 1), decimal, percent=percent)[0] for i in range(len(texts))]
    np.testing.assert_array_equal(together, alone)
    dates = parse_dates(values, "dmy")
    np.testing.assert_array_equal(dates, [parse_dates(values.slice(i, 1), "dmy")[0] for i in range(len(texts))])


READINGS = {
    "numbers": (["1", "2.5"], ".", Reading("number")),
    "decimal comma of the file": (["1,5", "2"], ",", Reading("number", ",")),
    "points in a file with decimal commas": (["12.5", "2.25"], ",", Reading("number", ".")),
    "thousands in a file with decimal commas": (["12.500", "2.000"], ",", Reading("number", ",")),
    "decimal commas in another file": (["1,5", "2"], ".", Reading("number", ",")),
    "thousands": (["1,234", "5"], ".", Reading("number")),
    "per cent": (["12%", "13 %"], ".", Reading("number", percent=True)),
    "one in ten is no number": ([*map(str, range(9)), "-"], ".", Reading("number")),
    "two in ten are no numbers": ([*map(str, range(8)), "-", "x"], ".", Reading("text")),
    "truth values": (["yes", "No"], ".", Reading("boolean")),
    "words of two pairs": (["yes", "true"], ".", Reading("text")),
    "truth values and another": (["yes", "no", "maybe"], ".", Reading("text")),
    "ISO": (["2012-01-31", "2012-02-01 10:30"], ".", Reading("date")),
    "slashes": (["2012/01/31"], ".", Reading("date")),
    "month first": (["01/31/2012", "02/03/2012"], ".", Reading("date", order="mdy")),
    "day first": (["31/01/2012", "02/03/2012"], ".", Reading("date", order="dmy")),
    "points": (["01.02.2012"], ".", Reading("date", order="dmy")),
    "first days of months": (["01/01/2012", "02/01/2012"], ".", Reading("date", order="mdy")),
    "day and month alike": (["01/02/2012", "03/02/2012"], ".", Reading("text", order=None)),
    "no order fits all": (["31/01/2012", "01/31/2012"], ".", Reading("text")),
    "months by name": (["Jan 1 2000", "5 March 2001"], ".", Reading("date")),
    "text": (["a", "b"], ".", Reading("text")),
    "nothing": ([], ".", Reading("text")),
}  # fmt: skip


@pytest.mark.parametrize("case", READINGS)
def test_how_a_column_is_read(case):
    values, decimal, expected = READINGS[case]
    assert find_reading(pa.array(values, pa.string()), np.ones(len(values), dtype=np.int64), decimal) == expected


def test_rows_count_not_distinct_values():
    values, counts = pa.array(["1", "x"]), np.array([99, 1])
    assert find_reading(values, counts).kind == "number"
    assert find_reading(values, counts[::-1]).kind == "text"


DATES = {
    "2012-01-31": (2012, 1, 31), "2012/1/5": (2012, 1, 5), "2012.01.31": (2012, 1, 31), "20120131": (2012, 1, 31),
    "2012-01": (2012, 1, 1), "2012": (2012, 1, 1), "31.01.2012": (2012, 1, 31), "31/1/99": (1999, 1, 31),
    "1/2/05 7:08": (2005, 2, 1, 7, 8), "2012-01-31T10:11:12.5Z": (2012, 1, 31, 10, 11, 12, 500000),
    "2012-01-31 10:11:12+02:00": (2012, 1, 31, 10, 11, 12), "Jan 5, 2012": (2012, 1, 5), "5-Jan-12": (2012, 1, 5),
    "January 2012": (2012, 1, 1), "3rd February 2012 5:07 pm": (2012, 2, 3, 17, 7),
    "31/01/2012 12:05 AM": (2012, 1, 31, 0, 5),
    "10:30": (1970, 1, 1, 10, 30), "29.02.2012": (2012, 2, 29), "29.02.2013": None, "2012-13-01": None,
    "2012-02-30": None,
    "2012-00-10": None, "31/01/2012 13:05 PM": None, "2012-01-31 25:00": None, "Foo 5, 2012": None, "x": None, "": None,
}  # fmt: skip


def test_dates_are_read_in_each_notation():
    read = parse_dates(pa.array(list(DATES)), "dmy").tolist()
    assert dict(zip(DATES, read, strict=True)) == {
        text: None if parts is None else datetime.datetime(*parts) for text, parts in DATES.items()
    }


@given(st.datetimes(min_value=datetime.datetime(1000, 1, 1)))
@settings(deadline=None)
def test_written_moments_are_read_exactly(moment):
    assert parse_dates(pa.array([moment.isoformat(), str(moment)])).tolist() == [moment, moment]


def test_truth_values_in_any_case():
    np.testing.assert_array_equal(read_truth(pa.array(["True", "NO", "t", "off", "1", None])), [1, -1, 1, -1, NAN, NAN])


def test_a_few_cells_do_not_decide_the_decimal_sign():
    few = pa.array([*map(str, range(30)), "1,5"])
    assert find_reading(few, np.ones(31, int)) == Reading("number")
    assert find_reading(pa.array(["1", "2", "1,5"]), np.ones(3, int)) == Reading("number", ",")


def test_thin_spaces_and_the_minus_of_typesetters():
    assert read_numbers(pa.array(["1\u2009200", "\u22121.5", "\u22121,200", "1\u22122"])).tolist()[:3] == [
        1200,
        -1.5,
        -1200,
    ]
