"""A compiled step on CuPy as CUDA graphs: a run of steps is a few launches, and none waits for the host."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from textwrap import shorten
from threading import Lock
from typing import Any

import array_api_compat.numpy as numpy_xp
import cupy
import numpy as np
from cupy.cuda.compiler import CompileException

from xpnet.backend import Step, arrays_in, map_arrays
from xpnet.errors import XpnetWarning
from xpnet_backends.compiler.cuda_codegen import CudaSource, HostCall, Kernel, Product, passes
from xpnet_backends.compiler.ir import Buffer, Program, Value
from xpnet_backends.compiler.ops import UntraceableError
from xpnet_backends.compiler.program_cache import BoundProgram, state_arrays, traced
from xpnet_backends.cuda.cublas import Products, call_of
from xpnet_backends.cuda.persistent import persistent

__all__ = ["Captured", "CudaGraph"]

Array = Any  # CuPy's own, which has more than the standard

# Steps of an order that are on the device at once, if they take no more bytes than this, and steps of a graph: enough
# to hide its launch.
_STEPS = 256
_ORDER_BYTES = 64 << 20
_AT_ONCE = 16
# The relative error of the loss and of what a captured step changes, by precision. Adam's first update is nearly the
# sign of the gradient, which rounding turns where the gradient is nearly 0: where the state holds a moment, which is
# held to the first limit, parameters are held to the second.
_LIMITS = {"float32": (0.01, 0.3), "tf32": (0.03, 0.3), "bf16": (0.1, 0.5)}
# Errors of a compiler, of libraries, of the device, of memory, or of a step that has no kernel.
_FAILURES = (
    CompileException, ImportError, OSError, RuntimeError, MemoryError, LookupError,
    AttributeError, TypeError, ValueError,
)  # fmt: skip
# While a stream is captured, other threads begin no capture, and nothing is collected: unloading a kernel would end it.
_CAPTURES = Lock()


@dataclass(frozen=True)
class Captured:
    """Capture the steps of a training run; the graphs for its shapes of batches share a stream and a workspace.

    Attributes
    ----------
    precision : {"float32", "tf32", "bf16"}
        The precision to which the factors of float32 products are rounded.
    """

    precision: str

    @cached_property
    def _stream(self) -> Any:
        return cupy.cuda.Stream(non_blocking=True)

    @cached_property
    def _products(self) -> Products:
        return Products(self.precision, self._stream)

    def __call__(self, step: Step, params: Array, state: Any, data: tuple[Array, ...], order: Array) -> BoundProgram:
        """Return a step as one kernel for many steps or as CUDA graphs, after a comparison with NumPy's step.

        Raises
        ------
        UntraceableError
            The step cannot be compiled or captured, or what was compiled computes something else.
        """
        own, first, on_numpy = arrays_in((params, state)), order[:1, :], partial(step, xp=numpy_xp)
        before = [cupy.asnumpy(array) for array in own]
        program = traced(on_numpy, params, state, data, order)

        def restore() -> None:
            for array, value in zip(own, before, strict=True):
                array[...] = cupy.asarray(value)

        def captured() -> CudaGraph:
            graph = CudaGraph(program, own, self._stream, self._products)
            graph.run(data, first)  # the first use of a kernel loads it, which cannot be captured
            restore()
            graph.capture()
            return graph

        def after(bound: BoundProgram, *orders: Array) -> list[np.ndarray]:
            restore()
            losses = [bound.run(data, rows) for rows in orders]
            return [cupy.asnumpy(array) for array in (*own, losses[-1][-1])]

        def checked(bound: BoundProgram) -> BoundProgram:
            batch = tuple(cupy.asnumpy(cupy.take(array, first[0, :], axis=0)) for array in data)
            copies = (value.copy() for value in before)
            start = [*before, np.zeros((), program.loss.dtype)]
            with np.errstate(all="ignore"):
                expected = on_numpy(*map_arrays(lambda _: next(copies), (params, state)), batch)
                self._check(start, after(bound, first), arrays_in(expected))
                # Steps in one run, in which each prepares the next, do what they do one by one.
                some = order[: _AT_ONCE + 1, :]
                one_by_one = (some[k : k + 1, :] for k in range(some.shape[0]))
                self._check(start, after(bound, some), after(bound, *one_by_one))
            return bound

        # The fastest first. Another takes its place, with a warning, if it fails on this GPU.
        ways: dict[str, Callable[[], BoundProgram | None]] = {
            "one kernel that does whole steps": partial(persistent, program, own),
            "a captured step": captured,
        }
        failed, failure = "", UntraceableError("")
        for name, way in ways.items():
            if failed:
                warnings.warn(
                    f"training is slower than it could be: expected {failed}; received {failure}. Please report this.",
                    XpnetWarning,
                    stacklevel=4,
                )
            try:
                bound = way()
                if bound is not None:
                    return checked(bound)
            except UntraceableError as exc:  # there may be separate kernels for what one kernel cannot do
                failed, failure = "", exc
            except _FAILURES as exc:
                failed, failure = name, UntraceableError(_short(exc))
                failure.__cause__ = exc
            finally:
                restore()
        raise failure

    def _check(self, before: list[np.ndarray], after: list[np.ndarray], expected: list[np.ndarray]) -> None:
        """Compare the changes of parameters and state, and the loss, which comes last, where they are finite."""
        changes = [_distance(*pair) for pair in zip(expected, before, strict=True)]
        errors = [_distance(*pair) for pair in zip(expected, after, strict=True)]
        vector, *others = [array.shape for array in before]
        has_moment = any(shape == vector and change for shape, change in zip(others, changes[1:], strict=True))
        limit, of_vector = _LIMITS[self.precision]
        limits = [of_vector if has_moment else limit, *(limit for _ in others)]
        for array, change, error, most in zip(expected, changes, errors, limits, strict=True):
            # At the start of a schedule a change may be smaller than the rounding of what changes.
            rounding = np.finfo(array.dtype).eps * _distance(array, 0 * array) if array.dtype.kind == "f" else 0.0
            if not error <= most * change + rounding:
                raise RuntimeError(f"a captured step with an error of {error:.2g} in a change of {change:.2g}")


class CudaGraph:
    """A program on the current GPU, bound to the parameters and the state that it updates.

    Parameters
    ----------
    program : Program
    state : list of arrays
    stream : cupy.cuda.Stream
        A stream that can be captured.
    products : Products
        Matrix products on that stream.
    """

    def __init__(self, program: Program, state: list[Array], stream: Any, products: Products) -> None:
        self._stream, self._products = stream, products
        self._arrays: dict[Buffer, Array] = dict(state_arrays(program, state))
        program = passes(program)
        batch = program.batch[0].shape[0]
        self._n_steps = max(1, min(_STEPS, _ORDER_BYTES // (np.dtype(np.int32).itemsize * batch)))
        source = CudaSource(program, self._n_steps)
        for buffer, array in program.constants.items():
            self._array(buffer).set(array)
        self._order, self._counter, self._losses, self._table = map(
            self._array, (source.order, source.counter, source.losses, source.table)
        )
        module = cupy.RawModule(code=source.text)
        self._launches = [self._prepared(launch, module) for launch in source.launches]
        self._graphs: dict[int, Any] = {}

    def run(self, data: tuple[Array, ...], order: Array) -> Array:
        """Do a step for each row of `order`, (n_steps, batch), and return the losses, (n_steps,)."""
        self._data = tuple(map(cupy.ascontiguousarray, data))  # kept, for the launches return before they are done
        self._table.set(np.asarray([each.data.ptr for each in self._data]))
        n_steps = order.shape[0]
        losses = cupy.empty(n_steps, self._losses.dtype)
        current = cupy.cuda.get_current_stream()
        self._stream.wait_event(current.record())
        try:
            with self._stream:
                for start in range(0, n_steps, self._n_steps):
                    n = min(self._n_steps, n_steps - start)
                    self._order[:n, :] = order[start : start + n, :]
                    self._counter.fill(0)
                    self._steps(n)
                    losses[start : start + n] = self._losses[:n]
        finally:
            current.wait_event(self._stream.record())
        return losses

    def _steps(self, n: int) -> None:
        """Put n steps on the stream: as graphs, or launch by launch before the capture."""
        for size, count in ((_AT_ONCE, n // _AT_ONCE), (1, n % _AT_ONCE)):
            for _ in range(count):
                if size in self._graphs:
                    self._graphs[size].launch(self._stream)
                    continue
                for launch in self._launches * size:
                    launch()

    def capture(self) -> None:
        """Capture the launches, which were done one by one so far."""
        graphs = {}
        for n in (1, _AT_ONCE):
            with self._stream, _alone():
                self._stream.begin_capture()
                try:
                    self._steps(n)
                finally:  # nothing else may be done during a capture
                    graphs[n] = self._stream.end_capture()
        self._graphs = graphs

    def _array(self, buffer: Buffer) -> Any:
        if buffer not in self._arrays:
            self._arrays[buffer] = cupy.empty(buffer.shape, buffer.dtype)
        return self._arrays[buffer]

    def _address(self, value: Value) -> int:
        address: int = self._array(value.buffer).data.ptr + value.offset * value.dtype.itemsize
        return address

    def _prepared(self, launch: Kernel | Product | HostCall, module: Any) -> Callable[[], None]:
        """Return a function that puts a launch on the stream, which must be the current one."""
        if isinstance(launch, HostCall):
            value = launch.value
            whole = self._array(value.buffer).reshape(-1)
            return partial(launch.function, whole[value.offset : value.offset + value.size].reshape(value.shape))
        if isinstance(launch, Product):
            matrices, multiply = launch[:3], partial(self._products.multiply, exact=launch.exact)
            return partial(multiply, call_of(*matrices), launch.out.dtype, *map(self._address, matrices))
        arguments = tuple(map(self._array, launch.buffers))
        return partial(module.get_function(launch.name), (launch.blocks,), (launch.threads,), arguments)


def _short(error: BaseException) -> str:
    return shorten(str(error), 300, placeholder=" ...")  # a compiler's message may have hundreds of lines


def _distance(expected: np.ndarray, other: np.ndarray) -> float:
    """Return the norm of the difference, where what is expected is finite: a diverging step is compared there."""
    a, b = np.asarray(expected, np.float64), np.asarray(other, np.float64)
    return float(np.linalg.norm((a - b)[np.isfinite(a)]))


@contextmanager
def _alone() -> Iterator[None]:
    """Let nothing else end a capture."""
    with _CAPTURES:
        collects = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if collects:
                gc.enable()
