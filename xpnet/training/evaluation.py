"""Outputs and metrics of a network, computed in chunks of samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from xpnet.backend import Array, Backend, Namespace, kind_of, namespace_of
from xpnet.communicator import Communicator
from xpnet.data.checks import check_lengths
from xpnet.data.scaling import Moments
from xpnet.data.shared_rows import SharedRows
from xpnet.nn.backprop import forward
from xpnet.nn.network import Network, Parameters
from xpnet.training.input_rows import InputRows, input_chunks
from xpnet.training.metrics import is_correct, metric_name, r2, r2_of_squares

__all__ = [
    "Members",
    "assess",
    "evaluate",
    "evaluate_chunks",
    "host_outputs",
    "outputs",
    "sample_chunks",
]

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
    return _joined(decide(output) if decide else output for (output,) in _on_host(backend, chunks))


def _outputs(network: Network, params: Members, x: Array | InputRows, backend: Backend) -> Iterator[Array]:
    slices = sample_chunks(network, x.shape[0], backend)
    return (network.outputs(_logits(network, params, chunk)) for chunk in input_chunks(x, slices))


def _on_host(backend: Backend, chunks: Iterable[tuple[Array, ...]]) -> Iterator[tuple[np.ndarray, ...]]:
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


def _joined(arrays: Iterable[np.ndarray]) -> np.ndarray:
    first, *others = arrays
    return np.concatenate([first, *others]) if others else first


def _logits(network: Network, params: Members, x: Array, xp: Namespace | None = None) -> Array:
    """Return the result of `Network.forward`, (batch, n_out); for an ensemble the mean over its members."""
    first, *others = (params,) if isinstance(params, Parameters) else params
    xp = xp or namespace_of(first[0][0])  # parameters of an estimator have no vector yet
    total = forward(network, xp, first, x)
    for member in others:
        total = total + forward(network, xp, member, x)
    return total / len(params) if others else total


def evaluate(
    network: Network,
    params: Members,
    x: Array | InputRows,
    y: Array,
    backend: Backend,
    sample_weight: np.ndarray | None = None,
    *,
    repeated: bool = False,
    communicator: Communicator | None = None,
) -> dict[str, float]:
    """Return the mean loss without penalties, and the accuracy or R2.

    Parameters
    ----------
    x : (n_samples, n_in)
        On the backend's device, or InputRows. Of `SharedRows` each rank evaluates its own.
    y : (n_samples,) int32 or (n_samples, n_out)
        Class indices, or targets; on the device, or on the host.
    sample_weight : (n_samples,) on the host, optional
    repeated : bool
        Whether the network is evaluated often, so that compiling the evaluation pays.
    communicator : Communicator, optional
        The samples are then the part of this rank, and the scores those of all ranks' samples in order.

    Returns
    -------
    scores : dict
        ``loss``, and ``accuracy`` for classes or ``r2`` for values. With several labels a sample counts as correct if
        all its labels are.

    Raises
    ------
    DataError
        `x` and `y` differ in length.
    """
    x, y, communicator = _own(x, y, communicator)
    needed = _joined(_needed(network, params, x, y, backend, repeated=repeated))
    if communicator is not None:
        needed = _joined(communicator.gather(needed))
    return _scores(network, y, needed, sample_weight)


def assess(
    network: Network,
    params: Members,
    x: Array | InputRows,
    y: Array,
    backend: Backend,
    decide: Callable[[np.ndarray], np.ndarray] | None = None,
) -> tuple[dict[str, float], np.ndarray]:
    """Return the scores of `evaluate`, and the outputs or what `decide` makes of them, in one pass over the samples.

    Parameters
    ----------
    decide : callable
        As for `host_outputs`.
    """
    x, y, communicator = _own(x, y)
    copied = _on_host(backend, _forward(network, params, x, y, backend))
    pairs = zip(*((needed, decide(output) if decide else output) for needed, output in copied), strict=True)
    needed, decided = map(_joined, pairs)
    if communicator is not None:
        needed, decided = (_joined(communicator.gather(each)) for each in (needed, decided))
    return _scores(network, y, needed, None), decided


def _own(
    x: Array | InputRows, y: Array, communicator: Communicator | None = None
) -> tuple[Array | InputRows, Array, Communicator | None]:
    """Return the samples that this rank evaluates, and the communicator by which it gets the results of others."""
    if not (isinstance(x, InputRows) and isinstance(x.values, SharedRows)):
        return x, y, communicator
    return x.own(), y[x.values.positions, ...], x.values.communicator


def _scores(network: Network, y: Array, needed: np.ndarray, sample_weight: np.ndarray | None) -> dict[str, float]:
    losses, scored = _columns(needed)
    name = metric_name(network, y.ndim)
    if name == "accuracy":
        metric = float(np.average(scored[:, 0], weights=sample_weight))
    else:
        results, true = np.split(scored, 2, axis=1)
        metric = r2(results, true, sample_weight)
    return {"loss": float(np.average(losses, weights=sample_weight)), name: metric}


def evaluate_chunks(
    network: Network,
    params: Members,
    chunks: Iterable[tuple[Array | InputRows, Array]],
    backend: Backend,
) -> dict[str, float]:
    """Return the scores of `evaluate` for samples that come in chunks ``(x, y)``."""
    n, loss, correct, squares = 0, 0.0, 0.0, np.zeros(network.layer_sizes[-1])
    name, targets = "accuracy", Moments(network.layer_sizes[-1])
    for x, y in chunks:
        x, y, communicator = _own(x, y)
        of_chunk: Iterable[np.ndarray] = _needed(network, params, x, y, backend)
        if communicator is not None:
            of_chunk = communicator.gather(_joined(of_chunk))
        for needed in of_chunk:
            losses, scored = _columns(needed)
            n, loss, name = n + len(losses), loss + float(losses.sum()), metric_name(network, y.ndim)
            if name == "accuracy":
                correct += float(scored.sum())
            else:
                output, true = np.split(scored, 2, axis=1)
                squares += ((true - output) ** 2).sum(axis=0)
                targets.add(true)
    if name == "accuracy":
        return {"loss": loss / n, name: correct / n}
    return {"loss": loss / n, name: r2_of_squares(squares, targets.squares, targets.is_constant)}


def _needed(
    network: Network, params: Members, x: Array | InputRows, y: Array, backend: Backend, *, repeated: bool = False
) -> Iterator[np.ndarray]:
    """Yield on the host what the scores of some samples at a time need; see `_forward`."""
    chunks = _forward(network, params, x, y, backend, repeated=repeated)
    return (needed for (needed,) in _on_host(backend, ((needed,) for needed, _ in chunks)))


def _forward(
    network: Network, params: Members, x: Array | InputRows, y: Array, backend: Backend, *, repeated: bool = False
) -> Iterator[tuple[Array, Array]]:
    """Yield for each chunk of samples what their scores need, and their outputs.

    The first column of what the scores need is the loss; then follows whether a sample is correct, or its output and
    its target.
    """
    check_lengths(x, y)
    vectors = tuple([each.vector for each in ((params,) if isinstance(params, Parameters) else params)])
    losses, needed = _compiled(network, backend, repeated)
    slices = list(sample_chunks(network, x.shape[0], backend))
    for rows, chunk in zip(slices, input_chunks(x, slices), strict=True):
        true = y[rows, ...]
        true = backend.asarray(true) if isinstance(true, np.ndarray) else true
        value, result = losses(vectors, chunk, true)
        (columns,) = needed(value, result, true)
        yield columns, result


def _columns(needed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the loss of each sample and the columns for its score, in float64."""
    host = needed.astype(np.float64)
    return host[:, 0], host[:, 1:]


