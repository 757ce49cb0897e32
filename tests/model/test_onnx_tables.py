"""Models of tables as ONNX graphs: one input for each column, and the encoding inside."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv

from tests.exported import TOLERANCE, check, run
from xpnet.data.scaling import Scaler
from xpnet.data.tables.columns import plan_columns
from xpnet.data.tables.encoders import DATE_PARTS, Column, DateColumn
from xpnet.data.tables.encoding import TableEncoding
from xpnet.data.tables.fitting import fit_encoding
from xpnet.data.tables.parse import Reading
from xpnet.data.tables.summary import TableSummary
from xpnet.errors import InvalidParameterError
from xpnet.model.model import Model
from xpnet.model.onnx import onnx_feeds
from xpnet.nn.network import Network

onnx = pytest.importorskip("onnx")
PENGUINS = Path(__file__).parents[2] / "examples" / "penguins.csv"


def model_of(table: pa.Table, dtype: str = "float32", *, scale: str = "robust", **options: Any) -> Model:
    """Return a model on the encoding of a table whose outputs are the features, each times a number of its own."""
    summary = TableSummary()
    summary.add(table)
    return on(fit_encoding(plan_columns(summary, **options), [table], scale=scale), dtype)


def on(encoding: TableEncoding, dtype: str = "float32") -> Model:
    n = encoding.n_features
    network = Network([n, n], loss="squared_error")
    params = network.pack([(np.diag(np.arange(1.0, n + 1)), np.zeros(n))])
    return Model(network, params.vector.astype(dtype), "regression", encoding=encoding)


TABLE = pa.table({
    "age": ["31", None, "7", "50", "-", *map(str, range(20, 31))],
    "sex": [*"mffm", None, *"ffmmffmmffm"],
    "city": [*"aaabb", None, *"ccaaabbcad"],
    "smoker": ["yes", "no", None, "no"] * 4,
    "day": [*(f"2012-{month:02d}-{4 + month:02d} {month}:30" for month in range(1, 13)), *["2016-02-29", None] * 2],
    "size": pa.array(["small", "large", None, "medium"] * 4).dictionary_encode(),
    "half": [0.5, None, 2.0, 3.5] * 4,
    "price": [f"$ {1000 + i},5" for i in range(16)],
    "code": [1, 2, 2, 3] * 4,
})  # fmt: skip


unknown_values = pytest.mark.filterwarnings("ignore::xpnet.errors.UnknownValuesWarning")  # the tables have them


@unknown_values
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("scale", ["robust", "standard", "none"])
def test_each_kind_of_column(scale: str, dtype: str) -> None:
    model = model_of(TABLE, dtype, scale=scale, categorical=["code"])
    kinds = {column.kind for column in model.encoding.columns}
    assert {"number", "category", "boolean", "date"} <= kinds
    check(model, TABLE)
    other = TABLE.slice(0, 6).set_column(1, "sex", pa.array(["x", "m", None, "f", "", "M"]))
    check(model, other)
    proto = model.to_onnx()
    types = {each.name: each.type.tensor_type.elem_type for each in proto.graph.input}
    number = onnx.TensorProto.FLOAT if dtype == "float32" else onnx.TensorProto.DOUBLE
    text, moment = onnx.TensorProto.STRING, onnx.TensorProto.INT64
    assert types == {
        **dict.fromkeys(("age", "half", "price", "smoker"), number),
        **dict.fromkeys(("sex", "city", "code", "size"), text),
        "day": moment,
    }


def test_penguins_without_xpnet_at_the_other_end() -> None:
    """The inputs are made by hand, as a program would that has only ONNX Runtime."""
    table = csv.read_csv(PENGUINS, convert_options=csv.ConvertOptions(strings_can_be_null=True)).drop_columns(
        ["species"]
    )
    encoded = model_of(table).encoding
    network = Network([encoded.n_features, 8, 3], "gelu")
    classes = np.asarray(["Adelie", "Chinstrap", "Gentoo"])
    model = Model(network, network.init(1, dtype="float32").vector, "classification", classes, encoding=encoded)
    feeds = {}
    for name in table.column_names:
        values = table.column(name)
        if pa.types.is_string(values.type):
            feeds[name] = np.asarray([value or "" for value in values.to_pylist()], dtype=object)[:, None]
        else:
            feeds[name] = values.cast(pa.float64()).to_numpy().astype(np.float32)[:, None]
    outputs = run(model.to_onnx(), {each.name: feeds[each.name] for each in model.to_onnx().graph.input})
    np.testing.assert_array_equal(outputs["label"], model.predict(table))
    np.testing.assert_allclose(outputs["probabilities"], model.predict_proba(table), atol=1e-5)


@unknown_values
def test_ordered_categories() -> None:
    levels = pa.DictionaryArray.from_arrays(pa.array([0, 2, 1, None, 2] * 3), ["low", "mid", "high"], ordered=True)
    table = pa.table({"level": levels, "x": [1.0, 2, 3, 4, 5] * 3})
    model = model_of(table, "float64")
    assert [column.kind for column in model.encoding.columns] == ["ordered", "number"]
    check(model, table)
    check(model, pa.table({"level": ["mid", "unknown", None], "x": [1.0, None, 3]}))


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_dates_of_four_centuries(dtype: str) -> None:
    """Every 37th day, the days around each turn of a year and of February, and before 1970; at all hours."""
    days = np.arange("1799-01-01", "2204-01-01", 37, dtype="datetime64[D]")
    turns = [f"{year}-{day}" for year in range(1896, 2105, 4) for day in ("02-28", "03-01", "12-31", "01-01")]
    days = np.concatenate([days, np.asarray([*turns, "2000-02-29", "1904-02-29"], "datetime64[D]")])
    moments = days.astype("datetime64[us]") + np.arange(len(days)) * 7_919_000_017 % 86_400_000_000
    moments[5] = np.datetime64("NaT")
    column = DateColumn("day", Reading("date"), tuple(DATE_PARTS), True)
    scaler = Scaler("standard", np.asarray([9000.0, 1990]), np.asarray([4000.0, 30]))
    model = on(TableEncoding((column,), np.asarray([9000.0, 1990]), scaler, {}), dtype)
    assert model.encoding.n_features == 9
    check(model, pa.table({"day": moments}), tolerance=2e-5 if dtype == "float32" else 1e-10)


def test_a_missing_date_is_the_lowest_number() -> None:
    table = pa.table({"day": [datetime.date(2012, 1, 31), None]})
    model = model_of(pa.table({"day": [datetime.date(2012, month, 5) for month in range(1, 13)]}))
    assert onnx_feeds(model, table)["day"].tolist() == [[1_327_968_000_000_000], [np.iinfo(np.int64).min]]


def test_columns_with_the_names_of_outputs() -> None:
    table = pa.table({"values": [1.0, 2, 4, 8], "x": [1.0, 3, 2, 4], "MatMul": list("abab")})
    model = model_of(table)
    outputs = run(model.to_onnx(), onnx_feeds(model, table))
    assert list(outputs) == ["values_2"]
    np.testing.assert_allclose(outputs["values_2"], model.predict(table), rtol=1e-6)


@dataclass(frozen=True)
class Strange(Column):
    """A kind of column that the export does not know."""


@pytest.mark.parametrize("name", ["strange", ""])
def test_a_column_that_cannot_be_expressed_is_named(name: str) -> None:
    model = model_of(TABLE)
    column = Strange(name) if name else replace(model.encoding.columns[0], name="")
    encoding = replace(model.encoding, columns=(column, *model.encoding.columns[1:]))
    with pytest.raises(InvalidParameterError, match=re.escape(f"to_onnx: column {name!r}:")):
        replace(model, encoding=encoding).to_onnx()
