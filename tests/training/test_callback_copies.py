"""Copies of callbacks: a search copies them for each fit and sends them to its workers, also while a run lasts."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpnet
from xpnet.errors import LibraryNotInstalledError, XpnetError
from xpnet.nn.network import Network
from xpnet.plot.films import Frames
from xpnet.training.callbacks import Callback, Interrupt, LearningRateSchedule, TimeLimit
from xpnet.training.checkpoint import Checkpoint
from xpnet.training.metrics_file import MetricsFile, read_metrics
from xpnet.training.mlflow_logger import MLflowLogger
from xpnet.training.progress import Progress
from xpnet.training.tensorboard_logger import TensorBoardLogger
from xpnet.training.trainer import Run, Trainer

X, Y = np.eye(4), np.asarray([0, 1, 0, 1])

pytestmark = pytest.mark.usefixtures("folder")


def half(epoch: int, rate: float) -> float:
    return rate / 2


MADE: dict[str, Callable[[], Callback]] = {
    "Callback": Callback,
    "Checkpoint": lambda: Checkpoint("checkpoints"),
    "Frames": lambda: Frames(3),
    "Interrupt": Interrupt,
    "LearningRateSchedule": lambda: LearningRateSchedule(half),
    "MLflowLogger": lambda: MLflowLogger("run.json", {"a": 1}, tracking_uri="sqlite:///runs.db"),
    "MetricsFile": lambda: MetricsFile("metrics.jsonl"),
    "Progress": lambda: Progress(4),
    "TensorBoardLogger": lambda: TensorBoardLogger("log", {"a": 1}),
    "TimeLimit": lambda: TimeLimit(100),
}
NEEDS = {"MLflowLogger": "mlflow", "TensorBoardLogger": "tensorboardX"}


def by_cloudpickle(value: Any) -> Any:
    return pickle.loads(pytest.importorskip("cloudpickle").dumps(value))


COPIES = {
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "cloudpickle": by_cloudpickle,
    "deepcopy": copy.deepcopy,
}
each_copy = pytest.mark.parametrize("how", COPIES)


class CopyAt(Callback):
    """Copy another callback after the second epoch."""

    def __init__(self, other: Callback, how: str) -> None:
        self.other, self.how = other, how

    def on_epoch(self, record: Any, run: Run) -> None:
        if record.epoch == 2:
            self.copy = COPIES[self.how](self.other)


def fit(*callbacks: Callback) -> Run:
    return Trainer(Network([4, 2]), epochs=3, batch_size=2, callbacks=callbacks).fit(X, Y)


def copied_in_a_run(callback: Callback, how: str) -> Any:
    taker = CopyAt(callback, how)
    fit(callback, taker)
    return taker.copy


@each_copy
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.needs(NEEDS[name]) if name in NEEDS else ()) for name in MADE]
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_copies_before_in_and_after_a_run_have_runs_of_their_own(
    name: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    callback = MADE[name]()
    copies = [COPIES[how](callback), copied_in_a_run(callback, how), COPIES[how](callback)]
    for number, each in enumerate(copies):
        assert type(each) is type(callback)
        (tmp_path / str(number)).mkdir()
        monkeypatch.chdir(tmp_path / str(number))
        assert len(fit(each).history) == 3


def test_each_callback_is_tested() -> None:
    public = {
        name for name in xpnet.__all__ if isinstance(kind := getattr(xpnet, name), type) and issubclass(kind, Callback)
    }
    assert {*MADE} == {*public, "Frames"}


@pytest.mark.parametrize("name", ["Checkpoint", "MetricsFile"])
def test_a_copy_of_an_open_file_closes_no_file(name: str) -> None:
    twin = copied_in_a_run(MADE[name](), "pickle")
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(64)]  # one has the number that the run's had
    twin.on_end()
    for file in files:
        os.close(file)  # raises for one that is closed


def test_a_copy_of_a_checkpoint_holds_no_lock() -> None:
    twin = copied_in_a_run(Checkpoint("checkpoints"), "pickle")
    twin.folder = Path("others")
    fit(twin)
    assert [path.name for path in Path("others").iterdir() if path.name.startswith(".")] == []
    lasting = Checkpoint("lasting")
    lasting.on_start(2, 3)
    with pytest.raises(XpnetError, match="received that of another run"):
        copy.deepcopy(lasting).on_start(2, 3)
    lasting.on_end()


def test_a_copy_of_an_interrupt_listens_in_its_own_run() -> None:
    class Press(Callback):
        def on_epoch(self, record: Any, run: Run) -> None:
            if record.epoch == 1:  # a second one would stop the tests
                signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with Interrupt() as outer:
        twin = copy.deepcopy(outer)
        assert len(fit(twin, Press()).history) == 1
    assert (twin.requested, outer.requested) == (True, False)
    assert signal.getsignal(signal.SIGINT) is before


@each_copy
def test_a_copy_of_a_bar_draws_on_no_terminal_of_another(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    progress = Progress()
    progress.on_start(2, 3)
    try:
        assert progress._bar is not None
        assert COPIES[how](progress)._bar is None
    finally:
        progress.on_end()


@pytest.mark.needs("mlflow")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_copy_of_a_log_takes_a_picture() -> None:
    store = f"sqlite:///{Path('runs.db').absolute()}"
    log = MLflowLogger("run.json", tracking_uri=store, experiment="pictures")
    fit(log)
    Path("picture.png").write_bytes(b"\x89PNG")
    twin = pickle.loads(pickle.dumps(log))
    twin.log_picture("picture.png")
    assert [each.path for each in twin._client.list_artifacts(twin._run_id, "pictures")] == ["pictures/picture.png"]


@pytest.mark.needs("tensorboardX")
def test_a_log_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pickle.dumps(TensorBoardLogger("log"))
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(LibraryNotInstalledError, match=r"pip install 'xpnet\[tensorboard\]'"):
        pickle.loads(data)


def test_a_run_in_another_process(environment: dict[str, str]) -> None:
    Path("callbacks.pickle").write_bytes(
        pickle.dumps([copied_in_a_run(MetricsFile("metrics.jsonl"), "pickle"), TimeLimit(9)])
    )
    code = """
import os, pickle, numpy as np, xpnet
files = [os.open(os.devnull, os.O_RDONLY) for _ in range(64)]
with open("callbacks.pickle", "rb") as file:
    callbacks = pickle.load(file)
xpnet.Trainer(xpnet.Network([4, 2]), epochs=2, callbacks=callbacks).fit(np.eye(4), np.asarray([0, 1, 0, 1]))
for file in files:
    os.close(file)
"""
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(read_metrics(Path("metrics.jsonl"))) == 2
