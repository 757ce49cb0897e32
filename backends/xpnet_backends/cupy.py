"""CuPy, on CUDA GPUs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from types import SimpleNamespace
from typing import Any

import array_api_compat.cupy as compat
import cupy
import numpy as np
from cupy._core import _routines_linalg as products  # pyright: ignore[reportAttributeAccessIssue]

from xpnet.backend import Backend, RunSteps, Step, check_index
from xpnet.errors import DeviceUnavailableError
from xpnet_backends.compiler.program_cache import WORTH_COMPILING, ProgramCache
from xpnet_backends.cuda.cublas import Products
from xpnet_backends.cuda.graph import Captured
from xpnet_backends.cuda.upload import to_gpu, upload
from xpnet_backends.memory_errors import memory_errors

__all__ = ["create"]

Array = Any  # CuPy's own, which has more than the standard


def _sign(x: Array, /) -> Array:
    """Return the signs; array_api_compat's function waits for the GPU, to count the elements that are not a number."""
    return cupy.where(cupy.isnan(x), x, cupy.sign(x))


_XP = SimpleNamespace(**{**vars(compat), "sign": _sign})


class CupyBackend(Backend):
    """CuPy on one GPU, through array_api_compat, since CuPy's own namespace does not follow the standard."""

    xp: Any = _XP
    can_share = True

    def __init__(self, index: int) -> None:
        self.name = f"cupy:gpu:{index}" if index else "cupy:gpu"
        self.device = cupy.cuda.Device(index)

    def asarray(self, host: np.ndarray) -> Array:
        """Copy a host array to this GPU."""
        with self.device:
            return to_gpu(host)

    def upload(self, parts: Iterable[tuple[np.ndarray, Any]]) -> Iterator[Array]:
        """Yield rows of host arrays, copied from pinned memory on a stream of their own."""
        return upload(parts)

    def to_numpy(self, array: Array) -> np.ndarray:
        """Copy an array to the host; this waits for the device."""
        host: np.ndarray = cupy.asnumpy(array)
        return host

    def scope(self, dtype: str) -> AbstractContextManager[Any]:
        """Select this GPU and set the precision of products, which CuPy else takes from an environment variable."""
        stack = ExitStack()
        stack.enter_context(memory_errors(self.name, self.free_bytes))
        stack.enter_context(self.device)
        stack.callback(products.set_compute_type, np.float32, products.get_compute_type(np.float32))
        tf32 = self.precision == "tf32"
        products.set_compute_type(np.float32, products.COMPUTE_TYPE_TF32 if tf32 else products.COMPUTE_TYPE_DEFAULT)
        return stack

    def compile(self, step: Step, n_steps: int | None = 1) -> RunSteps:
        """Return a run of captured steps, for one training run at a time."""
        if (n_steps or 0) < WORTH_COMPILING:
            return super().compile(step, n_steps)
        return ProgramCache(step, self.xp, Captured(self.precision))

    def free_bytes(self) -> int:
        """Return the free memory of the GPU, that of CuPy's pool included."""
        with self.device:
            free: int = self.device.mem_info[0]
            kept: int = cupy.get_default_memory_pool().free_bytes()
            return free + kept

    def set_precision(self, precision: str) -> None:
        """Set TF32 or bf16, which GPUs of compute capability 8.0 and above have."""
        if int(self.device.compute_capability) < 80:
            super().set_precision(precision)
        if precision == "bf16":
            bf16 = Products(precision)

            def matmul(x1: Array, x2: Array) -> Array:
                """Multiply matrices; factors in float32 are rounded to bfloat16, sums are in float32."""
                return bf16.matmul(x1, x2) if x1.dtype == np.float32 else cupy.matmul(x1, x2)

            self.xp = SimpleNamespace(**{**vars(_XP), "matmul": matmul})

    def captured_products(self, factors: Sequence[tuple[Array, Array]]) -> Callable[[int], None]:
        """Return a function that multiplies pairs of matrices so many times, in one launch each time, and waits."""
        from xpnet_backends.cuda.products_alone import captured_products  # here, because only the benchmark needs it

        return captured_products(factors, self.precision)


def create(kind: str, index: int) -> Backend:
    """Return the backend of a device."""
    if kind != "gpu":
        check_index("cupy", kind, index, 0)
    try:
        # CuPy can be imported without a driver; a call to the runtime fails.
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
            # A driver alone is not enough: this compiles a kernel and loads cuBLAS, which smaller matrices do not need.
            (cupy.ones((2, 2)) @ cupy.ones((2, 2)) + 1).sum().item()
    except (ImportError, OSError, RuntimeError, cupy.cuda.compiler.CompileException) as exc:
        raise DeviceUnavailableError(
            f"CuPy finds the GPU but cannot compute on it: expected CUDA's libraries and headers; received "
            f"{type(exc).__name__}: {' '.join(str(exc).split())}. Install them with CuPy: pip install "
            "'cupy-cuda13x[ctk]' (CUDA 12: 'cupy-cuda12x[ctk]')."
        ) from exc
    return backend
