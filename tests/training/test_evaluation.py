"""Metrics against scikit-learn's, and outputs over any number of samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    mean_absolute_error,
    r2_score,
    recall_score,
    roc_auc_score,
    root_mean_squared_error,
)

from xpnet.backend import Backend, get_backend
from xpnet.nn.backprop import forward
from xpnet.nn.network import Network
from xpnet.training import outputs as outputs_module
from xpnet.training.evaluation import assess, evaluate, evaluate_chunks
from xpnet.training.metric_functions import r2
from xpnet.training.metrics import METRICS, Scoring, constant_decision, decisions, metric_name, task_of
from xpnet.training.outputs import outputs

_rng = np.random.default_rng(2)
X = _rng.standard_normal((50, 4))
CASES: dict[str, tuple[Network, np.ndarray, str]] = {
    "classes": (Network([4, 5, 3]), _rng.integers(0, 3, 50), "accuracy"),
    "two classes, one output": (Network([4, 1], loss="binary_cross_entropy"), _rng.integers(0, 2, 50), "accuracy"),
    "labels": (Network([4, 5, 2], loss="binary_cross_entropy"), _rng.integers(0, 2, (50, 2)) + 0.0, "accuracy"),
    "classes by squared error": (
        Network([4, 3], output="sigmoid", loss="squared_error"),
        _rng.integers(0, 3, 50),
        "accuracy",
    ),
    "values": (Network([4, 6, 2], loss="huber", l2=1.0, dropout=0.5), _rng.standard_normal((50, 2)), "r2"),
    "rates": (Network([4, 1], loss="poisson"), _rng.poisson(2.0, (50, 1)) + 0.0, "r2"),
}


def by_sklearn(network: Network, output: np.ndarray, y: np.ndarray) -> float:
    if metric_name(network, y.ndim) == "r2":
        return r2_score(y, output)
    if y.ndim == 1 and output.shape[1] > 1:
        return accuracy_score(y, output.argmax(axis=1))
    return accuracy_score(y, output.round() if y.ndim > 1 else output.round()[:, 0])


@pytest.mark.parametrize("case", CASES)
def test_loss_and_metric(case: str, backend: Backend, dtype: str, put: Any) -> None:
    network, y, name = CASES[case]
    host = network.init(1)
    scores = evaluate(network, network.init(1, backend, dtype), put(X), put(y), backend)
    unpenalised = Network(**{**network.to_dict(), "l2": 0.0})
    allowed = {"float64": 1e-12, "float32": 1e-5}[dtype]
    assert scores["loss"] == pytest.approx(float(unpenalised.loss_and_grads(host, X, y)[0]), rel=allowed)
    assert scores[name] == pytest.approx(by_sklearn(network, network.predict(host, X), y), rel=allowed)
    assert list(scores) == ["loss", name]


@pytest.mark.parametrize("case", CASES)
def test_in_chunks_as_in_one_piece(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, y, _ = CASES[case]
    params, backend = network.init(1), get_backend("cpu")
    whole = evaluate(network, params, X, y, backend), outputs(network, params, X, backend)
    for elements in (1, 7 * 6, 50 * 6):  # 1, 7 to 14 and all samples at once
        monkeypatch.setattr(outputs_module, "_CHUNK_ELEMENTS", elements)
        assert evaluate(network, params, X, y, backend) == pytest.approx(whole[0], rel=1e-12)
        np.testing.assert_allclose(outputs(network, params, X, backend), whole[1], rtol=1e-12)


@pytest.mark.parametrize(
    ("width", "cache", "size"), [(100, {}, 2000), (100, {"cpu": 50_000}, 500), (100, {"cpu": 9}, 256), (1000, {}, 200)]
)
def test_a_chunk_fits_into_the_cache_but_is_not_too_small(
    width: int, cache: dict[str, int], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs_module, "_CHUNK_ELEMENTS", 200_000)
    monkeypatch.setattr(outputs_module, "_CACHE_ELEMENTS", cache)
    slices = list(outputs_module.sample_chunks(Network([4, width, 2]), 5000, get_backend("cpu")))
    assert slices[0] == slice(0, size)
    assert slices[-1].stop == 5000


def test_never_more_than_a_chunk_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs_module, "_CHUNK_ELEMENTS", 60)
    seen = []

    def counting(network: Network, xp: Any, params: Any, x: Any) -> Any:
        seen.append(len(x))
        return forward(network, xp, params, x)

    monkeypatch.setattr(outputs_module, "forward", counting)
    network = CASES["classes"][0]
    outputs(network, network.init(), X, get_backend("cpu"))
    assert seen == [12, 12, 12, 12, 2]


def test_outputs_of_no_samples() -> None:
    network = CASES["classes"][0]
    assert outputs(network, network.init(), X[:0], get_backend("cpu")).shape == (0, 3)


@pytest.mark.parametrize("y", [[0.1] * 3, [5.0] * 3, [1e10 / 3] * 7])
def test_r2_of_a_constant_target(y: list[float]) -> None:
    targets = np.asarray(y)[:, None]
    assert r2(targets, targets) == 1
    assert r2(targets + 1, targets) == 0


@pytest.mark.parametrize("constant", [1.0, 0.1])
def test_r2_is_the_mean_over_outputs(constant: float) -> None:
    y = _rng.standard_normal((20, 3))
    y[:, 1] = constant
    output = y + 0.3 * _rng.standard_normal((20, 3))
    columns = [r2(output[:, [i]], y[:, [i]]) for i in range(3)]
    assert columns[0] == pytest.approx(r2_score(y[:, 0], output[:, 0]), rel=1e-12)
    assert columns[1] == 0
    assert r2(output, y) == pytest.approx(np.mean(columns), rel=1e-12)


def test_r2_keeps_the_digits_of_large_values() -> None:
    y = (1e6 + np.arange(8.0)).astype("float32")[:, None]
    assert r2(y + np.float32(0.5), y) == pytest.approx(1 - 8 * 0.25 / 42, rel=1e-12)


def scored(name: str, output: Any, y: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Return a metric of outputs as an evaluation has it."""
    metric, task = METRICS[name], "classification" if y.ndim == 1 else "multilabel"
    output = np.asarray(output)
    return metric.score(output if metric.needs == "outputs" else decisions(np, output, task), y, weight)


