"""The clock: rounds interleaved over the rows, so that a drift of the machine's speed meets all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Spread", "interleave", "ratio", "seconds", "spread"]


# Seconds after which the idle threads of a pool sleep. OpenBLAS lets its own spin for 2^26 cycles, and they would take
# a processor from the next call, of another library.
_REST = 0.15


class Spread(NamedTuple):
    """Median and quartiles."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the quartiles of a row's rounds."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return Spread(float(median), float(low), float(high))


def ratio(a: Sequence[float], b: Sequence[float]) -> Spread:
    """Return how many times b is a, over all pairs of their rounds: of two runs, whose rounds have no partners."""
    return spread(np.divide.outer(np.asarray(b), np.asarray(a)).ravel().tolist())


def seconds(call: Callable[[], object]) -> float:
    """Time one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def interleave(calls: Sequence[Callable[[int], object]], rounds: int) -> list[list[float]]:
    """Time each call, which is told the round, once in each round, and return the seconds of each.

    Each round begins with another call: one that always followed the same neighbour would find its caches. Between two
    calls there is a rest.
    """
    taken: list[list[float]] = [[] for _ in calls]
    for turn in range(rounds):
        for place in range(len(calls)):
            i = (turn + place) % len(calls)
            time.sleep(_REST)
            started = time.perf_counter()
            calls[i](turn)
            taken[i].append(time.perf_counter() - started)
    return taken
