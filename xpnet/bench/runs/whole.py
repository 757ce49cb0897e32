"""Whole training runs, as users start them: `Trainer.fit` for xpnet, and for peers epochs that they shuffle."""

from __future__ import annotations

import math
import time
from typing import NamedTuple, Protocol

import numpy as np

from xpnet.backend import Backend
from xpnet.bench.implementations import Implementation
from xpnet.bench.step_times import Settings, measure_step_times
from xpnet.bench.workloads import TrainingData, Workload
from xpnet.training.callbacks import Callback
from xpnet.training.history import EpochRecord
from xpnet.training.state import Run
from xpnet.training.trainer import Trainer

__all__ = ["EpochClock", "WholeRun", "epochs_for", "short_steps", "whole_run"]

_MOST_EPOCHS = 100
_SHORT_ROUNDS = 3


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

    def step(self, epochs: int, seed: int) -> float:
        """Train some epochs, each in an order that is drawn for it.

        Return the seconds per step, with everything that happens between steps and between epochs.
        """
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

    def step(self, epochs: int, seed: int) -> float:
        clock = EpochClock()
        trainer = self._trainer(1 + epochs, seed=seed, callbacks=[clock])
        trainer.fit(self.data.x, self.data.y)
        return (time.perf_counter() - clock.times[0]) / (epochs * self.data.workload.steps)


class _Peer:
    """A peer that goes on with its training in each turn."""

    def __init__(self, implementation: Implementation, data: TrainingData) -> None:
        self._draws_order = implementation.estimator is not None
        self._shape = (data.workload.steps, data.workload.batch)
        self._run = implementation.start(data)

    def loss(self, order: np.ndarray, seed: int) -> float:
        return self._run(order, seed)

    def step(self, epochs: int, seed: int) -> float:
        rng = np.random.default_rng(seed)
        began = time.perf_counter()
        if self._draws_order:
            self._run(np.broadcast_to(np.int32(0), (epochs, *self._shape)), seed)  # only the number of epochs counts
        else:
            for _ in range(epochs):
                order = rng.permutation(math.prod(self._shape)).astype(np.int32)
                self._run(order.reshape(1, *self._shape), seed)
        return (time.perf_counter() - began) / (epochs * self._shape[0])


def whole_run(implementation: Implementation, data: TrainingData) -> WholeRun:
    """Return the whole runs of an implementation: those of `Trainer.fit` for xpnet, its own loop for a peer."""
    if implementation.backend is None:
        return _Peer(implementation, data)
    return _Fit(implementation.backend, data)


def epochs_for(run: WholeRun, workload: Workload, min_seconds: float) -> int:
    """Return how many epochs a run does in `min_seconds`, at least one."""
    return min(max(1, math.ceil(min_seconds / (run.step(1, 0) * workload.steps))), _MOST_EPOCHS)


def short_steps(workload: Workload, implementations: list[Implementation], *, quick: bool) -> list[float]:
    """Return the step time of each implementation in the short runs of `xpnet bench`, in seconds."""
    settings = Settings(1, 0.001) if quick else Settings(_SHORT_ROUNDS)
    times = measure_step_times(workload, implementations, settings)
    return [float(np.median(each.seconds)) for each in times]
