"""What surrounds a command: the working folder, variables, warnings of libraries. Nothing of it is run or ends it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.command_line import refused, train, write_csv, xpnet
from xpnet.cli import _show_warning
from xpnet.cli.process import own_process
from xpnet.model.model_file import load_model
from xpnet.threads import THREAD_VARIABLES, process_cpu_count
from xpnet_backends.compiler import numpy_codegen

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture(autouse=True)
def _same_logger() -> Iterator[None]:
    logger = logging.getLogger("matplotlib")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.mark.subprocess
def test_files_of_the_working_folder_are_not_run(environment: dict[str, str]) -> None:
    for name in ("numpy", "rich", "cyclopts", "pyarrow", "sklearn", "pandas", "platformdirs"):
        Path(f"{name}.py").write_text("raise SystemExit('run')")
    done = subprocess.run([sys.executable, "-m", "xpnet", "datasets"], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "iris" in done.stdout


def test_variables_of_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses to load with an unknown one, and warns where there is no home folder."""
    monkeypatch.setenv("MPLBACKEND", "nonsense")
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    own_process()
    assert not logging.getLogger("matplotlib").isEnabledFor(logging.WARNING)
    assert "MPLBACKEND" not in os.environ


def refuse(thread: object) -> None:
    raise RuntimeError("can't start new thread")


def test_without_threads_blas_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenBLAS would end the process with SIGINT when it is loaded."""
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "2")
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    own_process()
    assert {os.environ[name] for name in THREAD_VARIABLES} == {"2"}
    monkeypatch.setattr(threading.Thread, "start", refuse)
    own_process()
    assert {os.environ[name] for name in THREAD_VARIABLES} == {"1"}


@pytest.mark.skipif(process_cpu_count() < 2, reason="needs two processors")
def test_more_threads_than_the_system_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenBLAS would wait for them for ever."""
    monkeypatch.setattr(threading.Thread, "start", refuse)
    message = refused("train", "iris", "--epochs", 1, "--device", "cpu", "--threads", 2)
    assert "--threads: expected 1, because the system refuses to start a thread" in message


def test_a_warning_of_a_library_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = _show_warning
        warnings.warn("\nNUMBA_X could not be parsed.\nTraceback (most recent call last):\n  File", stacklevel=1)
    assert capsys.readouterr().err == "xpnet: UserWarning: NUMBA_X could not be parsed.\n"


# Names become text of messages and files, and never text of programs.

HOSTILE = "x'''\n\"\"\"; import os; os.mkdir('run-by-a-name') #{1/0}\\"


def hostile_table() -> Path:
    rng = np.random.default_rng(0)
    header = ",".join('"' + f"{HOSTILE}{i}".replace('"', '""') + '"' for i in range(3)) + ",target"
    quoted = '"' + HOSTILE.replace('"', '""')
    rows = [",".join(f"{value:.3f}" for value in rng.normal(size=3)) + f',{quoted}{i % 2}"' for i in range(60)]
    return write_csv("hostile.csv", header, *rows)


@pytest.mark.parametrize("device", ["numpy:cpu", pytest.param("numba:cpu", marks=pytest.mark.slow)])
def test_names_of_a_file_are_no_text_of_programs(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    if device.startswith("numba"):
        pytest.importorskip("numba")
    numpy_codegen._code.cache_clear()  # of the same program in another test
    texts: list[str] = []
    real = builtins.compile
    monkeypatch.setattr(
        builtins, "compile", lambda text, *rest, **more: texts.append(str(text)) or real(text, *rest, **more)
    )
    options = ("--epochs", 8, "--hidden", 13, "--batch-size", 7, "--device", device, "--quiet", "--out", "run")
    train(hostile_table(), *options)
    assert any("def step" in text for text in texts)  # the program of a training step
    assert not any("run-by-a-name" in text for text in texts)
    assert xpnet("predict", "run/model.safetensors", "hostile.csv", "--out", "out.csv")[0] == 0
    assert not Path("run-by-a-name").exists()


@pytest.mark.parametrize("name", [b"__import__('os')", b"elu:alpha=__import__('os')", b"elu:alpha=1)+(1"])
def test_names_in_a_model_file_are_looked_up(name: bytes) -> None:
    train("iris", "--epochs", 1, "--hidden", 4, "--device", "cpu", "--quiet", "--out", "run")
    path = Path("run/model.safetensors")
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + size].replace(b'\\"relu\\"', b'\\"' + name + b'\\"').rstrip(b" ")
    header += b" " * (-len(header) % 8)
    assert name in header
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + size :])
    assert "activation" in refused("predict", path, "iris") or "elu" in refused("predict", path, "iris")
    with pytest.raises(ValueError, match=r"activation|elu"):
        load_model(path)
