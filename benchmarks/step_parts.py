"""Time the parts of a training step, in microseconds: ``python benchmarks/step_parts.py [DEVICE ...]``.

`xpnet bench` times whole steps; this shows where in a step the time goes if each part is called by itself, not
compiled. Rounds are interleaved over the devices. On an asynchronous device each figure includes the wait for the
result.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from xpnet import get_backend
from xpnet.bench.timing import interleave, seconds, spread
from xpnet.bench.workloads import WORKLOADS, Workload, make_data
from xpnet.nn.backprop import objective_and_gradient
from xpnet.nn.optimizers import OPTIMIZERS, get_optimizer

ROUNDS, LEAST = 15, 0.005
NAMES = ("tiny", "digits", "mnist-small", "mnist-large")


def parts(workload: Workload, device: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield the name of each part of a step, and a function that runs it once and returns an array of the result."""
    backend, network, work = get_backend(device), workload.network, make_data(workload._replace(steps=8))
    xp = backend.xp
    params = network.init(0, backend, "float32").vector
    x, y = backend.asarray(work.x), backend.asarray(work.y)
    row = backend.asarray(np.random.default_rng(0).permutation(len(work.x))[: workload.batch].astype(np.int32))
    batch = (xp.take(x, row, axis=0), xp.take(y, row, axis=0))
    yield "gather a batch", lambda: xp.take(x, row, axis=0)
    f = network.activations[0]
    z = backend.asarray(np.random.default_rng(0).standard_normal((workload.batch, workload.sizes[1]), dtype=np.float32))
    slope = f.slope
    saved = f.function(xp, z, slope) if f.from_output else z
    copy = partial(xp.asarray, z, copy=True)
    # An activation or its backward pass may write to its argument. On one array again and again the numbers would
    # shrink until they are denormal, which is slow. So each works on a copy; the time of the copy is listed first.
    yield "copy", copy
    yield "copy, activation", lambda: f.function(xp, copy(), slope)
    yield "copy, its backward", lambda: f.backward(xp, copy(), saved, slope)
    yield "value and gradient", lambda: objective_and_gradient(network, xp, params, batch)[1]
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
    """Return a function that runs a part often enough for the clock, and the number of runs."""

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
    """Print a line for each part: median and quartiles of each device, and the ratio to the first device."""
    devices = sys.argv[1:] or ["cpu"]
    for workload in (WORKLOADS[name] for name in NAMES):
        print(f"{workload.name}, microseconds")
        for same in zip(*(parts(workload, device) for device in devices), strict=True):
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
