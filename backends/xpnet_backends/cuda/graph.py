"""A recorded step on CuPy as CUDA graphs: a run of steps is a few launches, of which none waits for the host."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import array_api_compat.numpy as numpy_xp
import cupy
import numpy as np
from cupy.cuda.compiler import CompileException

from xpnet.backend import Step, run_steps
from xpnet.errors import XpnetWarning
from xpnet_backends.compiler.cuda_codegen import CudaSource, Kernel, Product
from xpnet_backends.compiler.program_cache import room_for_batch
from xpnet_backends.compiler.trace import Recording, UntraceableError, leaves, mapped, record
from xpnet_backends.cuda.cublas import Products, call_of

__all__ = ["CudaGraph", "captured"]

Array = Any  # CuPy's own, which has more than the standard

# Steps of an order that are held on the device at once, and those of a graph: enough to hide its launch.
_STEPS = 256
_AT_ONCE = 16
# Of what a step changes: how far that of a graph may be from the step's own, for rounding may turn single numbers.
_TOLERANCE = 0.01
# Of a compiler, of libraries, of the device, of memory, or of a step for which there is no kernel.
_FAILURES = (CompileException, ImportError, OSError, RuntimeError, MemoryError, LookupError, AttributeError)


def captured(
    step: Step, params: Array, state: Any, data: tuple[Array, ...], order: Array, *, xp: Any, precision: str
) -> CudaGraph:
    """Return a step as graphs that have been held to the step itself.

    Raises
    ------
    UntraceableError
        It cannot be recorded or captured, or what was captured is another step; a warning says why.
    """
    given, first = leaves((params, state)), order[:1, :]
    before = [array.copy() for array in given]

    def restore() -> None:
        for array, value in zip(given, before, strict=True):
            array[...] = value

    try:
        stand_ins = mapped(lambda array: np.empty(array.shape, array.dtype), (params, state))
        on_numpy = partial(step, xp=numpy_xp)
        recording = record(on_numpy, stand_ins[0], stand_ins[1], room_for_batch(data, order))
        graph = CudaGraph(recording, list(zip(leaves(stand_ins), given, strict=True)), precision)
        graph.run(data, first)  # kernels are loaded at their first use, which cannot be captured
        restore()
        graph.capture()
        loss = graph.run(data, first)
        copies = (value.copy() for value in before)
        copied_params, copied_state = mapped(lambda _: next(copies), (params, state))
        *after, expected_loss = run_steps(xp, step, copied_params, copied_state, data, first)
        for own, was, is_now in zip((*given, loss), (*before, 0 * loss), leaves((*after, expected_loss)), strict=True):
            moved, apart = (_distance(is_now, other) for other in (was, own))
            if not apart <= _TOLERANCE * moved:
                raise RuntimeError(f"a captured step is {apart:.2g} from what it should be, a change of {moved:.2g}")
    except _FAILURES as exc:
        reason = " ".join(str(exc).split())
        warnings.warn(f"training runs uncaptured: expected CUDA graphs; received: {reason}", XpnetWarning, stacklevel=2)
        raise UntraceableError(reason) from exc
    finally:
        restore()
    return graph


class CudaGraph:
    """A recorded step, ready to be repeated on the current GPU.

    Parameters
    ----------
    recording : Recording
        Of stand-ins on the host.
    bound : list of (stand-in, array)
        The parameters and the state, which the steps update.
    precision : {"float32", "tf32", "bf16"}
        What the factors of float32 products are rounded to.
    """

    def __init__(self, recording: Recording, bound: list[tuple[np.ndarray, Any]], precision: str) -> None:
        self._source = source = CudaSource(recording, _STEPS)
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._buffers = {id(stand_in): array for stand_in, array in bound}
        self._order, self._counter, self._losses, self._table = (
            self._buffer(each) for each in (source.order, source.counter, source.losses, source.table)
        )
        self._products = Products(self._stream, precision)
        module = cupy.RawModule(code=source.text)
        self._launches = [self._prepared(launch, module) for launch in source.launches]
        self._graphs: dict[int, Any] = {}

    def run(self, data: tuple[Array, ...], order: Array) -> Array:
        """Do a step for each row of `order`, (n_steps, batch), and return the losses, (n_steps,)."""
        self._data = tuple(map(cupy.ascontiguousarray, data))  # held, for the launches return before they are done
        self._table.set(np.asarray([each.data.ptr for each in self._data]))
        n_steps = order.shape[0]
        losses = cupy.empty(n_steps, self._losses.dtype)
        current = cupy.cuda.get_current_stream()
        self._stream.wait_event(current.record())
        with self._stream:
            for start in range(0, n_steps, _STEPS):
                n = min(_STEPS, n_steps - start)
                self._order[:n, :] = order[start : start + n, :]
                self._counter.fill(0)
                at_once = n // _AT_ONCE if self._graphs else 0
                for _ in range(at_once):
                    self._graphs[_AT_ONCE].launch(self._stream)
                for _ in range(n - at_once * _AT_ONCE):
                    if self._graphs:
                        self._graphs[1].launch(self._stream)
                    else:
                        self._step()
                losses[start : start + n] = self._losses[:n]
        current.wait_event(self._stream.record())
        return losses

    def capture(self) -> None:
        """Capture what has been launched one by one so far."""
        for n in (1, _AT_ONCE):
            with self._stream:
                self._stream.begin_capture()
                try:
                    for _ in range(n):
                        self._step()
                finally:  # for nothing else may be done while it captures
                    graph = self._stream.end_capture()
                self._graphs[n] = graph

    def _step(self) -> None:
        for launch in self._launches:
            launch()

    def _buffer(self, array: np.ndarray) -> Any:
        """Return what stands on the device for the array that owns the memory of a stand-in."""
        root = _root(array)
        if id(root) not in self._buffers:
            self._buffers[id(root)] = cupy.asarray(root)
        return self._buffers[id(root)]

    def _at(self, array: np.ndarray) -> Any:
        """Return where the first element of a stand-in lies on the device."""
        return self._buffer(array).data + (array.ctypes.data - _root(array).ctypes.data)

    def _prepared(self, launch: Kernel | Product, module: Any) -> Callable[[], None]:
        """Return a function that puts a launch on the stream, which must be the current one."""
        if isinstance(launch, Product):
            *matrices, exact = launch
            addresses = [self._at(each).ptr for each in matrices]
            return partial(self._products.multiply, call_of(*matrices), launch.out.dtype, *addresses, exact=exact)
        # What a kernel is given are pointers: how an array lies is written in its text.
        arguments = tuple(cupy.ndarray((1,), each.dtype, memptr=self._at(each)) for each in launch.arrays)
        return partial(module.get_function(launch.name), (launch.blocks,), (launch.threads,), arguments)


def _distance(a: Array, b: Array) -> float:
    return float(cupy.sqrt(cupy.sum((a.astype(np.float64) - b.astype(np.float64)) ** 2)))


def _root(array: np.ndarray) -> np.ndarray:
    """Return the array that owns the memory of another."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
