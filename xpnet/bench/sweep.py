"""Sweeps over the batch size or the width, to find where one device becomes faster than another."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from xpnet.bench.implementations import Implementation
from xpnet.bench.step_times import Settings, measure_step_times
from xpnet.bench.timing import Spread, spread
from xpnet.bench.workloads import Workload
from xpnet.errors import UnknownNameError

__all__ = ["SWEEPS", "Sweep", "crossing", "sweep"]

_SAMPLES, _STEPS, _FEWEST_STEPS, _QUICK_LIMIT = 8192, 64, 2, 256
_OPERATIONS = 10**11  # per epoch, about a second on a CPU; without a limit the widest networks would take minutes


class Sweep(NamedTuple):
    """Samples per second for each value of a swept size.

    Attributes
    ----------
    workload : str
    axis : {"batch-size", "width"}
    values : tuple of int
    speeds : dict of str to tuple of Spread
        Of each implementation, one for each value.
    """

    workload: str
    axis: str
    values: tuple[int, ...]
    speeds: dict[str, tuple[Spread, ...]]

    def crossings(self) -> Iterator[tuple[str, str, float | None]]:
        """Yield the first implementation, another one, and the value from which on the other is faster, or None."""
        first, *others = self.speeds
        for other in others:
            pair = ([speed.median for speed in self.speeds[name]] for name in (first, other))
            yield first, other, crossing(self.values, *pair)

    def as_json(self) -> dict[str, Any]:
        """Return the sweep for a JSON file."""
        return {
            "rung": self.workload,
            "axis": self.axis,
            "values": self.values,
            "speeds": {name: [speed._asdict() for speed in row] for name, row in self.speeds.items()},
            "crossings": [{"from": first, "to": other, "at": at} for first, other, at in self.crossings()],
        }


def _with_batch(workload: Workload, batch: int) -> Workload:
    return workload._replace(batch=batch, steps=min(_STEPS, max(1, _SAMPLES // batch)))


def _with_width(workload: Workload, width: int) -> Workload:
    hidden = (width for _ in workload.sizes[1:-1])
    wide = workload._replace(sizes=(workload.sizes[0], *hidden, workload.sizes[-1]))
    return wide._replace(steps=max(_FEWEST_STEPS, min(workload.steps, _STEPS, _OPERATIONS // wide.flops)))


SWEEPS: dict[str, tuple[Callable[[Workload, int], Workload], tuple[int, ...]]] = {
    "batch-size": (_with_batch, tuple(4**i for i in range(9))),  # to 65536
    "width": (_with_width, tuple(2**i for i in range(4, 14))),  # to 8192
}
"""For each axis, a function that sets the size of a workload, and the sizes."""


def sweep(
    workload: Workload,
    axis: str,
    implementations: Sequence[Implementation],
    settings: Settings,
    *,
    quick: bool = False,
) -> Sweep:
    """Measure the implementations on a workload for each value of one of its sizes.

    Raises
    ------
    UnknownNameError
        `axis` is not a key of `SWEEPS`.
    """
    if axis not in SWEEPS:
        raise UnknownNameError.among("sweep", axis, SWEEPS)
    change, values = SWEEPS[axis]
    if quick:
        values = tuple(value for value in values if value <= _QUICK_LIMIT)
    speeds: dict[str, list[Spread]] = {each.name: [] for each in implementations}
    for value in values:
        changed = change(workload, value)
        for each, times in zip(implementations, measure_step_times(changed, implementations, settings), strict=True):
            speeds[each.name].append(spread([changed.batch / seconds for seconds in times.seconds]))
    return Sweep(workload.name, axis, values, {name: tuple(row) for name, row in speeds.items()})


def crossing(values: Sequence[float], first: Sequence[float], other: Sequence[float]) -> float | None:
    """Return the value from which on `other` is faster than `first`, up to the last value; None if it is not.

    Between two values the speeds are interpolated linearly on logarithmic axes.
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
