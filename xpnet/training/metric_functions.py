"""The formulas of the metrics.

Each takes decisions or outputs of the network, targets and weights or None, all on the host and in float64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = [
    "ClassCounts",
    "accuracy",
    "auc",
    "balanced_accuracy",
    "class_counts",
    "f1",
    "mae",
    "r2",
    "r2_of_squares",
    "rmse",
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

    @property
    def mean_recall(self) -> float:
        """Mean recall of the classes that occur."""
        return float(self.recall[self.support > 0].mean())

    @property
    def mean_f1(self) -> float:
        """Mean F1 of the classes that occur or are predicted."""
        return float(self.f1[self.support + self.predicted > 0].mean())


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


def accuracy(decided: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the share of samples whose class, or whose every label, is predicted."""
    right = decided == y
    return float(np.average(right if y.ndim == 1 else right.all(axis=1), weights=weight))


def balanced_accuracy(decided: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the mean recall of the classes that occur: Brodersen et al. (2010), ICPR, 3121-3124."""
    return class_counts(decided, y, _n_classes(decided, y), weight).mean_recall


def f1(decided: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the mean F1 of the classes that occur or are predicted, or of all labels."""
    counts = class_counts(decided, y, _n_classes(decided, y), weight)
    return counts.mean_f1 if y.ndim == 1 else float(counts.f1.mean())


def _n_classes(decided: np.ndarray, y: np.ndarray) -> int:
    return int(max(decided.max(), y.max())) + 1


def auc(output: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the area under the ROC curve: for several classes or labels the mean of each against the rest.

    A class that no or every sample has does not count; without any other the result is NaN.
    """
    weight = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=np.float64)
    if not weight.all():  # a sample without weight is none
        output, y, weight = output[weight > 0], y[weight > 0], weight[weight > 0]
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


def rmse(output: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the root of the mean squared error, averaged over outputs."""
    return float(np.sqrt(np.average((output - y) ** 2, axis=0, weights=weight)).mean())


def mae(output: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the mean absolute error, averaged over outputs."""
    return float(np.average(np.abs(output - y), axis=0, weights=weight).mean())
