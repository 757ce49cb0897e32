"""Parts of dates as nodes of an ONNX graph; see `xpnet.data.tables.date_parts`.

The year of a day is computed as in Hinnant, "chrono-compatible low-level date algorithms" (2013): years begin in March,
so that the leap day is the last one. The operator / divides whole numbers as ONNX does, without the remainder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from xpnet.model.onnx.graph import Graph, Tensor

__all__ = ["Moments", "cycles", "is_missing", "moments_of", "year_of"]

_MISSING = np.iinfo(np.int64).min  # of datetime64, NaT
_DAY = 86_400_000_000  # microseconds
_DAYS_OF_ERA = 146_097  # 400 years
_FIRST_DAY = 719_468  # days from 0000-03-01 to 1970-01-01
_JANUARY = 306  # days from March 1 to January 1


class Moments(NamedTuple):
    """Moments as whole numbers, each (n_samples, 1): microseconds and days since 1970, and within the day."""

    graph: Graph
    microseconds: Tensor
    days: Tensor
    of_day: Tensor


def is_missing(graph: Graph, received: Tensor) -> Tensor:
    """Return where a date is missing."""
    return graph.apply("Equal", received, np.int64(_MISSING), dtype=bool)


def moments_of(graph: Graph, received: Tensor) -> Moments:
    """Return moments, and 1970-01-01 where one is missing."""
    known = graph.where(is_missing(graph, received), np.int64(0), received)
    of_day = graph.remainder(known, _DAY)
    return Moments(graph, known, (known - of_day) / _DAY, of_day)


class _Civil(NamedTuple):
    year: Tensor
    from_march: Tensor  # the day of the year, counted from March 1
    leap: Tensor  # 1 in a leap year


def _civil(moments: Moments) -> _Civil:
    graph = moments.graph
    days = moments.days + _FIRST_DAY
    of_era = graph.remainder(days, _DAYS_OF_ERA)
    era = (days - of_era) / _DAYS_OF_ERA
    years = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365
    from_march = of_era - (years * 365 + years / 4 - years / 100)
    year = years + era * 400 + graph.astype(from_march >= _JANUARY, np.int64)

    def divides(n: int) -> Tensor:
        return graph.astype(graph.apply("Equal", graph.remainder(year, n), 0, dtype=bool), np.int64)

    return _Civil(year, from_march, divides(4) - divides(100) + divides(400))


def year_of(moments: Moments) -> Tensor:
    """Return the year, (n_samples, 1) int64."""
    return _civil(moments).year


def _season(moments: Moments) -> Tensor:
    graph, civil = moments.graph, _civil(moments)
    day = graph.where(
        civil.from_march >= _JANUARY, civil.from_march - _JANUARY, civil.from_march + (365 - _JANUARY) + civil.leap
    )
    return graph.astype(day, np.float64) / graph.astype(civil.leap + 365, np.float64)


def _weekday(moments: Moments) -> Tensor:
    graph = moments.graph
    return graph.astype(graph.remainder(moments.days + 3, 7), np.float64) / 7.0


def _hour(moments: Moments) -> Tensor:
    return moments.graph.astype(moments.of_day, np.float64) / float(_DAY)


_CYCLES: dict[str, Callable[[Moments], Tensor]] = {"season": _season, "weekday": _weekday, "hour": _hour}


def cycles(graph: Graph, moments: Moments, parts: Iterable[str]) -> list[Tensor]:
    """Return sine and cosine of each part that has a cycle, (n_samples, 1) each."""
    shares = [_CYCLES[part](moments) for part in parts if part in _CYCLES]
    angles = [2 * math.pi * share + quarter for share in shares for quarter in (0.0, math.pi / 2)]
    return [graph.sin(angle) for angle in angles]
