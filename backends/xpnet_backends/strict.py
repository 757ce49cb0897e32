"""array-api-strict, a minimal implementation of the array API standard, for tests that the code uses nothing else.

Its devices are simulated: index 0 is its CPU, and the others refuse to be mixed with it or lack some types.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import array_api_strict as xp
import numpy as np

from xpnet.backend import Array, Backend, check_index

__all__ = ["create"]


class StrictBackend(Backend):
    """array-api-strict on one of its devices."""

    xp: Any = xp

    def __init__(self, name: str, device: Any) -> None:
        self.name = name
        self.device = device

    def scope(self, dtype: str) -> AbstractContextManager[Any]:
        """Return a context without floating-point warnings, as for the NumPy backend."""
        return np.errstate(all="ignore")

    def to_numpy(self, array: Array) -> np.ndarray:
        """Copy an array to the host, by way of the CPU device."""
        return np.asarray(xp.asarray(array, device=xp.Device("CPU_DEVICE")))


def create(kind: str, index: int) -> Backend:
    """Return the backend of a device."""
    devices = xp.__array_namespace_info__().devices() if kind == "cpu" else []
    check_index("strict", kind, index, len(devices))
    return StrictBackend(f"strict:cpu:{index}" if index else "strict:cpu", devices[index])
