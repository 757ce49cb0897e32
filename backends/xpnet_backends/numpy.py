"""NumPy, on the CPU."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import array_api_compat.numpy as xp
import numpy as np

from xpnet.backend import Backend, check_index

__all__ = ["create"]


class NumpyBackend(Backend):
    """NumPy as it is: the reference kernels and the plain loop."""

    name = "numpy:cpu"
    xp = xp
    device = "cpu"

    def scope(self, dtype: str) -> AbstractContextManager[Any]:
        """Silence floating-point warnings: a run that diverges is reported by the trainer, once and with a remedy."""
        return np.errstate(all="ignore")


def create(kind: str, index: int) -> Backend:
    """Return the backend of a device."""
    check_index("numpy", kind, index, 1 if kind == "cpu" else 0)
    return NumpyBackend()
