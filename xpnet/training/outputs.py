"""Outputs of a network, computed in chunks of samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import numpy as np

from xpnet.backend import Array, Backend, Namespace, kind_of, namespace_of
from xpnet.nn.backprop import forward
from xpnet.nn.network import Network, Parameters
from xpnet.training.input_rows import InputRows, input_chunks

__all__ = ["Members", "host_outputs", "joined", "logits", "on_host", "outputs", "sample_chunks"]

# The parameters of a network, or those of each member of an ensemble.
Members: TypeAlias = Parameters | tuple[Parameters, ...]

_CHUNK_ELEMENTS = 1 << 22  # activations held at once, so that the memory does not grow with the data
_COPIED_ELEMENTS = 1 << 21  # results that are copied to the host at once
# Elements of an array that a processor's cache holds: on larger ones elementwise work takes several times as long.
_CACHE_ELEMENTS = {"cpu": 1 << 17}
_CHUNK_SAMPLES = 256  # a matrix product of fewer is slower


def sample_chunks(network: Network, n_samples: int, backend: Backend | None = None) -> Iterator[slice]:
    """Yield slices over the samples, each with a limited number of activations, or what a backend's cache holds."""
    widest = max(network.layer_sizes)
    size = max(1, _CHUNK_ELEMENTS // widest)
    if backend is not None and (cache := _CACHE_ELEMENTS.get(kind_of(backend))):
        size = min(size, max(_CHUNK_SAMPLES, cache // widest))
    return (slice(start, min(start + size, n_samples)) for start in range(0, max(n_samples, 1), size))


def outputs(
    network: Network,
    params: Members,
    x: Array | InputRows,
    backend: Backend,
    decide: Callable[[Array], Array] | None = None,
) -> Array:
    """Return the network's output on the device, (n_samples, n_out): probabilities, rates or values.

    With `decide`, return what it makes of the outputs, of some samples at a time. The outputs of all samples are then
    never in memory: with thousands of classes they would take much more of it than the data.
    """
    chunks = [decide(chunk) if decide else chunk for chunk in _outputs(network, params, x, backend)]
    return chunks[0] if len(chunks) == 1 else backend.xp.concat(chunks)


def host_outputs(
    network: Network,
    params: Members,
    x: Array | InputRows,
    backend: Backend,
    decide: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Return the result of `outputs` on the host; the device holds a few chunks at a time."""
    chunks = ((chunk,) for chunk in _outputs(network, params, x, backend))
    return joined(decide(output) if decide else output for (output,) in on_host(backend, chunks))


def _outputs(network: Network, params: Members, x: Array | InputRows, backend: Backend) -> Iterator[Array]:
    slices = sample_chunks(network, x.shape[0], backend)
    return (network.outputs(logits(network, params, chunk)) for chunk in input_chunks(x, slices))


def on_host(backend: Backend, chunks: Iterable[tuple[Array, ...]]) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield the arrays of some chunks at a time, joined and copied to the host.

    Each copy waits for the device, so that many chunks are copied at once.
    """
    waiting, size = [], 0
    for chunk in chunks:
        waiting.append(chunk)
        size += sum(math.prod(array.shape) for array in chunk)
        if size > _COPIED_ELEMENTS:
            yield _copied(backend, waiting)
            waiting, size = [], 0
    if waiting:
        yield _copied(backend, waiting)


def _copied(backend: Backend, chunks: list[tuple[Array, ...]]) -> tuple[np.ndarray, ...]:
    joined = chunks[0] if len(chunks) == 1 else map(backend.xp.concat, zip(*chunks, strict=True))
    return tuple(map(backend.to_numpy, joined))


def joined(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """Return arrays as one."""
    first, *others = arrays
    return np.concatenate([first, *others]) if others else first


def logits(network: Network, params: Members, x: Array, xp: Namespace | None = None) -> Array:
    """Return the result of `Network.forward`, (batch, n_out); for an ensemble the mean over its members."""
    first, *others = (params,) if isinstance(params, Parameters) else params
    xp = xp or namespace_of(first[0][0])  # parameters of an estimator have no vector yet
    total = forward(network, xp, first, x)
    for member in others:
        total = total + forward(network, xp, member, x)
    return total / len(params) if others else total
