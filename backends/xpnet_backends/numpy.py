"""NumPy, on the CPU."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import array_api_compat.numpy as xp
import numpy as np

from xpnet.backend import Backend, check_index
from xpnet.errors import DeviceUnavailableError

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
    if kind != "cpu":
        raise DeviceUnavailableError(
            f"numpy has no {kind}: expected numpy:cpu; received numpy:{kind}. For a GPU use gpu (CuPy) or torch:gpu."
        )
    check_index("numpy", kind, index, 1)
    return NumpyBackend()
