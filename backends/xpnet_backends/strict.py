"""array-api-strict: the standard and nothing else, to prove that the mathematics keeps to it.

Its devices are pretences that the tests use: index 0 is its CPU, and the others refuse to mix with it or lack types.
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

    xp = xp

    def __init__(self, name: str, device: Any) -> None:
        self.name = name
        self.device = device

    def scope(self, dtype: str) -> AbstractContextManager[Any]:
        """Silence NumPy's floating-point warnings, as on its own backend."""
        return np.errstate(all="ignore")

    def to_numpy(self, array: Array) -> np.ndarray:
        """Bring an array to the host, by way of the device that shares memory with it."""
        return np.asarray(xp.asarray(array, device=xp.Device("CPU_DEVICE")))


def create(kind: str, index: int) -> Backend:
    """Return the backend of a device."""
    devices = xp.__array_namespace_info__().devices() if kind == "cpu" else []
    check_index("strict", kind, index, len(devices))
    return StrictBackend(f"strict:cpu:{index}" if index else "strict:cpu", devices[index])