def test_accuracy() -> None:
    output = np.asarray([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2], [0.0, 0.1, 0.9]])
    assert scored("accuracy", output, np.asarray([1, 0, 0])) == pytest.approx(2 / 3)
    assert scored("accuracy", [[0.9], [0.2], [0.5]], np.asarray([1, 0, 1])) == pytest.approx(2 / 3)
    labels = np.asarray([[1, 0], [1, 1], [0, 0]])
    assert scored("accuracy", [[0.9, 0.1], [0.9, 0.1], [0.1, 0.2]], labels) == pytest.approx(2 / 3)


def one_against_the_rest(y: np.ndarray, output: np.ndarray, **weight: Any) -> float:
    """Return the mean of scikit-learn's areas; for several classes it takes probabilities that sum to 1 only."""
    if y.ndim == 2 or output.shape[1] == 1:
        return roc_auc_score(y, output if y.ndim == 2 else output[:, 0], **weight)
    return np.mean([roc_auc_score(y == i, output[:, i], **weight) for i in range(output.shape[1])])


BY_SKLEARN: dict[str, Any] = {
    "accuracy": accuracy_score,
    "balanced_accuracy": lambda y, decided, **w: recall_score(y, decided, average="macro", zero_division=0, **w),
    "f1": lambda y, decided, **w: f1_score(y, decided, average="macro", zero_division=0, **w),
    "auc": one_against_the_rest,
    "r2": r2_score,
    "rmse": root_mean_squared_error,
    "mae": mean_absolute_error,
}
WEIGHTS = _rng.uniform(0.1, 3.0, 50)


@pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["", "weights"])
@pytest.mark.parametrize("case", CASES)
def test_all_metrics_as_scikit_learn_has_them(case: str, weight: np.ndarray | None) -> None:
    network, y, default = CASES[case]
    params, backend, task = network.init(1), get_backend("cpu"), task_of(network, y.ndim)
    names = tuple(name for name, metric in METRICS.items() if task in metric.tasks)
    scores = evaluate(network, params, X, y, backend, weight, scoring=Scoring(names))
    assert list(scores) == ["loss", *names]
    assert names[0] == default
    output = np.round(network.predict(params, X), 2)  # some are equal then
    for name in names:
        given = output if METRICS[name].needs == "outputs" else decisions(np, output, task)
        expected = BY_SKLEARN[name](y, given, sample_weight=weight)
        assert METRICS[name].score(given, y, weight) == pytest.approx(expected)


