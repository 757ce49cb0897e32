"""NumPy, on the CPU."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import array_api_compat.numpy as xp
import numpy as np

from xpnet.backend import Array, Backend, check_index
from xpnet.kernels import RunSteps, Step
from xpnet_backends.replay import Program
from xpnet_backends.tape import UntraceableError, leaves

__all__ = ["create"]

# Steps that are run as they are before one is recorded, which takes the time of some.
_STEPS_BEFORE_RECORDING = 8
# Arrays of no more numbers are copied to where a program has its own: a learning rate, a counter, a generator's key.
_SMALL = 2


class _Runs:
    """Runs of steps: the plain loop at first, then the replay of a recorded step.

    A program is recorded with the arrays of parameters and state that it updates, and with a shape of the batch.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._bound: Any = ()
        self._programs: dict[tuple[Any, ...], Program | None] = {}
        self._steps = 0

    def __call__(self, params: Array, state: Any, data: tuple[Array, ...], order: Array) -> tuple[Array, Any, Array]:
        n_steps, batch_size = order.shape
        order = order.astype(np.intp)
        losses = np.empty(n_steps, params.dtype)
        key = (batch_size, *((array.shape[1:], array.dtype) for array in data))
        params, state = self._bind(params, state)
        done = 0
        while done < n_steps and not self._programs.get(key):
            batch = tuple(array.take(order[done], 0) for array in data)
            if self._steps >= _STEPS_BEFORE_RECORDING and key not in self._programs:
                self._programs[key] = program = self._record(params, state, batch)
                if program is not None:
                    losses[done] = program.loss
                    done += 1
                    break
            params, state, losses[done] = self._step(params, state, batch)
            params, state = self._bind(params, state)
            self._steps += 1
            done += 1
        program = self._programs.get(key)
        if program is not None:
            replay, loss = program.replay, program.loss
            takes = [(array.take, out) for array, out in zip(data, program.batch, strict=True)]
            for i in range(done, n_steps):
                rows = order[i]
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
        parameters, own_state = self._bound
        return parameters, own_state

    def _record(self, params: Array, state: Any, batch: tuple[Array, ...]) -> Program | None:
        """Do a step and return it recorded, or do nothing where it cannot be."""
        before = [array.copy() for array in leaves((params, state))]
        try:
            return Program(self._step, params, state, batch)
        except UntraceableError:
            for array, value in zip(leaves((params, state)), before, strict=True):
                np.copyto(array, value)
            return None


class NumpyBackend(Backend):
    """NumPy: the reference kernels, recorded and replayed."""

    name = "numpy:cpu"
    xp = xp
    device = "cpu"

    def compile(self, step: Step) -> RunSteps:
        """Return a run that records the step and replays it; it is for one training run at a time."""
        return _Runs(step)

    def scope(self, dtype: str) -> AbstractContextManager[Any]:
        """Silence floating-point warnings: a run that diverges is reported by the trainer, once and with a remedy."""
        return np.errstate(all="ignore")


def create(kind: str, index: int) -> Backend:
    """Return the backend of a device."""
    check_index("numpy", kind, index, 1 if kind == "cpu" else 0)
    return NumpyBackend()
