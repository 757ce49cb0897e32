"""array-api-strict: the standard and nothing else, to prove that the mathematics keeps to it.

Its devices are pretences that the tests use: index 0 is its CPU, and the others refuse to mix with it or lack types.
"""

from __future__ import annotations

import array_api_strict as xp
import numpy as np

from xpnet.backend import Array, Backend, check_index
from xpnet.errors import DeviceUnavailableError

__all__ = ["create"]


class StrictBackend(Backend):
    """array-api-strict on one of its devices."""

    xp = xp

    def __init__(self, index: int) -> None:
        devices = xp.__array_namespace_info__().devices()
        check_index("strict", "cpu", index, len(devices))
        self.name = f"strict:cpu:{index}" if index else "strict:cpu"
        self.device = devices[index]

    def to_numpy(self, array: Array) -> np.ndarray:
        """Bring an array to the host, by way of the device that shares memory with it."""
        return np.asarray(xp.asarray(array, device=xp.Device("CPU_DEVICE")))


def create(kind: str, index: int) -> Backend:
    """Return the backend of a device."""
    if kind != "cpu":
        raise DeviceUnavailableError(f"strict has no {kind}: expected strict:cpu; received strict:{kind}.")
    return StrictBackend(index)
