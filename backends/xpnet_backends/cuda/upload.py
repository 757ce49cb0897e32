"""Copies of rows from the host to the current GPU, while the GPU works on the rows before them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import cupy
import numpy as np

__all__ = ["to_gpu", "upload"]

Array = Any  # CuPy's own, which has more than the standard

# CuPy copies arrays by way of pinned memory of a power of two, which it keeps for the next array.
_LARGEST_PINNED = 1 << 26


def to_gpu(host: np.ndarray) -> Array:
    """Return a copy of a host array on the current GPU."""
    if host.nbytes <= _LARGEST_PINNED:
        return cupy.asarray(host)
    array = cupy.empty(host.shape, host.dtype)
    array.set(host)
    cupy.cuda.get_current_stream().synchronize()  # until then the copy may read the host array
    return array


class _Slot:
    """Pinned memory on the host and as much memory on the GPU, for one part at a time."""

    def __init__(self, n_bytes: int) -> None:
        self.host = np.frombuffer(cupy.cuda.alloc_pinned_memory(n_bytes), np.uint8, n_bytes)
        self.device = cupy.empty(n_bytes, np.uint8)
        # The GPU may still be at work on what the pool had in this memory before.
        self.is_free = cupy.cuda.get_current_stream().record()
        self.is_copied = cupy.cuda.Event()


def upload(parts: Iterable[tuple[np.ndarray, Any]]) -> Iterator[Array]:
    """Yield ``array[rows]`` on the current GPU for each ``(array, rows)``; see `xpnet.Backend.upload`.

    There are two slots. While the current stream works on a part in one slot, the host gathers the next part into the
    pinned memory of the other, and a second stream copies it.
    """
    copies = cupy.cuda.Stream(non_blocking=True)
    slots: list[_Slot] = []  # made before there is work for which a new one would have to wait
    try:
        for number, (array, rows) in enumerate(parts):
            n_rows = len(range(len(array))[rows]) if isinstance(rows, slice) else len(rows)
            shape = (n_rows, *array.shape[1:])
            n_bytes = math.prod(shape) * array.itemsize
            if n_bytes == 0:
                yield cupy.empty(shape, array.dtype)
                continue
            slots = slots or [_Slot(n_bytes), _Slot(n_bytes)]
            slot = slots[number % 2]
            slot.is_copied.synchronize()  # the copy before the last one has left the pinned memory
            if slot.host.size < n_bytes:
                slot = slots[number % 2] = _Slot(n_bytes)
            host = slot.host[:n_bytes].view(array.dtype).reshape(shape)
            device = slot.device[:n_bytes].view(array.dtype).reshape(shape)
            if isinstance(rows, slice):
                host[...] = array[rows]
            else:
                array.take(rows, 0, host, "clip")  # in range by construction; checking would cost a copy
            copies.wait_event(slot.is_free)
            device.set(host, stream=copies)
            slot.is_copied = copies.record()
            current = cupy.cuda.get_current_stream()
            current.wait_event(slot.is_copied)
            yield device
            slot.is_free = current.record()
    finally:
        copies.synchronize()  # the pool gives pinned memory to others at once
