"""The logs of a run, read by TensorBoard's own reader and by MLflow's client."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xpnet.errors import DivergenceError, LibraryNotInstalledError, XpnetError, XpnetWarning
from xpnet.nn.network import Network
from xpnet.training.callbacks import Callback, StopTraining
from xpnet.training.checkpoint import Checkpoint
from xpnet.training.history import EpochRecord
from xpnet.training.mlflow_logger import MLflowLogger
from xpnet.training.state import Run
from xpnet.training.tensorboard_logger import TensorBoardLogger
from xpnet.training.trainer import Trainer

X = np.random.default_rng(0).standard_normal((40, 3))
Y = (X[:, 0] > 0).astype(np.int64)
NETWORK = Network([3, 4, 2])
# A PNG file of one pixel.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc00000030101009b3cd05b"
    "0000000049454e44ae426082"
)


class StopAfter(Callback):
    """Stop, as by Ctrl-C, after an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_steps(self, epoch: int, done: int) -> None:
        if epoch == self.epoch + 1:
            raise StopTraining


def fit(*callbacks: Callback, epochs: int = 4, **options: Any) -> Run:
    trainer = Trainer(NETWORK, epochs=epochs, batch_size=10, callbacks=callbacks, **options)
    return trainer.fit(X, Y, validation=(X, Y))


def resume(folder: Path, *callbacks: Callback, epochs: int = 4) -> Run:
    trainer = Trainer(NETWORK, epochs=epochs, batch_size=10, callbacks=callbacks)
    return trainer.resume(folder, X, Y, validation=(X, Y))


def expected_curves(history: Sequence[EpochRecord]) -> dict[str, list[tuple[int, float]]]:
    curves: dict[str, list[tuple[int, float]]] = {}
    for record in history:
        for name, value in (
            ("loss/train", record.loss),
            ("loss/validation", record.validation["loss"]),
            ("accuracy/validation", record.validation["accuracy"]),
            ("learning_rate", record.learning_rate),
        ):
            curves.setdefault(name, []).append((record.epoch, value))
    return curves


def check_curves(found: dict[str, list[tuple[int, float]]], history: Sequence[EpochRecord]) -> None:
    """Each epoch has one point of each curve, in order."""
    for name, points in expected_curves(history).items():
        assert [epoch for epoch, _ in found[name]] == [epoch for epoch, _ in points]
        np.testing.assert_allclose([value for _, value in found[name]], [value for _, value in points], rtol=1e-6)
    more = {"speed/seconds", "speed/samples_per_second", "system/peak_memory_bytes"}
    assert found.keys() == {*expected_curves(history), *more}
    assert all(len(found[name]) == len(history) and min(found[name])[1] > 0 for name in more)


# TensorBoard


def read(folder: Path) -> Any:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    accumulator = accumulators.EventAccumulator(str(folder), size_guidance={"images": 0, "tensors": 0, "scalars": 0})
    return accumulator.Reload()


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = read(folder)
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]
    }


needs_tensorboard = pytest.mark.needs("tensorboardX")


@needs_tensorboard
def test_tensorboard(tmp_path: Path) -> None:
    log = TensorBoardLogger(tmp_path / "new" / "log", {"lr": 0.5, "name": "<b>|", "early": None, "fast": True})
    run = fit(log)
    check_curves(curves(log.folder), run.history)
    accumulator = read(log.folder)
    settings = accumulator.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
    assert settings.splitlines() == [
        *("| settings | value |", "| --- | --- |", "| lr | 0.5 |", r"| name | &lt;b>\| |", "| early | None |"),
        "| fast | True |",
    ]
    system = accumulator.Tensors("system/text_summary")[0].tensor_proto.string_val[0].decode()
    assert f"| numpy_version | {np.__version__} |" in system
    assert "| device | numpy:cpu |" in system
    metadata = pytest.importorskip("tensorboard.plugins.hparams.metadata")
    content = accumulator.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    hparams = metadata.parse_session_start_info_plugin_data(content).hparams
    assert (hparams["lr"].number_value, hparams["name"].string_value, hparams["fast"].bool_value) == (0.5, "<b>|", True)
    assert "early" not in hparams


