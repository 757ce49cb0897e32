"""Columns are taken by their names: in another order, among others, with the target, from any library's tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from xpnet import MLPClassifier, Model, TabularClassifier, TabularRegressor, load_model, save_model
from xpnet.errors import DataError, InvalidParameterError

pd = pytest.importorskip("pandas")

N = 90
RNG = np.random.default_rng(3)
NUMBERS = pd.DataFrame({"size": RNG.normal(0, 1, N), "depth": RNG.normal(5, 2, N), "age": RNG.normal(40, 9, N)})
MIXED = NUMBERS.assign(city=np.asarray(["Bern", "Rome", "Oslo"])[np.arange(N) % 3])
LABELS = pd.Series(np.where(NUMBERS["size"] + NUMBERS["depth"] > 5, "large", "small"), name="class of size")
PRICE = pd.Series(NUMBERS["size"] * 3 + NUMBERS["depth"], name="price")
QUICK: dict[str, Any] = {"hidden_layer_sizes": (8,), "max_iter": 5, "random_state": 0}


def of_an_array() -> Model:
    with pytest.warns(UserWarning, match="hasn't converged"):
        fitted = MLPClassifier(**{**QUICK, "max_iter": 40}, learning_rate_init=0.01).fit(NUMBERS, LABELS)
    return fitted.to_model()


MODELS: dict[str, tuple[Callable[[], Model], Any, Any]] = {
    "array": (of_an_array, NUMBERS, LABELS),
    "classes of a table": (lambda: TabularClassifier(**QUICK).fit(MIXED, LABELS).to_model(), MIXED, LABELS),
    "values of a table": (lambda: TabularRegressor(**QUICK).fit(MIXED, PRICE).to_model(), MIXED, PRICE),
}


def polars(frame: Any) -> Any:
    return pytest.importorskip("polars").from_arrow(pa.Table.from_pandas(frame, preserve_index=False))


FORMS: dict[str, Callable[[Any], Any]] = {
    "pandas": lambda frame: frame,
    "polars": polars,
    "Arrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
}


@pytest.fixture(scope="module", params=MODELS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Any, Any]:
    make, frame, y = MODELS[request.param]
    path: Path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, make())
    return load_model(path), frame, y


@pytest.mark.parametrize("form", FORMS)
def test_the_order_of_the_columns_does_not_matter(trained: tuple[Model, Any, Any], form: str) -> None:
    model, frame, y = trained
    expected, scores = model.predict(frame), model.evaluate(frame, y.to_numpy())
    turned = FORMS[form](frame[frame.columns[::-1]])
    wider = FORMS[form](frame[frame.columns[::-1]].assign(more="text", size2=1.0)[["more", *frame.columns, "size2"]])
    for table in (turned, wider):
        np.testing.assert_array_equal(model.predict(table), expected)
        assert model.evaluate(table, y.to_numpy()) == scores
        assert model.assess(table, y.to_numpy())[0] == scores
    if frame is NUMBERS:  # the model tells the columns apart
        assert not np.array_equal(model.predict(frame.to_numpy()[:, ::-1]), expected)


@pytest.mark.parametrize("form", FORMS)
def test_a_missing_column_is_named(trained: tuple[Model, Any, Any], form: str) -> None:
    model, frame, y = trained
    table = FORMS[form](frame.drop(columns="depth"))
    with pytest.raises(DataError, match="depth"):
        model.predict(table)
    with pytest.raises(DataError, match="depth"):
        model.evaluate(table, y.to_numpy())


@pytest.mark.parametrize("form", FORMS)
def test_the_target_is_the_column_of_its_name(form: str) -> None:
    """The name is that of the series that the model was trained on; rows without a target are left out."""
    for cls, y in ((TabularClassifier, LABELS), (TabularRegressor, PRICE)):
        model = cls(**QUICK).fit(MIXED, y).to_model()
        assert model.target_name == y.name
        whole = pd.concat([y, MIXED[MIXED.columns[::-1]]], axis=1)
        whole.loc[:9, y.name] = None
        scores = model.evaluate(FORMS[form](whole))
        assert scores == model.evaluate(MIXED[10:], y.to_numpy()[10:])
        with pytest.raises(InvalidParameterError, match=f"no column with the target '{y.name}'"):
            model.evaluate(FORMS[form](MIXED))


def test_a_target_without_a_name_leaves_none() -> None:
    assert TabularClassifier(**QUICK).fit(MIXED, LABELS.to_numpy()).to_model().target_name is None
    assert TabularClassifier(**QUICK).fit(MIXED, LABELS.rename(None)).to_model().target_name is None
    assert TabularClassifier(**QUICK).fit(MIXED, LABELS.rename(7)).to_model().target_name is None


@pytest.mark.parametrize(
    "labels",
    [("a", "b"), ("007", "08"), (False, True), (3, 5), (0.0, 1.0), ("1", "2"), ("yes", "no"), ("True", "False")],
    ids=str,
)
def test_labels_of_any_type_are_found_in_the_column(labels: tuple[Any, Any], tmp_path: Path) -> None:
    y = pd.Series([labels[int(large)] for large in LABELS == "large"], name="kind")
    model = TabularClassifier(**QUICK).fit(MIXED, y).to_model()
    save_model(tmp_path / "model.safetensors", model)
    whole = pd.concat([MIXED, y], axis=1)
    for table in (whole, pa.Table.from_pandas(whole), {name: whole[name].tolist() for name in whole}):
        scores = load_model(tmp_path / "model.safetensors").evaluate(table)
        assert scores == model.evaluate(MIXED, y.to_numpy())
        assert scores["accuracy"] == pytest.approx(np.mean(model.predict(MIXED) == y.to_numpy()))