@pytest.mark.parametrize("case", CASES)
def test_all_metrics_in_chunks_on_each_backend(case: str, backend: Backend, dtype: str, put: Any) -> None:
    network, y, _ = CASES[case]
    names = tuple(name for name, metric in METRICS.items() if task_of(network, y.ndim) in metric.tasks)
    host = evaluate(network, network.init(1), X, y, get_backend("cpu"), scoring=Scoring(names))
    params = network.init(1, backend, dtype)
    allowed = {"float64": 1e-12, "float32": 1e-5}[dtype]
    for last in range(1, len(names) + 1):  # with fewer metrics less is copied from the device
        scoring = Scoring(names[:last])
        expected = pytest.approx({name: host[name] for name in ("loss", *names[:last])}, rel=allowed)
        assert evaluate(network, params, put(X), put(y), backend, scoring=scoring) == expected
        parts = [(put(X[rows]), put(y[rows])) for rows in (slice(0, 20), slice(20, None))]
        assert evaluate_chunks(network, params, parts, backend, scoring=scoring) == expected
        assert assess(network, params, put(X), put(y), backend, scoring=scoring)[0] == expected


def test_errors_in_the_unit_of_the_target() -> None:
    network, y, _ = CASES["values"]
    unit, output = np.asarray([10.0, 0.5]), network.predict(network.init(1), X)
    scores = evaluate(network, network.init(1), X, y, get_backend("cpu"), scoring=Scoring(("rmse", "mae"), unit))
    assert scores["rmse"] == pytest.approx(root_mean_squared_error(y * unit, output * unit))
    assert scores["mae"] == pytest.approx(mean_absolute_error(y * unit, output * unit))
    assert scores["r2"] == pytest.approx(r2_score(y, output))


def test_the_auc_without_both_classes() -> None:
    assert np.isnan(scored("auc", [[0.2], [0.7]], np.asarray([1, 1])))
    three = np.asarray([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.6, 0.3, 0.1]])  # no sample has the class 2
    assert scored("auc", three, np.asarray([0, 1, 1])) == 1.0
    assert scored("auc", [[0.5], [0.5], [0.5]], np.asarray([0, 1, 1])) == 0.5


def test_samples_without_weight_have_no_part_in_the_auc() -> None:
    y, output, weight = np.asarray([0, 1, 1, 2]), np.eye(3)[[0, 1, 0, 2]], np.asarray([1.0, 2.0, 1.0, 0.0])
    assert METRICS["auc"].score(output, y, weight) == METRICS["auc"].score(output[:3], y[:3], weight[:3])
    assert np.isnan(METRICS["auc"].score(output, y, np.asarray([0.0, 1.0, 1.0, 0.0])))  # class 1 alone


def test_classes_that_do_not_occur_count_in_no_mean() -> None:
    y, output = np.asarray([0, 0, 1]), np.asarray([[0.9, 0.1, 0.0, 0.0], [0.1, 0.2, 0.7, 0.0], [0.2, 0.8, 0.0, 0.0]])
    assert scored("balanced_accuracy", output, y) == pytest.approx(0.75)  # recall 1/2 and 1
    assert scored("f1", output, y) == pytest.approx((2 / 3 + 1 + 0) / 3)  # class 2 is predicted, class 3 is not


@pytest.mark.parametrize(
    ("task", "y", "name", "decision"),
    [
        ("classification", [2, 0, 2, 1], "majority class", 2),
        ("multilabel", [[1, 0, 1], [1, 0, 0], [0, 0, 1]], "majority", [1, 0, 1]),
        ("regression", [[1.0, 4.0], [3.0, 8.0]], "mean", [2.0, 6.0]),
    ],
)
def test_the_best_constant_decision(task: Any, y: list[Any], name: str, decision: Any) -> None:
    found, constant = constant_decision(task, np.asarray(y))
    assert (found, constant.tolist()) == (name, decision)


@pytest.mark.parametrize("case", CASES)
def test_an_ensemble_is_the_mean_of_its_members_before_the_output_function(
    case: str, backend: Backend, dtype: str, put: Any, close: Any
) -> None:
    network, y, name = CASES[case]
    members = tuple(network.init(seed, backend, dtype) for seed in (1, 2, 3))
    mean = np.mean([network.forward(network.init(seed), X) for seed in (1, 2, 3)], axis=0)
    expected = network.outputs(mean)
    close(outputs(network, members, put(X), backend), expected, terms=100)
    scores = evaluate(network, members, put(X), put(y), backend)
    allowed = {"float64": 1e-12, "float32": 1e-5}[dtype]
    assert scores[name] == pytest.approx(by_sklearn(network, expected, y), rel=allowed)
    alone = evaluate(network, members[:1], put(X), put(y), backend)
    assert alone == pytest.approx(evaluate(network, members[0], put(X), put(y), backend), rel=allowed)
    parts = [(put(X[rows]), put(y[rows])) for rows in (slice(0, 20), slice(20, None))]
    assert evaluate_chunks(network, members, parts, backend) == pytest.approx(scores, rel=10 * allowed)
