"""The number of threads that a run uses."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from math import ceil, inf
from pathlib import Path
from typing import Any, Self
from weakref import WeakKeyDictionary

from xpnet.constraints import integer
from xpnet.errors import InvalidParameterError, shown

__all__ = [
    "THREAD_VARIABLES",
    "BlasThreads",
    "can_start_thread",
    "limit_threads",
    "most_threads",
    "process_affinity",
    "process_cpu_count",
    "take_processors",
]

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables that libraries read once, when they are loaded."""

_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def process_affinity() -> set[int]:
    """Return the numbers of the processors that this process is bound to; empty where the system does not say."""
    get = getattr(os, "sched_getaffinity", None)  # Linux only
    return get(0) if get else set()


def process_cpu_count() -> int:
    """Return the number of processors that this process may use.

    It is bound to some of them, or its control group has the time of some of them.
    """
    return ceil(min(len(process_affinity()) or os.cpu_count() or 1, _quota()))


def most_threads() -> int:
    """Return the number of threads that a library should use at most, by processors and environment variables."""
    values = [os.environ.get(name, "") for name in THREAD_VARIABLES]
    # OpenMP allows a number for each level of nested loops.
    firsts = [value.partition(",")[0].strip() for value in values]
    return min([process_cpu_count(), *(int(first) for first in firsts if first.isdecimal() and int(first))])


def can_start_thread() -> bool:
    """Return whether the system starts another thread for this user; if not, OpenBLAS waits or ends the process."""
    try:
        thread = threading.Thread(target=int)
        thread.start()
    except RuntimeError:
        return False
    thread.join()
    return True


def _quota() -> float:
    """Return how many processors' time the control groups of this process may take, on Linux.

    A group is limited by those that it lies in. Version 2 of control groups has a file with quota and period, version 1
    a file for each; both are in microseconds.
    """
    quotas = [inf]
    with suppress(OSError):
        for line in (_PROC / "self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            # A container may not see the upper part of the path: its own group is the root there.
            root = _CGROUPS / controllers
            folder = root / path.strip("/")
            for each in (folder, *folder.parents):
                if not each.is_relative_to(root):
                    break
                with suppress(OSError, ValueError, ZeroDivisionError):
                    names = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if controllers else ("cpu.max",)
                    quota, period = map(int, " ".join((each / name).read_text() for name in names).split())
                    if quota > 0:
                        quotas.append(quota / period)
    return min(quotas)


@contextmanager
def limit_threads(n: int | None) -> Iterator[None]:
    """Limit BLAS, OpenMP and libraries that are loaded inside the context to `n` threads.

    Where the system allows it, the process is also bound to `n` processors, because some thread pools can be limited
    in no other way: they count the processors when they start.

    Parameters
    ----------
    n : int or None
        None sets no limit.

    Raises
    ------
    InvalidParameterError
        `n` is not an integer from 1 to the number of processors.
    """
    if n is None:
        yield
        return
    from threadpoolctl import threadpool_limits

    usable, count = process_affinity(), process_cpu_count()
    if not integer(1).holds(n) or n > count:
        raise InvalidParameterError(
            f"threads: expected an integer from 1 to {count}, the number of processors; received {shown(n)}."
        )
    if n > 1 and not can_start_thread():
        raise InvalidParameterError(
            f"threads: expected 1, because the system refuses to start a thread (ulimit -u); received {n}."
        )
    # The variables reach child processes and libraries that are loaded later.
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(n)))
    if usable:
        os.sched_setaffinity(0, set(sorted(usable)[:n]))
    try:
        with threadpool_limits(n):
            yield
    finally:
        if usable:
            os.sched_setaffinity(0, usable)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def take_processors(number: int, affinities: Sequence[set[int]]) -> None:
    """Share the processors of a machine between processes that compute together, of which this is one.

    Each is bound to processors of its own, unless whoever started them has bound them already. Where there are more
    processes than processors, several share one. Libraries get as many threads.

    Parameters
    ----------
    number : int
        Number of this process, from 0.
    affinities : sequence of set of int
        `process_affinity` of each process.
    """
    from threadpoolctl import threadpool_limits

    n, own = len(affinities), sorted(affinities[number])
    if own and all(affinity == affinities[0] for affinity in affinities):  # else the launcher has bound them
        first, last = (len(own) * i // n for i in (number, number + 1))
        own = own[first : max(last, first + 1)]
        os.sched_setaffinity(0, own)
    processors = len(own) or (os.cpu_count() or 1) / n
    count = min(max(1, int(min(processors, _quota() / n))), most_threads())
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(count)))  # for libraries that are loaded later
    threadpool_limits(count)


