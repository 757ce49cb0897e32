"""Several processes that train one network together: what they ask of one another.

MPI and NCCL are known to the adapter alone, `xpnet_backends.mpi`. A run of a single process has no communicator.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from xpnet.backend.array import Array
from xpnet.errors import InvalidParameterError, RankError, XpnetError, shown
from xpnet.launchers import is_launched, launched_size
from xpnet.threads import process_affinity, take_processors

__all__ = [
    "COMMUNICATORS",
    "Communicator",
    "agreed",
    "get_communicator",
    "in_turn",
    "is_launched",
    "on_rank_0",
    "share_of",
    "started_communicator",
]

T = TypeVar("T")

COMMUNICATORS = ("auto", "mpi", "off")
"""``"mpi"``, ``"off"``, or ``"auto"``: MPI if the process was started by a launcher with others."""


@runtime_checkable
class Communicator(Protocol):
    """The processes of a run, which are numbered: ranks. All of them call the same members in the same order.

    Attributes
    ----------
    rank, size : int
        Number of this process, from 0, and the number of processes.
    local_ranks : tuple of int
        The ranks on this machine, in their order.
    seconds : float
        Time that this process has spent in `sum`.
    """

    rank: int
    size: int
    local_ranks: tuple[int, ...]
    seconds: float

    def __hash__(self) -> int: ...

    def sum(self, array: Array) -> None:
        """Replace an array, of NumPy or on a GPU, by its sum over the ranks; all get the same bits."""
        ...

    def sum_pieces(self, array: Array) -> None:
        """Sum a vector over the ranks; each gets the sum of its own piece, ``array[share_of(n, rank, size)]``.

        The rest of the vector is no longer of use.
        """
        ...

    def gather_pieces(self, array: Array) -> None:
        """Complete a vector of which each rank has its own piece."""
        ...

    def vector(self, name: str, size: int, dtype: Any) -> np.ndarray:
        """Return memory of the host for a vector whose pieces are often summed or gathered.

        The same arguments may give the same memory.
        """
        ...

    def broadcast(self, value: Any) -> Any:
        """Return the value of rank 0; that of other ranks is ignored."""
        ...

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in their order, on each rank."""
        ...

    def exchange(self, parts: list[np.ndarray]) -> list[np.ndarray]:
        """Send rows ``parts[r]`` to each rank r and return those that each rank sent, in the order of the ranks.

        The parts are C-contiguous arrays of one dtype and one shape but for their number of rows.
        """
        ...

    def barrier(self) -> None:
        """Wait for the other ranks."""
        ...

    def fail(self, show: Callable[[], None], code: int, *, is_own: bool = True) -> int:
        """Say once why ranks failed, and end all: call it in place of showing an error, on each rank that has one.

        Where all ranks have failed, for the same reason or because they learned that another had, it returns, and each
        ends by itself. Otherwise it ends all processes: the others may wait for this one.

        Parameters
        ----------
        show : () -> None
            Show the error. It is called on one rank.
        code : int
            Exit code of this rank.
        is_own : bool
            False if another rank has to show the error.

        Returns
        -------
        int
            Exit code of the rank that showed its error.
        """
        ...


def get_communicator(spec: str | Communicator | None) -> Communicator | None:
    """Return the communicator of a name in `COMMUNICATORS`; None where there is nobody to talk to.

    Raises
    ------
    InvalidParameterError
        The name is unknown.
    LibraryNotInstalledError
        mpi4py or MPI is missing.
    XpnetError
        MPI does not find the processes that the launcher started.
    """
    if spec is None or isinstance(spec, Communicator):
        return spec
    if spec not in COMMUNICATORS:
        raise InvalidParameterError(f"communicator: expected {', '.join(COMMUNICATORS)}; received {shown(spec)}.")
    if spec == "off" or (spec == "auto" and not is_launched()):
        return None
    communicator = _start()
    if communicator.size == 1 and is_launched():
        raise XpnetError(
            f"communicator: expected {launched_size()} ranks, which a launcher started; received 1: the MPI of mpi4py "
            "does not find the others. Use its own launcher: mpirun of the same MPI, or with Slurm srun --mpi=pmix."
        )
    return communicator if communicator.size > 1 else None


