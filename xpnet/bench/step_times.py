"""Step times of several implementations on one workload: timed in interleaved rounds, on the same data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from xpnet.bench.implementations import Implementation, Runner
from xpnet.bench.matmul_bound import device_products, numpy_products
from xpnet.bench.timing import interleave, seconds
from xpnet.bench.workloads import Workload, make_data, orders

__all__ = ["CHECKED_EPOCHS", "Settings", "StepTimes", "measure_step_times"]

CHECKED_EPOCHS = 2
_MAX_REPEATS = 1000


class Settings(NamedTuple):
    """How long the measurement takes.

    Attributes
    ----------
    rounds : int
    min_seconds : float
        Minimum duration of a timed call of the fastest implementation. The others do the same number of epochs.
    """

    rounds: int = 9
    min_seconds: float = 0.02


class StepTimes(NamedTuple):
    """The measurement of one implementation.

    Attributes
    ----------
    seconds : tuple of float
        Seconds per step in each round.
    matmul_bound : tuple of float
        Seconds for the matrix products of a step alone in each round; empty where they were not measured.
    time_to_first_step : float
        Seconds from the data on the host to the end of the first step, including transfer and compilation.
    loss : float
        Mean loss of the second epoch.
    epoch : float
        Seconds per epoch.
    """

    seconds: tuple[float, ...]
    matmul_bound: tuple[float, ...]
    time_to_first_step: float
    loss: float
    epoch: float


def measure_step_times(
    workload: Workload, implementations: Sequence[Implementation], settings: Settings
) -> list[StepTimes]:
    """Time the implementations in interleaved rounds; all of them are set up before the first round."""
    data = make_data(workload)
    checked = orders(workload, 0, CHECKED_EPOCHS)
    runners: list[Runner] = []
    losses: list[float] = []

    def start(implementation: Implementation) -> None:
        runners.append(implementation.start(data))
        losses.append(runners[-1](checked, 0))

    starts = [seconds(partial(start, implementation)) for implementation in implementations]
    # The faster of two calls counts, because the first may still allocate buffers.
    trials = [min(seconds(partial(run, checked[:1], 0)) for _ in range(2)) for run in runners]
    epochs = _repeats(min(trials), settings.min_seconds)
    drawn = [orders(workload, 1 + turn, epochs) for turn in range(settings.rounds)]

    products = _products(workload, implementations)
    steps = {key: _repeats(min(seconds(partial(run, 1)) for _ in range(3)), settings.min_seconds)
             for key, run in products.items()}  # fmt: skip
    calls: list[Callable[[int], object]] = [partial(_train, run, drawn) for run in runners]
    calls += [partial(_multiply, products[key], steps[key]) for key in products]
    taken = interleave(calls, settings.rounds)
    per_step = [tuple(t / (epochs * workload.steps) for t in row) for row in taken[: len(runners)]]
    bounds = {key: tuple(t / steps[key] for t in row) for key, row in zip(products, taken[len(runners) :], strict=True)}
    results = []
    for implementation, own, start_seconds, loss in zip(implementations, per_step, starts, losses, strict=True):
        step = float(np.median(own))
        time_to_first_step = max(start_seconds - step * (CHECKED_EPOCHS * workload.steps - 1), 0.0)
        # A peer on a GPU has the bound of the first device of that kind.
        same_kind = (
            bounds[other.name]
            for other in implementations
            if other.kind == implementation.kind and other.name in products
        )
        bound = bounds.get(implementation.name, bounds.get(implementation.kind, next(same_kind, ())))
        results.append(StepTimes(own, bound, time_to_first_step, loss, step * workload.steps))
    return results


def _train(run: Runner, drawn: list[np.ndarray], turn: int) -> None:
    run(drawn[turn], 1 + turn)


def _multiply(run: Callable[[int], None], steps: int, turn: int) -> None:
    run(steps)


def _repeats(once: float, min_seconds: float) -> int:
    return min(max(1, math.ceil(min_seconds / once)), _MAX_REPEATS)


def _products(workload: Workload, implementations: Sequence[Implementation]) -> dict[str, Callable[[int], None]]:
    """Return the matrix products with NumPy for ``"cpu"``, and on each GPU by the name of its implementation."""
    products = {"cpu": numpy_products(workload)} if any(each.kind == "cpu" for each in implementations) else {}
    for each in implementations:
        if each.kind != "cpu" and each.backend is not None:
            products[each.name] = device_products(workload, each.backend)
    return products
