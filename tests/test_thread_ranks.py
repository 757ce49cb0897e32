"""Tests of the double of the communicator."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tests.thread_ranks import run_ranks
from xpnet.communicator import Communicator


def test_the_members_of_the_double():
    def members(comm):
        assert isinstance(comm, Communicator)
        total = np.full(3, comm.rank + 1.0)
        comm.sum(total)
        pieces = np.arange(5.0) + comm.rank
        comm.sum_pieces(pieces)
        comm.gather_pieces(pieces)
        assert pieces.tolist() == [3.0, 6.0, 9.0, 12.0, 15.0]
        parts = [np.full((rank, 2), 10 * comm.rank + rank) for rank in range(comm.size)]
        return total.tolist(), comm.broadcast(comm.rank), comm.gather(comm.rank), comm.exchange(parts)

    for rank, (total, first, everyone, received) in enumerate(run_ranks(3, members)):
        assert (total, first, everyone) == ([6.0] * 3, 0, [0, 1, 2])
        assert [part.tolist() for part in received] == [[[10 * r + rank] * 2] * rank for r in range(3)]


def test_an_error_of_one_rank_ends_all():
    def fails(comm):
        if comm.rank == 1:
            raise ValueError("one")
        comm.barrier()

    with pytest.raises(ValueError, match="one"):
        run_ranks(3, fails)


def test_a_rank_that_waits_for_nobody_gives_up():
    with pytest.raises(threading.BrokenBarrierError):
        run_ranks(2, lambda comm: comm.rank or comm.barrier(), seconds=0.2)
