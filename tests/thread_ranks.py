"""Ranks as threads of one process: a double of the communicator, without MPI."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.communicator import share_of

_SECONDS = 60.0  # after which a rank that waits for another gives up


class ThreadCommunicator:
    """One of several threads that call the same members in the same order."""

    seconds = 0.0

    def __init__(self, rank: int, barrier: threading.Barrier, board: list[Any]) -> None:
        self.rank, self.size, self.local_ranks = rank, len(board), tuple(range(len(board)))
        self._barrier, self._board = barrier, board

    def gather(self, value: Any) -> list[Any]:
        self._board[self.rank] = value
        self._barrier.wait()
        values = list(self._board)
        self._barrier.wait()  # nobody writes before all have read
        return values

    def sum(self, array: Any) -> None:
        total = np.add.reduce([np.array(each) for each in self.gather(array)], axis=0)
        self.barrier()  # nobody writes to its array before all have read it
        array[...] = total

    def sum_pieces(self, array: Any) -> None:
        own = share_of(len(array), self.rank, self.size)
        total = np.add.reduce([np.array(each[own]) for each in self.gather(array)], axis=0)
        self.barrier()
        array[...] = np.nan  # the rest is of no use
        array[own] = total

    def gather_pieces(self, array: Any) -> None:
        pieces = [np.array(each[share_of(len(each), r, self.size)]) for r, each in enumerate(self.gather(array))]
        self.barrier()
        array[...] = np.concatenate(pieces)

    def vector(self, name: str, size: int, dtype: Any) -> np.ndarray:
        return np.empty(size, dtype)

    def broadcast(self, value: Any) -> Any:
        return self.gather(value)[0]

    def exchange(self, parts: list[np.ndarray]) -> list[np.ndarray]:
        assert len(parts) == self.size
        assert all(part.flags.c_contiguous for part in parts)
        assert len({(part.dtype, part.shape[1:]) for part in parts}) == 1
        received = [np.array(each[self.rank]) for each in self.gather(parts)]
        self.barrier()
        return received

    def barrier(self) -> None:
        self._barrier.wait()

    def fail(self, show: Callable[[], None], code: int, *, is_own: bool = True) -> int:
        self._barrier.abort()
        return code


class RankOfMachine:
    """A rank of several on a machine, with the environment variable of each; it only gathers these."""

    def __init__(self, rank: int, visible: list[str | None]) -> None:
        self.rank, self.size, self.local_ranks = rank, len(visible), tuple(range(len(visible)))
        self._visible = visible

    def gather(self, value: object) -> list[str | None]:
        return self._visible


def run_ranks(size: int, function: Callable[[ThreadCommunicator], Any], seconds: float = _SECONDS) -> list[Any]:
    """Return the results of a function that each of several ranks calls with its communicator.

    The first error of a rank is raised. It releases the ranks that wait for it, and so does the time limit.
    """
    barrier, board = threading.Barrier(size, timeout=seconds), [None] * size
    results: list[Any] = [None] * size
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            results[rank] = function(ThreadCommunicator(rank, barrier, board))
        except BaseException as error:  # also pytest.fail; raised again below
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + _SECONDS)  # the machine may be busy; after `seconds` no rank waits any longer
    if errors:
        raise next((e for e in errors if not isinstance(e, threading.BrokenBarrierError)), errors[0])
    assert not any(thread.is_alive() for thread in threads), f"ranks still run after {seconds} s"
    return results
