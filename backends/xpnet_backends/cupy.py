"""CuPy, on CUDA GPUs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import array_api_compat.cupy as xp
import cupy
import numpy as np

from xpnet.backend import Array, Backend, check_index
from xpnet.errors import DeviceUnavailableError

__all__ = ["create"]


class CupyBackend(Backend):
    """CuPy on one GPU; its bare namespace is not the standard's, so all goes through array_api_compat."""

    xp = xp

    def __init__(self, index: int) -> None:
        self.name = f"cupy:gpu:{index}" if index else "cupy:gpu"
        self.device = cupy.cuda.Device(index)

    def asarray(self, host: np.ndarray) -> Array:
        """Copy a host array to this GPU."""
        with self.device:
            return cupy.asarray(host)

    def to_numpy(self, array: Array) -> np.ndarray:
        """Copy an array to the host; this waits for the device."""
        host: np.ndarray = cupy.asnumpy(array)
        return host

    def scope(self, dtype: str) -> AbstractContextManager[Any]:
        """Make this GPU the current one."""
        device: AbstractContextManager[Any] = self.device
        return device


def create(kind: str, index: int) -> Backend:
    """Return the backend of a device."""
    if kind != "gpu":
        check_index("cupy", kind, index, 0)
    try:
        # CuPy imports well without a driver: only a call to the runtime tells.
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as exc:
        raise DeviceUnavailableError(
            f"no usable CUDA GPU: expected a GPU and its driver; received {exc}. "
            "Install or update NVIDIA's driver (nvidia-smi must list the GPU), or train with --device cpu."
        ) from exc
    if count == 0:
        raise DeviceUnavailableError(
            "no usable CUDA GPU: expected at least one; received a count of 0. "
            "Check nvidia-smi and CUDA_VISIBLE_DEVICES, or train with --device cpu."
        )
    check_index("cupy", kind, index, count)
    backend = CupyBackend(index)
    try:
        with backend.device:
            # A driver alone is not enough: this compiles a kernel and loads cuBLAS.
            (cupy.ones((1, 2)) @ cupy.ones((2, 1)) + 1).item()
    except (ImportError, OSError, RuntimeError, cupy.cuda.compiler.CompileException) as exc:
        raise DeviceUnavailableError(
            f"CuPy finds the GPU but cannot compute on it: expected CUDA's libraries and headers; received "
            f"{type(exc).__name__}: {' '.join(str(exc).split())}. Install them with CuPy: pip install "
            "'cupy-cuda13x[ctk]' (CUDA 12: 'cupy-cuda12x[ctk]')."
        ) from exc
    return backend
