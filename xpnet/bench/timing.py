"""Timing in interleaved rounds, so that changes in the machine's speed affect all rows equally."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np

__all__ = ["Spread", "interleave", "ratio", "seconds", "spread", "take_turns"]

T = TypeVar("T")

# Seconds until the idle threads of a thread pool sleep. OpenBLAS's threads spin for 2^26 cycles; until then they would
# take processor time from the next call, which may use another library.
_REST = 0.15


class Spread(NamedTuple):
    """Median, lower and upper quartile."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the quartiles of some values."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return Spread(float(median), float(low), float(high))


def ratio(a: Sequence[float], b: Sequence[float]) -> Spread:
    """Return median and quartiles of ``b[j] / a[i]`` over all pairs i, j, for rounds of two separate runs."""
    return spread(np.divide.outer(np.asarray(b), np.asarray(a)).ravel().tolist())


def seconds(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def take_turns(calls: Sequence[Callable[[int], T]], rounds: int) -> list[list[T]]:
    """Make each call once in each round, and return the results of each call by round.

    The order rotates from round to round, because a call that always follows the same one would always find the same
    data in the caches. There is a pause before each call.

    Parameters
    ----------
    calls : sequence of callable
        Each takes the number of the round, from 0.
    rounds : int
    """
    results: list[list[T]] = [[] for _ in calls]
    for turn in range(rounds):
        for position in range(len(calls)):
            i = (turn + position) % len(calls)
            time.sleep(_REST)
            results[i].append(calls[i](turn))
    return results


def interleave(calls: Sequence[Callable[[int], object]], rounds: int) -> list[list[float]]:
    """Make each call once in each round as `take_turns` does, and return the seconds of each call by round."""
    return take_turns([partial(_timed, call) for call in calls], rounds)


def _timed(call: Callable[[int], object], turn: int) -> float:
    return seconds(partial(call, turn))
