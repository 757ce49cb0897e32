"""The floors: a step's matrix products alone, and its least traffic at the speed of a copy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from xpnet.backend import Backend
from xpnet.bench.workloads import Rung

__all__ = ["copy_bandwidth", "device_floor", "numpy_floor"]

_COPIED = {"cpu": 1 << 24, "gpu": 1 << 27}  # numbers: more than caches hold
_COPIES = 5


def _factors(rung: Rung) -> Iterator[tuple[np.ndarray, np.ndarray, bool, bool]]:
    """Yield what is multiplied, and whether each is taken transposed, as the gradient of the weights has its input."""
    rng = np.random.default_rng(0)
    n_layers = len(rung.sizes) - 1
    for i, (m, k, n) in enumerate(rung.products):
        flips = (n_layers <= i < 2 * n_layers, i >= 2 * n_layers)
        shapes = ((m, k), (k, n))
        a, b = (
            rng.standard_normal(shape[::-1] if flip else shape, dtype=np.float32)
            for shape, flip in zip(shapes, flips, strict=True)
        )
        yield a, b, *flips


def numpy_floor(rung: Rung) -> Callable[[int], None]:
    """Return what does the products of some steps with NumPy, into outputs that are there already."""
    factors = []
    for a, b, flip_a, flip_b in _factors(rung):
        a, b = (a.T if flip_a else a), (b.T if flip_b else b)
        factors.append((a, b, np.empty((a.shape[0], b.shape[1]), np.float32)))

    def run(steps: int) -> None:
        for _ in range(steps):
            for a, b, out in factors:
                np.matmul(a, b, out=out)

    return run


def device_floor(rung: Rung, backend: Backend) -> Callable[[int], None]:
    """Return the same by a backend's own product, in its precision, for devices that NumPy does not reach."""
    xp: Any = backend.xp
    with backend.scope("float32"):
        factors = [
            tuple(x.T if flip else x for x, flip in ((backend.asarray(a), flip_a), (backend.asarray(b), flip_b)))
            for a, b, flip_a, flip_b in _factors(rung)
        ]

    def run(steps: int) -> None:
        with backend.scope("float32"):
            results = []
            for _ in range(steps):
                results = [xp.matmul(a, b) for a, b in factors]
            for result in results:
                backend.to_numpy(result[0, 0])  # waits for the device

    return run


@lru_cache
def copy_bandwidth(kind: str, backend: Backend) -> float:
    """Return the bytes a second, read and written, of the fastest copy of a large array: on the CPU NumPy's."""
    host = np.ones(_COPIED[kind], np.float32)
    best = np.inf
    with backend.scope("float32"):
        xp: Any = np if kind == "cpu" else backend.xp
        source = host if kind == "cpu" else backend.asarray(host)
        target = np.empty_like(host)
        for _ in range(_COPIES):
            started = time.perf_counter()
            if kind == "cpu":
                np.copyto(target, source)
            else:
                backend.to_numpy(xp.asarray(source, copy=True)[:1])  # waits for the device
            best = min(best, time.perf_counter() - started)
    return float(2 * host.nbytes / best)
