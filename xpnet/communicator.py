"""Several processes that train one network together: what they ask of one another.

MPI and NCCL are known to the adapter alone, `xpnet_backends.mpi`. A run of a single process has no communicator.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

import numpy as np

from xpnet.backend.array import Array
from xpnet.errors import InvalidParameterError, shown

__all__ = ["COMMUNICATORS", "Communicator", "get_communicator", "is_launched", "share_of"]

COMMUNICATORS = ("auto", "mpi", "off")
"""``"mpi"``, ``"off"``, or ``"auto"``: MPI if the process was started by a launcher with others."""

# What launchers tell each process, the number of processes: Open MPI and others by PMIx, MPICH and Intel MPI, Slurm.
_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")


@runtime_checkable
class Communicator(Protocol):
    """The processes of a run, which are numbered: ranks. All of them call the same members in the same order.

    Attributes
    ----------
    rank, size : int
        Number of this process, from 0, and the number of processes.
    local_size : int
        Number of processes on this machine.
    seconds : float
        Time that this process has spent in `sum`.
    """

    rank: int
    size: int
    local_size: int
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

    def abort(self, code: int) -> None:
        """End all processes at once with an exit code."""
        ...


def is_launched(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether a launcher such as mpirun or srun started this process together with others."""
    return any(environment.get(name, "").isdecimal() and int(environment[name]) > 1 for name in _SIZES)


def get_communicator(spec: str | Communicator | None) -> Communicator | None:
    """Return the communicator of a name in `COMMUNICATORS`; None where there is nobody to talk to.

    Raises
    ------
    InvalidParameterError
        The name is unknown.
    LibraryNotInstalledError
        mpi4py or MPI is missing.
    """
    if spec is None or isinstance(spec, Communicator):
        return spec
    if spec not in COMMUNICATORS:
        raise InvalidParameterError(f"communicator: expected {', '.join(COMMUNICATORS)}; received {shown(spec)}.")
    if spec == "off" or (spec == "auto" and not is_launched()):
        return None
    communicator: Communicator = import_module("xpnet_backends.mpi").communicator()
    return communicator if communicator.size > 1 else None


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
