"""Learning-rate schedules: a factor on the learning rate for each epoch.

A schedule is a pair of pure functions. What it remembers is a tuple of numbers that is saved with the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from xpnet.constraints import real
from xpnet.specs import from_spec
from xpnet.training.callbacks import EpochRecord

__all__ = ["SCHEDULES", "Memory", "Schedule", "get_schedule"]

Memory = tuple[float, ...]


class Schedule(NamedTuple):
    """The factor on the learning rate.

    Attributes
    ----------
    factor : (memory, epoch, epochs) -> float
        Factor for an epoch, counted from 0, of a run of so many epochs.
    observe : (memory, record) -> memory
        Memory after an epoch.
    memory : tuple of float
        Memory before the first epoch.
    """

    factor: Callable[[Memory, int, int], float]
    observe: Callable[[Memory, EpochRecord], Memory] = lambda memory, record: memory
    memory: Memory = ()


def _inverse_scaling(power: float = 0.5) -> Schedule:
    """``(epoch + 1)^-power``."""
    return Schedule(lambda memory, epoch, epochs: (epoch + 1) ** -power)


def _step(every: float = 10, factor: float = 0.1) -> Schedule:
    """Multiplied by `factor` after each `every` epochs."""
    return Schedule(lambda memory, epoch, epochs: factor ** (epoch // every))


def _cosine(final: float = 0.0) -> Schedule:
    """Half a cosine from 1 down to `final`: Loshchilov, Hutter (2017), arXiv:1608.03983, without restarts."""
    return Schedule(lambda memory, epoch, epochs: final + (1 - final) * 0.5 * (1 + math.cos(math.pi * epoch / epochs)))


def _warmup(epochs: float = 5) -> Schedule:
    """Linear from ``1 / epochs`` to 1 in the first epochs, then constant: Goyal et al. (2017), arXiv:1706.02677."""
    return Schedule(lambda memory, epoch, _: min(1.0, (epoch + 1) / epochs))


def _adaptive(factor: float = 0.2, patience: float = 2, tolerance: float = 1e-4) -> Schedule:
    """Multiplied by `factor` whenever `patience` epochs in a row did not lower the best loss by `tolerance`.

    The loss is that of the validation part, where there is one.
    """

    def observe(memory: Memory, record: EpochRecord) -> Memory:
        current, best, stale = memory
        loss = (record.validation or {}).get("loss", record.loss)
        stale = 0 if loss < best - tolerance else stale + 1
        if stale >= patience:
            return current * factor, min(best, loss), 0
        return current, min(best, loss), stale

    return Schedule(lambda memory, epoch, epochs: memory[0], observe, (1.0, math.inf, 0))


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": lambda: Schedule(lambda memory, epoch, epochs: 1.0),
    "inverse_scaling": _inverse_scaling,
    "adaptive": _adaptive,
    "step": _step,
    "cosine": _cosine,
    "warmup": _warmup,
}


_RANGES = {
    **dict.fromkeys(("epochs", "factor"), real(0, closed=False)),
    **dict.fromkeys(("every", "patience"), real(1)),
    **dict.fromkeys(("power", "tolerance"), real(0)),
}


def get_schedule(name: str | Schedule) -> Schedule:
    """Return the schedule of a name, with options after a colon: ``"step:every=5,factor=0.5"``; one itself as it is."""
    if isinstance(name, Schedule):
        return name
    schedule: Schedule = from_spec("schedule", name, SCHEDULES, _RANGES)
    return schedule
