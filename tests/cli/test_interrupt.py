"""Runs that do not end by themselves: Ctrl-C, a kill at any moment, a diverging loss; and the bar in a terminal."""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest

from tests.command_line import house_csv, records, train, xpnet
from xpnet.cli.folder import RunFolder
from xpnet.model.model_file import load_model

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="signals and terminals of POSIX"),
    pytest.mark.usefixtures("folder"),
]

_PATIENCE = 120  # seconds; the machine may be busy


def wait_for(path: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.01)


def check_whole(run: Path) -> list[str]:
    """Hold every file of a run to being whole, and return their names."""
    names = sorted(path.name for path in run.iterdir())
    for name in names:
        path = run / name
        if name == "model.safetensors":
            assert np.isfinite(load_model(path).vector).all()
        elif name == "metrics.jsonl":
            text = path.read_text()
            assert text == "" or text.endswith("\n")
            assert [json.loads(line)["epoch"] for line in text.splitlines()] == list(range(1, text.count("\n") + 1))
        elif name == "config.toml":
            assert tomllib.loads(path.read_text())["data"] == "iris"
        elif name == "summary.json":
            assert json.loads(path.read_text())["task"] == "classification"
        elif name == "report.html":
            assert path.read_text().endswith("</html>\n")
        elif name.endswith(".png"):
            assert path.read_bytes().endswith(b"IEND\xaeB`\x82")
        else:
            assert re.fullmatch(r"\.[\w.]+\.part|\.lock", name), name
    return [name for name in names if not name.startswith(".")]


# Ctrl-C


def test_interrupt_saves_the_model(start):
    process = start("train", "iris", "--epochs", 10**7, "--hidden", "8", "--json", "--out", "run")
    for _ in range(3):
        process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=_PATIENCE)
    assert process.returncode == 130
    assert "Traceback" not in err
    summary = json.loads(out)
    assert summary["stopped"] == "interrupted"
    assert {"config.toml", "metrics.jsonl", "model.safetensors"} <= set(check_whole(Path("run")))
    assert summary["epochs"] == len(Path("run/metrics.jsonl").read_text().splitlines()) >= 2
    scores = json.loads(xpnet("evaluate", "run/model.safetensors", "iris", "--json").out)
    assert scores["samples"] == 150


@pytest.mark.parametrize("signals", [1, 2])
def test_an_interrupt_says_how_to_continue(signals):
    def interrupt(self: RunFolder, epoch: int, done: int) -> None:
        for _ in range(signals if epoch > 1 else 0):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "on_steps", interrupt)
        code, _, err = xpnet("train", "iris", "--epochs", 9, "--checkpoint-every", 1, "--quiet", "--out", "my run")
    assert code == 130
    where = "in epoch 2; saved as my run/model.safetensors" if signals == 1 else ""
    assert err == f"xpnet: stopped{where and ' '}{where}. To continue: xpnet resume 'my run'\n"
    assert xpnet("resume", "my run", "--epochs", 3, "--quiet") == (0, "", "")


@pytest.mark.slow
def test_interrupt_does_not_wait_for_the_epoch(start):
    size = ("--hidden", "512,512", "--batch-size", 1, "--val-fraction", 0, "--quiet", "--json")
    process = start("train", "digits", *size, "--epochs", 1, "--out", "run")
    wait_for(Path("run/config.toml"))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=_PATIENCE)
    assert process.returncode == 130
    advice = "To continue such a run with xpnet resume, train it with --checkpoint-every."
    assert err == f"xpnet: stopped in epoch 1; saved as run/model.safetensors. {advice}\n"
    summary = json.loads(out)
    assert (summary["epochs"], summary["stopped"]) == (0, "interrupted")
    assert Path("run/metrics.jsonl").read_text() == ""
    assert np.isfinite(load_model("run/model.safetensors").vector).all()
    assert summary["train"]["accuracy"] > 0.2  # some batches were trained


@pytest.mark.slow
def test_interrupts_in_haste(start):
    process = start("train", "iris", "--epochs", 10**7, "--hidden", "8", "--out", "run")
    process.stderr.readline()
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    _, err = process.communicate(timeout=_PATIENCE)
    assert process.returncode == 130
    assert "Traceback" not in err
    check_whole(Path("run"))


