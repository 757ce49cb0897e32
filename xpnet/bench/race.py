"""A race: contenders on one rung, timed round by round on the same work, and held to the same loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from xpnet.bench.contenders import Contender, Runner
from xpnet.bench.matmul_bound import device_floor, numpy_floor
from xpnet.bench.timing import interleave, seconds
from xpnet.bench.workloads import Rung, make_work, orders

__all__ = ["CHECKED_EPOCHS", "Lane", "Settings", "race"]

CHECKED_EPOCHS = 2
_MOST_EPOCHS = 1000


class Settings(NamedTuple):
    """How long is timed.

    Attributes
    ----------
    rounds : int
    least : float
        Seconds that the fastest contender's timed call takes at least; the others' take longer.
    """

    rounds: int = 9
    least: float = 0.02


class Lane(NamedTuple):
    """What a race says of a contender.

    Attributes
    ----------
    seconds : tuple of float
        A step, by round.
    floor : tuple of float
        A step's products alone, by round; none where they were not taken.
    first : float
        Seconds from the data on the host to the end of the first step: transfer, compilation.
    loss : float
        Mean of the second epoch.
    epoch : float
        Seconds of an epoch.
    """

    seconds: tuple[float, ...]
    floor: tuple[float, ...]
    first: float
    loss: float
    epoch: float


def race(rung: Rung, contenders: Sequence[Contender], settings: Settings) -> list[Lane]:
    """Time the contenders, all of them ready at the same time, in interleaved rounds."""
    work = make_work(rung)
    checked = orders(rung, 0, CHECKED_EPOCHS)
    runners: list[Runner] = []
    losses: list[float] = []

    def open_(contender: Contender) -> None:
        runners.append(contender.start(work))
        losses.append(runners[-1](checked, 0))

    openings = [seconds(partial(open_, contender)) for contender in contenders]
    # Twice, for the first may still grow buffers.
    trial = [min(seconds(partial(run, checked[:1], 0)) for _ in range(2)) for run in runners]
    epochs = _repeats(min(trial), settings.least)
    drawn = [orders(rung, 1 + turn, epochs) for turn in range(settings.rounds)]

    floors = _floors(rung, contenders)
    steps = {key: _repeats(min(seconds(partial(floor, 1)) for _ in range(3)), settings.least)
             for key, floor in floors.items()}  # fmt: skip
    calls: list[Callable[[int], object]] = [partial(_train, run, drawn) for run in runners]
    calls += [partial(_multiply, floors[key], steps[key]) for key in floors]
    taken = interleave(calls, settings.rounds)
    per_step = [tuple(t / (epochs * rung.steps) for t in row) for row in taken[: len(runners)]]
    per_floor = {
        key: tuple(t / steps[key] for t in row) for key, row in zip(floors, taken[len(runners) :], strict=True)
    }
    lanes = []
    for contender, own, opening, loss in zip(contenders, per_step, openings, losses, strict=True):
        step = float(np.median(own))
        first = max(opening - step * (CHECKED_EPOCHS * rung.steps - 1), 0.0)
        # A peer on a GPU has the floor of the first device there.
        alike = (per_floor[other.name] for other in contenders if other.kind == contender.kind and other.name in floors)
        floor = per_floor.get(contender.name, per_floor.get(contender.kind, next(alike, ())))
        lanes.append(Lane(own, floor, first, loss, step * rung.steps))
    return lanes


def _train(run: Runner, drawn: list[np.ndarray], turn: int) -> None:
    run(drawn[turn], 1 + turn)


def _multiply(floor: Callable[[int], None], steps: int, turn: int) -> None:
    floor(steps)


def _repeats(once: float, least: float) -> int:
    return min(max(1, math.ceil(least / once)), _MOST_EPOCHS)


def _floors(rung: Rung, contenders: Sequence[Contender]) -> dict[str, Callable[[int], None]]:
    """Return NumPy's for all on the CPU, and each GPU's own by its contender's name."""
    floors = {"cpu": numpy_floor(rung)} if any(each.kind == "cpu" for each in contenders) else {}
    for each in contenders:
        if each.kind != "cpu" and each.backend is not None:
            floors[each.name] = device_floor(rung, each.backend)
    return floors