@cache
def _start() -> Communicator:
    """Start MPI, and take this rank's share of the machine's processors."""
    communicator: Communicator = import_module("xpnet_backends.mpi").start()
    if len(communicator.local_ranks) > 1:
        sets = communicator.gather(process_affinity())
        here = [sets[rank] for rank in communicator.local_ranks]
        take_processors(communicator.local_ranks.index(communicator.rank), here)
    return communicator


def started_communicator() -> Communicator | None:
    """Return the communicator of this process and others, if it has been started."""
    communicator = _start() if _start.cache_info().currsize else None
    return communicator if communicator is not None and communicator.size > 1 else None


def on_rank_0(communicator: Communicator | None, function: Callable[[], T]) -> T | None:
    """Call a function on rank 0 alone, and return its value there; None on the others.

    All ranks wait for its end. If it raises, the others raise `RankError`.
    """
    if communicator is None:
        return function()
    value, is_done = None, False
    try:
        if communicator.rank == 0:
            value = function()
        is_done = True
    finally:
        is_done = communicator.broadcast(is_done)
    if not is_done:
        raise RankError("expected rank 0 to go on; received its error, which it shows.")
    return value


def share_of(n: int, rank: int, size: int) -> slice:
    """Return the part of n rows that a rank has: contiguous, and of lengths that differ by one at most.

    Examples
    --------
    >>> [share_of(10, rank, 4) for rank in range(4)]
    [slice(0, 3, None), slice(3, 6, None), slice(6, 8, None), slice(8, 10, None)]
    """
    each, more = divmod(n, size)
    start = rank * each + min(rank, more)
    return slice(start, start + each + (rank < more))


def agreed(communicator: Communicator | None, function: Callable[[], T]) -> T:
    """Return the result of a function; if it raises an `XpnetError` on some ranks, all raise the first of these.

    The function must not communicate.
    """
    if communicator is None:
        return function()
    result: Any = None
    error: XpnetError | None = None
    try:
        result = function()
    except XpnetError as exc:
        error = exc
    errors = communicator.gather(error)
    rank = next((rank for rank, each in enumerate(errors) if each is not None), None)
    if rank is None:
        return result  # type: ignore[no-any-return]
    raise error if error is not None and rank == communicator.rank else errors[rank]


def in_turn(
    communicator: Communicator | None, value: T, add: Callable[[T], object], finish: Callable[[T], Any] = lambda v: v
) -> Any:
    """Let one rank after another change a value, as a single process does with all the data in their order.

    The value, which can be pickled, goes from rank to rank. So a statistic of rows is that of a single process, also if
    it depends on their order.

    Parameters
    ----------
    communicator : Communicator or None
    value
        Of rank 0; that of other ranks is ignored.
    add : callable
        Changes the value: includes what this rank holds. It must not communicate.
    finish : callable
        Makes the result of the value, on the last rank only.

    Returns
    -------
    result
        The same on each rank.

    Raises
    ------
    XpnetError
        `add` or `finish` raised it on a rank; all ranks raise it.
    """
    if communicator is None:
        add(value)
        return finish(value)
    rank, last = communicator.rank, communicator.size - 1
    state: Any = value
    error: XpnetError | None = None
    for turn in range(communicator.size):
        if turn == rank and error is None:
            try:
                add(state)
                state = finish(state) if turn == last else state
            except XpnetError as exc:
                state, error = None, exc
        if turn < last:
            parts = [np.empty(0, np.uint8)] * communicator.size
            if turn == rank:
                parts[turn + 1] = np.frombuffer(pickle.dumps((state, error)), np.uint8)
                state = None  # it may be large
            received = communicator.exchange(parts)[turn]
            if turn + 1 == rank:
                state, error = pickle.loads(received.data)
    state, error = communicator.gather((state, error) if rank == last else None)[last]
    if error is not None:
        raise error
    return state
