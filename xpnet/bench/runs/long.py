"""Long runs on images with many zero pixels: the time of a step at the start, and after thousands of steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from xpnet.backend import Backend
from xpnet.bench.caches import place
from xpnet.bench.implementations import Implementation
from xpnet.bench.overhead import timed_backend
from xpnet.bench.runs.images import fashion_images, zero_rich_images
from xpnet.bench.runs.request import Request
from xpnet.bench.runs.results import Column, RunResults, RunRow, as_ratio, as_time
from xpnet.bench.runs.whole import short_steps
from xpnet.bench.timing import take_turns
from xpnet.bench.workloads import WORKLOADS, TrainingData, Workload
from xpnet.nn.network import Network
from xpnet.nn.optimizers import get_optimizer
from xpnet.training.callbacks import Callback
from xpnet.training.trainer import Trainer

__all__ = ["CASES", "COLUMNS", "Rule", "measure", "tenths"]

COLUMNS = (
    Column("first", "first tenth", as_time, "time of a step in the first tenth of the run"),
    Column("growth", "last / first", as_ratio, "time of a step in the last tenth relative to the first tenth"),
    Column(
        "to_short", "x short", as_ratio,
        "time of a step in the last tenth relative to the short runs of `xpnet bench`, which have no zero pixels",
    ),
)  # fmt: skip
CASES = ("mnist-small", "mnist-large")
"""The workloads of a long run; both take images of 784 pixels."""

_N_STEPS, _QUICK_STEPS = 5_000, 60
_N_SAMPLES, _QUICK_SAMPLES = 60_000, 640
_PIECES = 20  # calls of a peer, in which it does the steps of a run
_DROPOUT = 0.2


class Rule(NamedTuple):
    """What a long run is trained with: an optimizer, and dropout or none."""

    optimizer: str
    dropout: float = 0.0

    def __str__(self) -> str:
        return f"{self.optimizer}, dropout" if self.dropout else self.optimizer


_OPTIMIZERS = ("momentum", "adam", "rmsprop")
_PEERS_KNOW = _OPTIMIZERS[:2]


def measure(request: Request[Implementation]) -> RunResults:
    """Train each workload for 5,000 steps and time a step in the first and in the last tenth.

    A workload that is named is trained with each optimizer and with dropout; without a name, mnist-large, which takes
    longest, is trained with its own optimizer only.
    """
    x, y = _images(request)
    rows: list[RunRow] = []
    for name in request.cases or CASES:
        workload = WORKLOADS[name]
        rules = [*map(Rule, _OPTIMIZERS), Rule(workload.optimizer, _DROPOUT)]
        if not request.cases and name != CASES[0]:
            rules = [Rule(workload.optimizer)]
        for rule in rules:
            rows += _rows(workload, rule, x, y, request)
    zeros = f"{np.mean(x == 0):.0%} of the pixels are zero, {np.mean(~x.any(axis=0)):.0%} are zero in all samples"
    return request.results(
        run="long",
        title=f"{_n_steps(request):,} steps on images",
        case="workload",
        timed="per step, last tenth",
        columns=COLUMNS,
        rows=rows,
        remarks=(f"{len(x):,} samples: {zeros}; {place(x.nbytes + y.nbytes)}",),
    )


def _n_steps(request: Request[Implementation]) -> int:
    return _QUICK_STEPS if request.quick else _N_STEPS


def _images(request: Request[Implementation]) -> tuple[np.ndarray, np.ndarray]:
    if request.data_dir is not None:
        return fashion_images(request.data_dir)
    return zero_rich_images(_QUICK_SAMPLES if request.quick else _N_SAMPLES)


def _rows(
    workload: Workload, rule: Rule, x: np.ndarray, y: np.ndarray, request: Request[Implementation]
) -> Iterator[RunRow]:
    case = f"{workload.name}, {rule}"
    rate = workload.learning_rate
    if rule.optimizer != workload.optimizer:
        rate = get_optimizer(rule.optimizer).learning_rate
    workload = workload._replace(optimizer=rule.optimizer, learning_rate=rate, steps=len(x) // workload.batch)
    data = TrainingData(workload, x, y)
    n_steps = _n_steps(request)
    runs: dict[Implementation, Callable[[int], tuple[float, float]]] = {}
    reasons: dict[Implementation, str] = {}
    for each in request.available:
        if each.backend is not None:
            runs[each] = partial(_fit, each.backend, data, rule, n_steps)
        elif each.estimator is not None:
            reasons[each] = "it does not report the time of its epochs"
        elif rule.dropout or rule.optimizer not in _PEERS_KNOW:
            reasons[each] = f"this peer is not written for {rule}"
        else:
            runs[each] = partial(_train_peer, each, data, n_steps)
    short = _short(workload, rule, [*runs], request)
    taken = dict(zip(runs, take_turns([*runs.values()], request.rounds), strict=True))
    for each in request.available:
        if each in reasons:
            yield RunRow(case, each.name, reason=reasons[each])
            continue
        first, last = np.transpose(taken[each]).tolist()
        figures = {
            "first": float(np.median(first)),
            "growth": float(np.median(np.divide(last, first))),
            "to_short": float(np.median(last)) / short[each] if each in short else None,
        }
        yield RunRow(case, each.name, tuple(last), figures)


def _short(
    workload: Workload, rule: Rule, found: list[Implementation], request: Request[Implementation]
) -> dict[Implementation, float]:
    """Return the step times of the short runs, which are not made with dropout."""
    if rule.dropout or not found:
        return {}
    short = workload._replace(steps=WORKLOADS[workload.name].steps)
    return dict(
        zip(found, short_steps(short.quick() if request.quick else short, found, quick=request.quick), strict=True)
    )


class _StepClock(Callback):
    """Note the number of steps that are done, and the time."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.times: list[float] = []

    def on_start(self, n_steps: int, epochs: int) -> None:
        """Note the steps of an epoch."""
        self._steps = n_steps

    def on_steps(self, epoch: int, done: int) -> None:
        """Note the time."""
        self.note((epoch - 1) * self._steps + done)

    def note(self, done: int) -> None:
        """Note the time after `done` steps."""
        self.done.append(done)
        self.times.append(time.perf_counter())

    def tenths(self, n_steps: int) -> tuple[float, float]:
        """Return the seconds per step in the first and in the last tenth of `n_steps`."""
        return tenths(self.done, self.times, n_steps)