class BlasThreads:
    """The number of threads of BLAS during a run; a context manager that restores it on exit.

    Parameters
    ----------
    count : int
        Number of threads that the run has work for.

    Attributes
    ----------
    most : int
        Number of threads that it may use: `count`, the number of processors, or a smaller limit that the user has set
        by an environment variable or threadpoolctl. It is known on entry.
    """

    def __init__(self, count: int) -> None:
        self._count = count

    def __enter__(self) -> Self:
        # A small network, which needs one thread, does not pay for reading the environment and the control groups.
        self.most = 1 if self._count == 1 else min(self._count, most_threads(), _BLAS.most())
        self.use(self.most)
        return self

    def __exit__(self, *_: object) -> None:
        _BLAS.forget(self)

    @property
    def is_alone(self) -> bool:
        """Whether no other run of the process is under way."""
        return _BLAS.n_runs == 1

    def use(self, count: int) -> int:
        """Set the number of threads, also in libraries that have been loaded since the last call.

        Return the number that the run has, which is smaller while other runs are under way.
        """
        return _BLAS.want(self, count)


class _Libraries:
    """The BLAS libraries of the process, whose numbers of threads all runs share.

    With several runs at a time a library has the smallest number that one of them wants, divided by the number of runs.
    After the last run it has the number that it had before the first.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded, self._n_modules = list[Any](), 0
        self._before: dict[str, tuple[Any, int]] = {}  # by path
        self._wanted = WeakKeyDictionary[BlasThreads, int]()  # an interrupt may keep a run from saying that it ends

    @property
    def n_runs(self) -> int:
        """Number of runs that are under way."""
        return len(self._wanted)

    def most(self) -> int:
        """Return the largest number of threads of a library, as it was before the first run."""
        with self._lock:
            self._find()
            return max((count for _, count in self._before.values()), default=1)

    def want(self, run: BlasThreads, count: int) -> int:
        """Set the number of threads that a run wants, and return the number that all have."""
        with self._lock:
            if self._wanted.get(run) != count or self._n_modules != len(sys.modules):
                self._find()
                self._wanted[run] = count
                self._apply()
            return self._limit()

    def forget(self, run: BlasThreads) -> None:
        """End a run."""
        with self._lock:
            self._wanted.pop(run, None)
            self._apply()

    def _limit(self) -> int:
        wanted = [*self._wanted.values()]
        return max(1, min(wanted) // len(wanted)) if wanted else sys.maxsize

    def _apply(self) -> None:
        for library, before in self._before.values():
            count = min(self._limit(), before)
            if library.num_threads != count:
                # threadpoolctl lets one thread of the process set some libraries, and ignores the others.
                free = getattr(library, "clear_controlling_thread", lambda **_: None)
                free(force=True)
                library.set_num_threads(count)
                free(force=True)

    def _find(self) -> None:
        """Find the libraries that are loaded, with their numbers of threads where no run has set them."""
        if self._n_modules == len(sys.modules) and self._wanted:
            return
        if self._n_modules != len(sys.modules):  # only an import loads one, and finding them takes a millisecond
            from threadpoolctl import ThreadpoolController

            self._loaded = ThreadpoolController().select(user_api="blas").lib_controllers
            self._n_modules = len(sys.modules)
        known = self._before if self._wanted else {}
        self._before = {each.filepath: (each, each.num_threads) for each in self._loaded} | known


_BLAS = _Libraries()
