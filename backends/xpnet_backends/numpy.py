"""NumPy, on the CPU."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import Any

import array_api_compat.numpy as xp
import numpy as np

from xpnet.backend import Array, Backend, check_index
from xpnet.errors import memory_errors
from xpnet.kernels import RunSteps, Step, run_steps
from xpnet_backends.replay import Program
from xpnet_backends.tape import UntraceableError, leaves

__all__ = ["create"]

# Fewer steps than these in a run are done as they are: recording takes the time of some tens.
_WORTH_RECORDING = 64
# Arrays of no more numbers are copied to where a program has its own: a learning rate, a counter, a generator's key.
_SMALL = 2


class _Replayed:
    """Runs of a step that is recorded once for each shape of the batch, with the arrays that it updates."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._bound: Any = ()
        self._programs: dict[tuple[Any, ...], Program | None] = {}

    def __call__(self, params: Array, state: Any, data: tuple[Array, ...], order: Array) -> tuple[Array, Any, Array]:
        params, state = self._bind(params, state)
        key = (order.shape[1], *((array.shape[1:], array.dtype) for array in data))
        if key not in self._programs:
            self._programs[key] = self._record(params, state, tuple(array.take(order[0], 0) for array in data))
        program = self._programs[key]
        if program is None:
            return run_steps(xp, self._step, params, state, data, order)
        order = order.astype(np.intp)
        losses = np.empty(order.shape[0], params.dtype)
        replay, loss = program.replay, program.loss
        takes = [(array.take, out) for array, out in zip(data, program.batch, strict=True)]
        for i, rows in enumerate(order):
            for take, out in takes:
                take(rows, 0, out, "clip")  # in range by construction; checking would cost a copy
            replay()
            losses[i] = loss
        return params, state, losses

    def _bind(self, params: Array, state: Any) -> tuple[Array, Any]:
        """Return these values in the arrays that programs are recorded with."""
        given, bound = leaves((params, state)), leaves(self._bound)
        alike = len(given) == len(bound) and all(a is b or a.size <= _SMALL for a, b in zip(given, bound, strict=True))
        if not alike:
            self._bound, self._programs = (params, state), {}
            return params, state
        for new, own in zip(given, bound, strict=True):
            if new is not own:
                np.copyto(own, new)
        own_params, own_state = self._bound
        return own_params, own_state

    def _record(self, params: Array, state: Any, batch: tuple[Array, ...]) -> Program | None:
        """Return the step recorded, or None where it cannot be; parameters and state are as before."""
        arrays = leaves((params, state))
        before = [array.copy() for array in arrays]
        try:
            return Program(self._step, params, state, batch)
        except UntraceableError:
            return None
        finally:
            for array, value in zip(arrays, before, strict=True):
                np.copyto(array, value)


class NumpyBackend(Backend):
    """NumPy: the reference kernels, recorded and replayed."""

    name = "numpy:cpu"
    xp = xp
    device = "cpu"

    def compile(self, step: Step, n_steps: int = 1) -> RunSteps:
        """Return a run that replays the step; it is for one training run at a time."""
        return _Replayed(step) if n_steps >= _WORTH_RECORDING else super().compile(step)

    def scope(self, dtype: str) -> AbstractContextManager[Any]:
        """Silence floating-point warnings: a run that diverges is reported by the trainer, once and with a remedy."""
        stack = ExitStack()
        stack.enter_context(memory_errors(self.name))
        stack.enter_context(np.errstate(all="ignore"))
        return stack


def create(kind: str, index: int) -> Backend:
    """Return the backend of a device."""
    check_index("numpy", kind, index, 1 if kind == "cpu" else 0)
    return NumpyBackend()
