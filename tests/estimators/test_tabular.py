"""The estimators of tables and their encoder: data frames as they come, in scikit-learn's company."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from xpnet import TableEncoder, TabularClassifier, TabularRegressor, load_model, save_model
from xpnet.errors import DataError, DeviceIndexError, InvalidParameterError

pd = pytest.importorskip("pandas")

N = 120
RNG = np.random.default_rng(0)
AGE = RNG.integers(18, 80, N).astype(float)
CITY = np.asarray(["Bern", "Rome", "Oslo"])[RNG.integers(0, 3, N)]
FRAME = pd.DataFrame(
    {
        "age": np.where(np.arange(N) % 10 == 3, np.nan, AGE),
        "city": np.where(np.arange(N) % 10 == 7, None, CITY),
        "member": RNG.random(N) < 0.5,
        "since": pd.date_range("2020-01-01", periods=N, freq="9D"),
        "income": RNG.normal(50, 9, N).round(2),
    }
)
PRICE = AGE + 20 * (CITY == "Rome") + 0.1 * FRAME["income"].to_numpy()
MEDIAN = np.median(PRICE)
LABELS = np.where(PRICE > MEDIAN, "high", "low")
SMALL: dict[str, Any] = {"hidden_layer_sizes": (16,), "max_iter": 30, "batch_size": 32, "random_state": 0}
BOTH = pytest.mark.parametrize(("cls", "y"), [(TabularClassifier, LABELS), (TabularRegressor, PRICE)])


@BOTH
def test_it_learns_a_frame_as_it_is(cls: Any, y: np.ndarray) -> None:
    est = cls(**SMALL).fit(FRAME, y)
    assert est.score(FRAME, y) > 0.8
    assert est.feature_names_in_.tolist() == list(FRAME.columns)
    assert est.n_features_in_ == 5
    assert est.n_iter_ == len(est.loss_curve_) == len(est.validation_scores_) == 30
    assert "city" in est.encoding_.input_names
    assert {plan.kind for plan in est.plans_} == {"number", "category", "boolean", "date"}


def test_the_progress_of_a_regression_has_the_error_in_the_unit_of_the_target(
    capsys: pytest.CaptureFixture[str],
) -> None:
    small = {**SMALL, "max_iter": 3, "verbose": True}
    reg = TabularRegressor(**small).fit(FRAME, PRICE)
    found = [float(value) for value in re.findall(r"RMSE (\S+)", capsys.readouterr().err)]
    TabularRegressor(**small).fit(FRAME, 1000 * PRICE)
    larger = [float(value) for value in re.findall(r"RMSE (\S+)", capsys.readouterr().err)]
    assert len(found) == len(reg.validation_scores_) == 3
    assert 1 < min(found) < PRICE.std() * 2
    assert larger == pytest.approx([1000 * value for value in found], rel=0.01)
    assert max(reg.validation_scores_) <= 1


def test_probabilities_are_of_the_labels() -> None:
    clf = TabularClassifier(**SMALL).fit(FRAME, LABELS)
    p = clf.predict_proba(FRAME)
    assert clf.classes_.tolist() == ["high", "low"]
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(clf.predict(FRAME), clf.classes_[p.argmax(axis=1)])
    np.testing.assert_array_equal(clf.predict_log_proba(FRAME), np.log(p))


FORMS: dict[str, Any] = {
    "pandas": lambda frame: frame,
    "Arrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
    "columns": lambda frame: {name: frame[name].tolist() for name in frame.columns},
    "nullable": lambda frame: frame.convert_dtypes(),
    "categorical": lambda frame: frame.astype({"city": "category"}),
    "Arrow types of pandas": lambda frame: pa.Table.from_pandas(frame, preserve_index=False).to_pandas(
        types_mapper=pd.ArrowDtype
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_any_kind_of_table(form: str) -> None:
    expected = TabularRegressor(**SMALL).fit(FRAME, PRICE).predict(FRAME)
    table = FORMS[form](FRAME)
    reg = TabularRegressor(**SMALL).fit(table, PRICE)
    np.testing.assert_allclose(reg.predict(table), expected, rtol=1e-4)
    np.testing.assert_allclose(reg.predict(FRAME), expected, rtol=1e-4)


def test_polars() -> None:
    polars = pytest.importorskip("polars")
    table = polars.from_pandas(FRAME)
    reg = TabularRegressor(**SMALL).fit(table, polars.Series(PRICE))
    np.testing.assert_allclose(
        reg.predict(table), TabularRegressor(**SMALL).fit(FRAME, PRICE).predict(FRAME), rtol=1e-4
    )


def test_columns_are_found_by_name() -> None:
    reg = TabularRegressor(**SMALL).fit(FRAME, PRICE)
    shuffled = FRAME[FRAME.columns[::-1]].assign(more="text")
    np.testing.assert_array_equal(reg.predict(shuffled), reg.predict(FRAME))
    with pytest.raises(DataError, match="without city"):
        reg.predict(FRAME.drop(columns="city"))


def test_an_array_has_columns_by_their_place() -> None:
    x = FRAME[["age", "income"]].to_numpy()
    reg = TabularRegressor(**SMALL).fit(x, PRICE)
    assert not hasattr(reg, "feature_names_in_")
    named = pd.DataFrame(x, columns=["age", "income"])
    np.testing.assert_array_equal(reg.predict(named), reg.predict(x))
    np.testing.assert_array_equal(reg.predict(x.tolist()), reg.predict(x))
    with pytest.raises(ValueError, match="X has 1 features, but TabularRegressor is expecting 2 features as input"):
        reg.predict(x[:, :1])
    by_name = TabularRegressor(**SMALL).fit(named, PRICE)
    np.testing.assert_array_equal(by_name.predict(x), by_name.predict(named))


def test_a_column_that_is_left_out_keeps_its_place_in_an_array() -> None:
    x = np.column_stack([np.ones(N), AGE, FRAME["income"]])
    reg = TabularRegressor(**SMALL).fit(x, PRICE)
    assert reg.encoding_.input_names == ("2", "3")
    np.testing.assert_array_equal(reg.predict(x), TabularRegressor(**SMALL).fit(x[:, 1:], PRICE).predict(x[:, 1:]))


@pytest.mark.parametrize(
    ("y", "labels"),
    [
        (pd.Series(LABELS), ["high", "low"]),
        (pd.Series(LABELS, dtype="category"), ["high", "low"]),
        (pd.Series(LABELS, dtype="string"), ["high", "low"]),
        (pa.array(LABELS.tolist()), ["high", "low"]),
        (LABELS.tolist(), ["high", "low"]),
        (LABELS.astype(object), ["high", "low"]),
        (LABELS == "low", [False, True]),
        (pd.Series(LABELS == "low", dtype="boolean"), [False, True]),
        ((LABELS == "low").astype(int) + 5, [5, 6]),
        (pd.Series((LABELS == "low").astype(int), dtype="Int64"), [0, 1]),
        ((LABELS == "low").astype(float), [0.0, 1.0]),
        (np.asarray([1, 0])[(LABELS == "low").astype(int)].astype(object), [0, 1]),
    ],
)
def test_labels_of_any_kind(y: Any, labels: list[Any]) -> None:
    clf = TabularClassifier(**SMALL).fit(FRAME, y)
    assert clf.classes_.tolist() == labels
    assert set(clf.predict(FRAME).tolist()) <= set(labels)
    assert clf.score(FRAME, np.asarray(y.tolist() if hasattr(y, "tolist") else y)) > 0.8


@pytest.mark.parametrize(
    "y",
    [
        np.where(np.arange(N) < 3, np.nan, PRICE),
        pd.Series(np.where(np.arange(N) < 3, np.nan, PRICE)).astype("Float64"),
        pa.array([None] * 3 + PRICE.tolist()[3:]),
        [None] * 3 + PRICE.tolist()[3:],
    ],
)
def test_missing_values_of_the_target_are_counted(y: Any) -> None:
    with pytest.raises(DataError, match=r"^y: expected a target in each row; received 3 of 120 rows without; remove"):
        TabularRegressor(**SMALL).fit(FRAME, y)


@pytest.mark.parametrize(
    "y",
    [
        pd.Series(np.where(np.arange(N) < 3, None, LABELS)),
        pd.Series(np.where(np.arange(N) < 3, None, LABELS), dtype="category"),
        pd.Series(np.where(np.arange(N) < 3, None, LABELS), dtype="string"),
        pd.Series([None] * 3 + [True, False] * ((N - 3) // 2) + [True], dtype="boolean"),
        [None] * 3 + LABELS.tolist()[3:],
    ],
)
def test_missing_labels_are_counted(y: Any) -> None:
    with pytest.raises(DataError, match=r"^y: expected a target in each row; received 3 of 120 rows without; remove"):
        TabularClassifier(**SMALL).fit(FRAME, y)


@pytest.mark.parametrize(
    ("cls", "y", "said"),
    [
        (TabularClassifier, ["a"] * N, "at least two classes; received only one class, a"),
        (TabularClassifier, [1, "a"] * (N // 2), "labels of one type; received int and str"),
        (TabularClassifier, PRICE, "continuous"),
        (TabularClassifier, None, "requires y to be passed"),
        (TabularRegressor, ["a", "b"] * (N // 2), "could not convert string to float"),
        (TabularRegressor, PRICE[:-1], "inconsistent numbers of samples"),
        (TabularRegressor, np.where(PRICE > 70, np.inf, PRICE), "infinity"),
    ],
)
def test_targets_that_are_refused(cls: Any, y: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        cls(**SMALL).fit(FRAME, y)


@pytest.mark.parametrize(
    "x", [FRAME["age"], FRAME["age"].to_numpy(), "table.csv", None, {}, FRAME.iloc[:0], FRAME.iloc[:1]]
)
def test_what_is_no_table_is_refused(x: Any) -> None:
    with pytest.raises(ValueError, match=r"expected|Expected 2D"):
        TabularClassifier(**SMALL).fit(x, LABELS)


def test_free_text_is_refused_with_a_remedy() -> None:
    words = [f"it was a dark and stormy night, number {i % 70}, and nobody slept" for i in range(N)]
    with pytest.raises(DataError, match=r"leave it out with drop=\['story'\], or .* with categorical=\['story'\]"):
        TabularClassifier(**SMALL).fit(FRAME.assign(story=words), LABELS)
    with pytest.raises(DataError, match=r"no features: .*'age': one value, 1.* as in numeric="):
        TabularClassifier(**SMALL).fit(FRAME[["age"]].assign(age=1.0), LABELS)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"hidden_layer_sizes": (16.0,)}, "hidden_layer_sizes"),
        ({"max_iter": 0}, "max_iter"),
        ({"n_ensemble": 0}, "n_ensemble"),
        ({"batch_size": "all"}, "batch_size"),
        ({"drop": ("agee",)}, "drop: expected a column of features; received 'agee'. Did you mean 'age'?"),
        ({"device": "gpux"}, "device"),
        ({"categorical": ("age",), "drop": ("age",)}, "drop"),
        ({"drop": "age"}, "drop"),
    ],
)
def test_parameters_that_are_refused(params: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("?", r"\?")):
        TabularClassifier(**{**SMALL, **params}).fit(FRAME, LABELS)


def test_columns_are_taken_as_told() -> None:
    reg = TabularRegressor(**SMALL, categorical=["member"], drop=["income", "since"]).fit(FRAME, PRICE)
    assert reg.encoding_.input_names == ("age", "city", "member")
    assert {plan.name: plan.kind for plan in reg.plans_}["member"] == "category"
    x = FRAME[["age", "income"]].to_numpy()
    assert TabularRegressor(**SMALL, drop=[1]).fit(x, PRICE).encoding_.input_names == ("1",)
    with pytest.raises(InvalidParameterError, match="drop: expected indices of columns from 0 to 1"):
        TabularRegressor(**SMALL, drop=[2]).fit(x, PRICE)


@BOTH
def test_clones_and_pickles(cls: Any, y: np.ndarray) -> None:
    est = cls(**SMALL, n_ensemble=2, drop=["income"]).fit(FRAME, y)
    twin = clone(est)
    assert twin.get_params() == est.get_params()
    assert not hasattr(twin, "model_")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(est)).predict(FRAME), est.predict(FRAME))
    np.testing.assert_array_equal(twin.fit(FRAME, y).predict(FRAME), est.predict(FRAME))


@BOTH
def test_a_machine_without_the_device_predicts_with_a_warning(cls: Any, y: np.ndarray) -> None:
    est = cls(**SMALL).fit(FRAME, y)
    expected = est.predict(FRAME)
    est.set_params(device="strict:cpu:99")
    with pytest.warns(UserWarning, match="no device strict:cpu:99: .* Predicting on numpy:cpu") as caught:
        np.testing.assert_array_equal(est.predict(FRAME), expected)
    assert caught[0].filename == __file__
    with pytest.raises(DeviceIndexError):
        est.fit(FRAME, y)


@BOTH
def test_the_model_goes_through_a_file(cls: Any, y: np.ndarray, tmp_path: Path) -> None:
    est = cls(**SMALL, n_ensemble=2).fit(FRAME, y)
    save_model(tmp_path / "model.safetensors", est.model_)
    loaded = load_model(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.predict(FRAME), est.predict(FRAME))


def test_an_ensemble_is_the_mean_of_its_members() -> None:
    reg = TabularRegressor(**SMALL, n_ensemble=3).fit(FRAME, PRICE)
    assert reg.model_.vector.shape[0] == 3
    assert not np.array_equal(reg.model_.vector[0], reg.model_.vector[1])
    alone = TabularRegressor(**SMALL).fit(FRAME, PRICE)
    np.testing.assert_array_equal(reg.model_.vector[0], alone.model_.vector)


@BOTH
def test_in_scikit_learns_company(cls: Any, y: np.ndarray) -> None:
    assert cross_val_score(cls(**SMALL), FRAME, y, cv=2).mean() > 0.5
    search = GridSearchCV(make_pipeline(cls(**SMALL)), {f"{cls.__name__.lower()}__n_ensemble": [1, 2]}, cv=2)
    assert search.fit(FRAME, y).predict(FRAME[:3]).shape == (3,)


def test_predictions_stay_in_the_range_of_the_targets() -> None:
    reg = TabularRegressor(**SMALL).fit(FRAME, PRICE)
    far = reg.predict(FRAME.assign(age=1e6))
    assert far.max() <= PRICE.max() + 1e-3
    assert far.min() >= PRICE.min() - 1e-3


def test_several_targets() -> None:
    y = np.column_stack([PRICE, -PRICE])
    reg = TabularRegressor(**SMALL).fit(FRAME, y)
    assert reg.predict(FRAME).shape == (N, 2)
    assert reg.score(FRAME, y) > 0.8


def test_weights_are_of_the_training_and_of_the_validation() -> None:
    weight = np.where(LABELS == "low", 0.0, 1.0)
    clf = TabularClassifier(**SMALL).fit(FRAME, LABELS, weight)
    assert (clf.predict(FRAME) == "high").mean() > 0.9
    high = LABELS == "high"
    some = TabularRegressor(**SMALL).fit(FRAME, PRICE, high.astype(float))
    removed = TabularRegressor(**SMALL).fit(FRAME[high], PRICE[high], np.ones(high.sum()))
    np.testing.assert_array_equal(some.predict(FRAME), removed.predict(FRAME))
    by_class = TabularClassifier(**SMALL, class_weight={"low": 0, "high": 1}).fit(FRAME, LABELS)
    np.testing.assert_array_equal(clf.predict_proba(FRAME), by_class.predict_proba(FRAME))
    with pytest.raises(ValueError, match="class_weight"):
        TabularClassifier(**SMALL, class_weight={"low": -1}).fit(FRAME, LABELS)


def test_without_a_validation_part() -> None:
    reg = TabularRegressor(**SMALL, validation_fraction=0).fit(FRAME, PRICE)
    assert reg.validation_scores_ is None
    assert reg.score(FRAME, PRICE) > 0.8


def test_the_encoding_is_of_the_training_part() -> None:
    """A value of the validation part alone changes nothing but the choice of the epoch."""
    reg = TabularRegressor(**{**SMALL, "max_iter": 1}).fit(FRAME, PRICE)
    high = []
    for row in range(N):
        frame = FRAME.copy()
        frame.loc[row, "income"] = 1e4
        other = TabularRegressor(**{**SMALL, "max_iter": 1}).fit(frame, PRICE)
        high.append(not np.array_equal(other.model_.vector, reg.model_.vector))
        if len(set(high)) == 2:
            return
    pytest.fail("each row, or none, changes the parameters")


def test_the_encoder_is_a_transformer() -> None:
    encoder = TableEncoder(scale="standard")
    x = encoder.fit_transform(FRAME)
    names = encoder.get_feature_names_out().tolist()
    assert x.dtype == np.float64
    assert x.shape == (N, len(names))
    assert np.isfinite(x).all()
    assert {"age", "age (missing)", "income"} <= set(names)
    np.testing.assert_allclose(x[:, names.index("income")].mean(), 0, atol=1e-12)
    frame = TableEncoder().set_output(transform="pandas").fit_transform(FRAME)
    assert frame.columns.tolist() == names
    model = make_pipeline(TableEncoder(), LogisticRegression()).fit(FRAME, LABELS)
    assert model.score(FRAME, LABELS) > 0.8
    part = make_column_transformer((TableEncoder(), ["age", "city"]), remainder="drop")
    assert make_pipeline(part, HistGradientBoostingClassifier(max_iter=5)).fit(FRAME, LABELS).score(FRAME, LABELS) > 0.7


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cls", [TabularClassifier, TabularRegressor])
def test_scikit_learns_checks_pass(cls: Any) -> None:
    est = cls(hidden_layer_sizes=(16,), max_iter=20, batch_size=32)
    results = check_estimator(est, on_skip=None, on_fail=None)
    failed = {result["check_name"] for result in results if result["status"] not in ("passed", "skipped")}
    # A sample with a weight of 2 is in one batch, and a sample that is there twice may be in two.
    assert failed == {"check_sample_weight_equivalence_on_dense_data"}
    assert len(results) > 50
