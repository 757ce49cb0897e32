"""Whole training runs, as users start them: `Trainer.fit` for xpnet, and for peers epochs that they shuffle."""

from __future__ import annotations

import math
import time
from typing import NamedTuple, Protocol

import numpy as np

from xpnet.backend import Backend
from xpnet.bench.implementations import Implementation
from xpnet.bench.step_times import Settings, measure_step_times
from xpnet.bench.timing import seconds
from xpnet.bench.workloads import TrainingData, Workload
from xpnet.training.callbacks import Callback
from xpnet.training.history import EpochRecord
from xpnet.training.state import Run
from xpnet.training.trainer import Trainer

__all__ = ["EpochClock", "Turn", "WholeRun", "epochs_for", "short_steps", "whole_run"]

_MOST_EPOCHS = 100
_SHORT_ROUNDS = 3


class Turn(NamedTuple):
    """A timed part of a run.

    Attributes
    ----------
    step : float
        Seconds per step, with everything that happens between steps and between epochs.
    start : float
        Seconds from the call until the first epoch is done, less those of a later epoch.
    """

    step: float
    start: float


class WholeRun(Protocol):
    """A training that can be run several times."""

    def loss(self, order: np.ndarray, seed: int) -> float:
        """Train from the workload's initial weights in a given order; return the mean loss of the last epoch.

        Parameters
        ----------
        order : (epochs, steps, batch)
        seed : int
            The seed of `order`, see `xpnet.bench.workloads.orders`.
        """
        ...

    def turn(self, epochs: int, seed: int) -> Turn:
        """Train some epochs, each in an order that is drawn for it."""
        ...


class EpochClock(Callback):
    """Note the time after each epoch."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_epoch(self, record: EpochRecord, run: Run) -> None:
        """Note the time."""
        self.times.append(time.perf_counter())


class _Fit(NamedTuple):
    """Runs of `Trainer.fit`. The time of a step is without the first epoch, in which the step is compiled."""

    backend: Backend
    data: TrainingData

    def _trainer(self, epochs: int, **settings: object) -> Trainer:
        workload = self.data.workload
        given: dict[str, object] = {
            "optimizer": workload.optimizer,
            "learning_rate": workload.learning_rate,
            "batch_size": workload.batch,
            "device": self.backend,
        }
        return Trainer(workload.network, epochs=epochs, **given, **settings)  # type: ignore[arg-type]

    def loss(self, order: np.ndarray, seed: int) -> float:
        trainer = self._trainer(len(order), shuffle=lambda epoch, n_samples: order[epoch].ravel())
        return trainer.fit(self.data.x, self.data.y, params=self.data.layers()).history[-1].loss

    def turn(self, epochs: int, seed: int) -> Turn:
        clock = EpochClock()
        trainer = self._trainer(1 + epochs, seed=seed, callbacks=[clock])
        began = time.perf_counter()
        trainer.fit(self.data.x, self.data.y)
        epoch = (time.perf_counter() - clock.times[0]) / epochs
        return Turn(epoch / self.data.workload.steps, max(clock.times[0] - began - epoch, 0.0))


class _Peer:
    """A peer that goes on with its training in each turn."""

    def __init__(self, implementation: Implementation, data: TrainingData) -> None:
        self._draws_order = implementation.estimator is not None
        self._workload = data.workload
        self._before = 0.0  # seconds until the loss of the first epochs was known
        self._first_epochs = 0

        def start() -> None:
            self._run = implementation.start(data)

        self._before += seconds(start)

    def loss(self, order: np.ndarray, seed: int) -> float:
        began = time.perf_counter()
        loss = self._run(order, seed)
        self._before += time.perf_counter() - began
        self._first_epochs = len(order)
        return loss

    def turn(self, epochs: int, seed: int) -> Turn:
        shape = (self._workload.steps, self._workload.batch)
        rng = np.random.default_rng(seed)
        began = time.perf_counter()
        if self._draws_order:
            self._run(np.broadcast_to(np.int32(0), (epochs, *shape)), seed)  # only the number of epochs counts
        else:
            for _ in range(epochs):
                self._run(rng.permutation(math.prod(shape)).astype(np.int32).reshape(1, *shape), seed)
        epoch = (time.perf_counter() - began) / epochs
        return Turn(epoch / shape[0], max(self._before - self._first_epochs * epoch, 0.0))


def whole_run(implementation: Implementation, data: TrainingData) -> WholeRun:
    """Return the whole runs of an implementation: those of `Trainer.fit` for xpnet, its own loop for a peer."""
    if implementation.backend is None:
        return _Peer(implementation, data)
    return _Fit(implementation.backend, data)


def epochs_for(run: WholeRun, workload: Workload, min_seconds: float) -> int:
    """Return how many epochs a run does in `min_seconds`, at least one."""
    return min(max(1, math.ceil(min_seconds / (run.turn(1, 0).step * workload.steps))), _MOST_EPOCHS)


def short_steps(workload: Workload, implementations: list[Implementation], *, quick: bool) -> list[float]:
    """Return the step time of each implementation in the short runs of `xpnet bench`, in seconds."""
    settings = Settings(1, 0.001) if quick else Settings(_SHORT_ROUNDS)
    times = measure_step_times(workload, implementations, settings)
    return [float(np.median(each.seconds)) for each in times]
