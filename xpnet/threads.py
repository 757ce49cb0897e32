"""How many threads a run takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from xpnet.constraints import integer
from xpnet.errors import InvalidParameterError

__all__ = ["VARIABLES", "processors", "threads_limited"]

VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables that libraries read when they are loaded."""


def _affinity() -> set[int]:
    get = getattr(os, "sched_getaffinity", None)  # Linux only
    return get(0) if get else set()


def processors() -> int:
    """Return how many processors this process may use."""
    return len(_affinity()) or os.cpu_count() or 1


@contextmanager
def threads_limited(n: int | None) -> Iterator[None]:
    """Limit BLAS, OpenMP and all that is loaded within to n threads; None limits nothing.

    The process is also bound to n processors, where the system can: thread pools that take no orders, as XLA's,
    count these when they start.

    Raises
    ------
    InvalidParameterError
        There are not as many processors.
    """
    if n is None:
        yield
        return
    from threadpoolctl import threadpool_limits

    usable, count = _affinity(), processors()
    if not integer(1).holds(n) or n > count:
        raise InvalidParameterError(f"threads: expected an integer from 1 to {count}, the processors; received {n!r}.")
    # Set for children too, and for libraries that are loaded later.
    before = {name: os.environ.get(name) for name in VARIABLES}
    os.environ.update(dict.fromkeys(VARIABLES, str(n)))
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
