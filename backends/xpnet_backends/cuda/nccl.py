"""NCCL: sums over the ranks of arrays on GPUs, on the current stream, so that a CUDA graph can hold them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cupy

from xpnet.errors import LibraryNotInstalledError

__all__ = ["NcclSum"]


class NcclSum:
    """The sum over the ranks of a CuPy array in place.

    Parameters
    ----------
    rank, size : int
        Each rank computes on a GPU of its own, the current one.
    broadcast : callable
        Return the value of rank 0; all ranks call it.

    Raises
    ------
    LibraryNotInstalledError
        This CuPy has no NCCL.
    """

    def __init__(self, rank: int, size: int, broadcast: Callable[[Any], Any]) -> None:
        # No attribute of cupy.cuda before; CuPy warns here, with the reason, where it cannot load NCCL.
        from cupy.cuda import nccl

        if not nccl.available:
            raise LibraryNotInstalledError(
                "mpi: expected CuPy with NCCL, for ranks on GPUs; received a CuPy without it. Install it: pip install "
                "'xpnet[cuda12]' nvidia-nccl-cu12, or the same with 13; or train with --device cpu."
            )
        identity = broadcast(nccl.get_unique_id() if rank == 0 else None)
        self._sum, self._types = nccl.NCCL_SUM, {
            "float32": nccl.NCCL_FLOAT32, "float64": nccl.NCCL_FLOAT64,
            "int32": nccl.NCCL_INT32, "int64": nccl.NCCL_INT64,
        }  # fmt: skip
        self._communicator = nccl.NcclCommunicator(size, identity, rank)

    def __call__(self, array: Any) -> None:
        """Put the sum of a C-contiguous array on the current stream."""
        stream = cupy.cuda.get_current_stream().ptr
        pointer, dtype = array.data.ptr, self._types[array.dtype.name]
        self._communicator.allReduce(pointer, pointer, array.size, dtype, self._sum, stream)
