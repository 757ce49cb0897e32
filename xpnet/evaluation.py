"""Outputs and metrics of a network over any number of samples, a chunk at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xpnet.backend import Array, Backend
from xpnet.losses import OUTPUTS
from xpnet.network import Network, Parameters

__all__ = ["accuracy", "assess", "chunks", "evaluate", "metric_name", "outputs", "r2"]

_CHUNK_ELEMENTS = 1 << 22  # activations held at once; keeps the memory of a prediction apart from the size of the data


def chunks(network: Network, n_samples: int) -> Iterator[slice]:
    """Yield slices over the samples, each with a bounded number of activations."""
    size = max(1, _CHUNK_ELEMENTS // max(network.layer_sizes))
    return (slice(start, min(start + size, n_samples)) for start in range(0, max(n_samples, 1), size))


def outputs(network: Network, params: Parameters, x: Array, backend: Backend) -> Array:
    """Return the network's output on the device, (n_samples, n_out): probabilities, rates or values."""
    results = [network.predict(params, x[rows, :], kernels=backend.kernels) for rows in chunks(network, x.shape[0])]
    return results[0] if len(results) == 1 else backend.xp.concat(results)


def evaluate(
    network: Network, params: Parameters, x: Array, y: Array, backend: Backend, weight: np.ndarray | None = None
) -> dict[str, float]:
    """Return the scores of `assess`."""
    scores, _ = assess(network, params, x, y, backend, weight)
    return scores


def assess(
    network: Network, params: Parameters, x: Array, y: Array, backend: Backend, weight: np.ndarray | None = None
) -> tuple[dict[str, float], np.ndarray]:
    """Return the mean loss without penalties and the accuracy or R2, and the outputs that they are of.

    Parameters
    ----------
    x : (n_samples, n_in)
        On the backend's device, as is `y`.
    y : (n_samples,) int32 or (n_samples, n_out)
        Class indices, or targets.
    weight : (n_samples,) on the host, optional

    Returns
    -------
    scores : dict
        ``loss`` and, for classes, ``accuracy`` (of all outputs at once where there are several labels), else ``r2``.
    output : (n_samples, n_out), on the host
        As of `outputs`.
    """
    xp = backend.xp
    loss = network.loss_function
    losses, results = [], []
    for rows in chunks(network, x.shape[0]):
        a = network.forward(params, x[rows, :], backend.kernels)
        t = network.targets(xp, y[rows, ...], a.dtype, smooth=False)
        value, _ = loss.value_and_gradient(xp, backend.kernels, a, t)
        losses.append(backend.to_numpy(value))
        results.append(backend.to_numpy(OUTPUTS[loss.output](xp, a) if loss.output else a))
    name = metric_name(network, y.ndim)
    output = np.concatenate(results)
    metric = {"accuracy": accuracy, "r2": r2}[name](output, backend.to_numpy(y), weight)
    mean = float(np.average(np.concatenate(losses).astype(np.float64), weights=weight))
    return {"loss": mean, name: metric}, output


def metric_name(network: Network, y_ndim: int) -> str:
    """Return ``"accuracy"`` for class indices and label matrices, ``"r2"`` for values."""
    return "accuracy" if y_ndim == 1 or network.loss_function.output == "sigmoid" else "r2"


def accuracy(output: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Share of samples whose class, or whose every label, is predicted."""
    if y.ndim == 1 and output.shape[1] > 1:
        correct = np.argmax(output, axis=1) == y
    else:
        correct = np.all((output > 0.5) == (y.reshape(output.shape) > 0.5), axis=1)
    return float(np.average(correct, weights=weight))


def r2(output: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Coefficient of determination, the mean over outputs; for a constant target 1 if it is met exactly, else 0."""
    y = y.reshape(output.shape).astype(np.float64)
    residual = np.average((y - output) ** 2, axis=0, weights=weight)
    total = np.average((y - np.average(y, axis=0, weights=weight)) ** 2, axis=0, weights=weight)
    # The rounding of the mean leaves a constant column a tiny deviation, so it is told by its range.
    constant = (y.min(axis=0) == y.max(axis=0)) | (total == 0)
    score = 1 - residual / np.where(constant, 1, total)
    return float(np.mean(np.where(constant, residual == 0, score)))
