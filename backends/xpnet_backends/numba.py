"""NumPy's arrays, with the training step compiled by Numba: a run of steps is one call.

Machine code is kept in the user's cache folder, so that the next process need not compile it again.

Numba imports SciPy's BLAS at the first product. The import starts worker threads, which take over the state for
subnormal numbers for good, so this module imports it before: outside the scope of a run, the state is the user's.
"""

from __future__ import annotations

import ctypes
import hashlib
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401
from scipy.linalg.blas import dgemm, sgemm

from xpnet.backend import NUMPY, Backend, RunSteps, Step, check_index
from xpnet_backends.compiler import numba_math
from xpnet_backends.compiler.host_function import HostFunction
from xpnet_backends.compiler.ir import Program
from xpnet_backends.compiler.numba_cache import keep_code
from xpnet_backends.compiler.numba_codegen import NumbaSource, passes
from xpnet_backends.compiler.ops import Op
from xpnet_backends.compiler.program_cache import ProgramCache, host_memory, on_host
from xpnet_backends.numpy import NumpyBackend

__all__ = ["create"]


_Function = ctypes.CFUNCTYPE(None)


class NumbaProgram:
    """A program as machine code, bound to the parameters and the state that it updates."""

    def __init__(self, program: Program, state: list[np.ndarray]) -> None:
        program = passes(program)
        source = NumbaSource(program)
        array_of = host_memory(program, state)
        self._arrays = list(map(array_of, source.arrays))
        self._dtype = program.loss.dtype
        self._steps = _compile(source.text)
        self._failures: list[BaseException] = []
        outs = {each.axis: each.out for each in program.instructions if each.op is Op.CALL}
        self._calls = [self._callable(function, array_of(outs[k])) for k, function in enumerate(program.calls)]
        if self._calls:
            addresses = [ctypes.cast(each, ctypes.c_void_p).value for each in self._calls]
            self._arrays.append(np.asarray(addresses, np.int64))

    def run(self, data: tuple[np.ndarray, ...], order: np.ndarray) -> np.ndarray:
        """Do a step for each row of `order`, (n_steps, batch), and return the losses, (n_steps,)."""
        losses = np.empty(order.shape[0], self._dtype)
        self._steps(order, losses, *data, *self._arrays)
        if self._failures:
            raise self._failures.pop()
        return losses

    def _callable(self, function: Callable[[np.ndarray], None], array: np.ndarray) -> Any:
        """Return a C function without arguments that calls a function with an array; it keeps its first error."""

        def call() -> None:
            try:
                if not self._failures:
                    function(array)
            except BaseException as exc:  # machine code lets no exception through
                self._failures.append(exc)

        return _Function(call)


@lru_cache(maxsize=64)
def _compile(text: str) -> Callable[..., None]:
    """Return the function ``steps`` of a module's text as machine code, from the disk or compiled at the first call."""
    # The machine code contains that of the functions which the text calls.
    everything = text + Path(numba_math.__file__).read_text(encoding="utf-8")
    module = ModuleType(f"steps_{hashlib.sha256(everything.encode()).hexdigest()[:32]}")
    exec(compile(text, f"<{module.__name__}>", "exec"), module.__dict__)
    sys.modules[module.__name__] = module  # Numba looks for it there
    return keep_code(numba_math.compiled(module.steps), everything)


_GEMM = {np.dtype(np.float32): sgemm, np.dtype(np.float64): dgemm}


def _matmul(a: Any, b: Any, /, out: Any = None) -> Any:
    """Multiply matrices by SciPy's BLAS, as compiled steps do.

    NumPy has a BLAS of its own. The idle threads of one BLAS spin for a tenth of a second and slow those of the other
    down: a step after a validation would take many times as long.
    """
    arrays = (a, b) if out is None else (a, b, out)
    plain = all(
        type(x) is np.ndarray and x.ndim == 2 and x.size and x.flags.forc and x.dtype == a.dtype for x in arrays
    )
    if not plain or a.dtype not in _GEMM or a.shape[1] != b.shape[0]:
        return np.matmul(a, b, out=out)
    if out is not None and not out.flags.c_contiguous:
        return _matmul(b.T, a.T, out.T).T
    # Fortran's matrices lie column by column: this is the transposed product of transposed factors.
    into = {} if out is None else {"c": out.T, "overwrite_c": True}
    flips = [not x.flags.c_contiguous for x in (b, a)]
    factors = [x if flip else x.T for x, flip in zip((b, a), flips, strict=True)]
    return _GEMM[a.dtype](1.0, *factors, trans_a=flips[0], trans_b=flips[1], **into).T


XP = SimpleNamespace(**{**vars(NUMPY), "matmul": _matmul})


class NumbaBackend(NumpyBackend):
    """NumPy's arrays and Numba's machine code."""

    name = "numba:cpu"
    xp: Any = XP

    def compile(self, step: Step, n_steps: int | None = 1) -> RunSteps:
        """Return a run of compiled steps, for one training run at a time."""
        return ProgramCache(step, self.xp, on_host(NumbaProgram))

    def jit(self, function: Callable[..., Any], *, repeated: bool = False) -> Callable[..., Any]:
        """Return a function that is called often as a program of NumPy's calls and SciPy's products."""
        return HostFunction(function, _matmul) if repeated else function


def create(kind: str, index: int) -> Backend:
    """Return the backend of a device."""
    check_index("numba", kind, index, 1 if kind == "cpu" else 0)
    return NumbaBackend()
