"""The training step: the one function that a backend compiles."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import Array, Backend, Namespace
from xpnet.backend.steps import RunSteps, Step
from xpnet.communicator import Communicator
from xpnet.nn.backprop import objective_and_gradient
from xpnet.nn.counter_rng import advance
from xpnet.nn.network import Network
from xpnet.nn.optimizers import Optimizer, OptimizerState, get_optimizer
from xpnet.nn.shared_update import SharedUpdate
from xpnet.seeds import Purpose, seed_sequence

__all__ = [
    "RateFactor",
    "StepState",
    "clip_by_norm",
    "compile_steps",
    "init_state",
    "make_step",
    "micro_batch_advice",
    "step_bytes",
    "to_floats",
]

# Largest number of values that a step holds for each sample and unit: saved, output, mask, gradient, two temporaries.
_ARRAYS_A_LAYER = 6


class StepState(NamedTuple):
    """State that a step passes to the next step, besides the parameters.

    Attributes
    ----------
    optimizer : OptimizerState
    key : (2,) int32
        Seed and counter of `xpnet.nn.counter_rng`, for dropout and random slopes.
    clock : (scalar int32, scalar int32) or ()
        Number of steps of the run so far and in total; only steps with a `RateFactor` need them.
    rate_factors : ((n,) array,) or ()
        Factor on the learning rate of each parameter; without it all have the same rate.
    """

    optimizer: OptimizerState
    key: Array
    clock: tuple[Array, ...] = ()
    rate_factors: tuple[Array, ...] = ()


# (xp, t) -> factor on the learning rate of a step, where t, in [0, 1), is the share of the run's steps before it.
RateFactor = Callable[[Namespace, Array], Array]


def init_state(network: Network, optimizer: Optimizer, params: Array, seed: int, backend: Backend) -> StepState:
    """Return the state before the first step."""
    word = seed_sequence(seed, Purpose.MASKS).generate_state(1).view(np.int32)
    key = np.asarray([*word, 0], dtype=np.int32)
    return StepState(optimizer.init(backend.xp, params, network.n_weights), backend.asarray(key))


def make_step(
    network: Network,
    optimizer: Optimizer,
    backend: Backend,
    *,
    clip_norm: float | None = None,
    micro_batch: int | None = None,
    rate_factor: RateFactor | None = None,
    divisor: float = 1.0,
    communicator: Communicator | None = None,
) -> Step:
    """Close over everything static and return ``step(params, state, batch) -> (params, state, loss)``.

    Parameters
    ----------
    clip_norm : float, optional
        Largest Euclidean norm of the gradient; a longer one is scaled down.
    micro_batch : int, optional
        Samples whose activations are held at once; see `xpnet.nn.backprop.objective_and_gradient`.
    rate_factor : RateFactor, optional
        Factor on the learning rate of each step; the state then has a clock.
    divisor : float
        The step divides the inputs by it. They may be integers.
    communicator : Communicator, optional
        The processes that share each batch. The batch is then a `BatchShare`, the loss is what its rows add to the
        loss of the whole batch, and the gradient is summed over the ranks.

    Returns
    -------
    step : callable
        It consumes `params` and `state`, never writes to the batch, and leaves the loss on the device. A backend that
        traces it passes the tracer's namespace as `xp`.
    """
    random = network.is_random
    shared = None if communicator is None else SharedUpdate(communicator, backend, network.n_parameters)

    def step(
        params: Array, state: StepState, batch: tuple[Array, ...], xp: Namespace = backend.xp
    ) -> tuple[Array, StepState, Array]:
        optimizer_state, key, clock, rate_factors = state
        batch = (to_floats(xp, batch[0], params.dtype, divisor), *batch[1:])
        mask_key = key if random else None
        is_share = shared is not None
        loss, gradient = objective_and_gradient(network, xp, params, batch, mask_key, micro_batch, is_share=is_share)
        if shared is not None:
            shared.sum(gradient, whole=clip_norm is not None)
        if clip_norm is not None:
            gradient = clip_by_norm(xp, gradient, clip_norm)
        learning_rate = rate = optimizer_state.learning_rate
        if rate_factor is not None:
            done, total = clock
            rate = rate * rate_factor(xp, xp.astype(done, params.dtype) / xp.astype(total, params.dtype))
            done += 1
            clock = done, total
        for factors in rate_factors:
            rate = rate * factors
        optimizer_state = optimizer_state._replace(learning_rate=rate)
        if shared is None:
            params, optimizer_state = optimizer.update(xp, gradient, optimizer_state, params)
        else:
            params, optimizer_state = shared.update(xp, optimizer, gradient, optimizer_state, params)
        optimizer_state = optimizer_state._replace(learning_rate=learning_rate)
        if random:
            key = advance(xp, key)
        return params, StepState(optimizer_state, key, clock, rate_factors), loss

    return step


def compile_steps(
    network: Network,
    optimizer: str | Optimizer,
    backend: Backend,
    clip_norm: float | None = None,
    total_steps: int | None = 1,
    micro_batch: int | None = None,
    rate_factor: RateFactor | None = None,
    divisor: float = 1.0,
    communicator: Communicator | None = None,
) -> RunSteps:
    """Make the training step and compile it.

    Parameters
    ----------
    total_steps : int or None
        Number of steps that the whole training will take, None if it is unknown. A backend compiles only if there are
        enough of them.

    Returns
    -------
    run_steps : RunSteps
        The same network, optimizer, backend and options give the same step, so a backend may reuse what it compiled
        before.
    """
    step = _step(network, optimizer, backend, clip_norm, micro_batch, rate_factor, divisor, communicator)
    # A compiled step keeps the arrays of all its micro-batches, but micro-batches are there to free them one by one.
    return backend.compile(step, total_steps if micro_batch is None else 1)


def step_bytes(network: Network, n_samples: int, dtype: str) -> int:
    """Estimate the memory, in bytes, for the samples of a step: their inputs, activations and gradients."""
    n_in, *units = network.layer_sizes
    return n_samples * (n_in + _ARRAYS_A_LAYER * sum(units)) * np.dtype(dtype).itemsize


def micro_batch_advice(network: Network, dtype: str, held: int, free: int | None) -> str:
    """Return a sentence that advises a micro-batch, a power of two, or an empty text if not even one sample would fit.

    Parameters
    ----------
    held : int
        Number of samples that did not fit.
    free : int or None
        Free memory in bytes. If it is unknown, a quarter of the memory that `held` samples take is assumed.
    """
    room = step_bytes(network, held, dtype) // 4 if free is None else free
    fitting = min(room // step_bytes(network, 1, dtype), held - 1)
    if fitting < 1:
        return ""
    fitting = 1 << (fitting.bit_length() - 1)
    return f"Use micro_batch={fitting} (--micro-batch {fitting}): it gives the same result and takes less memory."


@lru_cache(maxsize=16)
def _step(
    network: Network,
    optimizer: str | Optimizer,
    backend: Backend,
    clip_norm: float | None,
    micro_batch: int | None,
    rate_factor: RateFactor | None,
    divisor: float,
    communicator: Communicator | None,
) -> Step:
    return make_step(
        network,
        get_optimizer(optimizer),
        backend,
        clip_norm=clip_norm,
        micro_batch=micro_batch,
        rate_factor=rate_factor,
        divisor=divisor,
        communicator=communicator,
    )


def to_floats(xp: Namespace, x: Array, dtype: Any, divisor: float = 1.0) -> Array:
    """Return ``x / divisor`` in a floating-point type."""
    if divisor == 1:
        return xp.astype(x, dtype, copy=False)
    floats = xp.astype(x, dtype)  # a copy: a step never writes to a batch
    floats /= divisor
    return floats


def clip_by_norm(xp: Namespace, gradient: Array, largest: float) -> Array:
    """Scale a gradient down to norm `largest` if it is longer: Pascanu, Mikolov, Bengio (2013), arXiv:1211.5063."""
    # Scaled by its largest entry first, whose square might overflow.
    top = xp.maximum(xp.max(xp.abs(gradient)), xp.finfo(gradient.dtype).smallest_normal)
    scaled = gradient / top
    norm = top * xp.sqrt(xp.sum(scaled * scaled))
    return gradient * (largest / xp.maximum(norm, largest))
