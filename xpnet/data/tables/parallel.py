"""A map over several threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

from xpnet.errors import DataError
from xpnet.threads import can_start_thread, process_cpu_count

__all__ = ["check_threads", "map_in_threads"]

T = TypeVar("T")
R = TypeVar("R")

_THREADS = 8


def check_threads() -> None:
    """Check that the system allows another thread: without one, pyarrow would abort the process.

    Raises
    ------
    DataError
    """
    if not can_start_thread():
        raise DataError("cannot be read: expected to start a thread; the system refuses it (ulimit -u)")


def map_in_threads(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Apply a function to each item and yield the results in order.

    The items are taken in the caller's thread, and few of them are in memory at a time. A single item, or a machine
    with one processor, needs no thread.
    """
    items, threads = iter(items), min(_THREADS, process_cpu_count())
    first = list(islice(items, 2))
    if len(first) < 2 or threads < 2:
        yield from map(function, chain(first, items))
        return
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads) as executor:
        try:
            for item in chain(first, items):
                waiting.append(executor.submit(function, item))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
