"""Metrics: scores of predictions on the host, one entry of a table for each.

A metric takes predictions and targets. Predictions are what `Metric.needs` says: *decisions* are class indices,
(n_samples,), 0/1 labels or values, (n_samples, n_outputs); *outputs* are probabilities or values of the network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

from xpnet.backend import Array, Namespace
from xpnet.data.targets import Task
from xpnet.errors import UnknownNameError
from xpnet.nn.network import Network

__all__ = [
    "DEFAULT_SCORING",
    "METRICS",
    "ClassCounts",
    "Metric",
    "Scoring",
    "class_counts",
    "constant_decision",
    "decisions",
    "fitting_metrics",
    "get_metric",
    "is_correct",
    "is_lower_better",
    "metric_label",
    "metric_name",
    "r2",
    "r2_of_squares",
    "task_of",
]


class ClassCounts(NamedTuple):
    """Number, or sum of weights, of samples by class or by label, each (n_classes,) float64.

    Attributes
    ----------
    hits : ndarray
        Of the class, and predicted as such.
    predicted, support : ndarray
        Predicted as the class; of the class.
    """

    hits: np.ndarray
    predicted: np.ndarray
    support: np.ndarray

    @property
    def precision(self) -> np.ndarray:
        """Share of the predictions of a class that are right; 0 without any."""
        return _quotient(self.hits, self.predicted)

    @property
    def recall(self) -> np.ndarray:
        """Share of the samples of a class that are found; 0 without any."""
        return _quotient(self.hits, self.support)

    @property
    def f1(self) -> np.ndarray:
        """Harmonic mean of precision and recall; 0 without samples and predictions."""
        return _quotient(2 * self.hits, self.predicted + self.support)


def class_counts(
    predicted: np.ndarray, true: np.ndarray, n_classes: int, sample_weight: np.ndarray | None = None
) -> ClassCounts:
    """Count class indices, (n_samples,), or 0/1 labels, (n_samples, n_classes)."""
    weight = np.ones(len(true)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    if true.ndim == 2:
        return ClassCounts(*(weight @ matrix for matrix in (true * predicted, predicted, true)))
    indices, right = true.astype(np.int64), true == predicted
    chosen = (indices[right], weight[right]), (predicted.astype(np.int64), weight), (indices, weight)
    return ClassCounts(*(np.bincount(of, weights, n_classes) for of, weights in chosen))


def _quotient(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return part / np.where(whole > 0, whole, 1)


def _accuracy(decided: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the share of samples whose class, or whose every label, is predicted."""
    right = decided == y
    return float(np.average(right if y.ndim == 1 else right.all(axis=1), weights=weight))


