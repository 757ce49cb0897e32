"""Microseconds a training step, by network and device; run it as ``python benchmarks/steps.py cpu torch:cpu jax:cpu``.

Rounds are interleaved, so that a drift of the machine's speed meets every device alike; quote ratios of one run.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from xpnet import Network, get_backend
from xpnet.optimizers import get_optimizer
from xpnet.step import init_state, make_step

STEPS, ROUNDS = 20, 15


class Rung(NamedTuple):
    """One size of work."""

    sizes: tuple[int, ...]
    activation: str
    batch: int
    optimizer: str


LADDER = {
    "tiny": Rung((64, 15, 10), "sigmoid", 10, "sgd"),
    "digits": Rung((64, 100, 10), "relu", 200, "adam"),
    "mnist-small": Rung((784, 128, 64, 10), "relu", 64, "momentum"),
    "mnist-large": Rung((784, 512, 512, 10), "relu", 256, "adam"),
}


def prepare(rung: Rung, device: str) -> Callable[[], float]:
    """Return a function that trains some steps and tells the microseconds of one."""
    backend = get_backend(device)
    network, optimizer = Network(rung.sizes, activation=rung.activation), get_optimizer(rung.optimizer)
    rng = np.random.default_rng(0)
    n_samples = STEPS * rung.batch
    with backend.scope("float32"):
        params = network.init(0, backend, "float32").vector
        state = init_state(network, optimizer, params, 0, backend)
        rate = backend.asarray(np.asarray(0.001, dtype=np.float32))
        state = state._replace(optimizer=state.optimizer._replace(learning_rate=rate))
        run_steps = backend.compile(make_step(network, optimizer, backend))
        x = backend.asarray(rng.standard_normal((n_samples, rung.sizes[0]), dtype=np.float32))
        y = backend.asarray(rng.integers(0, rung.sizes[-1], n_samples, dtype=np.int32))
        order = backend.asarray(rng.permutation(n_samples).reshape(STEPS, rung.batch).astype(np.int32))

    def measure() -> float:
        nonlocal params, state
        with backend.scope("float32"):
            started = time.perf_counter()
            params, state, losses = run_steps(params, state, (x, y), order)
            backend.to_numpy(losses)  # waits for the device
            return (time.perf_counter() - started) / STEPS * 1e6

    measure()  # compiles
    return measure


def main() -> None:
    """Print a line for each network: the median of each device, and its ratio to the first."""
    devices = sys.argv[1:] or ["cpu"]
    for name, rung in LADDER.items():
        runs = [prepare(rung, device) for device in devices]
        rounds = [[run() for run in runs] for _ in range(ROUNDS)]
        medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
        figures = (f"{d} {m:,.1f} us ({m / medians[0]:.2f}x)" for d, m in zip(devices, medians, strict=True))
        print(f"{name:12}", *figures, sep="  ")


if __name__ == "__main__":
    main()
