"""A compiled step on CuPy as one kernel that does many steps, for networks that are small."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from xpnet_backends.compiler.cuda_persistent import Limits, PersistentSource, persistent_source
from xpnet_backends.compiler.ir import Program
from xpnet_backends.compiler.program_cache import state_arrays

__all__ = ["PersistentKernel", "persistent"]

Array = Any  # CuPy's own, which has more than the standard

# The kernel copies a batch without waiting for it, which older GPUs cannot.
_COMPUTE_CAPABILITY = 80


def persistent(program: Program, state: list[Array]) -> PersistentKernel | None:
    """Return a program as one kernel on the current GPU; None if CUDA graphs are expected to be as fast.

    All arithmetic is in the precision of the program: products of float32 arrays are exact to float32 also where the
    device has ``@tf32`` or ``@bf16``.

    Parameters
    ----------
    program : Program
        As traced.
    state : list of arrays
        The arrays that the program updates.

    Raises
    ------
    UntraceableError
        There is no kernel for an instruction.
    """
    device = cupy.cuda.Device()
    if int(device.compute_capability) < _COMPUTE_CAPABILITY:
        return None
    attributes = device.attributes
    # A multiprocessor holds one block at least.
    limits = Limits(attributes["MaxSharedMemoryPerBlockOptin"], attributes["MultiProcessorCount"])
    source = persistent_source(program, limits)
    if source is None:
        return None
    # Several blocks read the state where it lies, 16 bytes at once.
    aligned = source.is_alone or all(array.data.ptr % 16 == 0 for array in state)
    return PersistentKernel(source, program, state) if aligned else None


class PersistentKernel:
    """A kernel, bound to the parameters and the state that it updates; it runs on the current stream."""

    def __init__(self, source: PersistentSource, program: Program, state: list[Array]) -> None:
        alone = source.is_alone
        module = cupy.RawModule(code=source.text, enable_cooperative_groups=not alone)
        self._kernel = module.get_function("steps")
        self._threads, self._most_steps = source.threads, source.most_steps
        self._shared = source.memory if alone else 0
        if alone:
            self._kernel.max_dynamic_shared_size_bytes = source.memory
        self._blocks = source.blocks
        self._dtype = program.loss.dtype
        self._own = () if alone else (cupy.empty(source.memory, np.uint8), cupy.zeros(1, np.uint32))
        self._arrays = (*state_arrays(program, state).values(), *map(cupy.asarray, source.constants))

    def run(self, data: tuple[Array, ...], order: Array) -> Array:
        """Do a step for each row of `order`, (n_steps, batch), and return the losses, (n_steps,)."""
        order = cupy.ascontiguousarray(order.astype(np.int32, copy=False))
        data = tuple(map(cupy.ascontiguousarray, data))
        data = tuple(each.copy() if each.data.ptr % 4 else each for each in data)  # bytes are copied 4 at once
        n_steps = order.shape[0]
        losses = cupy.empty(n_steps, self._dtype)
        for start in range(0, n_steps, self._most_steps):
            n = min(self._most_steps, n_steps - start)
            for each in self._own[1:]:
                each.fill(0)  # blocks that have arrived at a barrier
            rows, own_losses = order[start : start + n, :], losses[start : start + n]
            arguments = (rows, own_losses, np.int32(n), *self._own, *data, *self._arrays)
            self._kernel((self._blocks,), (self._threads,), arguments, shared_mem=self._shared)
        return losses
