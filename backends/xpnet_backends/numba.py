"""NumPy's arrays, with the training step compiled by Numba: a run of steps is one call.

What is compiled is kept in the user's cache folder, so that the next process need not compile it again.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from types import ModuleType, SimpleNamespace
from typing import Any

import array_api_compat.numpy as compat
import numba
import numpy as np
from platformdirs import user_cache_path

from xpnet.backend import Backend, RunSteps, Step, check_index
from xpnet_backends.compiler import numba_math as elementary
from xpnet_backends.compiler.numba_codegen import Source
from xpnet_backends.compiler.program_cache import Recorded, on_host
from xpnet_backends.compiler.trace import Recording
from xpnet_backends.numpy import NumpyBackend

__all__ = ["create"]


class Compiled:
    """A recorded step as machine code, on the parameters and the state that it was recorded with."""

    def __init__(self, recording: Recording) -> None:
        source = Source(recording)
        self._arrays = source.arrays
        self._dtype = recording.loss.dtype
        self._steps = _compile(source.text)

    def run(self, data: tuple[np.ndarray, ...], order: np.ndarray) -> np.ndarray:
        """Do a step for each row of `order`, (n_steps, batch), and return the losses, (n_steps,)."""
        losses = np.empty(order.shape[0], self._dtype)
        self._steps(order, losses, *data, *self._arrays)
        return losses


@lru_cache(maxsize=64)
def _compile(text: str) -> Callable[..., None]:
    """Return the function ``steps`` of a module's text as machine code, made at the first call or found on the disk."""
    # Numba finds what it has compiled by the file, and does not see that what it calls has changed.
    parts = (text, Path(elementary.__file__).read_text(), numba.__version__)
    name = f"steps_{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"
    steps: Callable[..., None] = elementary.compiled(_module(name, text).steps, cache=True)
    return steps


def _module(name: str, text: str) -> ModuleType:
    """Return a module of that text, with a file that stays, or where none can be written with one that does not."""
    module = ModuleType(name)
    path = user_cache_path("xpnet") / "numba" / f"{name}.py"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)  # only its name, place and time matter: what runs is the text
    except OSError:
        path = Path(mkdtemp(prefix="xpnet-")) / path.name
        path.write_text(text)
    module.__file__ = str(path)
    sys.modules[name] = module  # where Numba looks for it
    exec(compile(text, path, "exec"), module.__dict__)
    return module


@elementary.compiled
def _dot(a: Any, b: Any) -> Any:
    return np.dot(a, b)


def _matmul(a: Any, b: Any, /) -> Any:
    """Multiply matrices as compiled steps do, by SciPy's BLAS.

    NumPy has a BLAS of its own, and the idle threads of one spin for a tenth of a second where those of the other are
    to work: a step after a validation would take many times as long.
    """
    plain = type(a) is type(b) is np.ndarray and a.ndim == b.ndim == 2 and a.dtype == b.dtype and a.dtype.kind == "f"
    return _dot(a, b) if plain and a.flags.forc and b.flags.forc else np.matmul(a, b)


XP = SimpleNamespace(**{**vars(compat), "matmul": _matmul})


class NumbaBackend(NumpyBackend):
    """NumPy's arrays and Numba's machine code."""

    name = "numba:cpu"
    xp: Any = XP

    def compile(self, step: Step, n_steps: int = 1) -> RunSteps:
        """Return a run that is compiled at its first step; it is for one training run at a time."""
        return Recorded(step, self.xp, on_host(Compiled))


def create(kind: str, index: int) -> Backend:
    """Return the backend of a device."""
    check_index("numba", kind, index, 1 if kind == "cpu" else 0)
    return NumbaBackend()