def tenths(done: list[int], times: list[float], n_steps: int) -> tuple[float, float]:
    """Return the seconds per step in the first and in the last tenth of a run.

    The first call of the steps does not count, because a step may be compiled in it.

    Parameters
    ----------
    done, times : list of int, list of float
        Numbers of steps, and the times at which they were done. Between two of them the steps take equal time.
    n_steps : int
        Steps of the run; it may have gone on.
    """
    tenth = n_steps / 10
    end = min(float(n_steps), float(done[-1]))
    marks = np.interp([done[0], done[0] + tenth, end - tenth, end], done, times)
    return float((marks[1] - marks[0]) / tenth), float((marks[3] - marks[2]) / tenth)


def _fit(backend: Backend, data: TrainingData, rule: Rule, n_steps: int, turn: int) -> tuple[float, float]:
    workload, clock = data.workload, _StepClock()
    Trainer(
        Network(workload.sizes, activation=workload.activation, dropout=rule.dropout),
        optimizer=workload.optimizer,
        learning_rate=workload.learning_rate,
        batch_size=workload.batch,
        epochs=math.ceil(n_steps / math.ceil(len(data.x) / workload.batch)),
        device=timed_backend(backend, []),  # it waits for the steps of a call, so that the clock is right
        callbacks=[clock],
    ).fit(data.x, data.y)
    return clock.tenths(n_steps)


def _train_peer(implementation: Implementation, data: TrainingData, n_steps: int, turn: int) -> tuple[float, float]:
    workload, clock, rng = data.workload, _StepClock(), np.random.default_rng(turn)
    run = implementation.start(data)
    steps = n_steps // _PIECES
    rows = np.empty(0, np.int32)
    for piece in range(_PIECES):
        while rows.size < steps * workload.batch:  # a new order in each epoch
            rows = np.concatenate([rows, rng.permutation(len(data.x)).astype(np.int32)])
        now, rows = np.split(rows, [steps * workload.batch])
        run(now.reshape(1, steps, workload.batch), turn)
        clock.note((piece + 1) * steps)
    return clock.tenths(n_steps)
