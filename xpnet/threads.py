"""The number of threads that a run uses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from xpnet.constraints import integer
from xpnet.errors import InvalidParameterError

__all__ = ["THREAD_VARIABLES", "limit_threads", "process_cpu_count"]

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables that libraries read once, when they are loaded."""


def _affinity() -> set[int]:
    get = getattr(os, "sched_getaffinity", None)  # Linux only
    return get(0) if get else set()


def process_cpu_count() -> int:
    """Return the number of processors that this process may use."""
    return len(_affinity()) or os.cpu_count() or 1


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

    usable, count = _affinity(), process_cpu_count()
    if not integer(1).holds(n) or n > count:
        raise InvalidParameterError(
            f"threads: expected an integer from 1 to {count}, the number of processors; received {n!r}."
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
