"""Scores of a run by part, beside trivial baselines, and scores by class: numbers only.

The scores are counted here, for scikit-learn takes longer to import than a report may take; the tests compare them
with scikit-learn's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from xpnet.model.model import Model
from xpnet.plot.calibration import expected_calibration_error
from xpnet.plot.predictions import (
    Predictions,
    WrongSample,
    class_labels,
    encoded_targets,
    most_wrong,
)
from xpnet.report.baselines import baselines
from xpnet.report.finished_run import FinishedRun
from xpnet.training.metrics import r2

__all__ = [
    "ClassRow",
    "ScoreRow",
    "WrongSample",
    "class_scores",
    "expected_calibration_error",
    "most_wrong",
    "part_scores",
]


class ScoreRow(NamedTuple):
    """Scores of a model on a part of the data.

    Attributes
    ----------
    part : str
    n_samples : int
        Samples that are scored: all of the part, or for a baseline at most 10,000.
    model : str
        "network", or the name of a baseline: "linear model", "majority class", "majority" or "mean".
    scores : dict of str to float
        By name: "loss", of the network only; "accuracy" and "balanced accuracy" of classes; "accuracy", of all labels
        together, and "macro F1" of labels; "r2", "RMSE" and "MAE" of values, the latter two in the target's units,
        averaged over the outputs.
    """

    part: str
    n_samples: int
    model: str
    scores: dict[str, float]


class ClassRow(NamedTuple):
    """Precision, recall, F1 and number of samples of a class, or of a label of a multilabel task."""

    label: Any
    precision: float
    recall: float
    f1: float
    support: int


def part_scores(run: FinishedRun) -> list[ScoreRow]:
    """Return the scores of the network on each part, and those of the baselines on the part that is scored.

    The baselines are fitted to the training part; without one there are none.
    """
    model, rows = run.model, []
    for part, (x, y) in run.parts.items():
        scores, predicted = model.assess(x, y)
        true = encoded_targets(model, y)
        if model.task == "classification":
            predicted = np.searchsorted(class_labels(model), predicted)
        detailed = _scores(model, true, predicted.reshape(true.shape))
        rows.append(ScoreRow(part, len(y), "network", {"loss": scores["loss"], **detailed, **scores}))
    if "train" in run.parts:
        part = run.scored_part
        each = run.predictions
        for name, predicted in baselines(model, *run.parts["train"], each.x).items():
            rows.append(ScoreRow(part, len(each.rows), name, _scores(model, each.true, predicted)))
    return rows


def class_scores(model: Any, x: Any = None, y: Any = None) -> list[ClassRow]:
    """Return precision, recall, F1 and support of each class, or of each label of a multilabel task.

    A quotient without a denominator is 0.

    Parameters
    ----------
    model : Model, fitted estimator, or Predictions
        With `Predictions`, `x` and `y` are not needed.
    x, y
        Raw features and raw targets.

    Raises
    ------
    InvalidParameterError
        The model is for regression.
    """
    each = model if isinstance(model, Predictions) else Predictions.of(model, x, y)
    each.check_task("class_scores", "classification", "multilabel")
    precision, recall, f1, support = _by_class(each.model, each.true, each.predicted)
    columns = (precision.tolist(), recall.tolist(), f1.tolist(), support.tolist())
    return list(map(ClassRow, each.labels.tolist(), *columns))


def _by_class(
    model: Model, true: np.ndarray, predicted: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return precision, recall, F1 and support of each class or label."""
    if model.task == "multilabel":
        hits, claimed, support = (matrix.sum(axis=0) for matrix in (true * predicted, predicted, true))
    else:
        n = len(class_labels(model))
        hits, claimed, support = (
            np.bincount(indices, minlength=n) for indices in (true[true == predicted], predicted, true)
        )
    quotients = (hits, claimed), (hits, support), (2 * hits, claimed + support)
    precision, recall, f1 = (part / np.maximum(whole, 1) for part, whole in quotients)
    return precision, recall, f1, support.astype(np.int64)


def _scores(model: Model, true: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    if model.task == "regression":
        errors = predicted - true
        return {
            "r2": r2(predicted, true),
            "RMSE": float(np.sqrt(np.mean(errors**2, axis=0)).mean()),
            "MAE": float(np.abs(errors).mean()),
        }
    _, recall, f1, support = _by_class(model, true, predicted)
    if model.task == "multilabel":
        return {"accuracy": float(np.mean((predicted == true).all(axis=1))), "macro F1": float(f1.mean())}
    return {"accuracy": float(np.mean(predicted == true)), "balanced accuracy": float(recall[support > 0].mean())}
