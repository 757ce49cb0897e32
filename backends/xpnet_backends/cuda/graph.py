"""A compiled step on CuPy as CUDA graphs: a run of steps is a few launches, and none waits for the host."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import array_api_compat.numpy as numpy_xp
import cupy
import numpy as np
from cupy.cuda.compiler import CompileException

from xpnet.backend import Step, arrays_in, map_arrays, run_steps
from xpnet_backends.compiler.cuda_codegen import CudaSource, Kernel, Product, passes
from xpnet_backends.compiler.ir import Buffer, Program, Value
from xpnet_backends.compiler.ops import UntraceableError
from xpnet_backends.compiler.program_cache import state_arrays, traced
from xpnet_backends.cuda.cublas import Products, call_of
from xpnet_backends.cuda.cublaslt import LtProducts

__all__ = ["CudaGraph", "captured"]

Array = Any  # CuPy's own, which has more than the standard

# Steps of an order that are on the device at once, and steps of a graph: enough to hide its launch.
_STEPS = 256
_AT_ONCE = 16
# The relative error of what a captured step changes: rounding may turn single numbers.
_TOLERANCE = 0.01
# Errors of a compiler, of libraries, of the device, of memory, or of a step that has no kernel.
_FAILURES = (
    CompileException, ImportError, OSError, RuntimeError, MemoryError, LookupError,
    AttributeError, TypeError, ValueError,
)  # fmt: skip


def captured(
    step: Step,
    params: Array,
    state: Any,
    data: tuple[Array, ...],
    order: Array,
    *,
    xp: Any,
    precision: str,
    autotune: bool,
) -> CudaGraph:
    """Return a step as CUDA graphs, after a comparison with the step itself.

    Raises
    ------
    UntraceableError
        The step cannot be compiled or captured, or the captured step computes something else.
    """
    own, first = arrays_in((params, state)), order[:1, :]
    before = [array.copy() for array in own]

    def restore() -> None:
        for array, value in zip(own, before, strict=True):
            array[...] = value

    try:
        graph = CudaGraph(
            traced(partial(step, xp=numpy_xp), params, state, data, order), own, precision, autotune=autotune
        )
        graph.run(data, first)  # the first use of a kernel loads it, which cannot be captured
        restore()
        graph.capture()
        loss = graph.run(data, first)
        copies = (value.copy() for value in before)
        copied_params, copied_state = map_arrays(lambda _: next(copies), (params, state))
        expected = arrays_in(run_steps(xp, step, copied_params, copied_state, data, first))
        for mine, was, reference in zip((*own, loss), (*before, 0 * loss), expected, strict=True):
            change, error = (_distance(reference, other) for other in (was, mine))
            if not error <= _TOLERANCE * change:
                raise RuntimeError(f"a captured step with an error of {error:.2g} in a change of {change:.2g}")
    except _FAILURES as exc:
        raise UntraceableError(" ".join(str(exc).split())) from exc
    finally:
        restore()
    return graph


class CudaGraph:
    """A program on the current GPU, bound to the parameters and the state that it updates.

    Parameters
    ----------
    program : Program
    state : list of arrays
    precision : {"float32", "tf32", "bf16"}
        The precision to which the factors of float32 products are rounded.
    autotune : bool
        Whether the algorithms of products are timed; see `LtProducts`.
    """

    def __init__(self, program: Program, state: list[Array], precision: str, *, autotune: bool) -> None:
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._products = Products(precision, self._stream)
        self._lt = LtProducts(precision, self._stream, self._products.workspace, self._address, autotune=autotune)
        self._arrays: dict[Buffer, Any] = dict(state_arrays(program, state))
        program = passes(program, self._lt.accepts)
        source = CudaSource(program, _STEPS)
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
                for start in range(0, n_steps, _STEPS):
                    n = min(_STEPS, n_steps - start)
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
            with self._stream:
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

    def _prepared(self, launch: Kernel | Product, module: Any) -> Callable[[], None]:
        """Return a function that puts a launch on the stream, which must be the current one."""
        if isinstance(launch, Product):
            by_cublaslt = self._lt.launch_of(launch)
            if by_cublaslt is not None:
                return by_cublaslt
            matrices = launch[:3]
            addresses = map(self._address, matrices)
            return partial(
                self._products.multiply, call_of(*matrices), launch.out.dtype, *addresses, exact=launch.exact
            )
        arguments = tuple(map(self._array, launch.buffers))
        return partial(module.get_function(launch.name), (launch.blocks,), (launch.threads,), arguments)


def _distance(a: Array, b: Array) -> float:
    return float(cupy.sqrt(cupy.sum((a.astype(np.float64) - b.astype(np.float64)) ** 2)))
