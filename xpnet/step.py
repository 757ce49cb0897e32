"""The training step: the one function that a backend compiles."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import Array, Backend
from xpnet.errors import OutOfMemoryError
from xpnet.generator import advance
from xpnet.kernels import RunSteps, Step
from xpnet.memory import available_bytes, size_text
from xpnet.network import Network
from xpnet.optimizers import Optimizer, OptimizerState, get_optimizer
from xpnet.seeds import Purpose, stream

__all__ = [
    "StepState",
    "clip_by_norm",
    "compile_steps",
    "init_state",
    "make_step",
    "step_bytes",
    "step_out_of_memory",
]

_ARRAYS_A_LAYER = 6  # of a step: outputs, gradients, and what lies between


class StepState(NamedTuple):
    """What a step carries on beside the parameters.

    Attributes
    ----------
    optimizer : OptimizerState
    key : (2,) int32
        Seed and counter of the generator for dropout and random slopes.
    """

    optimizer: OptimizerState
    key: Array


def init_state(network: Network, optimizer: Optimizer, params: Array, seed: int, backend: Backend) -> StepState:
    """Return the state before the first step."""
    word = stream(seed, Purpose.MASKS).generate_state(1).view(np.int32)
    key = np.asarray([*word, 0], dtype=np.int32)
    return StepState(optimizer.init(backend.xp, params, network.n_weights), backend.asarray(key))


def make_step(
    network: Network,
    optimizer: Optimizer,
    backend: Backend,
    *,
    clip_norm: float | None = None,
    micro_batch: int | None = None,
    transform: Callable[[Array], Array] | None = None,
) -> Step:
    """Close over everything static and return ``step(params, state, batch) -> (params, state, loss)``.

    Parameters
    ----------
    clip_norm : float, optional
        Largest Euclidean norm of the gradient; a longer one is scaled down.
    micro_batch : int, optional
        Samples whose activations are held at once; see `Network.value_and_gradient`.
    transform : callable, optional
        Between the gradient and the update, e.g. a sum over ranks.

    Returns
    -------
    step : callable
        It consumes `params` and `state`, never writes to the batch, and leaves the loss on the device.
    """
    xp, kernels = backend.xp, backend.kernels
    random = network.is_random

    def step(params: Array, state: StepState, batch: tuple[Array, ...]) -> tuple[Array, StepState, Array]:
        optimizer_state, key = state
        loss, gradient = network.value_and_gradient(xp, kernels, params, batch, key if random else None, micro_batch)
        if transform is not None:
            gradient = transform(gradient)
        if clip_norm is not None:
            gradient = clip_by_norm(xp, gradient, clip_norm)
        params, optimizer_state = optimizer.update(xp, gradient, optimizer_state, params)
        if random:
            key = advance(xp, key)
        return params, StepState(optimizer_state, key), loss

    return step


def compile_steps(
    network: Network,
    optimizer: str | Optimizer,
    backend: Backend,
    clip_norm: float | None = None,
    n_steps: int = 1,
    micro_batch: int | None = None,
) -> RunSteps:
    """Return the run of steps of one training run, of so many steps in all.

    The same arguments give the same step, by which a backend may know that it has compiled it before.
    """
    step = _step(network, optimizer, backend, clip_norm, micro_batch)
    # A recorded step keeps its arrays, those of all its micro-batches too, which are there to be freed.
    return backend.compile(step, n_steps if micro_batch is None else 1)


def step_bytes(network: Network, n_samples: int, dtype: str) -> int:
    """Return about the memory that a step's activations take, and their gradients."""
    return _ARRAYS_A_LAYER * n_samples * sum(network.layer_sizes) * np.dtype(dtype).itemsize


def step_out_of_memory(
    network: Network, backend: Backend, dtype: str, batch_size: int, micro_batch: int | None
) -> OutOfMemoryError:
    """Make the error for a step that does not fit, with the micro-batch that would."""
    held = min(micro_batch or batch_size, batch_size)
    needed = step_bytes(network, held, dtype)
    # What a GPU has left is not told; a quarter of what did not fit is a fair guess.
    room = needed // 4 if backend.name.partition(":")[2].startswith("gpu") else min(available_bytes() // 2, needed // 2)
    fitting = room // step_bytes(network, 1, dtype)
    message = (
        f"out of memory: expected a step of {held} samples to fit, which takes about {size_text(needed)} beside "
        f"parameters and data; received less on {backend.name}. "
    )
    if fitting < 1:
        return OutOfMemoryError(f"{message}Use a smaller network or another device.")
    fitting = 1 << (fitting.bit_length() - 1)
    return OutOfMemoryError(
        f"{message}Use micro_batch={fitting} (--micro-batch {fitting}): it takes about "
        f"{size_text(step_bytes(network, fitting, dtype))} and gives the same result."
    )


@lru_cache(maxsize=16)
def _step(
    network: Network, optimizer: str | Optimizer, backend: Backend, clip_norm: float | None, micro_batch: int | None
) -> Step:
    return make_step(network, get_optimizer(optimizer), backend, clip_norm=clip_norm, micro_batch=micro_batch)


def clip_by_norm(xp: Any, gradient: Array, largest: float) -> Array:
    """Scale a gradient down to norm `largest` if it is longer: Pascanu, Mikolov, Bengio (2013), arXiv:1211.5063."""
    # Scaled by its largest entry first, whose square might overflow.
    top = xp.maximum(xp.max(xp.abs(gradient)), xp.finfo(gradient.dtype).smallest_normal)
    scaled = gradient / top
    norm = top * xp.sqrt(xp.sum(scaled * scaled))
    return gradient * (largest / xp.maximum(norm, largest))
