"""Vectors in memory that the ranks of a machine share, by MPI's windows: a rank reads those of others in place."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.communicator import share_of

__all__ = ["SharedVectors"]


class SharedVectors:
    """Vectors of which each rank has one of its own, and sees those of the others.

    Parameters
    ----------
    mpi : module
        ``mpi4py.MPI``.
    comm : mpi4py.MPI.Comm
        The ranks, which are all on this machine.
    """

    def __init__(self, mpi: Any, comm: Any) -> None:
        self._mpi, self._comm = mpi, comm
        self._windows: dict[tuple[str, int, str], tuple[Any, list[np.ndarray]]] = {}
        self._by_address: dict[int, tuple[Any, list[np.ndarray]]] = {}

    def empty(self, name: str, size: int, dtype: Any) -> np.ndarray:
        """Return the vector of a name, a size and a dtype, the same in each call; all ranks call it."""
        key = name, size, np.dtype(dtype).char
        if key not in self._windows:
            item = np.dtype(dtype).itemsize
            window = self._mpi.Win.Allocate_shared(size * item, item, comm=self._comm)
            window.Lock_all()
            views = [np.frombuffer(window.Shared_query(rank)[0], dtype, size) for rank in range(self._comm.Get_size())]
            self._windows[key] = self._by_address[_address(views[self._comm.Get_rank()])] = window, views
        own: np.ndarray = self._windows[key][1][self._comm.Get_rank()]
        return own

    def sum_pieces(self, array: np.ndarray) -> bool:
        """Sum the piece of this rank in the vectors of all ranks, if the array is one of them."""
        if _address(array) not in self._by_address:
            return False
        window, views = self._by_address[_address(array)]
        share = share_of(len(array), self._comm.Get_rank(), len(views))
        own = array[share]
        self._wait(window)
        for rank, other in enumerate(views):
            if rank != self._comm.Get_rank():
                own += other[share]
        self._wait(window)  # nobody may write what others still read
        return True

    def gather_pieces(self, array: np.ndarray) -> bool:
        """Copy the pieces of the other ranks from their vectors, if the array is one of them.

        One vector that all have in common would spare the copy, but products would then read it from the cache of
        another processor, which took longer.
        """
        if _address(array) not in self._by_address:
            return False
        window, views = self._by_address[_address(array)]
        self._wait(window)
        for rank, other in enumerate(views):
            if rank != self._comm.Get_rank():
                share = share_of(len(array), rank, len(views))
                array[share] = other[share]
        self._wait(window)
        return True

    def _wait(self, window: Any) -> None:
        window.Sync()
        self._comm.Barrier()
        window.Sync()


def _address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])
