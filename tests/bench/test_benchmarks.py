"""The scripts in benchmarks/: their computations, and that all libraries train the same. No test depends on a time."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """Import a script with its folder first in the path, as Python does when it runs it."""
    if not FOLDER.is_dir():
        pytest.skip("no benchmarks beside the tests")
    monkeypatch.syspath_prepend(str(FOLDER))

    def load(name: str) -> ModuleType:
        for each in (name, "writing"):
            request.addfinalizer(lambda each=each: sys.modules.pop(each, None))
        return importlib.import_module(name)

    return load


def task(module: ModuleType, accuracy: float = 2.0, rule: tuple[str, float] = ("adam", 0.01)) -> Any:
    """Return a task of 700 samples, so that the last batch is short, in three separable classes of ten."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((900, 8)).astype(np.float32)
    y = np.argmax(x[:, :3] + 0.3 * rng.standard_normal((900, 3)), axis=1)
    return module.Task(module.Settings((30,), 128, *rule), x[:700], y[:700], x[700:], y[700:], 3, accuracy)


@pytest.mark.parametrize("rule", [("adam", 0.01), ("momentum", 0.1)])
def test_the_libraries_do_the_same_work(script: Any, monkeypatch: pytest.MonkeyPatch, rule: tuple[str, float]) -> None:
    module = script("time_to_accuracy")
    monkeypatch.setattr(module, "MOST_EPOCHS", 4)
    given = task(module, rule=rule)
    ours = module.train_xpnet(given)
    assert len(ours.accuracies) == len(ours.seconds) == 4
    assert ours.accuracies[-1] > 0.6  # of three classes
    theirs = module.train_sklearn(given)
    np.testing.assert_allclose(theirs.accuracies, ours.accuracies, atol=0.011)  # its Adam adds epsilon at another place
    pytest.importorskip("torch")
    theirs = module.train_torch(given)
    np.testing.assert_allclose(theirs.accuracies, ours.accuracies, atol=0.006)  # one sample in 200, by rounding


def test_the_clock_stops_at_the_first_epoch_that_is_good_enough(script: Any) -> None:
    module = script("time_to_accuracy")
    clock = module.train_xpnet(task(module, 0.5))
    assert clock.reached
    assert all(accuracy < 0.5 for accuracy in clock.accuracies[:-1])
    assert len(clock.accuracies) < module.MOST_EPOCHS


def test_evaluation_is_not_on_the_clock(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = script("time_to_accuracy")
    now = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    clock = module.Clock(task(module))

    def slow(x: np.ndarray) -> np.ndarray:
        now[0] += 100
        return np.zeros((len(x), 10))

    for _ in range(3):
        now[0] += 2
        clock.lap(slow)
    assert clock.seconds == [2, 4, 6]


@pytest.mark.parametrize(
    ("accuracies", "expected"), [([0.5, 0.8, 0.7, 0.9], 2), ([0.8], 1), ([0.5, 0.7], None), ([], None)]
)
def test_epochs_to_an_accuracy(script: Any, accuracies: list[float], expected: int | None) -> None:
    assert script("batch_size").epochs_to(accuracies, 0.8) == expected


def test_the_learning_rate_grows_with_the_square_root_of_the_batch(script: Any) -> None:
    rate = script("batch_size").learning_rate
    assert rate(64) == pytest.approx(0.001)
    assert rate(256) == pytest.approx(2 * rate(64))
    assert rate(60_000) == 0.01


def test_the_power_of_a_growth(script: Any) -> None:
    exponent = script("scale").exponent
    assert exponent([1, 2, 4, 8, 16], [1, 1, 4, 16, 64]) == pytest.approx(2)  # the smaller half is overhead
    assert exponent([1, 4, 16, 64], [5, 1, 4, 16]) == pytest.approx(1)


def test_a_table_is_written(script: Any, tmp_path: Path) -> None:
    module = script("writing")
    table = module.TextTable("a title", ("a", "b"), [("1", "2")])
    module.show(table)
    module.write(tmp_path / "out", "name", [table], ["a remark"], {"x": 1}, lambda figure: figure.subplots())
    assert "| 1 | 2 |" in (tmp_path / "out" / "name.md").read_text()
    assert '"x": 1' in (tmp_path / "out" / "name.json").read_text()
    module.write(None, "name", [table], [], {})


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_every_script_can_be_imported(script: Any, name: str) -> None:
    if name == "fuzz":
        pytest.importorskip("resource")
    assert script(name).__doc__


@pytest.mark.slow
def test_loading_names_every_phase(script: Any, environment: dict[str, str]) -> None:
    child = script("loading").CHILD.replace('"fashion-mnist"', '"iris"')
    done = subprocess.run(
        [sys.executable, "-c", child, repr(time.time()), "{}"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    phases = list(json.loads(done.stdout))
    assert phases[:2] == ["start of the interpreter", "import numpy, sklearn"]
    assert phases[3:] == [
        "options",
        "reading and checking the files",
        "splitting, encoding, drawing weights",
        "scaling, checking, placing the data",
        "the first 3 steps",
    ]