def _balanced_accuracy(decided: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the mean recall of the classes that occur: Brodersen et al. (2010), ICPR, 3121-3124."""
    counts = class_counts(decided, y, _n_classes(decided, y), weight)
    return float(counts.recall[counts.support > 0].mean())


def _f1(decided: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the mean F1 of the classes that occur or are predicted, or of all labels."""
    counts = class_counts(decided, y, _n_classes(decided, y), weight)
    return float(counts.f1[(counts.support + counts.predicted > 0) | (y.ndim == 2)].mean())


def _n_classes(decided: np.ndarray, y: np.ndarray) -> int:
    return int(max(decided.max(), y.max())) + 1


def _auc(output: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the area under the ROC curve: for several classes or labels the mean of each against the rest.

    A class that no or every sample has does not count; without any other the result is NaN.
    """
    weight = np.ones(len(y)) if weight is None else weight
    if y.ndim == 2:
        pairs = list(zip(output.T, y.T > 0.5, strict=True))
    elif output.shape[1] <= 2:
        pairs = [(output[:, -1], y == 1)]
    else:
        pairs = [(column, y == index) for index, column in enumerate(output.T)]
    areas = [_roc_area(score, positive, weight) for score, positive in pairs if positive.any() and not positive.all()]
    return float(np.mean(areas)) if areas else float("nan")


def _roc_area(score: np.ndarray, positive: np.ndarray, weight: np.ndarray) -> float:
    """Return the area under one ROC curve by the trapezoidal rule: Fawcett (2006), Pattern Recognit. Lett. 27."""
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)  # of samples with one score
    hits, false_alarms = (
        np.concatenate([[0.0], np.cumsum((weight * side)[order])[ends]]) for side in (positive, ~positive)
    )
    area = np.diff(false_alarms) @ (hits[1:] + hits[:-1]) / 2
    return float(area / (hits[-1] * false_alarms[-1]))


def r2(output: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None) -> float:
    """Return the coefficient of determination, averaged over outputs.

    For a constant target it is 1 if the target is met exactly, else 0.
    """
    y = y.reshape(output.shape).astype(np.float64)
    residual = np.average((y - output) ** 2, axis=0, weights=sample_weight)
    total = np.average((y - np.average(y, axis=0, weights=sample_weight)) ** 2, axis=0, weights=sample_weight)
    # The rounding of the mean leaves a constant column a tiny deviation, so it is told by its range.
    return r2_of_squares(residual, total, (y.min(axis=0) == y.max(axis=0)) | (total == 0))


def r2_of_squares(residual: np.ndarray, total: np.ndarray, constant: np.ndarray) -> float:
    """Return the mean of ``1 - residual / total`` over outputs; see `r2` for constant targets.

    Parameters
    ----------
    residual, total : (n_out,)
        Squared deviations of the targets from the outputs and from their mean, both summed or both averaged.
    constant : (n_out,) bool
    """
    score = 1 - residual / np.where(constant, 1, total)
    return float(np.mean(np.where(constant, residual == 0, score)))


def _rmse(output: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the root of the mean squared error, averaged over outputs."""
    return float(np.sqrt(np.average((output - y) ** 2, axis=0, weights=weight)).mean())


def _mae(output: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the mean absolute error, averaged over outputs."""
    return float(np.average(np.abs(output - y), axis=0, weights=weight).mean())


class Metric(NamedTuple):
    """A score of predictions.

    Attributes
    ----------
    score : (predictions, y, sample_weight or None) -> float
        From float64 arrays on the host.
    tasks : tuple of str
        Tasks that it is for. The first metric of a task is its default.
    label : str
        Its name in tables.
    needs : {"decisions", "outputs"}
    is_error : bool
        Whether lower is better, and the score has the unit of the target.
    """

    score: Callable[[np.ndarray, np.ndarray, np.ndarray | None], float]
    tasks: tuple[Task, ...]
    label: str
    needs: Literal["decisions", "outputs"] = "decisions"
    is_error: bool = False


METRICS: dict[str, Metric] = {
    "accuracy": Metric(_accuracy, ("classification", "multilabel"), "accuracy"),
    "balanced_accuracy": Metric(_balanced_accuracy, ("classification",), "balanced accuracy"),
    "f1": Metric(_f1, ("classification", "multilabel"), "macro F1"),
    "auc": Metric(_auc, ("classification", "multilabel"), "AUC", "outputs"),
    "r2": Metric(r2, ("regression",), "R2"),
    "rmse": Metric(_rmse, ("regression",), "RMSE", is_error=True),
    "mae": Metric(_mae, ("regression",), "MAE", is_error=True),
}


def get_metric(name: str) -> Metric:
    """Return the metric of a name.

    Raises
    ------
    UnknownNameError
    """
    if name not in METRICS:
        raise UnknownNameError.among("metric", name, METRICS)
    return METRICS[name]


class Scoring(NamedTuple):
    """What an evaluation returns beside the loss and the default metric.

    Attributes
    ----------
    metrics : tuple of str
        Names in `METRICS`.
    unit : (n_out,), optional
        Factors from the network's targets to the unit in which errors are given.
    """

    metrics: tuple[str, ...] = ()
    unit: np.ndarray | None = None


DEFAULT_SCORING = Scoring()


def fitting_metrics(task: Task) -> list[str]:
    """Return the names of the metrics of a task; the first is its default."""
    return [name for name, metric in METRICS.items() if task in metric.tasks]


def task_of(network: Network, y_ndim: int) -> Task:
    """Return the task of a network with targets of this number of dimensions."""
    if y_ndim == 1:
        return "classification"
    return "multilabel" if network.loss_function.metric == "accuracy" else "regression"


def metric_name(network: Network, y_ndim: int) -> str:
    """Return the default metric of a network's targets: ``"accuracy"`` or ``"r2"``."""
    return fitting_metrics(task_of(network, y_ndim))[0]


def metric_label(name: str) -> str:
    """Return the name of a loss or a metric as tables show it."""
    return METRICS[name].label if name in METRICS else name


def is_lower_better(name: str) -> bool:
    """Return whether a lower loss or score is better."""
    return METRICS[name].is_error if name in METRICS else name in ("loss", "training_loss")


def decisions(xp: Namespace, output: Array, task: Task) -> Any:
    """Return what a network decides from its outputs, (n_samples, n_out).

    Class indices, (n_samples,), 0/1 labels, (n_samples, n_out), in the dtype of the outputs, or the values themselves.
    """
    if task == "classification" and output.shape[1] > 1:
        return xp.astype(xp.argmax(output, axis=1), output.dtype)
    if task == "regression":
        return output
    labels = xp.astype(output > 0.5, output.dtype)
    return labels[:, 0] if task == "classification" else labels


def is_correct(xp: Namespace, output: Array, y: Array) -> Any:
    """Return for each sample whether its class, or every one of its labels, is predicted, (n_samples,) bool."""
    if y.ndim == 1 and output.shape[1] > 1:
        return xp.argmax(output, axis=1) == y
    return xp.all((output > 0.5) == (xp.astype(xp.reshape(y, output.shape), output.dtype) > 0.5), axis=1)


def constant_decision(task: Task, y: np.ndarray) -> tuple[str, np.ndarray]:
    """Return the best constant decision for targets as the loss takes them, and its name: the trivial baseline.

    Parameters
    ----------
    y : (n_samples,) class indices, or (n_samples, n_outputs)

    Returns
    -------
    name : {"majority class", "majority", "mean"}
    decision : () or (n_outputs,)
    """
    if task == "classification":
        return "majority class", np.bincount(y).argmax()
    if task == "multilabel":
        return "majority", (y.mean(axis=0) > 0.5).astype(np.int64)
    return "mean", y.mean(axis=0)
