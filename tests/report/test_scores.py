"""Scores by part and by class against scikit-learn's metrics, for models of every task, and the baselines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from sklearn import datasets, metrics
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from tests.models import CASES, X, make
from tests.runs import job_of
from xpnet.errors import DataError, InvalidParameterError
from xpnet.model.model import Model
from xpnet.nn.network import Network
from xpnet.plot.predictions import Predictions
from xpnet.report import baselines, scores
from xpnet.report.finished_run import FinishedRun


def run_of(model: Model, **parts: Any) -> FinishedRun:
    return FinishedRun("data", model, parts, [], {}, {})


def rows_of(model: Model, **parts: Any) -> dict[tuple[str, str], dict[str, float]]:
    return {(row.part, row.model): row.scores for row in scores.part_scores(run_of(model, **parts))}


def expected_scores(model: Model, y: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Return scikit-learn's scores of predictions."""
    if model.task == "regression":
        return {
            "r2": metrics.r2_score(y, predicted),
            "rmse": metrics.root_mean_squared_error(y, predicted),
            "mae": metrics.mean_absolute_error(y, predicted),
        }
    accuracy = metrics.accuracy_score(y, predicted)
    if model.task == "multilabel":
        return {
            "accuracy": accuracy,
            "f1": metrics.f1_score(y, predicted, average="macro", zero_division=0),
        }
    f1 = metrics.f1_score(y, predicted, average="macro", zero_division=0)
    return {"accuracy": accuracy, "balanced_accuracy": metrics.balanced_accuracy_score(y, predicted), "f1": f1}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_part_scores_are_those_of_scikit_learn(name: str, dtype: str) -> None:
    model, y = make(name, dtype), CASES[name].y
    rows = rows_of(model, train=(X, y), test=(X[:20], y[:20]))
    for part, n in (("train", 30), ("test", 20)):
        expected = expected_scores(model, y[:n], model.predict(X[:n]))
        own = model.evaluate(X[:n], y[:n])  # scikit-learn has no loss, and the tests of metrics compare the area
        expected |= {name: own[name] for name in ("loss", "auc") if name in own}
        assert rows[part, "network"] == pytest.approx(expected, rel=1e-5 if dtype == "float32" else 1e-12)
    assert [part for part, kind in rows if kind != "network"] == ["test", "test"]


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].task != "regression"])
def test_class_scores_are_those_of_scikit_learn(name: str) -> None:
    model, y = make(name), CASES[name].y
    rows = scores.class_scores(model, X, y)
    labels = None if model.task == "multilabel" else model.classes
    if labels is None and model.task != "multilabel":
        labels = np.arange(len(rows))
    expected = metrics.precision_recall_fscore_support(y, model.predict(X), labels=labels, zero_division=0)
    np.testing.assert_allclose([row[1:] for row in rows], np.transpose(expected), rtol=1e-12)
    assert [row.label for row in rows] == ([1, 2] if labels is None else labels.tolist())
    assert all(type(row.support) is int for row in rows)


def test_class_scores_need_classes() -> None:
    with pytest.raises(InvalidParameterError, match=r"class_scores: expected .* multilabel; received one for regress"):
        scores.class_scores(make("values"), X, CASES["values"].y)


def test_a_class_that_does_not_occur_has_no_recall_to_average() -> None:
    model, y = make("text"), CASES["text"].y
    some = y != "犬"
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        expected = metrics.balanced_accuracy_score(y[some], model.predict(X[some]))
    assert rows_of(model, data=(X[some], y[some]))["data", "network"]["balanced_accuracy"] == pytest.approx(expected)
    assert scores.class_scores(model, X[some], y[some])[2].support == 0


def test_without_a_training_part_there_are_no_baselines() -> None:
    model, y = make("text"), CASES["text"].y
    assert list(rows_of(model, data=(X, y))) == [("data", "network")]


def test_the_members_of_an_ensemble_are_scored_together() -> None:
    model, y = make("text"), CASES["text"].y
    both = replace(model, vector=np.stack([model.vector, -model.vector[::-1]]))
    assert rows_of(both, data=(X, y))["data", "network"] == pytest.approx(
        {**both.evaluate(X, y), **expected_scores(both, y, both.predict(X))}
    )


def test_the_majority_and_the_mean_are_those_of_the_training_part() -> None:
    y = np.asarray(["Öl"] * 3 + ["犬"] * 7)
    rows = rows_of(make("text"), train=(X[:10], y), test=(X[10:14], y[:4]))
    assert rows["test", "majority class"] == {"accuracy": 0.25, "balanced_accuracy": 0.5, "f1": 0.2}
    values = np.asarray([1.0, 2.0, 6.0] * 4)
    rows = rows_of(make("one value"), train=(X[:12], values), test=(X[:2], np.asarray([3.0, 5.0])))
    assert rows["test", "mean"] == pytest.approx({"r2": -1, "rmse": np.sqrt(2), "mae": 1})
    labels = np.asarray([[1, 0], [1, 0], [0, 1]] * 3)
    rows = rows_of(make("labels"), train=(X[:9], labels), test=(X[:3], labels[:3]))
    assert rows["test", "majority"] == pytest.approx({"accuracy": 2 / 3, "f1": 0.4})


