"""``xpnet resume``: a run goes on to what it would have come to, and one that cannot is refused in one line."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import tomllib
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from tests.command_line import house_csv, train, without_timings, xpnet
from tests.runs import StopAt
from xpnet.cli.folder import RunFolder
from xpnet.model.model_file import load_model

RUN = ("--epochs", 6, "--dropout", 0.1, "--device", "cpu", "--checkpoint-every", 1)


pytestmark = pytest.mark.usefixtures("folder")


def stopped(out: str, call: int = 7, *options: object) -> None:
    """Train until a call of `on_steps`, an epoch having two."""
    with pytest.MonkeyPatch.context() as patch:
        stop = StopAt(call)
        patch.setattr(RunFolder, "on_steps", lambda self, epoch, done: stop.on_steps(epoch, done))
        outcome = xpnet("train", "iris", "--hidden", 8, *RUN, *options, "--out", out, "--quiet")
    assert (outcome.code, outcome.out) == (130, "")


def vector(out: str) -> np.ndarray:
    return load_model(f"{out}/model.safetensors").vector


def refused(*arguments: object) -> str:
    outcome = xpnet(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert len(outcome.err.splitlines()) == 1
    assert outcome.err.startswith("xpnet: ")
    return outcome.err


def test_it_comes_to_the_same(folder):
    train("iris", *RUN, "--out", "whole", "--quiet")
    stopped("run")
    assert len(without_timings("run")) == 3
    outcome = xpnet("resume", "run", "--json", "--quiet")
    assert (outcome.code, outcome.err) == (0, "")
    summary = json.loads(outcome.out)
    assert (summary["epochs"], summary["stopped"]) == (6, "epochs")
    assert summary["samples_per_second"] == pytest.approx(105 * 3 / summary["seconds"])  # not those done before
    assert without_timings("run") == without_timings("whole")
    names = [sorted(str(path.relative_to(out)) for path in Path(out).rglob("*")) for out in ("run", "whole")]
    assert names[0] == names[1]
    for name in ("model.safetensors", "config.toml", "curves.png", "confusion.png"):
        assert Path("run", name).read_bytes() == Path("whole", name).read_bytes()


def test_a_run_of_a_file_from_another_folder(folder, monkeypatch):
    house_csv("house.csv")
    train("house.csv", "--target", "price", "--epochs", 4, "--checkpoint-every", 2, "--out", "whole", "--quiet")
    train("house.csv", "--target", "price", "--epochs", 2, "--checkpoint-every", 2, "--out", "run", "--quiet")
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert xpnet("resume", "../run", "--epochs", 4, "--quiet").code == 0
    assert without_timings("../run") == without_timings("../whole")
    np.testing.assert_array_equal(vector("../run"), vector("../whole"))
    assert tomllib.loads(Path("../run/config.toml").read_text())["epochs"] == 4  # for the next time


def test_before_the_first_checkpoint_it_begins_anew():
    train("iris", *RUN, "--out", "whole", "--quiet")
    Path("run").mkdir()
    Path("run/config.toml").write_bytes(Path("whole/config.toml").read_bytes())
    assert xpnet("resume", "run", "--quiet").code == 0
    assert without_timings("run") == without_timings("whole")


def test_on_another_device():
    pytest.importorskip("jax")
    train("iris", *RUN, "--out", "whole", "--quiet")
    stopped("run")
    assert xpnet("resume", "run", "--device", "jax:cpu", "--quiet").code == 0
    np.testing.assert_allclose(vector("run"), vector("whole"), rtol=1e-3, atol=1e-4)
    assert tomllib.loads(Path("run/config.toml").read_text())["device"] == "jax:cpu"


def test_options_of_checkpoints_are_in_the_configuration():
    train("iris", "--checkpoint-every", "5steps", "--keep", 2, "--on-divergence", "halve", "--out", "run", "--quiet")
    config = tomllib.loads(Path("run/config.toml").read_text())
    assert [config[key] for key in ("checkpoint-every", "keep", "on-divergence")] == ["5steps", 2, "halve"]
    assert len(list(Path("run/checkpoints").iterdir())) == 2


def test_a_damaged_checkpoint_is_reported_and_passed_over():
    train("iris", *RUN, "--out", "whole", "--quiet")
    stopped("run")
    last = max(Path("run/checkpoints").iterdir())
    last.write_bytes(last.read_bytes()[:-9])
    outcome = xpnet("resume", "run", "--quiet")
    assert (outcome.code, outcome.out) == (0, "")
    (line,) = outcome.err.splitlines()
    assert line.startswith(f"xpnet: {last}: expected a whole safetensors file")
    assert without_timings("run") == without_timings("whole")
    np.testing.assert_array_equal(vector("run"), vector("whole"))


def test_where_all_are_damaged():
    stopped("run")
    for path in Path("run/checkpoints").iterdir():
        path.write_bytes(b"")
    outcome = xpnet("resume", "run")
    assert outcome.code == 2
    *lines, last = outcome.err.splitlines()
    assert len(lines) == 3
    assert "run/checkpoints: expected a folder with a checkpoint; received one with 3 that cannot be used" in last


def test_what_cannot_be_resumed():
    assert "run/config.toml: expected a configuration file; received: No such file" in refused("resume", "run")
    train("iris", "--out", "plain", "--quiet")
    assert "plain: expected a run with checkpoints; received one without" in refused("resume", "plain")
    stopped("run")
    assert "--epochs: expected an integer of at least 1" in refused("resume", "run", "--epochs", 0)
    Path("run/config.toml").write_text("epochs = [")
    assert "run/config.toml: expected TOML" in refused("resume", "run")


@pytest.mark.parametrize("option", [("--checkpoint-every", "5h"), ("--checkpoint-every", "0"), ("--keep", "0")])
def test_options_that_are_none(option):
    options = {"--checkpoint-every": "1", **dict([option])}
    message = refused("train", "iris", *itertools.chain(*options.items()), "--out", "run")
    assert message.startswith(f"xpnet: {option[0]}: expected ")
    assert not Path("run").exists()


@pytest.mark.parametrize("command", ["train", "resume"])
def test_a_folder_in_which_another_trains(command):
    def written():  # the lock's own file is the locking library's, whose versions differ
        return {path: path.stat().st_mtime_ns for path in Path("run").rglob("*") if path.name != ".lock"}

    stopped("run")
    if command == "train":
        Path("run/config.toml").unlink()
        Path("run/model.safetensors").unlink()
    before = written()
    arguments = {"train": ("train", "iris", "--out", "run"), "resume": ("resume", "run")}[command]
    with FileLock("run/.lock"):
        message = refused(*arguments)
    assert message == (
        "xpnet: run: expected a folder that no other process trains in; received a locked folder. Wait for that "
        "run, or choose another folder.\n"
    )
    assert written() == before
    assert xpnet(*arguments, "--quiet").code == 0


@pytest.mark.subprocess
def test_the_lock_holds_until_all_is_written(monkeypatch):
    held = []

    def draw(*_: object) -> list[Path]:
        held.append(os.system("flock --nonblock run/.lock true") != 0)
        return []

    monkeypatch.setattr(importlib.import_module("xpnet.cli.run"), "_draw", draw)
    train("iris", "--out", "run", "--quiet")
    assert held == [True]
    assert os.system("flock --nonblock run/.lock true") == 0


def test_halving_is_said_on_stderr():
    house_csv()
    wild = ("--hidden", "none", "--optimizer", "sgd", "--lr", 3, "--batch-size", "all", "--epochs", 400)
    house = ("train", "house.csv", "--target", "price", *wild, "--on-divergence", "halve", "--quiet")
    code, out, err = xpnet(*house, "--out", "run")
    assert (code, out) == (0, "")
    assert len(err.splitlines()) >= 1
    for number, line in enumerate(err.splitlines(), 1):
        assert line.startswith("xpnet: training diverged in epoch ")
        assert line.endswith(f"with half the learning rate ({number} of 5 times).")
    assert len(without_timings("run")) == 400
    assert without_timings("run")[-1]["learning_rate"] == 3 / 2**number


def test_a_limit_of_memory_holds_for_one_device():
    np.save("x.npy", np.random.default_rng(0).standard_normal((60, 4)))
    np.save("y.npy", np.arange(60) % 2)
    train("x.npy", "--memory-limit", "4GB", "--checkpoint-every", 1, "--epochs", 1, "--out", "run", "--quiet")
    outcome = xpnet("resume", "run", "--device", "cpu")
    assert outcome.code == 2
    assert "--device: expected none for a run with --memory-limit" in outcome.err
