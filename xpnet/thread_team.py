"""The threads of a training run: how many BLAS may use, and helpers that share elementwise work."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import numpy as np

from xpnet.threads import most_threads

__all__ = ["MOST_SHARES", "ThreadTeam", "share"]

MOST_SHARES = 8
"""Threads that share elementwise work, at most: more wait for the memory, not for a processor."""

_LOCAL = threading.local()  # `team`: the team of the run on this thread


class ThreadTeam:
    """The threads that a run uses; a context manager that restores the libraries on exit.

    Attributes
    ----------
    most : int
        Number of threads that the run may use: that of the processors, or a smaller limit that the user has set by an
        environment variable or threadpoolctl. It is 1 before the team is entered.
    count : int
        Number of threads that it uses now.
    """

    def __init__(self) -> None:
        self.most = self.count = 1
        self._executor: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        self._outer, _LOCAL.team = getattr(_LOCAL, "team", None), self
        self.most = min(most_threads(), _BLAS.most())
        self.use(self.most)
        return self

    def __exit__(self, *_: object) -> None:
        _LOCAL.team = self._outer
        _BLAS.want(self, 0)
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None

    @property
    def is_alone(self) -> bool:
        """Whether no other run of the process is under way."""
        return _BLAS.n_runs == 1

    def use(self, count: int) -> None:
        """Use this number of threads, also in libraries that have been loaded since the last call."""
        self.count = count
        _BLAS.want(self, count)

    def share(self, work: Callable[[Iterator[Any]], None], shares: Sequence[Sequence[Any]]) -> None:
        """Do the work of `share`."""
        numbers = iter(range(len(shares[0])))
        own, *others = [map(blocks.__getitem__, numbers) for blocks in shares[: self.count]]
        helpers = [self._helpers().submit(work, blocks) for blocks in others]
        try:
            work(own)
        finally:
            # A helper that has not begun is not waited for: its processor is busy, and the work is done.
            begun = [helper for helper in helpers if not helper.cancel()]
            errors = [helper.exception() for helper in begun]
        for error in filter(None, errors):
            raise error

    def _helpers(self) -> ThreadPoolExecutor:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self.most - 1, "xpnet", initializer=_prepare_helper)
        return self._executor


def _prepare_helper() -> None:
    """Set the state of a thread that the scope of a backend sets on the thread of a run."""
    np.seterr(all="ignore")


def share(work: Callable[[Iterator[Any]], None], shares: Sequence[Sequence[Any]]) -> None:
    """Call `work` with an iterator over blocks, on the calling thread and on those of its team.

    The threads take one block after another, so that a thread whose processor is busy takes fewer of them.

    Parameters
    ----------
    work : callable
        It works on each block of an iterator; the result may not depend on the order.
    shares : sequence of sequences
        The blocks as each thread takes them; threads may need temporary memory of their own.
    """
    team: ThreadTeam | None = getattr(_LOCAL, "team", None)
    if team is None or team.count == 1:
        work(iter(shares[0]))
    else:
        team.share(work, shares)


class _Libraries:
    """The BLAS libraries of the process, whose numbers of threads all runs share.

    With several runs at a time a library has the smallest number that one of them wants, divided by the number of runs.
    After the last run it has the number that it had before the first.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_modules, self._loaded = 0, list[Any]()
        self._before: dict[str, tuple[Any, int]] = {}  # by path
        self._wanted: dict[ThreadTeam, int] = {}

    @property
    def n_runs(self) -> int:
        """Number of runs that are under way."""
        return len(self._wanted)

    def most(self) -> int:
        """Return the largest number of threads of a library, as it was before the first run."""
        with self._lock:
            self._find()
            return max((n for _, n in self._before.values()), default=sys.maxsize)

    def want(self, team: ThreadTeam, count: int) -> None:
        """Set the number of threads that a run wants; 0 ends the run."""
        with self._lock:
            if self._wanted.get(team) == count and self._n_modules == len(sys.modules):
                return  # nothing has changed since the last call, and libraries take long to tell their numbers
            self._find()
            self._wanted[team] = count
            if not count:
                del self._wanted[team]
            limit = min(self._wanted.values()) // len(self._wanted) if self._wanted else sys.maxsize
            for library, before in self._before.values():
                number = min(max(1, limit), before)
                if library.num_threads != number:
                    library.set_num_threads(number)

    def _find(self) -> None:
        """Find the libraries that are loaded, and their numbers if no run has set them."""
        if self._n_modules != len(sys.modules):  # only an import loads one, and finding them takes a millisecond
            from threadpoolctl import ThreadpoolController

            self._loaded = ThreadpoolController().select(user_api="blas").lib_controllers
            self._n_modules = len(sys.modules)
        known = self._before if self._wanted else {}
        self._before = {each.filepath: (each, each.num_threads) for each in self._loaded} | known


_BLAS = _Libraries()