@pytest.mark.parametrize("shape", [(300, 5), (20, 40)])  # with fewer samples than features too
@pytest.mark.parametrize("n_out", [1, 2])
def test_the_linear_model_of_values_is_scikit_learns_ridge(shape: tuple[int, int], n_out: int) -> None:
    rng = np.random.default_rng(0)
    x, scored = 7 * rng.standard_normal(shape) + 3, rng.standard_normal((4, shape[1]))
    y = x[:, :n_out] ** 2 * 1000
    model = Model(net := Network((shape[1], 3, n_out), loss="squared_error"), net.init().vector, "regression")
    scaler = StandardScaler().fit(x)
    expected = Ridge().fit(scaler.transform(x), y).predict(scaler.transform(scored))
    predicted = baselines.baselines(model, x, y, scored)["linear model"]
    np.testing.assert_allclose(predicted, expected.reshape(4, n_out), rtol=1e-9)


@pytest.mark.parametrize(("load", "loss"), [
    (datasets.load_digits, "cross_entropy"), (datasets.load_breast_cancer, "binary_cross_entropy"),
])  # fmt: skip
def test_the_linear_model_of_classes_is_as_good_as_a_logistic_regression(load: Any, loss: str) -> None:
    x, y = load(return_X_y=True)
    n_classes = y.max() + 1
    network = Network((x.shape[1], 9, n_classes if loss == "cross_entropy" else 1), loss=loss)
    model = Model(network, network.init().vector, "classification")
    train, test = np.arange(len(x)) % 3 > 0, np.arange(len(x)) % 3 == 0
    scaler = StandardScaler().fit(x[train])
    theirs = LogisticRegression(max_iter=1000).fit(scaler.transform(x[train]), y[train])
    ours = baselines.baselines(model, x[train], y[train], x[test])["linear model"]
    assert np.mean(ours == y[test]) == pytest.approx(theirs.score(scaler.transform(x[test]), y[test]), abs=0.01)


def test_too_few_samples_for_a_linear_model() -> None:
    model, y = make("text"), CASES["text"].y
    assert list(baselines.baselines(model, X[:5], y[:5], X)) == ["majority class"]
    assert list(baselines.baselines(model, X[:6], y[:6], X)) == ["linear model", "majority class"]


def test_a_table_is_scored_as_its_model_encodes_it() -> None:
    job = job_of("examples/penguins.csv", "--target", "species", "--device", "cpu")
    rows = rows_of(job.model, **job.parts)
    x, y = cast(tuple[Any, np.ndarray], job.parts["test"])
    assert isinstance(x, pa.Table)
    expected = expected_scores(job.model, y, job.model.predict(x))
    assert rows["test", "network"] == pytest.approx({**job.model.evaluate(x, y), **expected})
    assert rows["test", "linear model"]["accuracy"] > 0.9 > rows["test", "majority class"]["accuracy"]


def test_calibration_against_scikit_learn() -> None:
    from sklearn.calibration import calibration_curve

    rng = np.random.default_rng(0)
    p = rng.random(500)
    y = (rng.random(500) < p**2).astype(int)
    share, mean = calibration_curve(y, p, n_bins=10)
    counts = np.histogram(p, np.linspace(0, 1, 11))[0]
    expected = np.sum(counts * np.abs(share - mean)) / 500
    two = np.stack([1 - p, p], axis=1)
    assert scores.expected_calibration_error(two, y, n_bins=10) == pytest.approx(expected)


def test_the_calibration_of_many_classes_is_about_the_predicted_class() -> None:
    p = np.asarray([[0.6, 0.3, 0.1], [0.1, 0.6, 0.3], [0.0, 0.1, 0.9], [1.0, 0.0, 0.0]])
    error = scores.expected_calibration_error(p, np.asarray([0, 0, 2, 0]), n_bins=5)
    assert error == pytest.approx((2 * abs(0.5 - 0.6) + 2 * abs(1 - 0.95)) / 4)


def test_the_most_confidently_wrong_come_first() -> None:
    model, y = make("text"), CASES["text"].y
    wrong = scores.most_wrong(model, X, y, n=100)
    p, predicted = model.predict_proba(X), model.predict(X)
    assert sorted(each.row for each in wrong) == np.flatnonzero(predicted != y).tolist()
    for each in wrong:
        assert (each.true, each.predicted) == (y[each.row], predicted[each.row])
        assert each.confidence == pytest.approx(p[each.row].max())
    assert [each.confidence for each in wrong] == sorted((each.confidence for each in wrong), reverse=True)
    assert scores.most_wrong(model, X, y, n=2) == wrong[:2]
    assert scores.most_wrong(Predictions.of(model, X, y), n=2) == wrong[:2]
    with pytest.raises(InvalidParameterError, match="most_wrong: expected a model for classification"):
        scores.most_wrong(make("labels"), X, CASES["labels"].y)


def test_of_many_samples_some_are_taken_evenly() -> None:
    model, y = make("text"), CASES["text"].y
    each = Predictions.of(model, X, y, most=7)
    assert each.rows.tolist() == [0, 4, 9, 14, 19, 24, 29]
    np.testing.assert_array_equal(each.labels[each.true], y[each.rows])
    np.testing.assert_allclose(each.output, model.outputs(X)[each.rows], rtol=1e-6)
    with pytest.raises(DataError, match="30"):
        Predictions.of(model, X, y[:-1])
