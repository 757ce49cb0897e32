"""The double of NCCL: ranks are threads, each with a GPU of its own, and a sum waits for all of them."""

from __future__ import annotations

import ctypes
import itertools
import threading

import numpy as np

from tests.cuda_double.runtime import CUDARuntimeError, current_stream, memory_at, state, stream_at

available = True
NCCL_SUM, NCCL_INT32, NCCL_INT64, NCCL_FLOAT32, NCCL_FLOAT64 = 0, 2, 4, 7, 8
_TYPES = {NCCL_INT32: ctypes.c_int32, NCCL_INT64: ctypes.c_int64, NCCL_FLOAT32: ctypes.c_float,
          NCCL_FLOAT64: ctypes.c_double}  # fmt: skip
_SECONDS = 30.0  # after which a rank that waits for another gives up

_identities = itertools.count(1)
_lock = threading.Lock()
_groups: dict[int, _Group] = {}


def get_unique_id() -> tuple[int, ...]:
    """Return what the ranks of a communicator have in common."""
    return (next(_identities),)


class _Group:
    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size, timeout=_SECONDS)
        self.values: list[np.ndarray | None] = [None] * size
        self.devices: list[int | None] = [None] * size


class NcclCommunicator:
    """A rank of a communicator on the GPU that is current; the call waits for the other ranks."""

    def __init__(self, ndev: int, commId: tuple[int, ...], rank: int) -> None:
        if current_stream().captured is not None:
            raise CUDARuntimeError("a communicator is made while a stream is captured")
        with _lock:
            self._group = _groups.setdefault(commId[0], _Group(ndev))
        self._rank, self._device = rank, state.devices[-1]
        self._group.devices[rank] = self._device
        self._group.barrier.wait()
        if len({*self._group.devices}) < ndev:
            raise CUDARuntimeError("NCCL_ERROR_INVALID_USAGE: two ranks on one GPU")

    def allReduce(  # noqa: N802 - CuPy's name
        self, sendbuf: int, recvbuf: int, count: int, datatype: int, op: int, stream: int
    ) -> None:
        """Put the sum over the ranks on a stream, or record it if the stream is captured."""
        assert op == NCCL_SUM
        on = stream_at(stream)
        if on.device != self._device:
            raise CUDARuntimeError("a stream of another GPU than the communicator's")
        # The addresses are looked up when the work is done: memory that has been freed by then is an error.
        source, target = ((_TYPES[datatype] * count).from_address(each) for each in (sendbuf, recvbuf))

        def run() -> None:
            def read() -> None:
                self._group.values[self._rank] = np.array(np.ctypeslib.as_array(source))

            on.run(read, [memory_at(sendbuf)], [])
            self._group.barrier.wait()
            total = np.add.reduce([value for value in self._group.values if value is not None], axis=0)
            self._group.barrier.wait()  # nobody brings the next value before all have read this one
            on.run(lambda: np.copyto(np.ctypeslib.as_array(target), total), [], [memory_at(recvbuf)])

        if on.captured is None:
            run()
        else:
            on.captured.append(run)
