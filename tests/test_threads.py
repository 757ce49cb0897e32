"""The limit on threads: it holds while a command runs, and ends with it."""

from __future__ import annotations

import gc
import os
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from tests.command_line import refused, train, xpnet
from xpnet import threads
from xpnet.errors import InvalidParameterError
from xpnet.model.model import Model
from xpnet.nn.network import Network
from xpnet.threads import THREAD_VARIABLES, BlasThreads, limit_threads, most_threads, process_cpu_count
from xpnet.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("folder")


def limits() -> dict[str, Any]:
    return {
        "pools": {pool["num_threads"] for pool in threadpool_info()},
        "processors": process_cpu_count(),
        "environment": {os.environ.get(name) for name in THREAD_VARIABLES},
    }


ONE = {"pools": {1}, "environment": {"1"}}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Record the limits that are in force while a network is trained or used."""
    found: list[dict[str, Any]] = []

    def noting(whole: Any) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            found.append(limits())
            return whole(*arguments, **keywords)

        return call

    monkeypatch.setattr(Trainer, "fit", noting(Trainer.fit))
    monkeypatch.setattr(Model, "outputs", noting(Model.outputs))
    monkeypatch.setattr(Model, "assess", noting(Model.assess))
    return found


def held(found: list[dict[str, Any]]) -> bool:
    """Return whether each was limited to one thread, and on Linux to one processor."""
    bound = {"processors": 1} if hasattr(os, "sched_getaffinity") else {}
    return bool(found) and all(each | ONE | bound == each for each in found)


def test_a_limit_holds_for_training_prediction_and_evaluation(seen: list[dict[str, Any]]) -> None:
    train("--out", "free")  # a library that is loaded inside the limit keeps it for good
    with threadpool_limits(2):
        seen.clear()
        before = limits()
        train("--threads", 1, "--out", "run")
        assert len(seen) >= 3  # the run, and the scores
        assert xpnet("predict", "run/model.safetensors", "iris", "--threads", 1, "--out", "p.csv").code == 0
        assert xpnet("evaluate", "run/model.safetensors", "iris", "--threads", 1).code == 0
        assert held(seen)
        assert limits() == before


def test_the_limit_is_of_this_machine_and_not_part_of_a_run_to_repeat() -> None:
    train("--threads", 1, "--out", "run")
    assert "threads" not in tomllib.loads(Path("run/config.toml").read_text())


@pytest.mark.parametrize("command", [["train", "iris"], ["predict", "m", "iris"], ["evaluate", "m", "iris"]])
@pytest.mark.parametrize("wrong", ["0", "-1", "1.5", "100000"])
def test_what_is_no_number_of_threads_is_refused(command: list[str], wrong: str) -> None:
    assert "--threads" in refused(*command, "--threads", wrong)


def test_the_limit_ends_where_something_fails() -> None:
    before = limits()
    with pytest.raises(ZeroDivisionError), limit_threads(1):
        raise ZeroDivisionError
    assert limits() == before
    with (
        pytest.raises(InvalidParameterError, match=f"1 to {process_cpu_count()}"),
        limit_threads(process_cpu_count() + 1),
    ):
        pass


@pytest.fixture
def processors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Pretend that there are 16 processors, no limits, and the control groups of a folder, which is returned."""
    monkeypatch.setattr(threads, "process_affinity", lambda: set(range(16)))
    monkeypatch.setattr(threads, "_PROC", tmp_path)
    monkeypatch.setattr(threads, "_CGROUPS", tmp_path / "groups")
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


V1 = "cpu.cfs_quota_us", "cpu.cfs_period_us"


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({}, 16),
        ({"self/cgroup": "0::/a/b\n"}, 16),
        ({"self/cgroup": "0::/\n", "groups/cpu.max": "max 100000\n"}, 16),
        ({"self/cgroup": "0::/\n", "groups/cpu.max": "400000 100000\n"}, 4),
        ({"self/cgroup": "0::/\n", "groups/cpu.max": "250000 100000\n"}, 3),
        ({"self/cgroup": "0::/\n", "groups/cpu.max": "20000 100000\n"}, 1),
        ({"self/cgroup": "0::/\n", "groups/cpu.max": "9900000 100000\n"}, 16),
        ({"self/cgroup": "0::/\n", "groups/cpu.max": ""}, 16),
        # The group lies in one with less.
        ({"self/cgroup": "0::/a/b\n", "groups/a/b/cpu.max": "max 100000\n", "groups/a/cpu.max": "200000 100000\n"}, 2),
        # Version 1: one line for each controller.
        (
            {
                "self/cgroup": "5:memory:/x\n4:cpu,cpuacct:/a\n1:name=systemd:/\n",
                f"groups/cpu,cpuacct/a/{V1[0]}": "150000\n",
                f"groups/cpu,cpuacct/a/{V1[1]}": "50000\n",
                f"groups/memory/x/{V1[0]}": "50000\n",
                f"groups/memory/x/{V1[1]}": "50000\n",
            },
            3,
        ),
        ({"self/cgroup": "1:cpu:/a\n", f"groups/cpu/a/{V1[0]}": "-1\n", f"groups/cpu/a/{V1[1]}": "100000\n"}, 16),
        # A container sees its own group as the root.
        ({"self/cgroup": "1:cpu:/far/up\n", f"groups/cpu/{V1[0]}": "200000", f"groups/cpu/{V1[1]}": "100000"}, 2),
        ({"self/cgroup": "1:cpu:/\n", f"groups/cpu/{V1[0]}": "200000", f"groups/cpu/{V1[1]}": "0"}, 16),
    ],
)
def test_processors_of_a_control_group(processors: Path, files: dict[str, str], count: int) -> None:
    write(processors, files)
    assert process_cpu_count() == count


