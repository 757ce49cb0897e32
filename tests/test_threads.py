"""The limit on threads: it holds while a command runs, and ends with it."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from tests.command_line import refused, train, xpnet
from xpnet.errors import InvalidParameterError
from xpnet.model.model import Model
from xpnet.threads import THREAD_VARIABLES, limit_threads, process_cpu_count
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
