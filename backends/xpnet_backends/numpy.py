"""NumPy, on the CPU."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import array_api_compat.numpy as xp
import numpy as np

from xpnet.backend import Array, Backend, check_index
from xpnet.kernels import RunSteps, Step
from xpnet_backends.replay import Program
from xpnet_backends.tape import leaves

__all__ = ["create"]


# Steps that are run as they are before one is recorded, which takes the time of some.
_STEPS_BEFORE_RECORDING = 8


class _Runs:
    """A run of steps: the plain loop, and from some steps on the replay of a recorded one."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._bound: Any = ()
        self._programs: dict[tuple[Any, ...], Program] = {}
        self._steps = 0

    def __call__(self, params: Array, state: Any, data: tuple[Array, ...], order: Array) -> tuple[Array, Any, Array]:
        order = order.astype(np.intp)
        key = tuple((order.shape[1], *array.shape[1:], array.dtype) for array in data)
        params, state = self._bind(params, state)
        losses = np.empty(order.shape[0], params.dtype)
        start = 0
        program = self._programs.get(key)
        if program is None:
            start = min(max(0, _STEPS_BEFORE_RECORDING - self._steps), order.shape[0])
            for i in range(start):
                params, state, losses[i] = self._step(params, state, tuple(array[order[i]] for array in data))
            params, state = self._bind(params, state)
            if start < order.shape[0]:
                batch = tuple(array[order[start]] for array in data)
                program = self._programs[key] = Program(self._step, params, state, batch)
                losses[start] = program.loss
                start += 1
        self._steps += order.shape[0]
        if program is not None:
            takes = [(array.take, out) for array, out in zip(data, program.batch, strict=True)]
            replay, loss = program.replay, program.loss
            for i in range(start, order.shape[0]):
                rows = order[i]
                for take, out in takes:
                    take(rows, 0, out, "clip")
                replay()
                losses[i] = loss
        return params, state, losses

    def _bind(self, params: Array, state: Any) -> tuple[Array, Any]:
        """Return the arrays that programs are recorded with, with these values."""
        given, bound = leaves((params, state)), leaves(self._bound)
        fits = len(given) == len(bound) and all(
            new is old or new.size <= 2 for new, old in zip(given, bound, strict=True)
        )
        if not fits:
            self._bound, self._programs = (params, state), {}
            return params, state
        for new, old in zip(given, bound, strict=True):
            if new is not old:  # the learning rate of another epoch
                np.copyto(old, new)
        return self._bound


class NumpyBackend(Backend):
    """NumPy: the reference kernels, recorded and replayed."""

    name = "numpy:cpu"
    xp = xp
    device = "cpu"

    def compile(self, step: Step) -> RunSteps:
        """Return a run that records the step and replays it."""
        return _Runs(step)

    def scope(self, dtype: str) -> AbstractContextManager[Any]:
        """Silence floating-point warnings: a run that diverges is reported by the trainer, once and with a remedy."""
        return np.errstate(all="ignore")


def create(kind: str, index: int) -> Backend:
    """Return the backend of a device."""
    check_index("numpy", kind, index, 1 if kind == "cpu" else 0)
    return NumpyBackend()
