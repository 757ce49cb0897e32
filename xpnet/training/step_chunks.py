"""Chunks of an epoch: each is one call of the compiled step, for several batches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xpnet.backend import Array, Backend
from xpnet.nn.network import Network
from xpnet.training.input_rows import InputRows
from xpnet.training.samples import Samples

__all__ = ["StepChunk", "step_chunks"]

# Data (arrays on the device), and (n_steps, batch) indices of the samples of each batch in them.
StepChunk = tuple[tuple[Array, ...], Array]

# A chunk takes about this many floating-point operations, and at most this many steps. That takes some tenths of a
# second on a CPU: long enough to hide the cost of a call, short enough to show progress and to react to an interrupt.
_OPERATIONS_PER_CHUNK = 2e10
_STEPS_PER_CHUNK = 256

# This many elements of inputs on the host are brought to the device at once: 64 MiB in float32.
_UPLOADED_ELEMENTS = 1 << 24


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
    on_host = samples.x if isinstance(samples.x, InputRows) and samples.x.on_host else None
    if on_host is not None:
        steps = min(steps, max(1, _UPLOADED_ELEMENTS // (batch_size * network.layer_sizes[0])))
    orders = []
    if position < full:
        whole = order[: full * batch_size].reshape(full, batch_size)
        orders = [whole[start : start + steps] for start in range(position, full, steps)]
    if full * batch_size < n_samples and position <= full:
        orders.append(order[None, full * batch_size :])
    if on_host is None:
        yield from ((samples.arrays, backend.indices(rows)) for rows in orders)
        return
    # The device may still work on a chunk while the inputs of the next one are brought to it.
    inputs = on_host.stored(rows.reshape(-1) for rows in orders)
    for rows, x in zip(orders, inputs, strict=True):
        indices = backend.asarray(rows.reshape(-1))
        rest = (backend.xp.take(array, indices, axis=0) for array in samples.arrays[1:])
        yield (x, *rest), backend.indices(np.arange(rows.size, dtype=np.int32).reshape(rows.shape))
