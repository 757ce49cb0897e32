"""NumPy, on the CPU."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import Any

import array_api_compat.numpy as xp
import numpy as np

from xpnet.backend import Backend, RunSteps, Step, check_index
from xpnet_backends.compiler.numpy_replay import Replay
from xpnet_backends.compiler.program_cache import WORTH_RECORDING, Recorded, on_host
from xpnet_backends.memory_errors import memory_errors

__all__ = ["NumpyBackend", "create"]


class NumpyBackend(Backend):
    """NumPy: the reference kernels, recorded and replayed."""

    name = "numpy:cpu"
    xp: Any = xp
    device = "cpu"

    def compile(self, step: Step, n_steps: int = 1) -> RunSteps:
        """Return a run that replays the step; it is for one training run at a time."""
        return Recorded(step, xp, on_host(Replay)) if n_steps >= WORTH_RECORDING else super().compile(step)

    def scope(self, dtype: str) -> AbstractContextManager[Any]:
        """Silence floating-point warnings: a run that diverges is reported by the trainer, once and with a remedy."""
        stack = ExitStack()
        stack.enter_context(memory_errors(self.name))
        stack.enter_context(np.errstate(all="ignore"))
        return stack


def create(kind: str, index: int) -> Backend:
    """Return the backend of a device."""
    check_index("numpy", kind, index, 1 if kind == "cpu" else 0)
    return NumpyBackend()
