"""MPI, by mpi4py, and NCCL for arrays on GPUs."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import numpy as np

from xpnet.communicator import share_of
from xpnet.libraries import import_library

__all__ = ["communicator"]


class MpiCommunicator:
    """The processes that a launcher such as mpirun started."""

    def __init__(self, mpi: Any) -> None:
        self._mpi, self._comm = mpi, mpi.COMM_WORLD
        self.rank, self.size = self._comm.Get_rank(), self._comm.Get_size()
        self.local_size = self._comm.Split_type(mpi.COMM_TYPE_SHARED).Get_size()
        self.seconds = 0.0
        self._rooms = np.empty(0)

    def sum(self, array: Any) -> None:
        """Replace an array by its sum over the ranks."""
        started = time.perf_counter()
        self._comm.Allreduce(self._mpi.IN_PLACE, array)
        self.seconds += time.perf_counter() - started

    def sum_pieces(self, array: Any) -> None:
        """Sum a vector over the ranks; each gets the sum of its own piece."""
        started = time.perf_counter()
        pieces = [array[share_of(len(array), rank, self.size)] for rank in range(self.size)]
        own, others = pieces[self.rank], [rank for rank in range(self.size) if rank != self.rank]
        received = self._room(len(others), own)
        # Each piece goes straight to its rank: Open MPI's own Reduce_scatter takes twice the time in shared memory.
        requests = [self._comm.Irecv(room, rank) for room, rank in zip(received, others, strict=True)]
        requests += [self._comm.Isend(pieces[rank], rank) for rank in others]
        self._mpi.Request.Waitall(requests)
        for room in received:
            own += room
        self.seconds += time.perf_counter() - started

    def gather_pieces(self, array: Any) -> None:
        """Complete a vector of which each rank has its own piece."""
        started = time.perf_counter()
        shares = [share_of(len(array), rank, self.size) for rank in range(self.size)]
        counts, starts = [each.stop - each.start for each in shares], [each.start for each in shares]
        self._comm.Allgatherv(self._mpi.IN_PLACE, [array, counts, starts, self._mpi._typedict[array.dtype.char]])
        self.seconds += time.perf_counter() - started

    def _room(self, count: int, like: np.ndarray) -> np.ndarray:
        """Return memory for arrays of one shape; it is kept, for every step needs it."""
        if self._rooms.shape != (count, *like.shape) or self._rooms.dtype != like.dtype:
            self._rooms = np.empty((count, *like.shape), like.dtype)
        return self._rooms

    def broadcast(self, value: Any) -> Any:
        """Return the value of rank 0."""
        return self._comm.bcast(value)

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks."""
        values: list[Any] = self._comm.allgather(value)
        return values

    def exchange(self, parts: list[np.ndarray]) -> list[np.ndarray]:
        """Send rows to each rank and return those that each rank sent."""
        counts = self._comm.alltoall([len(part) for part in parts])
        received = [np.empty((n, *parts[0].shape[1:]), parts[0].dtype) for n in counts]
        requests = [self._comm.Irecv(part.view(np.uint8), r) for r, part in enumerate(received) if part.size]
        requests += [self._comm.Isend(part.view(np.uint8), r) for r, part in enumerate(parts) if part.size]
        self._mpi.Request.Waitall(requests)
        return received

    def barrier(self) -> None:
        """Wait for the other ranks."""
        self._comm.Barrier()

    def abort(self, code: int) -> None:
        """End all processes at once."""
        self._comm.Abort(code)


@cache
def communicator() -> MpiCommunicator:
    """Return the communicator of all processes; the first call starts MPI."""
    return MpiCommunicator(import_library("mpi4py.MPI", "mpi"))
