"""Chunks of an epoch: each is one call of the compiled step, for several batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import Array, Backend, to_host
from xpnet.communicator import Communicator, share_of
from xpnet.nn.network import Network
from xpnet.training.input_rows import InputRows
from xpnet.training.samples import Samples

__all__ = ["Sharing", "StepChunk", "step_chunks"]


class StepChunk(NamedTuple):
    """Some steps.

    Attributes
    ----------
    data : tuple of arrays
        On the device: inputs, targets and perhaps more, with a row for each sample.
    rows : (n_steps, n) int32
        For each step, the rows of its batch.
    batch_size : int
        Samples of a batch; n of them, or those that this rank has of it.
    """

    data: tuple[Array, ...]
    rows: Array
    batch_size: int


class Sharing(NamedTuple):
    """How ranks share the batches of a run.

    Attributes
    ----------
    communicator : Communicator
    dtype : str
        Type of the parameters.
    """

    communicator: Communicator
    dtype: str


# A chunk takes about this many floating-point operations, and at most this many steps. That takes some tenths of a
# second on a CPU: long enough to hide the cost of a call, short enough to show progress and to react to an interrupt.
_OPERATIONS_PER_CHUNK = 2e10
_STEPS_PER_CHUNK = 256

# This many elements of inputs on the host are brought to the device at once: 64 MiB in float32.
_UPLOADED_ELEMENTS = 1 << 24


def step_chunks(
    network: Network,
    backend: Backend,
    samples: Samples,
    order: np.ndarray,
    batch_size: int,
    position: int,
    sharing: Sharing | None = None,
) -> Iterator[StepChunk]:
    """Yield the rest of an epoch, starting with step `position`, in chunks of several steps.

    A smaller last batch is yielded separately, because a compiled step accepts one batch size. Ranks that share the
    batches get their own rows of each.
    """
    n_samples = order.size
    full = n_samples // batch_size
    n_ranks = 1 if sharing is None else sharing.communicator.size
    per_step = 6 * network.n_weights * batch_size  # a multiplication and an addition, forward and twice backward
    steps = min(max(1, int(_OPERATIONS_PER_CHUNK * n_ranks / per_step)), _STEPS_PER_CHUNK)
    on_host = isinstance(samples.x, InputRows) and samples.x.on_host
    if on_host or sharing is not None:
        steps = min(steps, max(1, _UPLOADED_ELEMENTS * n_ranks // (batch_size * network.layer_sizes[0])))
    orders = []
    if position < full:
        whole = order[: full * batch_size].reshape(full, batch_size)
        orders = [whole[start : start + steps] for start in range(position, full, steps)]
    if full * batch_size < n_samples and position <= full:
        orders.append(order[None, full * batch_size :])
    if sharing is not None:
        yield from _shares(network, backend, samples, orders, sharing)
    elif on_host:
        rests = (_taken(backend, samples.arrays[1:], rows) for rows in orders)
        for rows, data in zip(orders, _gathered(backend, samples, orders, rests), strict=True):
            yield StepChunk(data, _in_order(backend, rows), rows.shape[1])
    else:
        yield from (StepChunk(samples.arrays, backend.indices(rows), rows.shape[1]) for rows in orders)


def _gathered(
    backend: Backend, samples: Samples, orders: list[np.ndarray], rests: Iterable[tuple[Array, ...]]
) -> Iterator[tuple[Array, ...]]:
    """Yield the inputs of some steps after another, row by row, with what belongs to them."""
    x: Any = samples.x
    if isinstance(x, InputRows) and x.on_host:
        # The device may still work on a chunk while the inputs of the next one are brought to it.
        inputs = x.stored(rows.reshape(-1) for rows in orders)
    else:
        inputs = (_taken(backend, samples.arrays[:1], rows)[0] for rows in orders)
    return ((x, *rest) for x, rest in zip(inputs, rests, strict=True))


def _taken(backend: Backend, arrays: tuple[Array, ...], rows: np.ndarray) -> tuple[Array, ...]:
    indices = backend.asarray(rows.reshape(-1))
    return tuple([backend.xp.take(array, indices, axis=0) for array in arrays])


def _in_order(backend: Backend, rows: np.ndarray) -> Array:
    return backend.indices(np.arange(rows.size, dtype=np.int32).reshape(rows.shape))


def _shares(
    network: Network, backend: Backend, samples: Samples, orders: list[np.ndarray], sharing: Sharing
) -> Iterator[StepChunk]:
    """Yield this rank's rows of each batch as `xpnet.nn.backprop.BatchShare`."""
    communicator, dtype = sharing
    shares = [share_of(rows.shape[1], communicator.rank, communicator.size) for rows in orders]
    # A rank without a row takes one that weighs nothing, for it must take part in the sums.
    shares = [share if share.start < share.stop else slice(0, 1) for share in shares]
    own = [np.ascontiguousarray(rows[:, share]) for rows, share in zip(orders, shares, strict=True)]
    weights = None if samples.sample_weight is None else to_host(samples.sample_weight)

    def factors(rows: np.ndarray, share: slice) -> Iterator[np.ndarray]:
        """Yield the arrays of a BatchShare beside x and y, with an element for each of this rank's rows in turn."""
        weight, penalty = _factors(network, dtype, None if weights is None else weights[rows], rows.shape)
        counts = float(communicator.rank < rows.shape[1])
        for each in (weight * counts, np.full(rows.shape, share.start, np.int32), penalty * counts):
            yield np.ascontiguousarray(each[:, share]).reshape(-1)

    if weights is None and not (isinstance(samples.x, InputRows) and samples.x.on_host):
        # All samples are alike, and this rank has them all: nothing need be moved.
        alike = {rows.shape[1]: (rows[:1], share) for rows, share in zip(orders, shares, strict=True)}
        n_samples = samples.y.shape[0]
        filled = {
            size: [backend.asarray(np.full(n_samples, each[0])) for each in factors(*given)]
            for size, given in alike.items()
        }
        for rows, mine in zip(orders, own, strict=True):
            yield StepChunk((*samples.arrays, *filled[rows.shape[1]]), backend.indices(mine), rows.shape[1])
        return
    rests = (
        (*_taken(backend, (samples.y,), mine), *map(backend.asarray, factors(rows, share)))
        for rows, share, mine in zip(orders, shares, own, strict=True)
    )
    for rows, mine, data in zip(orders, own, _gathered(backend, samples, own, rests), strict=True):
        yield StepChunk(data, _in_order(backend, mine), rows.shape[1])


def _factors(
    network: Network, dtype: str, weights: np.ndarray | None, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weight of each sample in its batch and its part of the penalties, both (n_steps, batch)."""
    total = np.full((shape[0], 1), shape[1], dtype) if weights is None else weights.sum(axis=1, keepdims=True)
    # A batch without weight has no gradient.
    mean = np.divide(1, total, out=np.zeros_like(total), where=total > 0)
    weight = np.ones(shape, dtype) if weights is None else weights
    if network.reduction == "mean":
        weight = weight * mean
    of_batch = mean if network.penalty_reduction == "mean" else np.ones_like(mean)
    return weight, np.broadcast_to(of_batch / shape[1], shape)
