"""NumPy's arrays, with the training step compiled by Numba: a run of steps is one call.

Machine code is kept in the user's cache folder, so that the next process need not compile it again.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np

from xpnet.backend import NUMPY, Backend, RunSteps, Step, check_index
from xpnet_backends.compiler import numba_math
from xpnet_backends.compiler.ir import Program
from xpnet_backends.compiler.numba_cache import keep_code, load_module
from xpnet_backends.compiler.numba_codegen import NumbaSource, passes
from xpnet_backends.compiler.program_cache import ProgramCache, host_memory, on_host
from xpnet_backends.numpy import NumpyBackend

__all__ = ["create"]


class NumbaProgram:
    """A program as machine code, bound to the parameters and the state that it updates."""

    def __init__(self, program: Program, state: list[np.ndarray]) -> None:
        program = passes(program)
        source = NumbaSource(program)
        self._arrays = list(map(host_memory(program, state), source.arrays))
        self._dtype = program.loss.dtype
        self._steps = _compile(source.text, "steps")

    def run(self, data: tuple[np.ndarray, ...], order: np.ndarray) -> np.ndarray:
        """Do a step for each row of `order`, (n_steps, batch), and return the losses, (n_steps,)."""
        losses = np.empty(order.shape[0], self._dtype)
        self._steps(order, losses, *data, *self._arrays)
        return losses


@lru_cache(maxsize=64)
def _compile(text: str, function: str) -> Callable[..., Any]:
    """Return a function of a module's text as machine code, from the disk or compiled at the first call."""
    # Numba finds machine code by the file's name; it does not see changes of the functions that the code calls.
    parts = (text, Path(numba_math.__file__).read_text(), numba.__version__)
    name = f"{function}_{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"
    module, is_kept = load_module(name, text)
    sys.modules[name] = module  # Numba looks for it there
    compiled: Callable[..., Any] = numba_math.compiled(getattr(module, function))
    return keep_code(compiled) if is_kept else compiled


_DOT = """
import numpy as np


def dot(a, b):
    return np.dot(a, b)
"""


def _matmul(a: Any, b: Any, /) -> Any:
    """Multiply matrices by SciPy's BLAS, as compiled steps do.

    NumPy has a BLAS of its own. The idle threads of one BLAS spin for a tenth of a second and slow those of the other
    down: a step after a validation would take many times as long.
    """
    plain = type(a) is type(b) is np.ndarray and a.ndim == b.ndim == 2 and a.dtype == b.dtype and a.dtype.kind == "f"
    return _compile(_DOT, "dot")(a, b) if plain and a.flags.forc and b.flags.forc else np.matmul(a, b)


XP = SimpleNamespace(**{**vars(NUMPY), "matmul": _matmul})


class NumbaBackend(NumpyBackend):
    """NumPy's arrays and Numba's machine code."""

    name = "numba:cpu"
    xp: Any = XP

    def compile(self, step: Step, n_steps: int = 1) -> RunSteps:
        """Return a run of compiled steps, for one training run at a time."""
        return ProgramCache(step, self.xp, on_host(NumbaProgram))


def create(kind: str, index: int) -> Backend:
    """Return the backend of a device."""
    check_index("numba", kind, index, 1 if kind == "cpu" else 0)
    return NumbaBackend()
