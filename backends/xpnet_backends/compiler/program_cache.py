"""Runs of a training step that is compiled at its first batch and kept."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from xpnet.backend import Step, arrays_in, map_arrays, run_steps
from xpnet.errors import XpnetWarning
from xpnet_backends.compiler.ir import Buffer, Program, Value
from xpnet_backends.compiler.ops import Op, UntraceableError
from xpnet_backends.compiler.trace import trace

__all__ = ["WORTH_COMPILING", "BoundProgram", "ProgramCache", "host_memory", "on_host", "state_arrays", "traced"]

Array = Any  # the library's own, which has more than the standard

# Runs of fewer steps are not compiled: that takes the time of some tens of steps.
WORTH_COMPILING = 64


class BoundProgram(Protocol):
    """A compiled step, bound to the arrays of parameters and state that it updates."""

    def run(self, data: tuple[Array, ...], order: Array) -> Array:
        """Do a step for each row of `order`, (n_steps, batch), and return the losses, (n_steps,)."""


# (step, params, state, data, order) -> program
Compile = Callable[[Step, Array, Any, tuple[Array, ...], Array], BoundProgram]


def _shapes(data: tuple[Array, ...]) -> tuple[Any, ...]:
    return tuple((array.shape[1:], array.dtype) for array in data)


@dataclass
class ProgramCache:
    """Run a step that is compiled once for each shape of the batch.

    A step that cannot be compiled runs as it is; a warning says so once.

    Attributes
    ----------
    step : callable
    xp : namespace
        The backend's, for steps that run uncompiled.
    compile : callable
        It returns a bound program for a step, parameters, state, data and an order, or raises `UntraceableError` and
        leaves parameters and state as they were.
    key_of : callable
        What of the data a program depends on, by default their shapes and dtypes.
    at_least : int
        Shorter runs are done uncompiled if there is no program for them.
    patience : int
        Steps on a shape of the batch that are done uncompiled before it is compiled.
    at_most : int, optional
        The number of programs that are worth compiling for the same parameters.
    """

    step: Step
    xp: Any
    compile: Compile
    key_of: Callable[[tuple[Array, ...]], tuple[Any, ...]] = _shapes
    at_least: int = 1
    patience: int = 0
    at_most: int | None = None

    def __post_init__(self) -> None:
        self._bound: Any = ()
        self._programs: dict[tuple[Any, ...], BoundProgram] = {}
        self._n_compiled = 0
        self._compiles = True
        self._n_steps = Counter[tuple[Any, ...]]()  # of each shape without a program

    def __call__(self, params: Array, state: Any, data: tuple[Array, ...], order: Array) -> tuple[Array, Any, Array]:
        """Do a step for each row of `order`; see `run_steps`."""
        params, state = self._bind(params, state)
        key = (order.shape[1], *self.key_of(data))
        if key not in self._programs and self._compiles and order.shape[0] >= self.at_least:
            self._n_steps[key] += order.shape[0]
            if self._n_steps[key] > self.patience:
                self._add(key, params, state, data, order)
        if key not in self._programs:
            return run_steps(self.xp, self.step, params, state, data, order)
        return params, state, self._programs[key].run(data, order)

    def _bind(self, params: Array, state: Any) -> tuple[Array, Any]:
        """Return these values in the arrays that programs are bound to."""
        if not self._programs:
            return params, state
        given, bound = arrays_in((params, state)), arrays_in(self._bound)
        alike = len(given) == len(bound) and all(
            a is b or (a.shape, a.dtype) == (b.shape, b.dtype) for a, b in zip(given, bound, strict=True)
        )
        if not alike:
            self._bound, self._programs, self._n_compiled = (params, state), {}, 0
            return params, state
        for new, own in zip(given, bound, strict=True):
            if new is not own:
                own[...] = new
        own_params, own_state = self._bound
        return own_params, own_state

    def _add(self, key: tuple[Any, ...], params: Array, state: Any, data: tuple[Array, ...], order: Array) -> None:
        """Compile the step, if it can be compiled and that is worth it."""
        if self._n_compiled == self.at_most:
            self._programs.clear()  # their data do not come again, and they hold them
            return
        self._n_compiled += 1
        if not self._programs:
            self._bound = (params, state)
        try:
            self._programs[key] = self.compile(self.step, params, state, data, order)
        except UntraceableError as exc:
            self._compiles = False
            warnings.warn(
                f"training runs uncompiled, and slower: expected a step that can be compiled; received {exc}.",
                XpnetWarning,
                stacklevel=3,
            )


def on_host(bind: Callable[[Program, list[np.ndarray]], BoundProgram]) -> Compile:
    """Return a `Compile` for NumPy's arrays; `bind` binds a program to parameters and state."""
    return lambda step, params, state, data, order: bind(
        traced(step, params, state, data, order), arrays_in((params, state))
    )


@dataclass(frozen=True)
class _Layout:
    """Shape and dtype of an array: all that a trace depends on."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def traced(step: Step, params: Array, state: Any, data: tuple[Array, ...], order: Array) -> Program:
    """Return the program of a step on batches of the shape that `order`, (n_steps, batch), takes from the data.

    The same step on arrays of the same shapes and dtypes has the same program, which is kept: many fits are alike.
    """
    batch = tuple(_Layout((order.shape[1], *array.shape[1:]), array.dtype) for array in data)
    return _traced(step, map_arrays(lambda array: _Layout(array.shape, array.dtype), (params, state)), batch)


@lru_cache(maxsize=64)
def _traced(step: Step, layout: Any, batch: tuple[_Layout, ...]) -> Program:
    params, state, inputs = map_arrays(
        lambda each: np.broadcast_to(np.empty((), each.dtype), each.shape), (*layout, batch)
    )
    return trace(step, params, state, inputs)


def state_arrays(program: Program, state: list[Array]) -> dict[Buffer, Array]:
    """Return the arrays of the state by buffer."""
    if not all(array.flags.c_contiguous for array in state):
        raise UntraceableError("an array of the state that is not contiguous")
    return dict(zip((value.buffer for value in program.state), state, strict=True))


def host_memory(program: Program, state: list[np.ndarray]) -> Callable[[Value], np.ndarray]:
    """Return a function that returns the NumPy array of a value; it allocates a buffer at its first use."""
    arrays = {**program.constants, **state_arrays(program, state)}
    for instruction in program.instructions:
        if instruction.op is Op.CALL and instruction.out.buffer not in arrays:
            buffer = instruction.out.buffer
            empty = getattr(program.calls[instruction.axis or 0], "empty", np.empty)
            arrays[buffer] = empty(buffer.size, buffer.dtype)

    def array_of(value: Value) -> np.ndarray:
        buffer, item = value.buffer, value.dtype.itemsize
        if buffer not in arrays:
            arrays[buffer] = np.empty(buffer.size, buffer.dtype)
        memory: Any = arrays[buffer]
        return np.ndarray(value.shape, value.dtype, memory, value.offset * item, [n * item for n in value.strides])

    return array_of
