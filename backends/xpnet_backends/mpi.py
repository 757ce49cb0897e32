"""MPI, by mpi4py, and NCCL for arrays on GPUs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from xpnet.communicator import share_of
from xpnet.errors import RankError
from xpnet.libraries import import_library
from xpnet_backends.shared_vectors import SharedVectors

__all__ = ["start"]

_PATIENCE = 2.0  # seconds in which ranks that fail for the same reason do so


class MpiCommunicator:
    """The processes that a launcher such as mpirun started."""

    def __init__(self, mpi: Any) -> None:
        self._mpi, self._comm = mpi, mpi.COMM_WORLD
        self.rank, self.size = self._comm.Get_rank(), self._comm.Get_size()
        self.local_ranks = tuple(self._comm.Split_type(mpi.COMM_TYPE_SHARED).allgather(self.rank))
        self._shared = SharedVectors(mpi, self._comm) if len(self.local_ranks) == self.size else None
        self._failures = self._comm.Dup()  # apart from whatever the other ranks wait for
        self.seconds = 0.0
        self._rooms = np.empty(0)

    def sum(self, array: Any) -> None:
        """Replace an array by its sum over the ranks; on a GPU the stream does so, and the host does not wait."""
        if not isinstance(array, np.ndarray):
            self._nccl(array)
            return
        started = time.perf_counter()
        self._comm.Allreduce(self._mpi.IN_PLACE, array)
        self.seconds += time.perf_counter() - started

    @cached_property
    def _nccl(self) -> Callable[[Any], None]:
        from xpnet_backends.cuda.nccl import NcclSum  # imports CuPy

        return NcclSum(self.rank, self.size, self.broadcast)

    def sum_pieces(self, array: Any) -> None:
        """Sum a vector over the ranks; each gets the sum of its own piece."""
        started = time.perf_counter()
        if self._shared is None or not self._shared.sum_pieces(array):
            self._send_and_sum_pieces(array)
        self.seconds += time.perf_counter() - started

    def _send_and_sum_pieces(self, array: np.ndarray) -> None:
        pieces = [array[share_of(len(array), rank, self.size)] for rank in range(self.size)]
        own, others = pieces[self.rank], [rank for rank in range(self.size) if rank != self.rank]
        received = self._room(len(others), own)
        # Each piece goes straight to its rank: Open MPI's own Reduce_scatter takes twice the time in shared memory.
        requests = [self._comm.Irecv(room, rank) for room, rank in zip(received, others, strict=True)]
        requests += [self._comm.Isend(pieces[rank], rank) for rank in others]
        self._mpi.Request.Waitall(requests)
        for room in received:
            own += room

    def gather_pieces(self, array: Any) -> None:
        """Complete a vector of which each rank has its own piece."""
        started = time.perf_counter()
        if self._shared is None or not self._shared.gather_pieces(array):
            shares = [share_of(len(array), rank, self.size) for rank in range(self.size)]
            counts, starts = [each.stop - each.start for each in shares], [each.start for each in shares]
            self._comm.Allgatherv(self._mpi.IN_PLACE, [array, counts, starts, self._mpi._typedict[array.dtype.char]])
        self.seconds += time.perf_counter() - started

    def vector(self, name: str, size: int, dtype: Any, *, common: bool) -> np.ndarray:
        """Return memory for a vector that is summed or gathered often."""
        if self._shared is None:
            return np.empty(size, dtype)
        return self._shared.empty(name, size, dtype, common=common)

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

    def fail(self, show: Callable[[], None], code: int, *, is_own: bool = True) -> int:
        """Say once why ranks failed, and end all."""
        failed = {self.rank: (code, is_own)}
        others = [rank for rank in range(self.size) if rank != self.rank]
        requests = [self._failures.isend((code, is_own), rank) for rank in others]
        end = time.monotonic() + _PATIENCE
        while len(failed) < self.size and time.monotonic() < end:
            if self._failures.iprobe():
                status = self._mpi.Status()
                outcome = self._failures.recv(status=status)
                failed[status.Get_source()] = outcome
            else:
                time.sleep(0.01)
        speaker = min(failed, key=lambda rank: (not failed[rank][1], rank))
        if speaker == self.rank:
            show()
        if len(failed) < self.size:
            if speaker != self.rank:  # which ends this process too
                time.sleep(_PATIENCE)
            self._comm.Abort(failed[speaker][0])
        self._mpi.Request.waitall(requests)
        self._failures.Barrier()  # some launchers end all once one has ended with an error
        return failed[speaker][0]


def start() -> MpiCommunicator:
    """Start MPI and return the communicator of all processes.

    An error that ends the program is then shown once, and ends all its processes.
    """
    # Open MPI's windows on UCX, which no window here uses, print an error where there is no such network.
    os.environ.setdefault("OMPI_MCA_osc", "^ucx")
    communicator = MpiCommunicator(import_library("mpi4py.MPI", "mpi"))
    if communicator.size > 1:
        shown = sys.excepthook

        def end_all(kind: type[BaseException], error: BaseException, *traceback: Any) -> None:
            communicator.fail(lambda: shown(kind, error, *traceback), 1, is_own=not isinstance(error, RankError))

        sys.excepthook = end_all
    return communicator
