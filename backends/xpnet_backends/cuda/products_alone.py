"""The matrix products of a step alone, captured as a CUDA graph: the lower bound of steps on CuPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cupy

from xpnet_backends.cuda.cublas import Products, call_of, value_like

__all__ = ["captured_products"]

Array = Any  # CuPy's own, which has more than the standard


def captured_products(factors: Sequence[tuple[Array, Array]], precision: str) -> Callable[[int], None]:
    """Return a function that multiplies the pairs of matrices `n` times, and waits for the GPU."""
    stream = cupy.cuda.Stream(non_blocking=True)
    products = Products(precision, stream)
    results = [cupy.empty((a.shape[0], b.shape[1]), a.dtype) for a, b in factors]
    calls = [
        (call_of(*map(value_like, (a, b, out))), a.dtype, a.data.ptr, b.data.ptr, out.data.ptr)
        for (a, b), out in zip(factors, results, strict=True)
    ]

    def multiply() -> None:
        for call in calls:
            products.multiply(*call)

    stream.wait_event(cupy.cuda.get_current_stream().record())
    with stream:
        multiply()  # the first use of a kernel loads it, which cannot be captured
        stream.begin_capture()
        try:
            multiply()
        finally:
            graph = stream.end_capture()

    def run(n: int) -> None:
        for _ in range(n):
            graph.launch(stream)
        stream.synchronize()

    run.memory = factors, results, products  # type: ignore[attr-defined]  # kept, for the graph uses it
    return run
