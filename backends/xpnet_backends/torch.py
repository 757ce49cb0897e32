"""PyTorch: eager on the CPU, as a CUDA graph on GPUs."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, ExitStack
from types import SimpleNamespace
from typing import Any

import array_api_compat.torch as compat
import numpy as np
import torch

from xpnet.backend import Backend, RunSteps, Step, check_index
from xpnet.errors import DeviceUnavailableError
from xpnet.subnormals import FlushSubnormals
from xpnet_backends.compiler.program_cache import WORTH_COMPILING
from xpnet_backends.cuda.torch_graph import captured_runs
from xpnet_backends.memory_errors import memory_errors

__all__ = ["create"]

Array = Any  # PyTorch's own, which has more than the standard


def _maximum(x1: Array, x2: Array | float) -> Array:
    # array_api_compat makes a tensor of the scalar, which copies it to the device in each call.
    return torch.maximum(x1, x2) if isinstance(x2, torch.Tensor) else torch.clamp(x1, min=x2)


def _minimum(x1: Array, x2: Array | float) -> Array:
    return torch.minimum(x1, x2) if isinstance(x2, torch.Tensor) else torch.clamp(x1, max=x2)


def _take(x: Array, indices: Array, /, *, axis: int) -> Array:
    # array_api_compat first replaces negative indices, with two more operations on the device.
    return torch.index_select(x, axis, indices)


def _bf16_matmul(x1: Array, x2: Array) -> Array:
    if x1.dtype != torch.float32:
        return torch.matmul(x1, x2)
    return torch.matmul(x1.bfloat16(), x2.bfloat16()).float()


XP = SimpleNamespace(
    **{**vars(compat), "maximum": _maximum, "minimum": _minimum, "take": _take, "matmul": torch.matmul}
)
XP_BF16 = SimpleNamespace(**{**vars(XP), "matmul": _bf16_matmul})


_GRAIN = 1 << 15  # elements for each thread, below which PyTorch uses fewer threads


class _Workers(threading.local):
    """The worker threads that PyTorch has for a thread.

    They take over the state of the thread for subnormal numbers when they are started, which its first large operation
    does, and keep it for good. So they are started before the state changes, or the user's code would have it later.
    """

    count = 1

    def start(self) -> None:
        """Start them, as many as PyTorch is set to use now."""
        if (count := torch.get_num_threads()) != self.count:
            torch.ones(count * _GRAIN, dtype=torch.uint8)
            self.count = count


_workers = _Workers()


class TorchBackend(Backend):
    """PyTorch's tensors without its autograd: xpnet computes gradients itself."""

    xp: Any = XP

    def __init__(self, kind: str, index: int) -> None:
        self.name = f"torch:{kind}:{index}" if index else f"torch:{kind}"
        self.device = torch.device("cpu") if kind == "cpu" else torch.device("cuda", index)

    def asarray(self, host: np.ndarray) -> Array:
        """Bring a host array to the device."""
        # PyTorch warns of read-only memory, so a read-only array is copied.
        return torch.asarray(host if host.flags.writeable else host.copy(), device=self.device)

    def to_numpy(self, array: Array) -> np.ndarray:
        """Bring a tensor to the host; this waits for the device."""
        host: np.ndarray = array.detach().cpu().numpy()
        return host

    def compile(self, step: Step, n_steps: int | None = 1) -> RunSteps:
        """Return a run that repeats the step as a CUDA graph; on the CPU the plain loop.

        On the CPU `torch.compile` takes seconds for each shape, and no measurement shows that it pays.
        """
        if self.device.type == "cpu" or (n_steps or 0) < WORTH_COMPILING:
            return super().compile(step, n_steps)
        return captured_runs(step, self.xp)

    def scope(self, dtype: str) -> AbstractContextManager[Any]:
        """Switch autograd off, set the precision of products, and select the GPU or flush subnormals."""
        stack = ExitStack()
        if self.device.type == "cuda":
            stack.enter_context(memory_errors(self.name, self.free_bytes))
        else:
            stack.enter_context(memory_errors(self.name))
        stack.enter_context(torch.no_grad())
        # Afterwards the precision is what the user's other code has chosen.
        stack.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
        torch.set_float32_matmul_precision("high" if self.precision == "tf32" else "highest")
        if self.device.type == "cuda":
            stack.enter_context(torch.cuda.device(self.device))
        else:
            _workers.start()
            stack.enter_context(FlushSubnormals())
        return stack

    def free_bytes(self) -> int | None:
        """Return the free memory of a GPU, that of PyTorch's pool included."""
        if self.device.type == "cpu":
            return None
        free: int = torch.cuda.mem_get_info(self.device)[0]
        kept: int = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return free + kept

    def set_precision(self, precision: str) -> None:
        """Set bf16, or TF32 on a GPU."""
        if precision == "bf16":
            self.xp = XP_BF16
        elif self.device.type == "cpu":
            super().set_precision(precision)


def create(kind: str, index: int) -> Backend:
    """Return the backend of a device."""
    count = 1 if kind == "cpu" else torch.cuda.device_count()
    if count == 0:
        raise DeviceUnavailableError(
            f"PyTorch finds no CUDA GPU: expected at least one; received {torch.__version__} with a count of 0. "
            "Install a CUDA build of PyTorch and NVIDIA's driver, or train with --device torch:cpu."
        )
    check_index("torch", kind, index, count)
    return TorchBackend(kind, index)
