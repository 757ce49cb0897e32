"""A recorded step on CuPy as a CUDA graph: a run of steps is a few launches, of which none waits for the host."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import cupy
import numpy as np

from xpnet_backends.cublas import Products, call_of
from xpnet_backends.cuda_source import CudaSource, Kernel, Product
from xpnet_backends.tape import Recording

__all__ = ["CudaGraph"]

# Steps of an order that are held on the device at once, and those of a graph: enough to hide its launch.
_STEPS = 256
_AT_ONCE = 16


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
        self._bound = bound
        self._buffers = {id(stand_in): array for stand_in, array in bound}
        self._order, self._counter, self._losses, self._table = (
            self._buffer(each) for each in (source.order, source.counter, source.losses, source.table)
        )
        self._products = Products(self._stream, precision)
        module = cupy.RawModule(code=source.text)
        self._launches = [self._prepared(launch, module) for launch in source.launches]
        self._graphs: dict[int, Any] = {}

    def run(self, data: tuple[Any, ...], order: Any) -> Any:
        """Do a step for each row of `order`, (n_steps, batch), and return the losses, (n_steps,)."""
        n_steps = order.shape[0]
        losses = cupy.empty(n_steps, self._losses.dtype)
        self._table.set(np.asarray([each.data.ptr for each in data], dtype=np.int64))
        current = cupy.cuda.get_current_stream()
        self._stream.wait_event(current.record())
        with self._stream:
            if not self._graphs:
                self._capture(data, order)
            for start in range(0, n_steps, _STEPS):
                n = min(_STEPS, n_steps - start)
                self._order[:n] = order[start : start + n]
                self._counter.fill(0)
                for _ in range(n // _AT_ONCE):
                    self._graphs[_AT_ONCE].launch(self._stream)
                for _ in range(n % _AT_ONCE):
                    self._graphs[1].launch(self._stream)
                losses[start : start + n] = self._losses[:n]
        current.wait_event(self._stream.record())
        return losses

    def _capture(self, data: tuple[Any, ...], order: Any) -> None:
        # Once as it is: kernels are loaded at their first use, which cannot be captured. It is undone.
        arrays = [array for _, array in self._bound]
        before = [array.copy() for array in arrays]
        self._order[:1] = order[:1]
        self._counter.fill(0)
        self._step()
        for array, value in zip(arrays, before, strict=True):
            array[...] = value
        self._stream.synchronize()
        for n in (1, _AT_ONCE):
            self._stream.begin_capture()
            for _ in range(n):
                self._step()
            self._graphs[n] = self._stream.end_capture()

    def _step(self) -> None:
        for launch in self._launches:
            launch()

    def _buffer(self, array: np.ndarray) -> Any:
        """Return what stands on the device for the array that owns the memory of a stand-in."""
        root = array
        while isinstance(root.base, np.ndarray):
            root = root.base
        if id(root) not in self._buffers:
            self._buffers[id(root)] = cupy.asarray(root)
        return self._buffers[id(root)]

    def _at(self, array: np.ndarray) -> Any:
        """Return where the first element of a stand-in lies on the device."""
        root = array
        while isinstance(root.base, np.ndarray):
            root = root.base
        return self._buffer(array).data + (array.ctypes.data - root.ctypes.data)

    def _prepared(self, launch: Kernel | Product, module: Any) -> Callable[[], None]:
        """Return a function that puts a launch on the stream, which must be the current one."""
        if isinstance(launch, Product):
            addresses = (self._at(each).ptr for each in launch)
            return partial(self._products.multiply, call_of(*launch), launch.out.dtype, *addresses)
        # What a kernel is given are pointers: how an array lies is written in its text.
        arguments = tuple(cupy.ndarray((1,), each.dtype, memptr=self._at(each)) for each in launch.arrays)
        return partial(module.get_function(launch.name), (launch.blocks,), (launch.threads,), arguments)