def test_processors_that_the_process_is_bound_to(processors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(processors, {"self/cgroup": "0::/\n", "groups/cpu.max": "400000 100000\n"})
    monkeypatch.setattr(threads, "process_affinity", lambda: {3, 7})
    assert process_cpu_count() == 2
    monkeypatch.setattr(threads, "process_affinity", set)  # a system that does not tell
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    assert process_cpu_count() == 3


@pytest.mark.parametrize(
    ("given", "most"),
    [
        ({}, 16),
        ({"OMP_NUM_THREADS": "4"}, 4),
        ({"OMP_NUM_THREADS": "4,2"}, 4),
        ({"OMP_NUM_THREADS": "6", "OPENBLAS_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "64"}, 16),
        ({"OMP_NUM_THREADS": "many", "MKL_NUM_THREADS": "0", "OPENBLAS_NUM_THREADS": ""}, 16),
    ],
)
def test_threads_of_the_environment(
    processors: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], most: int
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert most_threads() == most


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
    monkeypatch.setattr(threads, "_BLAS", threads._Libraries())
    monkeypatch.setattr(threads, "most_threads", lambda: 16)
    return loaded


def counts(libraries: list[Library]) -> list[int]:
    return [each.num_threads for each in libraries]


def test_libraries_get_their_numbers_back(libraries: list[Library]) -> None:
    with BlasThreads(100) as blas:
        assert blas.most == 8
        blas.use(1)
        assert counts(libraries) == [1, 1]
        blas.use(7)
        assert counts(libraries) == [7, 6]  # never more than before
    assert counts(libraries) == [8, 6]
    with pytest.raises(ZeroDivisionError), BlasThreads(100):
        raise ZeroDivisionError
    assert counts(libraries) == [8, 6]


def test_a_limit_of_the_user_holds(libraries: list[Library], monkeypatch: pytest.MonkeyPatch) -> None:
    for library in libraries:
        library.set_num_threads(2)  # as `threadpool_limits(2)` does
    with BlasThreads(100) as blas:
        assert blas.most == 2
        blas.use(5)
        assert counts(libraries) == [2, 2]
    assert counts(libraries) == [2, 2]
    monkeypatch.setattr(threads, "most_threads", lambda: 1)
    with BlasThreads(100) as blas:
        assert blas.most == 1
        assert counts(libraries) == [1, 1]


def test_a_run_gets_no_more_than_it_has_work_for(libraries: list[Library]) -> None:
    for count in (1, 3):
        with BlasThreads(count) as blas:
            assert blas.most == count
            assert counts(libraries) == [count, count]


def test_a_library_that_is_loaded_later(libraries: list[Library], monkeypatch: pytest.MonkeyPatch) -> None:
    with BlasThreads(100) as blas:
        blas.use(2)
        libraries.append(Library("later", 4))
        monkeypatch.setitem(sys.modules, "a_module_that_loads_it", sys)
        blas.use(2)
        assert counts(libraries) == [2, 2, 2]
    assert counts(libraries) == [8, 6, 4]


def test_runs_at_the_same_time_share_the_processors(libraries: list[Library]) -> None:
    first, second = BlasThreads(100), BlasThreads(100)
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


def test_any_thread_may_set_the_number_after_a_run() -> None:
    # threadpoolctl leaves OpenBLAS to the first thread that sets its number.
    x = np.random.default_rng(0).normal(size=(2048, 64))
    Trainer(Network([64, 50, 2]), epochs=5, batch_size=128).fit(x, (x[:, 0] > 0).astype(int))

    def limited() -> set[int]:
        with threadpool_limits(1, user_api="blas"):
            return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    with ThreadPoolExecutor(1) as executor:
        assert executor.submit(limited).result() == {1}


def test_a_run_that_was_never_ended_is_forgotten() -> None:
    run = BlasThreads(1)
    run.__enter__()
    assert threads._BLAS.n_runs == 1
    del run
    gc.collect()
    assert threads._BLAS.n_runs == 0
    with BlasThreads(1) as other:  # restores the numbers of before
        assert other.is_alone


def test_the_number_that_a_run_has_among_others() -> None:
    with BlasThreads(1) as first, BlasThreads(1) as second:
        assert (first.use(4), second.use(6)) == (1, 2)
        assert first.use(6) == 3
