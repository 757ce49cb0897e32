"""The encoding of tables: what it does, on what it depends, and what it refuses."""

from __future__ import annotations

import copy
import datetime
import json
import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnet.data import row_sample
from xpnet.data.tables.columns import plan_columns
from xpnet.data.tables.encoding import TableEncoding
from xpnet.data.tables.fitting import fit_encoding
from xpnet.data.tables.summary import TableSummary
from xpnet.errors import DataError, InvalidParameterError

NAN = float("nan")


def fit(columns, tables=None, *, scale="none", metadata=None, **options):
    table = columns if isinstance(columns, pa.Table) else pa.table(columns, metadata=metadata)
    summary = TableSummary()
    summary.add(table)
    return fit_encoding(plan_columns(summary, **options), tables or [table], scale=scale)


def encode(encoding, columns, **options):
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    return dict(zip(encoding.feature_names, encoding.transform(table, np.float64, **options).T.tolist(), strict=True))


TABLE = pa.table({
    "age": ["31", None, "7", "50", "-", *map(str, range(20, 31))],
    "sex": [*"mffm", None, *"ffmmffmmffm"],
    "city": [*"aaabb", None, *"ccaaabbcad"],
    "smoker": ["yes", "no"] * 8,
    "day": [f"2012-01-{day:02d}" for day in range(1, 17)],
})  # fmt: skip


def test_each_kind_of_column():
    encoding = fit(TABLE)
    assert encoding.input_names == ("age", "sex", "city", "smoker", "day")
    assert encoding.n_features == len(encoding.feature_names)
    x = encode(encoding, TABLE.slice(0, 6))
    assert x["age"] == [31, 25.5, 7, 50, 25.5, 20]  # the median of the 14 numbers
    assert x["age (missing)"] == [0, 1, 0, 0, 1, 0]
    assert x["sex=m"] == [1, -1, -1, 1, 0, -1]
    assert x["city=a"] == [1, 1, 1, 0, 0, 0]
    assert x["city=b"] == [0, 0, 0, 1, 1, 0]
    assert x["city (missing)"] == [0, 0, 0, 0, 0, 1]
    assert x["city (other)"] == [0] * 6
    assert encode(encoding, TABLE.slice(15))["city (other)"] == [1]  # d is rare
    assert x["smoker"] == [1, -1] * 3
    assert x["day: days"] == list(range(15340, 15346))
    assert x["day: weekday sin"][0] == pytest.approx(np.sin(2 * np.pi * 6 / 7))  # a Sunday
    assert x["day: season cos"][0] == 1
    assert "day: year" not in x
    assert "day: hour sin" not in x


def test_unknown_values_go_to_the_pool_or_are_missing():
    encoding = fit(TABLE)
    x = encode(
        encoding,
        {"age": ["x", "3"], "sex": ["?", "f"], "city": ["z", ""], "smoker": ["y", "t"], "day": [None, "2030-07-01"]},
    )
    assert x["age"] == [25.5, 3]
    assert x["sex=m"] == [0, -1]
    assert x["city (other)"] == [1, 1]
    assert x["smoker"] == [1, 1]
    assert x["day: days"][0] == 15347.5
    assert x["day: season sin"][0] == 0


