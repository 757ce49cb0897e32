"""Lower bounds on the time of a step: its matrix products alone, and its memory traffic at the speed of a copy.

This module prepares the products, and `step_times` times them in the same rounds as the steps. A compiled step can be
slightly faster than this bound, because it saves the library's calls around the products.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from xpnet.backend import Backend
from xpnet.bench.workloads import Workload

__all__ = ["copy_bandwidth", "device_products", "numpy_products"]

_COPIED = {"cpu": 1 << 24, "gpu": 1 << 27}  # float32 values in the copied array: more than the caches hold
_COPIES = 5


def _factors(workload: Workload) -> Iterator[tuple[np.ndarray, np.ndarray, bool, bool]]:
    """Yield the factors of each product, and whether each factor is transposed, as in the backward pass."""
    rng = np.random.default_rng(0)
    n_layers = len(workload.sizes) - 1
    for i, (m, k, n) in enumerate(workload.products):
        flips = (n_layers <= i < 2 * n_layers, i >= 2 * n_layers)
        shapes = ((m, k), (k, n))
        a, b = (
            rng.standard_normal(shape[::-1] if flip else shape, dtype=np.float32)
            for shape, flip in zip(shapes, flips, strict=True)
        )
        yield a, b, *flips


def numpy_products(workload: Workload) -> Callable[[int], None]:
    """Return a function that does the matrix products of `n` steps with NumPy, into existing arrays."""
    factors = []
    for a, b, flip_a, flip_b in _factors(workload):
        a, b = (a.T if flip_a else a), (b.T if flip_b else b)
        factors.append((a, b, np.empty((a.shape[0], b.shape[1]), np.float32)))

    def run(n: int) -> None:
        for _ in range(n):
            for a, b, out in factors:
                np.matmul(a, b, out=out)

    return run


def device_products(workload: Workload, backend: Backend) -> Callable[[int], None]:
    """Return a function that does the matrix products of `n` steps on a backend's device, in its precision.

    A backend with a method `captured_products` does them in one launch, so that the time is not that of Python's calls.
    """
    xp: Any = backend.xp
    with backend.scope("float32"):
        factors = [
            tuple(x.T if flip else x for x, flip in ((backend.asarray(a), flip_a), (backend.asarray(b), flip_b)))
            for a, b, flip_a, flip_b in _factors(workload)
        ]
        captured = getattr(backend, "captured_products", None)
        multiply = None if captured is None else captured(factors)

    def run(n: int) -> None:
        with backend.scope("float32"):
            if multiply is not None:
                multiply(n)
                return
            results = []
            for _ in range(n):
                results = [xp.matmul(a, b) for a, b in factors]
            for result in results:
                backend.to_numpy(result[0, 0])  # waits for the device

    return run


@lru_cache
def copy_bandwidth(kind: str, backend: Backend) -> float:
    """Return the bytes read and written in a second by the fastest copy of a large array; on the CPU with NumPy."""
    host = np.ones(_COPIED[kind], np.float32)
    best = np.inf
    with backend.scope("float32"):
        xp: Any = np if kind == "cpu" else backend.xp
        original: Any = host if kind == "cpu" else backend.asarray(host)
        copy = np.empty_like(host)
        for _ in range(_COPIES):
            started = time.perf_counter()
            if kind == "cpu":
                np.copyto(copy, original)
            else:
                backend.to_numpy(xp.asarray(original, copy=True)[:1])  # waits for the device
            best = min(best, time.perf_counter() - started)
    return float(2 * host.nbytes / best)
