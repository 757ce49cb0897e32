"""The floor: a step's matrix products alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.backend import Backend
from xpnet.bench.ladder import Rung

__all__ = ["device_floor", "numpy_floor"]


def numpy_floor(rung: Rung) -> Callable[[int], None]:
    """Return what does the products of some steps with NumPy, into outputs that are there already.

    They have the layouts that they have in a step: the gradient of the weights takes its input transposed.
    """
    rng = np.random.default_rng(0)
    n_layers = len(rung.sizes) - 1
    factors = []
    for i, (m, k, n) in enumerate(rung.products):
        shapes = ((m, k), (k, n), (False, False))
        if n_layers <= i < 2 * n_layers:
            shapes = ((k, m), (k, n), (True, False))
        elif i >= 2 * n_layers:
            shapes = ((m, k), (n, k), (False, True))
        a, b = (rng.standard_normal(shape, dtype=np.float32) for shape in shapes[:2])
        a, b = (array.T if transposed else array for array, transposed in zip((a, b), shapes[2], strict=True))
        factors.append((a, b, np.empty((m, n), np.float32)))

    def run(steps: int) -> None:
        for _ in range(steps):
            for a, b, out in factors:
                np.matmul(a, b, out=out)

    return run


def device_floor(rung: Rung, backend: Backend) -> Callable[[int], None]:
    """Return the same by a backend's own product, for devices that NumPy does not reach."""
    xp: Any = backend.xp
    with backend.scope("float32"):
        factors = [
            tuple(backend.asarray(np.ones(shape, np.float32)) for shape in ((m, k), (k, n)))
            for m, k, n in rung.products
        ]

    def run(steps: int) -> None:
        with backend.scope("float32"):
            results = []
            for _ in range(steps):
                results = [xp.matmul(a, b) for a, b in factors]
            for result in results:
                backend.to_numpy(result[0, 0])  # waits for the device

    return run
