"""Microseconds of the parts of a training step, on the sizes of the ladder.

Run it as ``python benchmarks/kernels.py [DEVICE ...]``.
`xpnet bench` times whole steps; this says where in a step the time goes. Rounds are interleaved over the devices. On a
device that works asynchronously each figure has the wait for its result in it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from xpnet import get_backend
from xpnet.backend.steps import REFERENCE
from xpnet.bench.timing import interleave, seconds, spread
from xpnet.bench.workloads import LADDER, Rung, make_work
from xpnet.nn.optimizers import OPTIMIZERS, get_optimizer

ROUNDS, LEAST = 15, 0.005
RUNGS = ("tiny", "digits", "mnist-small", "mnist-large")


def parts(rung: Rung, device: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield each part of a step by name, with what does it once and returns an array of the result."""
    backend, network, work = get_backend(device), rung.network, make_work(rung._replace(steps=8))
    xp = backend.xp
    params = network.init(0, backend, "float32").vector
    x, y = backend.asarray(work.x), backend.asarray(work.y)
    row = backend.asarray(np.random.default_rng(0).permutation(len(work.x))[: rung.batch].astype(np.int32))
    batch = (xp.take(x, row, axis=0), xp.take(y, row, axis=0))
    yield "gather a batch", lambda: xp.take(x, row, axis=0)
    f = network.functions[0]
    z = backend.asarray(np.random.default_rng(0).standard_normal((rung.batch, rung.sizes[1]), dtype=np.float32))
    slope = f.slope
    saved = f.function(xp, z, slope) if f.from_output else z
    copy = partial(xp.asarray, z, copy=True)
    # An activation or its backward may write over what it is given. On the same array again and again the numbers would
    # shrink until they are denormal, which are slow: each works on a copy, whose time stands before.
    yield "copy", copy
    yield "copy, activation", lambda: f.function(xp, copy(), slope)
    yield "copy, its backward", lambda: f.backward(xp, copy(), saved, slope)
    for title, kernels in (("reference", REFERENCE), ("own", backend.kernels)):
        yield (
            f"value and gradient, {title} kernels",
            lambda kernels=kernels: network.value_and_gradient(xp, kernels, params, batch, None)[1],
        )
    for name in OPTIMIZERS:
        yield f"update, {name}", _update(backend, name, params, network.n_weights)


def _update(backend: Any, name: str, params: Any, n_weights: int) -> Callable[[], Any]:
    optimizer, xp = get_optimizer(name), backend.xp
    gradient = xp.ones_like(params)
    held = xp.asarray(params, copy=True), optimizer.init(xp, params, n_weights)

    def update() -> Any:
        nonlocal held
        held = optimizer.update(xp, gradient, held[1], held[0])
        return held[0]

    return update


def repeated(backend: Any, call: Callable[[], Any]) -> tuple[Callable[[int], Any], int]:
    """Return what does a part so many times that a clock can tell, and how many times that is."""

    def times(n: int) -> None:
        with backend.scope("float32"):
            result = None
            for _ in range(n):
                result = call()
            backend.to_numpy(result)  # waits for the device

    times(2)
    n = max(1, int(LEAST / seconds(partial(times, 1))))
    return lambda turn: times(n), n


def main() -> None:
    """Print a line for each part: median and quartiles of each device, and its ratio to the first."""
    devices = sys.argv[1:] or ["cpu"]
    for rung in (LADDER[name] for name in RUNGS):
        print(f"{rung.name}, microseconds")
        for same in zip(*(parts(rung, device) for device in devices), strict=True):
            ready = [repeated(get_backend(device), call) for device, (_, call) in zip(devices, same, strict=True)]
            taken = interleave([call for call, _ in ready], ROUNDS)
            found = [spread([t / n * 1e6 for t in row]) for row, (_, n) in zip(taken, ready, strict=True)]
            figures = (
                f"{device} {s.median:,.1f} ({s.low:,.1f} to {s.high:,.1f}, {s.median / found[0].median:.2f}x)"
                for device, s in zip(devices, found, strict=True)
            )
            print(f"  {same[0][0]:38}", *figures, sep="  ", flush=True)


if __name__ == "__main__":
    main()
