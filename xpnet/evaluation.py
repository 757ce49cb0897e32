"""Outputs and metrics of a network over any number of samples, a chunk at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from xpnet.backend import Array, Backend
from xpnet.losses import OUTPUTS
from xpnet.network import Network, Parameters
from xpnet.scaling import Moments

__all__ = ["accuracy", "chunks", "evaluate", "evaluate_parts", "metric_name", "outputs", "r2"]

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
    """Return the mean loss without penalties, and the accuracy or R2.

    Parameters
    ----------
    x : (n_samples, n_in)
        On the backend's device, as is `y`.
    y : (n_samples,) int32 or (n_samples, n_out)
        Class indices, or targets.
    weight : (n_samples,) on the host, optional

    Returns
    -------
    dict
        ``loss`` and, for classes, ``accuracy`` (of all outputs at once where there are several labels), else ``r2``.
    """
    losses, results = _forward(network, params, x, y, backend)
    name = metric_name(network, y.ndim)
    metric = {"accuracy": accuracy, "r2": r2}[name](results, backend.to_numpy(y), weight)
    return {"loss": float(np.average(losses, weights=weight)), name: metric}


def evaluate_parts(
    network: Network, params: Parameters, parts: Iterable[tuple[Array, Array]], backend: Backend
) -> dict[str, float]:
    """Return what `evaluate` returns for all samples at once, from ``(x, y)`` some at a time."""
    n, loss, correct, squares = 0, 0.0, 0.0, 0.0
    name, targets = "accuracy", Moments(network.layer_sizes[-1])
    for x, y in parts:
        losses, results = _forward(network, params, x, y, backend)
        host, name = backend.to_numpy(y), metric_name(network, y.ndim)
        n, loss = n + len(losses), loss + float(losses.sum())
        if name == "accuracy":
            correct += accuracy(results, host) * len(losses)
        else:
            host = host.reshape(results.shape).astype(np.float64)
            squares = squares + ((host - results) ** 2).sum(axis=0)
            targets.add(host)
    if name == "accuracy":
        return {"loss": loss / n, name: correct / n}
    constant = targets.is_constant
    score = 1 - squares / np.where(constant, 1, targets.squares)
    return {"loss": loss / n, name: float(np.mean(np.where(constant, squares == 0, score)))}


def _forward(
    network: Network, params: Parameters, x: Array, y: Array, backend: Backend
) -> tuple[np.ndarray, np.ndarray]:
    """Return each sample's loss, in float64, and output, on the host."""
    xp = backend.xp
    loss = network.loss_function
    losses, results = [], []
    for rows in chunks(network, x.shape[0]):
        a = network.forward(params, x[rows, :], backend.kernels)
        t = network.targets(xp, y[rows, ...], a.dtype, smooth=False)
        value, _ = loss.value_and_gradient(xp, backend.kernels, a, t)
        losses.append(backend.to_numpy(value))
        results.append(backend.to_numpy(OUTPUTS[loss.output](xp, a) if loss.output else a))
    return np.concatenate(losses).astype(np.float64), np.concatenate(results)


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
