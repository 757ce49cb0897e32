"""The fuzzer finds faults: of each kind that it looks for, one is planted."""

from __future__ import annotations

import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bench.test_benchmarks import script  # noqa: F401 - a fixture
from xpnet.errors import DataError

pytest.importorskip("resource")
if sys.platform != "linux":
    pytest.skip("the peak of a process is forgotten on Linux only", allow_module_level=True)


@pytest.fixture
def fuzz(script: Any, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: F811
    module = script("fuzz")
    monkeypatch.setattr(module, "COMMANDS_SHARE", 0)
    return module


def with_use(module: Any, monkeypatch: pytest.MonkeyPatch, use: Callable[[Path], bool]) -> None:
    """Let every kind of file be used in the same way, and by no command."""
    monkeypatch.setattr(module, "USES", dict.fromkeys(module.USES, (use,)))
    monkeypatch.setattr(module, "run_commands", lambda *_: True)


@pytest.mark.filterwarnings("ignore::xpnet.errors.XpnetWarning")
def test_a_run_of_readers_has_no_failures(fuzz: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "run_commands", lambda *_: True)
    result = fuzz.run(150, 0, tmp_path)
    assert result.failures == []
    assert result.inputs.total() == 150
    assert 0 < result.accepted.total() < 150


def test_an_exception_is_a_failure_and_its_input_is_kept(
    fuzz: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def use(path: Path) -> bool:
        raise KeyError(path.name)

    with_use(fuzz, monkeypatch, use)
    result = fuzz.run(3, 0, tmp_path)
    assert len(result.failures) == len(list(tmp_path.iterdir()))
    assert "KeyError" in result.failures[-1]
    assert any((tmp_path / "0-2").iterdir())


def test_a_valid_file_must_be_accepted(fuzz: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_use(fuzz, monkeypatch, lambda path: False)
    assert "a valid file was refused" in fuzz.run(0, 0, tmp_path).failures[0]


def test_memory_has_a_budget(fuzz: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def use(path: Path) -> bool:
        np.ones(fuzz.MEMORY // 4)  # twice the budget, and freed at once
        return True

    with_use(fuzz, monkeypatch, use)
    assert "of memory" in fuzz.run(1, 0, tmp_path).failures[0]


def test_time_has_a_budget(fuzz: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def use(path: Path) -> bool:
        time.sleep(30)
        return True

    with_use(fuzz, monkeypatch, use)
    monkeypatch.setattr(fuzz, "SECONDS", 0.05)
    before = signal.signal(signal.SIGALRM, fuzz._hang)
    try:
        assert "more than" in fuzz.run(1, 0, tmp_path).failures[0]
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("message", ["two\nlines", "a" * 20_000, f"received {np.int64(7)!r}"])
def test_a_message_is_one_line_of_words(script: Any, message: str) -> None:  # noqa: F811
    def use() -> None:
        raise DataError(message)

    with pytest.raises(ValueError, match="not one short line"):
        script("fuzz_commands").attempt(use)


def test_the_same_seed_damages_alike(script: Any) -> None:  # noqa: F811
    module = script("fuzz_files")
    seed = module.Seed({"a": bytes(range(200))}, "a")
    first, again, other = ([module.damaged(random.Random(number), seed)["a"] for _ in range(1)] for number in (1, 1, 2))
    assert first == again
    assert first != other
