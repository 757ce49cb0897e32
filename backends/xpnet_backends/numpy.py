"""NumPy, on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import numpy as np

from xpnet.backend import NUMPY, Backend, RunSteps, Step, check_index
from xpnet.subnormals import FlushSubnormals
from xpnet_backends.compiler.host_function import HostFunction
from xpnet_backends.compiler.numpy_codegen import NumpyProgram
from xpnet_backends.compiler.program_cache import ProgramCache, on_host
from xpnet_backends.memory_errors import memory_errors

__all__ = ["NumpyBackend", "create"]

# Compiling takes about 3 ms, or 0.5 ms if a run has been like this one, and saves more than 0.1 ms a step.
_WORTH_COMPILING = 12


class NumpyBackend(Backend):
    """NumPy; longer runs are compiled to its calls without Python between them."""

    name = "numpy:cpu"
    xp: Any = NUMPY
    device = "cpu"
    can_share = True

    def compile(self, step: Step, n_steps: int | None = 1) -> RunSteps:
        """Return a run of compiled steps, for one training run at a time."""
        if n_steps is not None and n_steps < _WORTH_COMPILING:
            return super().compile(step, n_steps)
        patience = _WORTH_COMPILING if n_steps is None else 0
        return ProgramCache(step, NUMPY, on_host(NumpyProgram), patience=patience)

    def jit(self, function: Callable[..., Any], *, repeated: bool = False) -> Callable[..., Any]:
        """Return a function that is called often as a program of NumPy's calls, if it can be traced."""
        return HostFunction(function) if repeated else function

    def scope(self, dtype: str) -> AbstractContextManager[Any]:
        """Flush subnormals, and silence floating-point warnings: the trainer reports a run that diverges, once."""
        stack = ExitStack()
        stack.enter_context(memory_errors(self.name))
        stack.enter_context(np.errstate(all="ignore"))
        stack.enter_context(FlushSubnormals())
        return stack


def create(kind: str, index: int) -> Backend:
    """Return the backend of a device."""
    check_index("numpy", kind, index, 1 if kind == "cpu" else 0)
    # OpenBLAS takes its working memory at the first large product, and ends the process if it finds none. Here there
    # is some left, and later an array that does not fit is a MemoryError.
    np.matmul(*np.ones((2, 128, 128), np.float32))
    return NumpyBackend()
