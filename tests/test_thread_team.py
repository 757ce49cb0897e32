"""The threads of runs: libraries get their numbers back, and elementwise work is the same on several threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from xpnet import thread_team
from xpnet.thread_team import ThreadTeam, share


class Library:
    """A library as threadpoolctl shows it."""

    def __init__(self, filepath: str, num_threads: int) -> None:
        self.filepath, self.num_threads = filepath, num_threads

    def set_num_threads(self, count: int) -> None:
        self.num_threads = count


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> list[Library]:
    """Pretend that these are loaded; the test may load more."""
    loaded = [Library("numpy", 8), Library("scipy", 6)]

    class Controller:
        lib_controllers = loaded

        def select(self, **_: Any) -> Controller:
            return self

    monkeypatch.setattr("threadpoolctl.ThreadpoolController", Controller)
    monkeypatch.setattr(thread_team, "_BLAS", thread_team._Libraries())
    monkeypatch.setattr(thread_team, "most_threads", lambda: 16)
    return loaded


def counts(libraries: list[Library]) -> list[int]:
    return [each.num_threads for each in libraries]


def test_libraries_get_their_numbers_back(libraries: list[Library]) -> None:
    with ThreadTeam() as team:
        assert team.most == 8
        team.use(1)
        assert counts(libraries) == [1, 1]
        team.use(7)
        assert counts(libraries) == [7, 6]  # never more than before
    assert counts(libraries) == [8, 6]
    with pytest.raises(ZeroDivisionError), ThreadTeam():
        raise ZeroDivisionError
    assert counts(libraries) == [8, 6]


def test_a_limit_of_the_user_holds(libraries: list[Library], monkeypatch: pytest.MonkeyPatch) -> None:
    for library in libraries:
        library.set_num_threads(2)  # as `threadpool_limits(2)` does
    with ThreadTeam() as team:
        assert team.most == 2
        team.use(5)
        assert counts(libraries) == [2, 2]
    assert counts(libraries) == [2, 2]
    monkeypatch.setattr(thread_team, "most_threads", lambda: 1)
    with ThreadTeam() as team:
        assert team.most == 1
        assert counts(libraries) == [1, 1]


def test_a_library_that_is_loaded_later(libraries: list[Library], monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadTeam() as team:
        team.use(2)
        libraries.append(Library("later", 4))
        monkeypatch.setitem(__import__("sys").modules, "a_module_that_loads_it", threading)
        team.use(2)
        assert counts(libraries) == [2, 2, 2]
    assert counts(libraries) == [8, 6, 4]


def test_runs_at_the_same_time_share_the_processors(libraries: list[Library]) -> None:
    first, second = ThreadTeam(), ThreadTeam()
    with first:
        assert first.is_alone
        with second:
            assert second.most == 8  # not what the first run has set
            assert not first.is_alone
            assert counts(libraries) == [4, 4]
            second.use(2)
            assert counts(libraries) == [1, 1]
        assert first.is_alone
        assert counts(libraries) == [8, 6]
    # The one that began first ends first.
    first.__enter__()
    second.__enter__()
    first.__exit__()
    assert counts(libraries) == [8, 6]
    second.use(3)
    second.__exit__()
    assert counts(libraries) == [8, 6]


N_BLOCKS = 100


def squares(results: np.ndarray, *, slow: threading.Event | None = None) -> Any:
    """Return work on blocks ``(number, temporary array)``; on another thread it waits."""
    main = threading.current_thread()

    def work(blocks: Iterator[tuple[int, np.ndarray]]) -> None:
        if slow is not None and threading.current_thread() is not main:
            slow.wait(10)
        for number, temporary in blocks:
            temporary[...] = number
            results[number] = (temporary * number).sum()

    return work


def shares(n_threads: int) -> list[list[tuple[int, np.ndarray]]]:
    temporaries = [np.empty(1000) for _ in range(n_threads)]
    return [[(number, temporary) for number in range(N_BLOCKS)] for temporary in temporaries]


EXPECTED = 1000.0 * np.arange(N_BLOCKS) ** 2


@pytest.fixture
def team(libraries: list[Library]) -> Iterator[ThreadTeam]:
    with ThreadTeam() as entered:
        yield entered


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_each_block_is_done_once(team: ThreadTeam, n_threads: int) -> None:
    for count in (1, 2, 8):
        team.use(count)
        results = np.zeros(N_BLOCKS)
        share(squares(results), shares(n_threads))
        np.testing.assert_array_equal(results, EXPECTED)


def test_several_threads_share_the_blocks(team: ThreadTeam) -> None:
    together = threading.Barrier(3, timeout=10)

    def work(blocks: Iterator[Any]) -> None:
        next(blocks)
        together.wait()

    share(work, shares(3))


def test_no_thread_is_left(team: ThreadTeam) -> None:
    before = threading.active_count()
    share(squares(np.zeros(N_BLOCKS)), shares(2))
    assert threading.active_count() > before
    team.__exit__()
    assert threading.active_count() == before
    results = np.zeros(N_BLOCKS)
    share(squares(results), shares(2))  # without a team
    np.testing.assert_array_equal(results, EXPECTED)
    team.__enter__()


def test_a_thread_that_has_not_begun_is_not_waited_for(team: ThreadTeam) -> None:
    """Its processor may be busy with another process."""
    go = threading.Event()
    team.use(2)
    busy = [team._helpers().submit(go.wait, 10) for _ in range(team.most - 1)]
    results = np.zeros(N_BLOCKS)
    share(squares(results), shares(2))
    np.testing.assert_array_equal(results, EXPECTED)
    assert not any(each.done() for each in busy)
    go.set()


def test_errors_of_each_thread_are_raised(team: ThreadTeam) -> None:
    main, begun = threading.current_thread(), threading.Event()

    def work(blocks: Iterator[Any]) -> None:
        if threading.current_thread() is main:
            begun.wait(10)
            list(blocks)
        else:
            begun.set()
            raise MemoryError("no memory")

    team.use(2)
    with pytest.raises(MemoryError, match="no memory"):
        share(work, shares(2))

    def fails(blocks: Iterator[Any]) -> None:
        if threading.current_thread() is main:
            raise ZeroDivisionError
        list(blocks)

    with pytest.raises(ZeroDivisionError):
        share(fails, shares(2))


def test_helpers_are_as_silent_as_the_run(team: ThreadTeam) -> None:
    def work(blocks: Iterator[Any]) -> None:
        together.wait()
        np.divide(np.ones(3), np.zeros(3))

    together = threading.Barrier(2, timeout=10)
    team.use(2)
    with np.errstate(all="ignore"):
        share(work, shares(2))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_goes_on_alone(team: ThreadTeam) -> None:
    share(squares(np.zeros(N_BLOCKS)), shares(2))
    child = os.fork()
    if child == 0:
        results = np.zeros(N_BLOCKS)
        share(squares(results), shares(2))
        os._exit(0 if np.array_equal(results, EXPECTED) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
