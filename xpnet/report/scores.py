"""Scores of a run by part, beside trivial baselines, and scores by class: numbers only."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from xpnet.plot.calibration import expected_calibration_error
from xpnet.plot.predictions import (
    Predictions,
    WrongSample,
    most_wrong,
)
from xpnet.report.baselines import baselines
from xpnet.report.finished_run import FinishedRun
from xpnet.training.metric_functions import class_counts
from xpnet.training.metrics import decision_scores

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
        By name: "loss", of the network only, and the metrics of the task; those that need probabilities are of the
        network only.
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
        rows.append(ScoreRow(part, len(y), "network", model.evaluate(x, y)))
    if "train" in run.parts:
        part = run.scored_part
        each = run.predictions
        for name, predicted in baselines(model, *run.parts["train"], each.x).items():
            rows.append(ScoreRow(part, len(each.rows), name, decision_scores(model.task, predicted, each.true)))
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
    counts = class_counts(each.predicted, each.true, len(each.labels))
    columns = (counts.precision, counts.recall, counts.f1, counts.support.astype(np.int64))
    return list(map(ClassRow, each.labels.tolist(), *(column.tolist() for column in columns)))