@needs_tensorboard
def test_a_picture_for_tensorboard(tmp_path: Path) -> None:
    log = TensorBoardLogger(tmp_path)
    (tmp_path / "curves.png").write_bytes(PNG)
    log.log_picture(tmp_path / "curves.png")  # of no run: nothing is logged
    fit(log)
    log.log_picture(tmp_path / "curves.png")
    (image,) = read(tmp_path).Images("curves")
    assert (image.step, image.width, image.height, image.encoded_image_string) == (4, 1, 1, PNG)


@needs_tensorboard
def test_a_resumed_run_goes_on_in_its_log_of_tensorboard(tmp_path: Path) -> None:
    """It had logged an epoch that no checkpoint has, and logs it again."""
    fit(Checkpoint(tmp_path / "states", 2), epochs=2)
    fit(TensorBoardLogger(tmp_path / "log", {"lr": 1}), StopAfter(3))
    assert len(curves(tmp_path / "log")["loss/train"]) == 3
    run = resume(tmp_path / "states", TensorBoardLogger(tmp_path / "log", {"lr": 1}))
    check_curves(curves(tmp_path / "log"), run.history)
    assert len(read(tmp_path / "log").Tensors("settings/text_summary")) == 1


@needs_tensorboard
def test_a_resumed_run_whose_beginning_was_not_logged(tmp_path: Path) -> None:
    fit(Checkpoint(tmp_path / "states", 1), epochs=2)
    run = resume(tmp_path / "states", TensorBoardLogger(tmp_path / "log"))
    check_curves(curves(tmp_path / "log"), run.history)
    assert len(run.history) == 4


@needs_tensorboard
def test_a_new_run_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    log = TensorBoardLogger(tmp_path)
    fit(log, epochs=5)
    run = fit(log, epochs=2, seed=3)
    check_curves(curves(tmp_path), run.history)


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from tests.training.test_loggers import *

class Kill(Callback):
    def on_state(self, run):
        if run.state.epoch == 3:
            os.kill(os.getpid(), signal.SIGKILL)

folder = Path(sys.argv[1])
fit(Checkpoint(folder / "states", 2), TensorBoardLogger(folder / "log"), Kill())
"""


@needs_tensorboard
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
def test_a_killed_run_has_lost_no_epoch(environment: dict[str, str], tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(root)]
    killed = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [epoch for epoch, _ in curves(tmp_path / "log")["loss/train"]] == [1, 2, 3]
    run = resume(tmp_path / "states", TensorBoardLogger(tmp_path / "log"))
    check_curves(curves(tmp_path / "log"), run.history)
    check_curves(curves(tmp_path / "log"), fit().history)


@needs_tensorboard
def test_a_folder_that_cannot_be_made_is_an_error_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(XpnetError, match=re.escape(f"cannot write {tmp_path / 'file' / 'log'}")):
        fit(TensorBoardLogger(tmp_path / "file" / "log"))


@needs_tensorboard
def test_a_log_that_fails_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = TensorBoardLogger(tmp_path)
    written: list[int] = []

    def write(record: EpochRecord) -> None:
        written.append(record.epoch)
        if record.epoch == 2:
            raise OSError(28, "No space\nleft on device")

    monkeypatch.setattr(log, "write", write)
    with pytest.warns(XpnetWarning, match=r"TensorBoardLogger: .*No space left on device.* The run goes on") as caught:
        run = fit(log)
    log.log_picture(tmp_path / "missing.png")
    assert (len(caught), len(run.history), written) == (1, 4, [1, 2])


@pytest.mark.parametrize(
    ("logger", "library", "extra"),
    [(TensorBoardLogger, "tensorboardX", "tensorboard"), (MLflowLogger, "mlflow", "mlflow")],
)
def test_without_the_library(logger: Any, library: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(LibraryNotInstalledError, match=re.escape(f"pip install 'xpnet[{extra}]'")):
        logger("folder")


# MLflow


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a local store, which takes seconds to make."""
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        client_of(f"sqlite:///{folder}/mlflow.db").create_experiment(
            "xpnet", artifact_location=f"file://{folder}/files"
        )
    return f"sqlite:///{folder}/mlflow.db"


def client_of(store: str) -> Any:
    return pytest.importorskip("mlflow").MlflowClient(tracking_uri=store)


def points(store: str, run_id: str) -> dict[str, list[tuple[int, float]]]:
    client = client_of(store)
    return {
        name: [(point.step, point.value) for point in client.get_metric_history(run_id, name)]
        for name in client.get_run(run_id).data.metrics
    }


