"""The communicator's names, its check of the launcher, and what ranks do one after the other; without MPI."""

from __future__ import annotations

import os

import pytest

from tests.thread_ranks import RankOfMachine, ThreadCommunicator, run_ranks
from xpnet import communicator as module
from xpnet import threads
from xpnet.cli.ranks import check_same, get_device
from xpnet.communicator import Communicator, get_communicator, on_rank_0, share_of
from xpnet.errors import InvalidParameterError, RankError, XpnetError
from xpnet.threads import take_processors


@pytest.mark.parametrize(("n", "size"), [(10, 4), (3, 3), (2, 5), (0, 2), (7, 1)])
def test_shares_are_all_rows_in_their_order(n: int, size: int) -> None:
    shares = [range(n)[share_of(n, rank, size)] for rank in range(size)]
    assert [row for share in shares for row in share] == [*range(n)]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    assert get_communicator(None) is get_communicator("off") is get_communicator("auto") is None
    with pytest.raises(InvalidParameterError, match="communicator: expected auto, mpi, off; received 'nccl'"):
        get_communicator("nccl")


def test_a_launcher_whose_processes_mpi_does_not_find(monkeypatch: pytest.MonkeyPatch) -> None:
    class Alone:
        size = 1

    monkeypatch.setattr(module, "_start", Alone)
    monkeypatch.setattr(module, "is_launched", lambda: True)
    monkeypatch.setattr(module, "launched_size", lambda: 4)
    with pytest.raises(XpnetError, match="expected 4 ranks, which a launcher started; received 1"):
        get_communicator("auto")


def test_on_rank_0() -> None:
    assert run_ranks(3, lambda ranks: on_rank_0(ranks, lambda: ranks.rank + 7)) == [7, None, None]
    assert on_rank_0(None, lambda: 7) == 7


def test_an_error_of_rank_0_is_one_of_all() -> None:
    def outcome(ranks: ThreadCommunicator) -> str:
        try:
            on_rank_0(ranks, lambda: 1 / 0)
        except (ZeroDivisionError, RankError) as error:
            return type(error).__name__
        return "none"

    assert run_ranks(3, outcome) == ["ZeroDivisionError", "RankError", "RankError"]


def test_values_that_differ_are_named() -> None:
    def message(ranks: ThreadCommunicator) -> str:
        check_same(ranks, {"version": 1, "data": "a.csv"})
        with pytest.raises(XpnetError) as raised:
            check_same(ranks, {"version": 1, "data": "ab"[ranks.rank == 1]})
        return str(raised.value)

    (text,) = {*run_ranks(3, message)}
    assert text.startswith("expected the same data on all 3 ranks; received 'a' on ranks 0, 2; 'b' on rank 1.")


@pytest.mark.parametrize(
    ("device", "rank", "visible", "name"),
    [
        ("cpu", 1, [None, None], "numpy:cpu"),
        ("strict:cpu", 1, [None, None], "strict:cpu"),
        ("strict:cpu:1", 1, [None, None], "strict:cpu:1"),
    ],
)
def test_processors_have_no_number(device: str, rank: int, visible: list[str | None], name: str) -> None:
    ranks: Communicator = RankOfMachine(rank, visible)  # type: ignore[assignment]
    assert get_device(device, ranks).name == name


@pytest.mark.parametrize(
    ("affinities", "expected"),
    [
        ([{0, 1, 2, 3}] * 2, [{0, 1}, {2, 3}]),
        ([{4, 5, 6}] * 2, [{4}, {5, 6}]),
        ([{0, 1}] * 3, [{0}, {0}, {1}]),
        ([{0, 1}, {2, 3}], [{0, 1}, {2, 3}]),  # bound by the launcher
    ],
)
def test_processes_of_a_machine_take_processors(
    monkeypatch: pytest.MonkeyPatch, affinities: list[set[int]], expected: list[set[int]]
) -> None:
    """Each gets processors of its own, and as many threads."""
    limits: list[int] = []
    monkeypatch.setattr("threadpoolctl.threadpool_limits", limits.append)
    for name in threads.THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for number, own in enumerate(affinities):
        now = [own]
        monkeypatch.setattr(threads, "process_affinity", lambda now=now: now[0])
        monkeypatch.setattr(threads, "_quota", lambda: 64.0)
        monkeypatch.setattr(os, "sched_setaffinity", lambda _, to, now=now: now.__setitem__(0, {*to}), raising=False)
        take_processors(number, affinities)
        assert now[0] == expected[number]
        assert os.environ["OMP_NUM_THREADS"] == str(len(expected[number]))
        assert limits.pop() == len(expected[number])
        for name in threads.THREAD_VARIABLES:
            monkeypatch.delenv(name)


def test_a_quota_is_shared_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threadpoolctl.threadpool_limits", lambda n: None)
    monkeypatch.setattr(threads, "process_affinity", set)  # a system that does not tell
    monkeypatch.setattr(threads, "_quota", lambda: 4.0)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    for name in threads.THREAD_VARIABLES:
        monkeypatch.setenv(name, "")
    take_processors(1, [set(), set()])
    assert os.environ["OPENBLAS_NUM_THREADS"] == "2"
