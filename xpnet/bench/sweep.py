"""Sweeps over the batch size or the width: where one device overtakes another."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from xpnet.bench.contenders import Contender
from xpnet.bench.race import Settings, race
from xpnet.bench.timing import Spread, spread
from xpnet.bench.workloads import Rung
from xpnet.errors import UnknownNameError

__all__ = ["SWEEPS", "Sweep", "crossing", "sweep"]

_SAMPLES, _STEPS, _FEWEST_STEPS, _QUICK_LIMIT = 8192, 64, 2, 256
_OPERATIONS = 10**11  # of an epoch: a second or so on a CPU, for the widest would take minutes


class Sweep(NamedTuple):
    """Samples a second by the value that is swept.

    Attributes
    ----------
    rung : str
    axis : str
    values : tuple of int
    speeds : dict of str to tuple of Spread
        Of each contender, by value.
    """

    rung: str
    axis: str
    values: tuple[int, ...]
    speeds: dict[str, tuple[Spread, ...]]

    def crossings(self) -> Iterator[tuple[str, str, float | None]]:
        """Yield the first contender, another, and the value from which on the other is faster, or None."""
        first, *others = self.speeds
        for other in others:
            pair = ([speed.median for speed in self.speeds[name]] for name in (first, other))
            yield first, other, crossing(self.values, *pair)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        speeds = {name: [speed._asdict() for speed in row] for name, row in self.speeds.items()}
        crossings = [{"from": first, "to": other, "at": at} for first, other, at in self.crossings()]
        return {**self._asdict(), "speeds": speeds, "crossings": crossings}


def _with_batch(rung: Rung, batch: int) -> Rung:
    return rung._replace(batch=batch, steps=min(_STEPS, max(1, _SAMPLES // batch)))


def _with_width(rung: Rung, width: int) -> Rung:
    hidden = (width for _ in rung.sizes[1:-1])
    wide = rung._replace(sizes=(rung.sizes[0], *hidden, rung.sizes[-1]))
    return wide._replace(steps=max(_FEWEST_STEPS, min(rung.steps, _STEPS, _OPERATIONS // wide.flops)))


SWEEPS: dict[str, tuple[Callable[[Rung, int], Rung], tuple[int, ...]]] = {
    "batch-size": (_with_batch, tuple(4**i for i in range(9))),  # to 65536
    "width": (_with_width, tuple(2**i for i in range(4, 14))),  # to 8192
}


def sweep(rung: Rung, axis: str, contenders: Sequence[Contender], settings: Settings, *, quick: bool = False) -> Sweep:
    """Race the contenders on a rung for each value of one of its sizes.

    Raises
    ------
    UnknownNameError
    """
    if axis not in SWEEPS:
        raise UnknownNameError.among("sweep", axis, SWEEPS)
    change, values = SWEEPS[axis]
    if quick:
        values = tuple(value for value in values if value <= _QUICK_LIMIT)
    speeds: dict[str, list[Spread]] = {each.name: [] for each in contenders}
    for value in values:
        changed = change(rung, value)
        for each, lane in zip(contenders, race(changed, contenders, settings), strict=True):
            speeds[each.name].append(spread([changed.batch / seconds for seconds in lane.seconds]))
    return Sweep(rung.name, axis, values, {name: tuple(row) for name, row in speeds.items()})


def crossing(values: Sequence[float], first: Sequence[float], other: Sequence[float]) -> float | None:
    """Return the value from which on, to the end, the other is the faster; None if at the end it is not.

    Between two values both speeds are taken as powers of the value, straight lines on the chart.
    """
    leads = [math.log(b / a) for a, b in zip(first, other, strict=True)]
    if leads[-1] <= 0:
        return None
    behind = [i for i, lead in enumerate(leads) if lead <= 0]
    if not behind:
        return float(values[0])
    i = behind[-1]
    share = -leads[i] / (leads[i + 1] - leads[i])
    return float(values[i] * (values[i + 1] / values[i]) ** share)
