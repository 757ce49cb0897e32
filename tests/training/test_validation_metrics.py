"""Metrics of the validation part in a run: which are recorded, in which unit, and that they choose the epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.thread_ranks import run_ranks
from xpnet.backend import get_backend
from xpnet.data.streams import ArraySource
from xpnet.errors import InvalidParameterError, UnknownNameError
from xpnet.nn.network import Network
from xpnet.training.evaluation import evaluate
from xpnet.training.metrics import METRICS, Scoring, fitting_metrics
from xpnet.training.trainer import Trainer

_rng = np.random.default_rng(5)
X = _rng.standard_normal((90, 4))
CLASSES = (X[:, 0] + 0.8 * _rng.standard_normal(90) > 0.6).astype(np.int64)
VALUES = X[:, :2] * 3 + _rng.standard_normal((90, 2))
LABELS = (X[:, :3] + 0.5 * _rng.standard_normal((90, 3)) > 0.4).astype(np.float64)
CASES: dict[str, tuple[Network, np.ndarray]] = {
    "classification": (Network([4, 8, 2]), CLASSES),
    "multilabel": (Network([4, 8, 3], loss="binary_cross_entropy"), LABELS),
    "regression": (Network([4, 8, 2], loss="squared_error"), VALUES),
}
CPU = get_backend("cpu")
HELD_OUT = slice(60, None)


def fit(task: str, validation: Any = None, **settings: Any) -> Any:
    network, y = CASES[task]
    settings = {"epochs": 12, "learning_rate": 0.02, "dtype": "float64", **settings}
    validation = (X[HELD_OUT], y[HELD_OUT]) if validation is None else validation
    return Trainer(network, **settings).fit(X[:60], y[:60], validation=validation)


@pytest.mark.parametrize("task", CASES)
def test_the_scores_are_those_of_an_evaluation(task: str) -> None:
    network, y = CASES[task]
    names = tuple(fitting_metrics(task))  # type: ignore[arg-type]
    unit = np.asarray([2.0, 5.0]) if task == "regression" else None
    run = fit(task, metrics=names, target_scale=None if unit is None else unit.tolist())
    expected = evaluate(network, run.params, X[HELD_OUT], y[HELD_OUT], CPU, scoring=Scoring(names, unit))
    assert run.history[-1].validation == pytest.approx(expected, rel=1e-12)
    assert list(run.history[0].validation or {}) == ["loss", *names]
    assert list(fit(task).history[0].validation) == ["loss", names[0]]


@pytest.mark.parametrize("task", CASES)
def test_a_source_and_ranks_have_the_scores_of_the_arrays(task: str) -> None:
    _, y = CASES[task]
    names = tuple(fitting_metrics(task))  # type: ignore[arg-type]
    expected = [record.validation for record in fit(task, metrics=names).history]
    from_source = fit(task, ArraySource(X[HELD_OUT], y[HELD_OUT]), metrics=names)
    assert [record.validation for record in from_source.history] == [pytest.approx(each, rel=1e-9) for each in expected]
    for run in run_ranks(2, lambda comm: fit(task, metrics=names, communicator=comm)):
        assert [record.validation for record in run.history] == [pytest.approx(each, rel=1e-9) for each in expected]


@pytest.mark.parametrize("name", METRICS)
def test_each_metric_chooses_the_epoch(name: str) -> None:
    task = METRICS[name].tasks[0]
    run = fit(task, early_stopping=f"{name}:patience=inf", learning_rate=0.2)
    scores = [record.validation[name] for record in run.history]
    best = (np.argmin if METRICS[name].is_error else np.argmax)(scores)
    network, y = CASES[task]
    kept = evaluate(network, run.params, X[HELD_OUT], y[HELD_OUT], CPU, scoring=Scoring((name,)))
    assert kept[name] == pytest.approx(scores[best], rel=1e-12)
    assert len(set(scores)) > 1


def test_without_restoring_the_last_epoch_is_kept() -> None:
    stopped = fit("regression", early_stopping="loss:patience=2,restore=0", learning_rate=0.5, epochs=60)
    assert stopped.stopped == "early stopping"
    alone = fit("regression", learning_rate=0.5, epochs=len(stopped.history))
    np.testing.assert_allclose(stopped.params.vector, alone.params.vector, rtol=1e-9)


@pytest.mark.parametrize(
    ("task", "settings", "message"),
    [
        ("classification", {"metrics": ["rmse"]}, "metrics: expected one of loss, accuracy, .*; received 'rmse'"),
        ("regression", {"early_stopping": "auc"}, "early_stopping: expected one of training_loss, .*; received 'auc'"),
        ("multilabel", {"metrics": ["balanced_accuracy"]}, "metrics: .*; received 'balanced_accuracy'"),
    ],
)
def test_a_metric_of_another_task_is_refused(task: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        fit(task, **settings)
    _, y = CASES[task]
    with pytest.raises(InvalidParameterError, match=f"metrics: expected some of .* for {task}; received"):
        fit(task, ArraySource(X[HELD_OUT], y[HELD_OUT]), **settings)


def test_unknown_metrics_and_none_to_compute() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown metric: .*received 'acuracy'\. Did you mean 'accuracy'"):
        Trainer(CASES["classification"][0], metrics=["acuracy"])
    network, y = CASES["classification"]
    with pytest.raises(InvalidParameterError, match="metrics: expected a validation part; received none"):
        Trainer(network, metrics=["f1"]).fit(X, y)
