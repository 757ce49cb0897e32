"""What befalls a run: a full disk, a folder that goes, a clock, a terminal, a pipe, a pre-emption.

Each leaves one line that says what and where, the last good checkpoint, and an exit code that is not 0; none hangs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.command_line import records, train, xpnet
from xpnet.model.model_file import load_model
from xpnet.training.checkpoint_file import load_state

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX"),
    pytest.mark.timeout(240),
    pytest.mark.slow,
    pytest.mark.usefixtures("folder"),
]

_PATIENCE = 120  # seconds; the machine may be busy
ENDLESS = ("train", "iris", "--epochs", 10**7, "--hidden", 8, "--device", "cpu", "--out", "run")
SHORT = ("iris", "--epochs", 40, "--hidden", 8, "--device", "cpu", "--quiet")


def wait_until(what: Callable[[], object]) -> None:
    end = time.monotonic() + _PATIENCE
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def checkpoints(run: str = "run") -> list[Path]:
    return sorted(Path(run, "checkpoints").glob("epoch-*.safetensors"))


def ended(process: subprocess.Popen[str], code: int) -> list[str]:
    """Wait for the end, hold it to an exit code, and return the lines of stderr but for progress."""
    _, err = process.communicate(timeout=_PATIENCE)
    assert process.returncode == code, err
    return [line for line in (err or "").splitlines() if not line.startswith("epoch ")]


def check_goes_on(epochs: int = 40) -> None:
    """Hold what is left to being good: a resumed run comes to what a run without a fault comes to."""
    epochs = max(epochs, 40)  # so few steps that the backend does not record them give other last bits
    for path in checkpoints():
        load_state(path)
    assert xpnet("resume", "run", "--quiet", "--epochs", epochs) == (0, "", "")
    train("iris", "--epochs", epochs, "--hidden", 8, "--device", "cpu", "--quiet", "--out", "whole")
    model, whole = (load_model(f"{run}/model.safetensors") for run in ("run", "whole"))
    np.testing.assert_array_equal(model.vector, whole.vector)
    assert [record["loss"] for record in records("run")] == [record["loss"] for record in records("whole")]


# Signals


@pytest.mark.parametrize(("number", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_a_signal_saves_all(number: str, code: int, start: Callable[..., Any]) -> None:
    process = start(*ENDLESS, "--checkpoint-every", 10**6)
    for _ in range(3):
        process.stderr.readline()
    process.send_signal(getattr(signal, number))
    lines = ended(process, code)
    if number != "SIGINT":
        (line,) = lines
        assert re.fullmatch(
            r"xpnet: stopped in epoch \d+; saved as run/model.safetensors. To continue: xpnet resume run", line
        )
    (path,) = checkpoints()  # it is that of the end
    state = load_state(path)[1]
    assert len(state.history) == len(records("run")) >= 2
    check_goes_on(state.epoch + 2)


def test_signals_in_haste(start: Callable[..., Any]) -> None:
    process = start(*ENDLESS, "--checkpoint-every", 10**6)
    process.stderr.readline()
    for number in ("SIGHUP", "SIGTERM", "SIGHUP"):
        process.send_signal(getattr(signal, number))
    ended(process, 129)
    assert len(checkpoints()) == 1
    assert Path("run/model.safetensors").exists()


def test_the_terminal_goes(environment: dict[str, str]) -> None:
    import pty

    terminal, end = pty.openpty()
    command = ["-m", "xpnet", *map(str, ENDLESS), "--checkpoint-every", "1"]
    take_terminal = (
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
        f"os.execv(sys.executable, [sys.executable, *{command!r}])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", take_terminal],
        env=environment, stdin=end, stdout=end, stderr=end, start_new_session=True,
    )  # fmt: skip
    os.close(end)
    try:
        wait_until(checkpoints)
        os.close(terminal)  # the kernel sends SIGHUP, and every write to it fails
        assert process.wait(60) == 129
    finally:
        process.kill()
        process.wait()
    assert Path("run/model.safetensors").exists()
    state = load_state(checkpoints()[-1])[1]
    assert len(state.history) == len(records("run"))


# Pipes


def test_stdout_is_closed(start: Callable[..., Any]) -> None:
    process = start("train", *SHORT[:-1], "--checkpoint-every", 5, "--out", "run")
    process.stdout.close()
    (line,) = ended(process, 1)
    assert line == "xpnet: cannot write to the standard output: Broken pipe."
    assert records("run")[-1]["epoch"] == 40
    check_goes_on()


def test_stdout_and_stderr_are_closed(start: Callable[..., Any]) -> None:
    """As in ``2>&1 | head -1``: there is nobody to tell, and the run goes on to its end."""
    endless = ("train", "iris", "--epochs", 600, "--hidden", 8, "--device", "cpu", "--out", "run")
    process = start(*endless, "--checkpoint-every", 200, stderr=subprocess.STDOUT)
    assert process.stdout.readline().startswith("epoch 1/600 ")
    process.stdout.close()
    assert process.wait(_PATIENCE) == 1
    assert (len(records("run")), len(checkpoints())) == (600, 3)
    check_goes_on(600)


# Disks


def test_the_disk_is_full(start: Callable[..., Any]) -> None:
    resource = pytest.importorskip("resource")
    if not hasattr(resource, "prlimit"):
        pytest.skip("there is no prlimit")
    process = start("train", *SHORT, "--checkpoint-every", 1, "--out", "run")
    # Of bytes in a file, which a checkpoint comes to when its history has grown.
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (7_000, 7_000))
    (line,) = ended(process, 2)
    assert re.fullmatch(
        r"xpnet: cannot write run/checkpoints/epoch-0000\d\d-step-0000000.safetensors: File too large. "
        r"Check the folder, its permissions and the free space.",
        line,
    )
    assert len(checkpoints()) == 3
    assert not list(Path("run").rglob("*.part"))
    assert load_state(checkpoints()[-1])[1].epoch == len(records("run")) - 1
    check_goes_on()


def test_a_small_disk_is_full(start: Callable[..., Any]) -> None:
    Path("disk").mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", "disk"], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a file system")
    try:
        process = start("train", *SHORT, "--checkpoint-every", 1, "--out", "disk/run")
        (line,) = ended(process, 2)
        assert line.startswith("xpnet: cannot write disk/run/")
        assert "No space left on device" in line
        shutil.copytree("disk/run", "run")
    finally:
        subprocess.run(["umount", "-l", "disk"], check=True)
    assert checkpoints()
    check_goes_on()


def test_a_folder_that_cannot_be_written() -> None:
    with tempfile.TemporaryDirectory() as name:  # the test's own may be closed to other users
        os.chmod(name, 0o755)
        os.chdir(name)
        Path("closed").mkdir(mode=0o555)
        user = os.geteuid()
        if user == 0:  # who may write everywhere
            os.seteuid(65534)
        try:
            outcome = xpnet("train", *SHORT, "--checkpoint-every", 1, "--out", "closed/run")
        finally:
            os.seteuid(user)
        message = "cannot make the folder closed/run: Permission denied. Choose another with --out."
        assert outcome == (2, "", f"xpnet: {message}\n")
        assert not list(Path("closed").iterdir())


def test_checkpoints_that_cannot_be_written_any_more(start: Callable[..., Any]) -> None:
    process = start(*ENDLESS, "--checkpoint-every", 1)
    wait_until(checkpoints)
    folder = Path("run/checkpoints")
    folder.rename("kept")
    folder.write_text("in its place")
    (line,) = ended(process, 2)
    # a file cannot be written, the older ones cannot be listed, or the folder is another: it depends on where
    # the run was just then
    where, reason = r"run/checkpoints(/epoch-\d+-step-0000000\.safetensors)?", "(Not a|No such file or) directory"
    refusal = "run/checkpoints: expected the folder in which the run began; received another folder of this name"
    assert re.match(rf"xpnet: (cannot write {where}: {reason}|{refusal})\.", line)
    folder.unlink()
    Path("kept").rename(folder)
    check_goes_on(load_state(checkpoints()[-1])[1].epoch + 3)


def test_the_folder_is_removed(start: Callable[..., Any]) -> None:
    process = start(*ENDLESS, "--checkpoint-every", 1)
    wait_until(checkpoints)
    Path("run").rename("gone")
    shutil.rmtree("gone")
    (line,) = ended(process, 2)
    assert re.match(r"xpnet: cannot write run/[\w./-]+: No such file or directory\.", line)
    assert not Path("run").exists()


# Clocks


def test_a_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [2e9]

    def back() -> float:
        now[0] -= 3600
        return now[0]

    monkeypatch.setattr(time, "time", back)
    monkeypatch.setattr(time, "time_ns", lambda: int(back() * 1e9))
    outcome = train(*SHORT, "--json", "--checkpoint-every", 1, "--out", "run")
    assert json.loads(outcome.out)["seconds"] > 0
    assert all(record["seconds"] > 0 for record in records("run"))
    assert [load_state(path)[1].epoch for path in checkpoints()] == [38, 39, 40]
    newest = checkpoints()[-1]
    os.utime(newest, (0, 0))  # as if it were the oldest
    newest.with_name("epoch-000039-step-0000000.safetensors").write_bytes(b"")
    assert xpnet("resume", "run", "--quiet", "--epochs", 41) == (0, "", "")  # the 40th is taken


def test_no_clock_that_can_be_set_back() -> None:
    import xpnet.cli

    root = Path(xpnet.cli.__file__).parents[1]
    shown = {"mlflow_logger.py", "tensorboard_logger.py"}  # their programs show when a point was logged
    for path in root.rglob("*.py"):
        assert path.name in shown or not re.search(
            r"\btime\.time(_ns)?\(|\bdatetime\.(?:datetime|date)\.|import datetime", path.read_text(encoding="utf-8")
        ), path


# Files


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ((1 << 60).to_bytes(8, "little") + b"{}", "expected a whole safetensors file"),
        (b"", "expected a whole safetensors file"),
    ],
)
def test_only_a_damaged_checkpoint(content: bytes, words: str) -> None:
    train(*SHORT, "--checkpoint-every", 40, "--out", "run")
    (path,) = checkpoints()
    path.write_bytes(content)
    code, out, err = xpnet("resume", "run")
    first, last = err.splitlines()
    assert (code, out) == (2, "")
    assert first.startswith(f"xpnet: {path}: {words}")
    assert last.startswith("xpnet: run/checkpoints: expected a folder with a checkpoint; received one with 1 that")


def test_a_checkpoint_of_a_newer_version() -> None:
    train(*SHORT, "--checkpoint-every", 20, "--out", "run")
    path = checkpoints()[-1]
    path.write_bytes(path.read_bytes().replace(b'format_version\\": 2', b'format_version\\": 3'))
    code, _, err = xpnet("resume", "run", "--quiet")
    assert code == 0
    (line,) = err.splitlines()
    assert f"{path}: no usable xpnet checkpoint: expected the format version 2; received version 3. Update" in line
    check_goes_on()


# The lock


def test_a_dead_process_leaves_no_lock(start: Callable[..., Any]) -> None:
    process = start(*ENDLESS, "--checkpoint-every", 1)
    wait_until(checkpoints)
    outcome = xpnet("resume", "run", "--quiet")
    assert outcome.code == 2
    assert outcome.err.startswith(
        "xpnet: run: expected a folder that no other process trains in; received a locked folder"
    )
    assert process.poll() is None
    process.kill()
    process.wait()
    check_goes_on(load_state(checkpoints()[-1])[1].epoch + 3)
