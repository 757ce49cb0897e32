"""Metrics: the accuracy of classes and labels, and R2 of values."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.backend import Array, Namespace, namespace_of
from xpnet.nn.network import Network

__all__ = ["accuracy", "is_correct", "metric_name", "r2", "r2_of_squares"]


def metric_name(network: Network, y_ndim: int) -> str:
    """Return the metric of a network's targets: ``"accuracy"`` for class indices, else the default of the loss."""
    return "accuracy" if y_ndim == 1 else network.loss_function.metric


def accuracy(output: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None) -> float:
    """Return the fraction of samples whose class, or whose every label, is predicted."""
    return float(np.average(np.asarray(is_correct(namespace_of(output), output, y)), weights=sample_weight))


def is_correct(xp: Namespace, output: Array, y: Array) -> Any:
    """Return for each sample whether its class, or every one of its labels, is predicted, (n_samples,) bool."""
    if y.ndim == 1 and output.shape[1] > 1:
        return xp.argmax(output, axis=1) == y
    return xp.all((output > 0.5) == (xp.astype(xp.reshape(y, output.shape), output.dtype) > 0.5), axis=1)


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
