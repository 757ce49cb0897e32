"""The table of metrics, which are scores of predictions on the host.

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
from xpnet.training.metric_functions import accuracy, auc, balanced_accuracy, f1, mae, r2, rmse

__all__ = [
    "DEFAULT_SCORING",
    "METRICS",
    "METRIC_SYNONYMS",
    "Metric",
    "Scoring",
    "baseline_scores",
    "constant_decision",
    "decision_scores",
    "decisions",
    "fitting_metrics",
    "get_metric",
    "is_correct",
    "is_lower_better",
    "metric_label",
    "metric_name",
    "task_of",
]


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
    "accuracy": Metric(accuracy, ("classification", "multilabel"), "accuracy"),
    "balanced_accuracy": Metric(balanced_accuracy, ("classification",), "balanced accuracy"),
    "f1": Metric(f1, ("classification", "multilabel"), "macro F1"),
    "auc": Metric(auc, ("classification", "multilabel"), "AUC", "outputs"),
    "r2": Metric(r2, ("regression",), "R2"),
    "rmse": Metric(rmse, ("regression",), "RMSE", is_error=True),
    "mae": Metric(mae, ("regression",), "MAE", is_error=True),
}

# What others call them, for hints in errors; see `UnknownNameError.among`.
METRIC_SYNONYMS = {
    **dict.fromkeys(("acc", "accuracy_score"), "accuracy"),
    **dict.fromkeys(("balanced_acc", "balanced_accuracy_score"), "balanced_accuracy"),
    **dict.fromkeys(("f1_score", "f1_macro", "macro_f1"), "f1"),
    **dict.fromkeys(("roc_auc", "auroc", "roc_auc_score"), "auc"),
    **dict.fromkeys(("r_squared", "r2_score"), "r2"),
    **dict.fromkeys(("mse", "mean_squared_error", "root_mean_squared_error"), "rmse"),
    **dict.fromkeys(("mean_absolute_error", "l1"), "mae"),
}


def get_metric(name: str) -> Metric:
    """Return the metric of a name.

    Raises
    ------
    UnknownNameError
    """
    if name not in METRICS:
        raise UnknownNameError.among("metric", name, METRICS, METRIC_SYNONYMS)
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


def decision_scores(task: Task, decided: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return the metrics that need decisions only: of class indices, 0/1 labels or values."""
    decided, y = np.asarray(decided, dtype=np.float64), np.asarray(y, dtype=np.float64)
    metrics = {name: METRICS[name] for name in fitting_metrics(task)}
    return {name: metric.score(decided, y, None) for name, metric in metrics.items() if metric.needs == "decisions"}


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
        return "majority class", np.asarray(np.bincount(y).argmax())
    if task == "multilabel":
        return "majority", (y.mean(axis=0) > 0.5).astype(np.int64)
    return "mean", y.mean(axis=0)


def baseline_scores(task: Task, training: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Return the ``name`` of the best constant decision for training targets, and its scores on other targets."""
    name, decision = constant_decision(task, training)
    return {"name": name, **decision_scores(task, np.broadcast_to(decision, (len(y), *decision.shape)), y)}