@lru_cache(maxsize=16)
def _compiled(network: Network, backend: Backend, repeated: bool) -> tuple[Callable[..., Any], Callable[..., Any]]:
    losses, needed = _functions(network, backend)
    return backend.jit(losses, repeated=repeated), backend.jit(needed, repeated=repeated)


@lru_cache(maxsize=16)
def _functions(network: Network, backend: Backend) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return a function for the losses and the outputs of a chunk of samples, and one for what their scores need."""
    xp, loss = backend.xp, network.loss_function
    # A reduced precision (TF32, bf16) rounds the factors of products, and evaluation does not.
    products = xp if backend.precision == Backend.precision else None

    def losses(vectors: tuple[Array, ...], x: Array, y: Array) -> tuple[Array, Array]:
        members = tuple(Parameters(vector, network) for vector in vectors)
        a = _logits(network, members, x, products)
        value, _ = loss.value_and_gradient(xp, a, network.targets(xp, y, a.dtype, smooth=False))
        return value, network.outputs(a)

    def needed(value: Array, result: Array, y: Array) -> tuple[Array]:
        if metric_name(network, y.ndim) == "accuracy":
            scored = [xp.astype(is_correct(xp, result, y), result.dtype)[:, None]]
        else:
            scored = [result, xp.astype(xp.reshape(y, result.shape), result.dtype)]
        return (xp.concat([value[:, None], *scored], axis=1),)

    return losses, needed
