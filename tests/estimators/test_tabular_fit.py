"""From a table with its target to a model in one call."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import xpnet
from xpnet.errors import DataError, InvalidParameterError, UnknownNameError, XpnetWarning

pd = pytest.importorskip("pandas")

N = 120
RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "age": RNG.integers(18, 80, N).astype(float),
        "city": np.asarray(["Bern", "Rome", "Oslo"])[RNG.integers(0, 3, N)],
        "income": RNG.normal(50, 9, N).round(2),
    }
)
FRAME["price"] = FRAME["age"] + 20 * (FRAME["city"] == "Rome") + 0.1 * FRAME["income"]
FRAME["level"] = np.where(FRAME["price"] > FRAME["price"].median(), "high", "low")
QUICK: dict[str, Any] = {"hidden_layer_sizes": (16,), "max_iter": 30, "batch_size": 32, "random_state": 0}
NO_PRICE: dict[str, Any] = {**QUICK, "drop": ["price"]}


def write(path: Path) -> Path:
    FRAME.to_csv(path, index=False)
    return path


FORMS: dict[str, Callable[[Path], Any]] = {
    "pandas": lambda folder: FRAME,
    "Arrow": lambda folder: pa.Table.from_pandas(FRAME, preserve_index=False),
    "columns": lambda folder: {name: FRAME[name].tolist() for name in FRAME},
    "path": lambda folder: write(folder / "table.csv"),
    "path as text": lambda folder: str(write(folder / "table.csv")),
    "polars": lambda folder: pytest.importorskip("polars").from_arrow(FORMS["Arrow"](folder)),
}


@pytest.mark.parametrize("form", FORMS)
def test_any_table_gives_the_same_model(form: str, tmp_path: Path) -> None:
    model = xpnet.fit(FORMS[form](tmp_path), target="level", **NO_PRICE)
    features = FRAME[["age", "city", "income"]]
    expected = xpnet.TabularClassifier(**QUICK).fit(features, FRAME["level"]).to_model()
    assert (model.task, model.target_name, model.feature_names) == ("classification", "level", tuple(features))
    np.testing.assert_allclose(model.predict_proba(FRAME), expected.predict_proba(features), rtol=1e-4)


def test_numbers_are_a_regression() -> None:
    model = xpnet.fit(FRAME.drop(columns="level"), "price", **QUICK)
    assert model.task == "regression"
    assert model.evaluate(FRAME)["r2"] > 0.8
    assert model.evaluate(FRAME) == model.evaluate(FRAME[["age", "city", "income"]], FRAME["price"].to_numpy())


def test_the_task_is_that_of_the_command_line_unless_it_is_given() -> None:
    ranks = FRAME.assign(price=np.arange(N) % 5)
    assert xpnet.fit(ranks, "price", **QUICK).task == "classification"
    assert xpnet.fit(ranks, "price", task="regression", **QUICK).task == "regression"
    by_name = FRAME.rename(columns={"level": "Class"})
    assert xpnet.fit(by_name, **NO_PRICE).target_name == "Class"


def test_rows_without_a_target_are_left_out_with_a_warning(tmp_path: Path) -> None:
    gaps = FRAME.assign(level=FRAME["level"].where(FRAME.index != 7))
    with pytest.warns(XpnetWarning, match=r"left out: 1 row, 1 without a target in column 'level'") as caught:
        model = xpnet.fit(gaps, "level", **NO_PRICE)
    assert caught[0].filename == __file__
    rest = xpnet.fit(FRAME.drop(index=7), "level", **NO_PRICE)
    np.testing.assert_array_equal(model.vector, rest.vector)
    FRAME.assign(price=FRAME["price"].astype(str).where(FRAME.index != 7, "about 50")).to_csv(tmp_path / "a.csv")
    with pytest.warns(XpnetWarning, match=r"1 with 'about 50' \(line 9\) in column 'price'"):
        assert xpnet.fit(tmp_path / "a.csv", "price", **{**QUICK, "drop": ["level"]}).task == "regression"


def test_a_column_that_gives_the_target_away_is_named() -> None:
    coded = FRAME.assign(code=(FRAME["level"] == "high").astype(int))
    with pytest.warns(XpnetWarning, match=r"column 'code' may give the target away: .* with drop=\['code'\]"):
        xpnet.fit(coded, "level", **NO_PRICE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        xpnet.fit(coded, "level", **{**QUICK, "drop": ["code", "price"]})


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"target": "levle"}, DataError, "expected a column 'levle'; received the columns age, city, income, price"),
        ({"target": None}, DataError, "expected a column called target, label, class or y"),
        ({"target": "none"}, DataError, "target 'none': expected values; received 120 rows without any"),
        ({"target": "one"}, DataError, "target 'one': expected different values; received only 'same'"),
        ({"target": "same number"}, DataError, "target 'same number': expected different values; received only 1.5"),
        ({"target": "level", "task": "regression"}, InvalidParameterError, "expected classification"),
        ({"target": "price", "task": "classification"}, InvalidParameterError, "expected regression"),
        ({"target": "level", "task": "multilabel"}, InvalidParameterError, "classification or regression; received"),
        ({"target": "level", "max_itr": 3}, UnknownNameError, "received 'max_itr'. Did you mean 'max_iter'?"),
        ({"target": "price", "class_weight": "balanced"}, UnknownNameError, "parameter of TabularRegressor"),
        ({"target": "level", "drop": ["agee"]}, InvalidParameterError, "drop: expected a column"),
        ({"target": "level", "device": "gpux"}, InvalidParameterError, "device"),
    ],
)
def test_what_is_refused(arguments: dict[str, Any], error: type[Exception], said: str) -> None:
    table = FRAME.assign(**{"none": None, "one": "same", "same number": 1.5})
    with pytest.raises(error) as caught:
        xpnet.fit(table, **arguments)
    assert said in str(caught.value)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        xpnet.fit(tmp_path / "no.csv", "y")
    (tmp_path / "twice.csv").write_text("a,y,y\n1,2,3\n4,5,6\n")
    with pytest.raises(DataError, match="expected one column 'y'; received several"):
        xpnet.fit(tmp_path / "twice.csv", "y")


def test_a_decimal_comma_is_that_of_the_file(tmp_path: Path) -> None:
    text = FRAME[["age", "income", "price"]].to_csv(index=False, sep=";", decimal=",")
    (tmp_path / "comma.csv").write_text(text)
    model = xpnet.fit(tmp_path / "comma.csv", "price", **QUICK)
    expected = xpnet.fit(FRAME[["age", "income", "price"]], "price", **QUICK)
    np.testing.assert_array_equal(model.vector, expected.vector)
