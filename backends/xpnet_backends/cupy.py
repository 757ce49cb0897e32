"""CuPy, on CUDA GPUs."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from functools import partial
from types import SimpleNamespace
from typing import Any

import array_api_compat.cupy as compat
import cupy
import numpy as np
from cupy._core import _routines_linalg as products  # pyright: ignore[reportAttributeAccessIssue]

from xpnet.backend import Backend, RunSteps, Step, check_index
from xpnet.errors import DeviceUnavailableError
from xpnet_backends.compiler.program_cache import WORTH_RECORDING, Recorded
from xpnet_backends.cuda.graph import captured
from xpnet_backends.memory_errors import memory_errors

__all__ = ["create"]

Array = Any  # CuPy's own, which has more than the standard


def _bf16_matmul(x1: Array, x2: Array) -> Array:
    """Multiply matrices whose float32 entries the GPU rounds to bfloat16 as it reads them, with sums in float32."""
    if x1.dtype != np.float32:
        return cupy.matmul(x1, x2)
    from cupy_backends.cuda.libs import cublas  # needs a GPU's libraries

    (m, k), n = x1.shape, x2.shape[1]
    result = cupy.empty((m, n), np.float32)
    one, zero = np.ones((), np.float32), np.zeros((), np.float32)
    # cuBLAS counts by columns and so sees each array transposed: it is told to compute x2^T x1^T.
    factors = [products._mat_to_cublas_contiguous(x, 1) for x in (x2, x1)]
    (b, transposed_b, ldb), (a, transposed_a, lda) = factors
    kind = cupy.cuda.runtime.CUDA_R_32F
    cublas.gemmEx(
        cupy.cuda.Device().cublas_handle, transposed_b, transposed_a, n, m, k,
        one.ctypes.data, b.data.ptr, kind, ldb, a.data.ptr, kind, lda,
        zero.ctypes.data, result.data.ptr, kind, n,
        cublas.CUBLAS_COMPUTE_32F_FAST_16BF, cublas.CUBLAS_GEMM_DEFAULT,
    )  # fmt: skip
    return result


XP_BF16 = SimpleNamespace(**{**vars(compat), "matmul": _bf16_matmul})


class CupyBackend(Backend):
    """CuPy on one GPU; its bare namespace is not the standard's, so all goes through array_api_compat."""

    xp: Any = compat

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
        """Make this GPU the current one, and set the precision of products: CuPy's own default is an environment's."""
        stack = ExitStack()
        stack.enter_context(memory_errors(self.name, self._free))
        stack.enter_context(self.device)
        stack.callback(products.set_compute_type, np.float32, products.get_compute_type(np.float32))
        tf32 = self.precision == "tf32"
        products.set_compute_type(np.float32, products.COMPUTE_TYPE_TF32 if tf32 else products.COMPUTE_TYPE_DEFAULT)
        return stack

    def compile(self, step: Step, n_steps: int = 1) -> RunSteps:
        """Return a run that is captured into CUDA graphs; it is for one training run at a time."""
        if n_steps < WORTH_RECORDING:
            return super().compile(step)
        return Recorded(step, self.xp, partial(captured, xp=self.xp, precision=self.precision))

    def _free(self) -> int:
        with self.device:
            free: int = self.device.mem_info[0]
            kept: int = cupy.get_default_memory_pool().free_bytes()
            return free + kept

    def set_precision(self, precision: str) -> None:
        """Take TF32 or bf16, which GPUs have from compute capability 8.0 on."""
        if int(self.device.compute_capability) < 80:
            super().set_precision(precision)
        if precision == "bf16":
            self.xp = XP_BF16


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