def run_id(path: Path) -> str:
    return str(json.loads(path.read_text())["run_id"])


mlflow_test = [
    pytest.mark.needs("sqlalchemy"),
    pytest.mark.needs("mlflow"),
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning"),
]


class TestMLflow:
    pytestmark = mlflow_test

    def test_a_run(self, store: str, tmp_path: Path) -> None:
        settings = {"lr": 0.5, "name:%": "x" * 10_000, "early": None, **{f"p{i}": i for i in range(150)}}
        log = MLflowLogger(tmp_path / "run.json", settings, tracking_uri=store, run_name="first")
        run = fit(log)
        (tmp_path / "curves.png").write_bytes(PNG)
        log.log_picture(tmp_path / "curves.png")
        found = client_of(store).get_run(run_id(tmp_path / "run.json"))
        check_curves(points(store, found.info.run_id), run.history)
        assert (found.info.status, found.info.run_name) == ("FINISHED", "first")
        assert found.data.params == {"lr": "0.5", "name__": "x" * 500, **{f"p{i}": str(i) for i in range(150)}}
        assert found.data.tags["device"] == "numpy:cpu"
        assert found.data.tags["numpy_version"] == np.__version__
        artifacts = client_of(store).list_artifacts(found.info.run_id, "pictures")
        assert [each.path for each in artifacts] == ["pictures/curves.png"]

    def test_a_resumed_run(self, store: str, tmp_path: Path) -> None:
        """It had logged an epoch that no checkpoint has, and does not log it again."""
        options: dict[str, Any] = {"tracking_uri": store}
        log = MLflowLogger(tmp_path / "run.json", {"epochs": 3}, **options)
        fit(Checkpoint(tmp_path / "states", 2), epochs=2)
        fit(log, StopAfter(3))
        first = run_id(tmp_path / "run.json")
        assert client_of(store).get_run(first).info.status == "KILLED"
        run = resume(tmp_path / "states", MLflowLogger(tmp_path / "run.json", {"epochs": 4}, **options))
        assert run_id(tmp_path / "run.json") == first
        found = client_of(store).get_run(first)
        assert (found.info.status, found.data.params) == ("FINISHED", {"epochs": "3"})
        check_curves(points(store, first), run.history)

    def test_a_run_that_starts_again_is_another(self, store: str, tmp_path: Path) -> None:
        log = MLflowLogger(tmp_path / "run.json", tracking_uri=store)
        fit(log, epochs=1)
        first = run_id(tmp_path / "run.json")
        run = fit(log, epochs=2, seed=5)
        second = run_id(tmp_path / "run.json")
        assert first != second
        check_curves(points(store, second), run.history)

    def test_a_run_of_another_store_and_without_a_file(self, store: str, tmp_path: Path) -> None:
        fit(Checkpoint(tmp_path / "states", 1), epochs=2)
        for content in ('{"run_id": "' + "0" * 32 + '"}', "[]", "{"):
            (tmp_path / "run.json").write_text(content)
            run = resume(tmp_path / "states", MLflowLogger(tmp_path / "run.json", tracking_uri=store), epochs=3)
            check_curves(points(store, run_id(tmp_path / "run.json")), run.history)
        fit(MLflowLogger(tracking_uri=store, experiment="another"), epochs=1)
        assert client_of(store).get_experiment_by_name("another") is not None

    def test_a_run_that_diverges_has_failed(self, store: str, tmp_path: Path) -> None:
        log = MLflowLogger(tmp_path / "run.json", tracking_uri=store)
        with pytest.raises(DivergenceError):
            fit(log, optimizer="sgd", learning_rate=1e300, dtype="float32")
        assert client_of(store).get_run(run_id(tmp_path / "run.json")).info.status == "FAILED"

    def test_a_server_that_does_not_answer(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("mlflow")
        monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
        with pytest.warns(
            XpnetWarning, match=r"MLflowLogger: expected a log that can be written; received: "
        ) as caught:
            run = fit(MLflowLogger(tmp_path / "run.json", tracking_uri="http://127.0.0.1:9"))
        assert len([each for each in caught if each.category is XpnetWarning]) == 1
        assert len(run.history) == 4
        assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ
