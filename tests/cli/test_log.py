"""``--log``: the runs of the command line in TensorBoard and MLflow."""

from __future__ import annotations

import re
import signal
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_resume import stopped
from tests.command_line import records, refused, train, xpnet
from tests.training.test_loggers import curves, mlflow_test, points, read, run_id, store

pytestmark = pytest.mark.usefixtures("folder")
needs_tensorboard = pytest.mark.needs("tensorboardX")
__all__ = ["store"]  # a fixture


def check_tensorboard(run: str) -> None:
    """The curves are those of the metrics file, and the pictures those of the folder."""
    found, lines = curves(Path(run, "tensorboard")), records(run)
    for name, values in {
        "loss/train": [line["loss"] for line in lines],
        "accuracy/validation": [line["validation"]["accuracy"] for line in lines],
        "learning_rate": [line["learning_rate"] for line in lines],
    }.items():
        assert found[name] == [(epoch, pytest.approx(value)) for epoch, value in enumerate(values, 1)]


@needs_tensorboard
def test_a_run_in_tensorboard():
    train("iris", "--epochs", 3, "--device", "cpu", "--quiet", "--out", "run", "--log", "tensorboard")
    check_tensorboard("run")
    log = read(Path("run/tensorboard"))
    settings = log.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
    assert {"| data | iris |", "| epochs | 3 |", "| device | numpy:cpu |"} <= set(settings.splitlines())
    assert {"curves", "confusion"} <= set(log.Tags()["images"])
    for name in log.Tags()["images"]:
        assert log.Images(name)[0].encoded_image_string == Path("run", f"{name}.png").read_bytes()
    assert tomllib.loads(Path("run/config.toml").read_text())["log"] == ["tensorboard"]


@needs_tensorboard
def test_each_network_of_an_ensemble_has_its_log():
    train("iris", "--epochs", 2, "--device", "cpu", "--quiet", "--out", "run", "--log", "tensorboard", "--ensemble", 2)
    for folder, name in (("run/tensorboard/2", "metrics-2.jsonl"), ("run/tensorboard", "metrics.jsonl")):
        assert len(Path("run", name).read_text().splitlines()) == 2
        assert len({path.parent for path in Path(folder).glob("events*")}) == 1
    assert len(curves(Path("run/tensorboard/2"))["loss/train"]) == 2


@needs_tensorboard
@pytest.mark.parametrize("call", [1, 7, 8])
def test_a_resumed_run_goes_on_in_its_log(call):
    stopped("run", call, "--log", "tensorboard")
    assert xpnet("resume", "run", "--quiet").code == 0
    assert len(records("run")) == 6
    check_tensorboard("run")


@needs_tensorboard
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_a_run_that_a_signal_stops(start, name):
    arguments = ["digits", "--epochs", 400, "--hidden", 8, "--device", "cpu", "--quiet", "--checkpoint-every", 7]
    run = start("train", *arguments, "--out", "run", "--log", "tensorboard")
    deadline = time.monotonic() + 60
    while not list(Path().glob("run/checkpoints/*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.1)
    run.send_signal(getattr(signal, name))
    assert run.wait(60) == (-signal.SIGKILL if name == "SIGKILL" else 130)
    before = len(records("run")) if name == "SIGINT" else 0
    assert xpnet("resume", "run", "--quiet", "--epochs", max(before, 100) + 5).code == 0
    check_tensorboard("run")


def test_what_is_refused(monkeypatch: Any):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    err = refused("train", "iris", "--epochs", 1, "--out", "run", "--quiet", "--log", "tensorboard")
    assert err == (
        "xpnet: tensorboard: expected the library tensorboardX; received a Python without it. "
        "Install it: pip install 'xpnet[tensorboard]'\n"
    )
    assert "wandb" in refused("train", "iris", "--log", "wandb")
    Path("run").mkdir()
    for name in ("tensorboard", "mlflow.json"):
        Path("run", name).mkdir()
        err = refused("train", "iris", "--out", "run")
        assert re.search(rf"expected a folder without a run; received run, which has {name}", err)
        Path("run", name).rmdir()


@needs_tensorboard
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="links")
def test_a_link_in_place_of_the_log():
    stopped("run", 7, "--log", "tensorboard")
    Path("run/tensorboard").rename("elsewhere")
    Path("run/tensorboard").symlink_to("../elsewhere")
    assert "expected files of a run; received a link: tensorboard" in refused("resume", "run")


class TestMLflow:
    pytestmark = mlflow_test

    def test_a_run_and_its_resumption(self, store, monkeypatch):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
        stopped("run", 7, "--log", "mlflow", "--log", "tensorboard")
        first = run_id(Path("run/mlflow.json"))
        assert len(points(store, first)["loss/train"]) == 3
        assert xpnet("resume", "run", "--quiet") == (0, "", "")
        assert run_id(Path("run/mlflow.json")) == first
        found = points(store, first)
        assert found["loss/train"] == [(i, line["loss"]) for i, line in enumerate(records("run"), 1)]
        check_tensorboard("run")

    def test_a_server_that_does_not_answer(self, monkeypatch):
        pytest.importorskip("mlflow")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        outcome = xpnet("train", "iris", "--epochs", 2, "--device", "cpu", "--quiet", "--out", "run", "--log", "mlflow")
        assert outcome.code == 0
        assert len(outcome.err.splitlines()) == 1
        assert outcome.err.startswith("xpnet: MLflowLogger: expected a log that can be written; received: ")
        assert len(records("run")) == 2
