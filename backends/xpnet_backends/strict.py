"""array-api-strict, a minimal implementation of the array API standard, for tests that the code uses nothing else.

Its devices are simulated: index 0 is its CPU, and the others refuse to be mixed with it or lack some types.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import Any

import array_api_strict as xp
import numpy as np

from xpnet.backend import Array, Backend, check_index
from xpnet.subnormals import FlushSubnormals

__all__ = ["create"]


class StrictBackend(Backend):
    """array-api-strict on one of its devices."""

    xp: Any = xp

    def __init__(self, name: str, device: Any) -> None:
        self.name = name
        self.device = device

    def scope(self, dtype: str) -> AbstractContextManager[Any]:
        """Flush subnormals and silence floating-point warnings, as for the NumPy backend."""
        stack = ExitStack()
        stack.enter_context(np.errstate(all="ignore"))
        stack.enter_context(FlushSubnormals())
        return stack

    def to_numpy(self, array: Array) -> np.ndarray:
        """Copy an array to the host, by way of the CPU device."""
        return np.asarray(xp.asarray(array, device=xp.Device("CPU_DEVICE")))


def create(kind: str, index: int) -> Backend:
    """Return the backend of a device."""
    devices = xp.__array_namespace_info__().devices() if kind == "cpu" else []
    check_index("strict", kind, index, len(devices))
    return StrictBackend(f"strict:cpu:{index}" if index else "strict:cpu", devices[index])