def test_a_second_interrupt_stops_at_once(monkeypatch):
    def interrupt_twice(self: RunFolder, epoch: int, done: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(RunFolder, "on_steps", interrupt_twice)
    code, out, _ = xpnet("train", "iris", "--out", "run")
    assert (code, out) == (130, "")
    assert check_whole(Path("run")) == ["config.toml"]  # metrics are written after the first steps
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_before_the_run_leaves_nothing(monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("xpnet.cli.job_data.load_dataset", interrupted)
    assert xpnet("train", "iris", "--out", "run") == (130, "", "")
    assert not Path("run").exists()


# A kill

# The program starts once; each run is a child of it, killed at its n-th flush, naming of a file (a new one is named
# by a link) or line of metrics, or at any time.
_KILLED_RUNS = """
import json, os, random, signal, sys, time
from xpnet.cli import main

ARGUMENTS = ["train", "iris", "--epochs", "4", "--hidden", "8", "--device", "cpu", "--quiet", "--out"]

def die_at(name, n):
    owner = json if name == "dumps" else os
    real, count = getattr(owner, name), 0
    def dying(*arguments, **options):
        nonlocal count
        count += 1
        if count == n:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    setattr(owner, name, dying)

def run(out, *moment):
    child = os.fork()
    if child == 0:
        if moment[0] != "later":
            die_at(*moment)
        main([*ARGUMENTS, out])
        os._exit(0)
    if moment[0] == "later":
        time.sleep(moment[1])
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    print(out, *moment, int(os.WIFSIGNALED(status)))

main([*ARGUMENTS, "whole"])  # imports once what all of them need
for name in ("fsync", "link", "dumps"):
    for n in range(1, 9 if name == "fsync" else 5):
        run(f"{name}-{n}", name, n)
random.seed(0)
for i in range(10):
    run(f"later-{i}", "later", round(0.3 * random.random(), 3))
"""


@pytest.mark.slow
def test_a_kill_leaves_no_half_file(environment, folder):
    environment["OMP_NUM_THREADS"] = environment["OPENBLAS_NUM_THREADS"] = "1"  # a fork takes no threads along
    done = subprocess.run(
        [sys.executable, "-c", _KILLED_RUNS], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    killed = {line.split()[0] for line in done.stdout.splitlines() if line.endswith(" 1")}
    # Five files are written, flushed, named, and their folder flushed: the configuration, the model, the summary and
    # two pictures; the metrics are appended to.
    assert {f"{name}-{n}" for name in ("fsync", "link", "dumps") for n in range(1, 5)} <= killed
    left = {run: check_whole(Path(run)) if Path(run).exists() else [] for run in killed}
    assert left["fsync-1"] == left["link-1"] == []
    assert left["fsync-2"] == ["config.toml"]
    assert left["fsync-3"] == left["link-2"] == left["dumps-3"] == ["config.toml", "metrics.jsonl"]
    assert left["link-4"] == ["config.toml", "metrics.jsonl", "model.safetensors", "summary.json"]
    assert len(Path("dumps-3/metrics.jsonl").read_text().splitlines()) == 2
    assert len(Path("link-2/metrics.jsonl").read_text().splitlines()) == 4


# Divergence


@pytest.mark.slow
def test_divergence_at_once(start):
    process = start("train", "digits", "--optimizer", "sgd", "--lr", "1e30", "--out", "run")
    out, err = process.communicate(timeout=_PATIENCE)
    assert (process.returncode, out) == (3, "")
    assert len(err.splitlines()) == 1
    for words in ("diverged in epoch 1", "learning rate 1e+30", "Try a smaller learning rate", "run/model.safetensors"):
        assert words in err
    assert np.isfinite(load_model("run/model.safetensors").vector).all()


def test_divergence_keeps_the_last_good_epoch():
    house_csv()
    slow = ("--hidden", "none", "--optimizer", "sgd", "--lr", "2.05", "--batch-size", "all", "--dtype", "float32")
    code, out, err = xpnet(
        "train", "house.csv", "--preset", "plain", "--target", "price", *slow, "--epochs", 2000, "--keep-last", "--out",
        "run",
    )  # fmt: skip
    assert (code, out) == (3, "")
    epochs = len(records("run"))
    assert epochs > 10
    assert f"diverged in epoch {epochs + 1}:" in err
    assert f"The parameters after epoch {epochs} are kept" in err
    model = load_model("run/model.safetensors")
    assert np.isfinite(model.vector).all()
    assert float(np.abs(model.vector).max()) > 1e3  # not those of the start
    assert err.count("Traceback") == 0


def test_divergence_keeps_the_best_epoch():
    house_csv()
    slow = ("--hidden", "none", "--optimizer", "sgd", "--lr", "2.05", "--batch-size", "all")
    data = ("house.csv", "--preset", "plain", "--target", "price")
    assert xpnet("train", *data, *slow, "--epochs", 2000, "--out", "run").code == 3
    scores = [record["validation"]["r2"] for record in records("run")]
    best = len(scores) - scores[::-1].index(max(scores))
    assert best < len(scores)
    train(*data, *slow, "--epochs", best, "--keep-last", "--out", "short", "--quiet")
    vectors = [load_model(f"{run}/model.safetensors").vector for run in ("run", "short")]
    np.testing.assert_allclose(*vectors, rtol=1e-5, atol=1e-6)


# A terminal


@pytest.mark.slow
@pytest.mark.parametrize("columns", [80, 120])
def test_the_bar_in_a_terminal(environment, folder, columns):
    import fcntl
    import pty
    import termios

    terminal, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {k: v for k, v in environment.items() if k not in ("COLUMNS", "LINES", "CI", "NO_COLOR")}
    environment["TERM"] = "xterm-256color"
    size = ("--epochs", "12", "--hidden", "256,128", "--device", "cpu")
    process = subprocess.Popen(
        [sys.executable, "-m", "xpnet", "train", "digits", *size],
        cwd=folder, env=environment, stdin=inner, stdout=inner, stderr=inner,
    )  # fmt: skip
    os.close(inner)
    shown = b""
    while True:
        try:
            piece = os.read(terminal, 1 << 16)
        except OSError:  # Linux's way to tell that the other side has closed
            break
        if not piece:
            break
        shown += piece
    os.close(terminal)
    assert process.wait(_PATIENCE) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", text)]
    bars = [line for line in lines if "━" in line and re.match(r" *\d+/12 ", line)]
    assert max(map(len, lines)) <= columns
    assert "…" not in text
    figures = r"loss 0\.\d+  val loss 0\.\d+  accuracy 0\.\d{4}"
    speed = r"[\d.]+k samples/s" if columns > 80 else ""  # there is no place for it
    assert re.fullmatch(rf"12/12 ━+ {figures} {speed} +\d+:\d\d", bars[-1])
    assert {bar.split("/")[0].strip() for bar in bars} >= {"1", "12"}
    assert "digits: classification, 64-256-128-10" in text
