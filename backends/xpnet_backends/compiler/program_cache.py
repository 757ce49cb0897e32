"""Runs of a step that is recorded once, and from then on done without the Python between the library's calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from xpnet.backend import Step, run_steps
from xpnet_backends.compiler.trace import Recording, UntraceableError, leaves, record

__all__ = ["WORTH_RECORDING", "Program", "Recorded", "on_host", "room_for_batch"]

Array = Any  # the library's own, which has more than the standard

# Fewer steps than these in a run are done as they are: recording takes the time of some tens.
WORTH_RECORDING = 64
# Arrays of no more numbers are copied to where a program has its own: a learning rate, a counter, a generator's key.
_SMALL = 2


class Program(Protocol):
    """A recorded step that can be done again, on the parameters and the state that it was recorded with."""

    def run(self, data: tuple[Array, ...], order: Array) -> Array:
        """Do a step for each row of `order`, (n_steps, batch), and return the losses, (n_steps,)."""


# (step, params, state, data, order) -> program
Make = Callable[[Step, Array, Any, tuple[Array, ...], Array], Program]


class Recorded:
    """Runs of a step that is recorded once for each shape of the batch, with the arrays that it updates.

    `make` records the step, for such parameters, state, data and orders, and returns what does it; it may raise
    `UntraceableError`.
    """

    def __init__(self, step: Step, xp: Any, make: Make) -> None:
        self._step = step
        self._xp = xp
        self._make = make
        self._bound: Any = ()
        self._programs: dict[tuple[Any, ...], Program | None] = {}

    def __call__(self, params: Array, state: Any, data: tuple[Array, ...], order: Array) -> tuple[Array, Any, Array]:
        """Do a step for each row of `order`; see `run_steps`."""
        params, state = self._bind(params, state)
        key = (order.shape[1], *((array.shape[1:], array.dtype) for array in data))
        if key not in self._programs:
            self._programs[key] = self._record(params, state, data, order)
        program = self._programs[key]
        if program is None:
            return run_steps(self._xp, self._step, params, state, data, order)
        return params, state, program.run(data, order)

    def _bind(self, params: Array, state: Any) -> tuple[Array, Any]:
        """Return these values in the arrays that programs are recorded with."""
        given, bound = leaves((params, state)), leaves(self._bound)
        alike = len(given) == len(bound) and all(a is b or a.size <= _SMALL for a, b in zip(given, bound, strict=True))
        if not alike:
            self._bound, self._programs = (params, state), {}
            return params, state
        for new, own in zip(given, bound, strict=True):
            if new is not own:
                own[...] = new
        own_params, own_state = self._bound
        return own_params, own_state

    def _record(self, params: Array, state: Any, data: tuple[Array, ...], order: Array) -> Program | None:
        """Return the step recorded, or None where it cannot be."""
        try:
            return self._make(self._step, params, state, data, order)
        except UntraceableError:
            return None


def on_host(kind: Callable[[Recording], Program]) -> Make:
    """Return what makes a program of that kind, on NumPy's arrays."""
    return lambda step, params, state, data, order: kind(record(step, params, state, room_for_batch(data, order)))


def room_for_batch(data: tuple[Array, ...], order: Array) -> tuple[np.ndarray, ...]:
    """Return arrays on the host of the shapes and types of a batch."""
    return tuple(np.empty((order.shape[1], *array.shape[1:]), array.dtype) for array in data)
