"""The buffers of a program as NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from xpnet_backends.compiler.ir import Buffer, Program, Value
from xpnet_backends.compiler.ops import UntraceableError

__all__ = ["HostMemory"]


class HostMemory:
    """Memory of a program: the arrays of the state, the constants, and what is allocated at its first use."""

    def __init__(self, program: Program, state: Iterable[np.ndarray]) -> None:
        self._arrays: dict[Buffer, Any] = {buffer: np.ascontiguousarray(a) for buffer, a in program.constants.items()}
        for value, array in zip(program.state, state, strict=True):
            if not array.flags.c_contiguous:
                raise UntraceableError("an array of the state that is not contiguous")
            self._arrays[value.buffer] = array

    def array(self, value: Value) -> np.ndarray:
        """Return the array of a value."""
        if value.buffer not in self._arrays:
            self._arrays[value.buffer] = np.empty(value.buffer.size, value.dtype)
        memory, item = self._arrays[value.buffer], value.dtype.itemsize
        strides = [stride * item for stride in value.strides]
        return np.ndarray(value.shape, value.dtype, memory, value.offset * item, strides)