FOREIGN = {
    "numbers as text": ({"a": ["1", "2.5", "3"]}, {"a": [1.0, 2.5, None]}, {"a": ["1", "2.50", None]}),
    "NaN": ({"a": ["1", "2.5", None, "4"]}, {"a": [1.0, NAN]}, {"a": ["1", None]}),
    "text as numbers": ({"a": [1, 2, 3, 9]}, {"a": ["1", "3.0"]}, {"a": [1, 3]}),
    "0 and 1": ({"a": ["0", "1", "1"]}, {"a": [True, False]}, {"a": ["1", "0"]}),
    "booleans": ({"a": [True, False, True]}, {"a": ["True", "no", "t"]}, {"a": [True, False, True]}),
    "booleans as numbers": ({"a": ["True", "False"] * 2}, {"a": [1, 0]}, {"a": ["True", "False"]}),
    "categories": ({"a": list("aabb")}, {"a": pa.array(["b", "a"]).dictionary_encode()}, {"a": ["b", "a"]}),
    "large text": ({"a": list("aabbcc")}, {"a": pa.array(["b", "c"], pa.large_string())}, {"a": ["b", "c"]}),
    "dates": (
        {"a": ["2012-01-01", "2012-03-01 10:00"]}, {"a": [datetime.datetime(2012, 2, 1, 5)]},
        {"a": ["2012-02-01 05:00"]},
    ),
    "dates as text": (
        {"a": [datetime.date(2012, 1, 1), datetime.date(2012, 3, 1)]}, {"a": ["2012/02/01"]},
        {"a": [datetime.date(2012, 2, 1)]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FOREIGN)
def test_other_types_of_the_same_values_are_encoded_alike(case):
    fitted, foreign, same = FOREIGN[case]
    encoding = fit(fitted)
    assert encode(encoding, foreign) == encode(encoding, same)


def test_chosen_categories_of_numbers_match_in_any_type():
    encoding = fit({"a": ["1", "2", "7", "2", "7", "1"]}, categorical=["a"])
    expected = {"a=1": [1, 0], "a=2": [0, 0], "a=7": [0, 1]}
    for values in (["1.0", "7"], [1, 7], [1.0, 7.0], pa.array([1, 7]).dictionary_encode()):
        assert encode(encoding, {"a": values}) == expected


def test_the_decimal_sign_is_that_of_each_table():
    comma, point = {b"decimal": b","}, {b"decimal": b"."}
    encoding = fit({"a": ["1,5", "2", "3"], "b": ["0.5", "0.25", "1"]}, metadata=comma)
    assert encode(encoding, pa.table({"a": ["1,5"], "b": ["0.5"]}, metadata=comma)) == {"a": [1.5], "b": [0.5]}
    assert encode(encoding, pa.table({"a": ["1.5"], "b": ["0.5"]}, metadata=point)) == {"a": [1.5], "b": [0.5]}
    encoding = fit({"a": ["1.5", "2", "3"]})
    assert encode(encoding, pa.table({"a": ["2,5"]}, metadata=comma)) == {"a": [2.5]}


def test_columns_are_found_by_name():
    encoding = fit({"a": ["1", "2", "5"], "b": ["1", "4", "9"]})
    assert encode(encoding, {"b": ["7"], "z": ["x"], "a": ["3"]}) == {"a": [3], "b": [7]}
    with pytest.raises(DataError, match="expected the model's features a, b; received a table without b"):
        encode(encoding, {"a": ["3"], "z": ["1"]})
    assert encode(encoding, {"1": ["3"], "2": ["7"]}) == {"a": [3], "b": [7]}  # without a header
    with pytest.raises(DataError, match="without a, b"):
        encode(encoding, {"1": ["3"], "2": ["7"], "3": ["1"]})
    years = fit({"2019": ["1", "2", "5"], "2020": ["1", "4", "9"]})
    with pytest.raises(DataError, match="without 2019"):
        encode(years, {"2020": ["3"], "2021": ["7"]})
    numbered = fit({"1": ["1", "2", "5"], "2": ["1", "4", "9"]})
    assert encode(numbered, {"b": ["3"], "a": ["7"]}) == {"1": [3], "2": [7]}


def test_what_cannot_be_read_is_missing_unless_it_is_most():
    values = [*map(str, range(3, 30)), "n.a."]
    encoding = fit({"a": values})
    assert encode(encoding, {"a": ["5", "x", "7"]})["a (missing)"] == [0, 1, 0]
    assert encode(encoding, {"a": ["n.a."]})["a (missing)"] == [1]  # as at training
    with pytest.raises(
        DataError, match="column 'a': expected numbers, as at training; received 'x' in row 12; 2 of its 3"
    ):
        encode(encoding, {"a": [None, "x", "y", "7"]}, first_row=10)
    with pytest.raises(DataError, match="column 'a': expected numbers"):
        encode(encoding, {"a": [datetime.date(2012, 1, 1)]})
    with pytest.raises(DataError, match="expected numbers, text, truth values or dates; received list"):
        encode(encoding, {"a": [[1]]})


@pytest.mark.parametrize("scale", ["none", "robust", "standard", "minmax"])
def test_numbers_that_are_too_large_are_refused(scale):
    encoding = fit({"a": ["1", "2", "5"], "b": [1.0, 4.0, 9.0]}, scale=scale)
    with pytest.raises(DataError, match="expected finite numbers; received inf in column 'b', row 2; remove"):
        encoding.transform(pa.table({"a": ["1", "1"], "b": [1.0, np.inf]}))
    with pytest.raises(DataError, match="expected finite numbers; received -inf in column 'a', row 8"):
        encoding.transform(pa.table({"a": ["-1e999"], "b": [1.0]}), first_row=7)
    if scale != "robust":  # which clips
        with pytest.raises(
            DataError, match=r"expected numbers that float32 can hold; received 1e\+300 in column 'b', row 1"
        ):
            encoding.transform(pa.table({"a": ["1"], "b": [1e300]}))
        assert np.isfinite(encoding.transform(pa.table({"a": ["1"], "b": [1e300]}), np.float64)).all()


def test_scaling_is_of_numbers_and_dates_only():
    encoding = fit(TABLE, scale="robust")
    x = encode(encoding, TABLE)
    numbers = [31, 7, 50, *range(20, 31)]
    z = (50 - 25.5) / (np.percentile(numbers, 75) - np.percentile(numbers, 25))
    assert x["age"][3] == pytest.approx(z / np.sqrt(1 + (z / 3) ** 2))
    assert set(x["city=a"]) == {0, 1}
    assert max(x["day: weekday sin"]) == pytest.approx(0.974927912)
    x = encode(fit(TABLE, scale="minmax"), TABLE)
    assert (min(x["day: days"]), max(x["day: days"])) == (0, 1)
    with pytest.raises(InvalidParameterError, match="unknown scaling"):
        fit(TABLE, scale="robus")


@pytest.mark.parametrize("scale", ["robust", "standard", "minmax", "none"])
def test_indicators_are_not_scaled(scale):
    n = 400
    rare = np.arange(n) == 7  # standardised, it would be 20
    table = pa.table({
        "truth": pa.array(rare),
        "word": np.where(rare, "yes", "no"),
        "gap": pa.array(np.where(rare, np.nan, np.arange(n)), from_pandas=True),
        "city": np.asarray(["a", "b", "c", "d"])[np.where(np.arange(n) < 390, 0, np.arange(n) % 4)],
    })  # fmt: skip
    encoding = fit(table, scale=scale)
    x = encode(encoding, table)
    indicators = {name: set(values) for name, values in x.items() if name != "gap"}
    assert len(indicators) >= 5
    assert all(values in ({-1, 1}, {0, 1}) for values in indicators.values()), indicators


def test_numbers_of_two_values_are_not_standardised():
    """A rare one would be many standard deviations away."""
    numbers = np.where(np.arange(400) == 7, 1, 0)
    table = pa.table(
        {"flag": numbers, "code": 5 + 2 * numbers, "gap": pa.array([*numbers[:-1], None]), "three": numbers}
    )
    table = table.set_column(3, "three", pa.array([2, *numbers[1:]]))
    x = encode(fit(table, scale="standard"), table)
    assert all(set(x[name]) == {0, 1} for name in ("flag", "code", "gap", "gap (missing)"))
    assert np.std(x["three"]) == pytest.approx(1)
    assert max(np.abs(encode(fit(table, scale="robust"), table)["flag"])) < 2


def test_it_is_fitted_to_the_training_part_only():
    encoding = fit(TABLE, [TABLE.slice(0, 3)])
    assert encoding.fill.tolist() == [19, 15341]
    assert encode(encoding, TABLE.slice(5))["city=a"] == [0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 0]
    with pytest.raises(DataError, match="no rows"):
        fit(TABLE, [TABLE.slice(0, 0)])
    with pytest.raises(DataError, match="no features"):
        fit({"a": ["x", "x"]})


def test_ordered_categories_are_ranks():
    sizes = pa.DictionaryArray.from_arrays([0, 1, 2, None], ["small", "medium", "large"], ordered=True)
    encoding = fit({"size": sizes})
    assert encode(encoding, {"size": ["large", "huge", "small", None]}) == {
        "size": [2, 1, 0, 1],
        "size (missing)": [0, 1, 0, 1],
    }


def test_feature_names_differ():
    encoding = fit({"a": ["1", None, "5"], "a (missing)": ["1", "3", "9"]})
    assert encoding.feature_names == ("a", "a (missing)", "a (missing)'")


CELLS = st.sampled_from([None, "0", "1", "2.5", "7", "-", "a", "b", "yes", "no", "2012-01-31", "2013-02-01 10:00"])
ROWS = st.lists(st.tuples(CELLS, CELLS, CELLS, st.none() | st.floats(-99, 99, width=16)), min_size=1, max_size=40)


@given(
    rows=ROWS,
    edge=st.integers(0, 40),
    limit=st.integers(1, 20),
    scale=st.sampled_from(["robust", "standard", "minmax"]),
)
@settings(deadline=None, max_examples=80)
def test_the_encoding_does_not_depend_on_the_blocks(rows, edge, limit, scale):
    columns = zip(*rows, strict=True)
    types = (pa.string(), pa.string(), pa.string(), pa.float64())
    table = pa.table(
        {f"c{j}": pa.array(column, kind) for j, (column, kind) in enumerate(zip(columns, types, strict=True))}
    )
    summary = TableSummary()
    summary.add(table)
    plans = plan_columns(summary)
    if not any(plan.is_feature for plan in plans):
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_sample, "_MAX_ROWS", limit)
        patch.setattr(row_sample, "_MIN_ROWS", limit)
        encoding = fit_encoding(plans, [table], scale=scale)
        parts = [part for part in (table.slice(0, edge), table.slice(edge)) if len(part)]
        again = fit_encoding(plans, parts, scale=scale)
    assert again.to_dict() == encoding.to_dict()
    x = encoding.transform(table, np.float64)
    assert x.shape == (len(table), encoding.n_features)
    assert np.isfinite(x).all()
    loaded = TableEncoding.from_dict(json.loads(json.dumps(encoding.to_dict())))
    assert loaded.feature_names == encoding.feature_names
    np.testing.assert_array_equal(np.concatenate([loaded.transform(part, np.float64) for part in parts]), x)


def test_wide_tables_are_encoded_column_by_column():
    rng = np.random.default_rng(0)
    columns = {}
    for j in range(1100):
        values = rng.normal(size=8).round(2).astype(str).tolist()
        values[j % 8] = [None, "a", values[0]][j % 3]
        columns[f"c{j}"] = pa.array(rng.normal(size=8)) if j % 50 == 0 else pa.array(values)
    table = pa.table(columns)
    summary = TableSummary()
    summary.add(table)
    plans = plan_columns(summary, numeric=table.column_names)
    encoding = fit_encoding(plans, [table])
    assert len(encoding.columns) == 1100
    alone = [fit_encoding([plan], [table]).transform(table) for plan in plans]
    np.testing.assert_array_equal(encoding.transform(table), np.concatenate(alone, axis=1))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.floats()
    | st.sampled_from(["", "number", "robust", "a", ",", "ymd"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "kind", "a"]), inner, max_size=3)
    ),
    max_leaves=6,
)
CONTENT = fit(TABLE, scale="robust").to_dict()


def places(content, path=()):
    yield path
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


@given(path=st.sampled_from(list(places(CONTENT))), value=JSON, delete=st.booleans())
@settings(deadline=None, max_examples=300)
def test_malformed_content_is_refused_or_usable(path, value, delete):
    content = copy.deepcopy(CONTENT)
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    if not path:
        content = value
    elif delete:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    try:
        encoding = TableEncoding.from_dict(content)
    except DataError as exc:
        message = str(exc)
    else:
        assert encoding.to_dict() == json.loads(json.dumps(content))
        return
    assert re.fullmatch("encoding: [^\\n]*expected [^\\n]*received [^\\n]*", message)


@pytest.mark.parametrize(
    ("days", "parts"),
    [
        (["2012-01-01", "2012-01-02"], ("season", "weekday")),
        (["2012-01-01", "2013-01-01"], ("year",)),
        (["2012-01-01", "2012-02-01"], ("season",)),
        (["10:30", "12:30"], ("hour",)),
        (["2012-01-01 10:00", "2013-02-05 11:00"], ("year", "season", "weekday", "hour")),
    ],
)
def test_parts_of_dates_that_do_not_vary_are_left_out(days, parts):
    (column,) = fit({"d": days * 3}).columns
    assert column.parts == parts
