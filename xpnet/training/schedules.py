"""Learning-rate schedules: the factor on the learning rate in each epoch or in each step.

A schedule is a pair of pure functions. Its state is a tuple of numbers, which is saved with the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from xpnet.backend import Array, Namespace, namespace_of
from xpnet.constraints import real
from xpnet.nn.step import RateFactor
from xpnet.specs import from_spec
from xpnet.training.history import EpochRecord

__all__ = ["SCHEDULES", "SCHEDULE_SYNONYMS", "Schedule", "ScheduleState", "get_schedule"]

ScheduleState = tuple[float, ...]


class Schedule(NamedTuple):
    """Factor on the learning rate.

    Attributes
    ----------
    factor : (state, epoch, epochs) -> float
        Return the factor for an epoch, counted from 0, in a run of `epochs` epochs.
    observe : (state, record) -> state
        Return the state after an epoch.
    initial : tuple of float
        State before the first epoch.
    step_factor : (xp, t) -> scalar array, or None
        Another factor, which the training step computes for itself: that of the step before which a share t of all
        steps was done.
    """

    factor: Callable[[ScheduleState, int, int], float]
    observe: Callable[[ScheduleState, EpochRecord], ScheduleState] = lambda state, record: state
    initial: ScheduleState = ()
    step_factor: RateFactor | None = None

    def middle_factor(self, epoch: int, epochs: int) -> float:
        """Return the step's factor in the middle of an epoch, which stands for the whole epoch in its record."""
        t = np.asarray((epoch + 0.5) / epochs)
        return 1.0 if self.step_factor is None else float(self.step_factor(namespace_of(t), t))


def _inverse_scaling(power: float = 0.5) -> Schedule:
    """``(epoch + 1)^-power``."""
    return Schedule(lambda state, epoch, epochs: (epoch + 1) ** -power)


def _step(every: float = 10, factor: float = 0.1) -> Schedule:
    """Multiply by `factor` every `every` epochs."""
    return Schedule(lambda state, epoch, epochs: factor ** (epoch // every))


def _cosine(final: float = 0.0) -> Schedule:
    """Half a cosine from 1 down to `final`, without restarts: Loshchilov, Hutter (2017), arXiv:1608.03983."""
    return Schedule(lambda state, epoch, epochs: final + (1 - final) * 0.5 * (1 + math.cos(math.pi * epoch / epochs)))


def _coslog4(xp: Namespace, t: Array) -> Array:
    """Four cycles from 0 to 1 and back, each twice as long as the one before: ``1/2 - cos(2 pi log2(1 + 15 t)) / 2``.

    Holzmüller, Grinsztajn, Steinwart (2024), arXiv:2407.04491.
    """
    phase = 2 * math.pi / math.log(2) * xp.log1p(15 * t)
    factor: Array = 0.5 - 0.5 * xp.cos(phase)
    return factor


def _warmup(epochs: float = 5) -> Schedule:
    """Linear from ``1 / epochs`` to 1 in the first epochs, then constant: Goyal et al. (2017), arXiv:1706.02677."""
    return Schedule(lambda state, epoch, _: min(1.0, (epoch + 1) / epochs))


def _adaptive(factor: float = 0.2, patience: float = 2, tolerance: float = 1e-4) -> Schedule:
    """Multiply by `factor` when `patience` epochs in a row did not lower the best loss by `tolerance`.

    The loss is that of the validation part if there is one, else the training loss.
    """

    def observe(state: ScheduleState, record: EpochRecord) -> ScheduleState:
        current, best, stale = state
        loss = (record.validation or {}).get("loss", record.loss)
        stale = 0 if loss < best - tolerance else stale + 1
        if stale >= patience:
            return current * factor, min(best, loss), 0
        return current, min(best, loss), stale

    return Schedule(lambda state, epoch, epochs: state[0], observe, (1.0, math.inf, 0))


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": lambda: Schedule(lambda state, epoch, epochs: 1.0),
    "inverse_scaling": _inverse_scaling,
    "adaptive": _adaptive,
    "step": _step,
    "cosine": _cosine,
    "coslog4": lambda: Schedule(lambda state, epoch, epochs: 1.0, step_factor=_coslog4),
    "warmup": _warmup,
}

# What others call them, for hints in errors; see `UnknownNameError.among`.
SCHEDULE_SYNONYMS = {
    "none": "constant",
    "invscaling": "inverse_scaling",
    **dict.fromkeys(("plateau", "reducelronplateau", "reduce_on_plateau"), "adaptive"),
    **dict.fromkeys(("steplr", "step_decay"), "step"),
    **dict.fromkeys(("cosine_annealing", "cosineannealinglr", "cosine_decay"), "cosine"),
}


_RANGES = {
    **dict.fromkeys(("epochs", "factor"), real(0, closed=False)),
    **dict.fromkeys(("every", "patience"), real(1)),
    **dict.fromkeys(("power", "tolerance"), real(0)),
}


def get_schedule(name: str | Schedule) -> Schedule:
    """Return the schedule of a name, with options after a colon: ``"step:every=5,factor=0.5"``.

    A `Schedule` is returned unchanged.
    """
    if isinstance(name, Schedule):
        return name
    schedule: Schedule = from_spec("schedule", name, SCHEDULES, _RANGES, SCHEDULE_SYNONYMS)
    return schedule
