"""Outputs and metrics of a network over any number of samples, a chunk at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from array_api_compat import array_namespace

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
    return _joined(backend.xp, results)


def evaluate(
    network: Network, params: Parameters, x: Array, y: Array, backend: Backend, weight: np.ndarray | None = None
) -> dict[str, float]:
    """Return the scores of `assess`."""
    scores, _ = assess(network, params, x, y, backend, weight)
    return scores


def assess(
    network: Network, params: Parameters, x: Array, y: Array, backend: Backend, weight: np.ndarray | None = None
) -> tuple[dict[str, float], Array]:
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
    output : (n_samples, n_out)
        As of `outputs`.
    """
    xp = backend.xp
    loss = network.loss_function
    name = metric_name(network, y.ndim)
    pieces, results = [], []
    for rows in chunks(network, x.shape[0]):
        a = network.forward(params, x[rows, :], backend.kernels)
        true = y[rows, ...]
        value, _ = loss.value_and_gradient(xp, backend.kernels, a, network.targets(xp, true, a.dtype, smooth=False))
        result = OUTPUTS[loss.output](xp, a) if loss.output else a
        results.append(result)
        if name == "accuracy":
            scored = [xp.astype(_is_correct(xp, result, true), a.dtype)[:, None]]
        else:
            scored = [result, xp.astype(xp.reshape(true, result.shape), a.dtype)]
        pieces.append(xp.concat([value[:, None], *scored], axis=1))
    # All that is needed comes to the host at once, for each time is a wait for the device.
    losses, *columns = backend.to_numpy(_joined(xp, pieces)).T
    if name == "accuracy":
        metric = float(np.average(columns[0].astype(np.float64), weights=weight))
    else:
        half = len(columns) // 2
        metric = r2(np.stack(columns[:half], axis=1), np.stack(columns[half:], axis=1), weight)
    mean = float(np.average(losses.astype(np.float64), weights=weight))
    return {"loss": mean, name: metric}, _joined(xp, results)


def _joined(xp: Any, pieces: list[Array]) -> Array:
    return pieces[0] if len(pieces) == 1 else xp.concat(pieces)


def metric_name(network: Network, y_ndim: int) -> str:
    """Return ``"accuracy"`` for class indices and label matrices, ``"r2"`` for values."""
    return "accuracy" if y_ndim == 1 or network.loss_function.output == "sigmoid" else "r2"


def accuracy(output: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Share of samples whose class, or whose every label, is predicted."""
    return float(np.average(_is_correct(array_namespace(output), output, y), weights=weight))


def _is_correct(xp: Any, output: Array, y: Array) -> Array:
    if y.ndim == 1 and output.shape[1] > 1:
        return xp.argmax(output, axis=1) == y
    return xp.all((output > 0.5) == (xp.astype(xp.reshape(y, output.shape), output.dtype) > 0.5), axis=1)


def r2(output: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Coefficient of determination, the mean over outputs; for a constant target 1 if it is met exactly, else 0."""
    y = y.reshape(output.shape).astype(np.float64)
    residual = np.average((y - output) ** 2, axis=0, weights=weight)
    total = np.average((y - np.average(y, axis=0, weights=weight)) ** 2, axis=0, weights=weight)
    # The rounding of the mean leaves a constant column a tiny deviation, so it is told by its range.
    constant = (y.min(axis=0) == y.max(axis=0)) | (total == 0)
    score = 1 - residual / np.where(constant, 1, total)
    return float(np.mean(np.where(constant, residual == 0, score)))
