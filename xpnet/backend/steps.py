"""The contract of a training step, and the plain loop that runs steps; `Backend.compile` may replace the loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnet.backend.array import Array, Namespace

__all__ = ["RunSteps", "Step", "call_in_place", "run_steps"]

# (params, state, batch, xp=the backend's) -> (params, state, loss). A step consumes params and state, and never writes
# to the batch.
Step = Callable[..., tuple[Array, Any, Array]]
# (params, state, data, order) -> (params, state, losses): one step for each row of order.
RunSteps = Callable[[Array, Any, tuple[Array, ...], Array], tuple[Array, Any, Array]]


def call_in_place(function: Callable[[Array], None], array: Array) -> None:
    """Let a function change an array within a step, e.g. add up the arrays of several processes.

    A tracer records the call; the compiled step makes it at the same place. It asks ``function.empty(size, dtype)``, if
    there is that, for the memory of the array.
    """
    record = getattr(array, "record_call", None)
    if record is None:
        function(array)
    else:
        record(function)


def run_steps(
    xp: Namespace, step: Step, params: Array, state: Any, data: tuple[Array, ...], order: Array
) -> tuple[Array, Any, Array]:
    """Gather the batch of each row of `order`, and run a step on it.

    Parameters
    ----------
    data : tuple of arrays
        Inputs (n_samples, n_in), targets (n_samples, ...) and optionally weights (n_samples,).
    order : (n_steps, batch)
        Indices of samples.

    Returns
    -------
    params, state
        After the last step; those passed in are consumed.
    losses : (n_steps,)
    """
    losses = []
    for i in range(order.shape[0]):
        row = order[i, :]
        batch = tuple(xp.take(array, row, axis=0) for array in data)
        params, state, loss = step(params, state, batch)
        losses.append(loss)
    return params, state, xp.stack(losses)
