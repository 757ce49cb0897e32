"""Chunks of an epoch: each is one call of the compiled step, for several batches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xpnet.backend import Array, Backend
from xpnet.nn.network import Network
from xpnet.training.samples import Samples
from xpnet.training.sparse_rows import SparseRows

__all__ = ["StepChunk", "step_chunks"]

# Data (arrays on the device), and (n_steps, batch) indices of the samples of each batch in them.
StepChunk = tuple[tuple[Array, ...], Array]

# A chunk takes about this many floating-point operations, and at most this many steps. That takes some tenths of a
# second on a CPU: long enough to hide the cost of a call, short enough to show progress and to react to an interrupt.
_OPERATIONS_PER_CHUNK = 2e10
_STEPS_PER_CHUNK = 256

# This many elements of sparse inputs are made dense at once: 64 MiB in float32.
_DENSE_ELEMENTS = 1 << 24


def step_chunks(
    network: Network, backend: Backend, samples: Samples, order: np.ndarray, batch_size: int, position: int
) -> Iterator[StepChunk]:
    """Yield the rest of an epoch, starting with step `position`, in chunks of several steps.

    A smaller last batch is yielded separately, because a compiled step accepts one batch size.
    """
    n_samples = order.size
    full = n_samples // batch_size
    per_step = 6 * network.n_weights * batch_size  # a multiplication and an addition, forward and twice backward
    steps = min(max(1, int(_OPERATIONS_PER_CHUNK / per_step)), _STEPS_PER_CHUNK)
    sparse = isinstance(samples.x, SparseRows)
    if sparse:
        steps = min(steps, max(1, _DENSE_ELEMENTS // (batch_size * network.layer_sizes[0])))
    orders = []
    if position < full:
        whole = order[: full * batch_size].reshape(full, batch_size)
        orders = [whole[start : start + steps] for start in range(position, full, steps)]
    if full * batch_size < n_samples and position <= full:
        orders.append(order[None, full * batch_size :])
    for rows in orders:
        yield samples.dense(backend, rows) if sparse else (samples.arrays, backend.indices(rows))
