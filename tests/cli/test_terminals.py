"""Terminals and pipes that know less than they might: no Unicode, no cursor, closed, or none at all."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.command_line import write_csv
from xpnet.model.model_file import load_model

pytestmark = [pytest.mark.usefixtures("folder"), pytest.mark.subprocess]

ENCODINGS = {
    "C": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "utf-8": {"PYTHONIOENCODING": "utf-8"},
}


def start(environment: dict[str, str], *arguments: object, **variables: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "xpnet", *map(str, arguments)]
    done = subprocess.run(command, env={**environment, **variables}, capture_output=True, check=False)
    assert b"Traceback" not in done.stderr
    return done


def predictions(text: str) -> set[str]:
    return {row["prediction"] for row in csv.DictReader(text.splitlines())}


@pytest.mark.parametrize("name", ENCODINGS)
def test_names_in_other_scripts(name: str, environment: dict[str, str]) -> None:
    variables = ENCODINGS[name]
    rows = (f"{i % 9},{i % 4},{'да' if i % 2 else 'нет'}" for i in range(80))
    data = write_csv("данные-データ.csv", "длина,ширина,label", *rows)
    commands = [
        ("train", data, "--epochs", 2, "--out", "run-データ", "--device", "cpu", "--no-report"),
        ("evaluate", "run-データ/model.safetensors", data),
        ("predict", "run-データ/model.safetensors", data, "--out", "p.csv"),
        ("predict", "run-データ/model.safetensors", data),
        ("datasets",),
        ("--help",),
    ]
    done = [start(environment, *command, **variables) for command in commands]
    assert [each.returncode for each in done] == [0] * len(done), [each.stderr for each in done]
    # Predictions are data: nothing is lost, in a file or in a pipe.
    assert predictions(Path("p.csv").read_text(encoding="utf-8")) <= {"да", "нет"}
    assert done[3].stdout == Path("p.csv").read_bytes()
    np.testing.assert_array_equal(load_model("run-データ/model.safetensors").classes, ["да", "нет"])
    failed = start(environment, "train", "нет такого.csv", **variables)
    assert failed.returncode == 2
    assert failed.stderr.startswith(b"xpnet: ")


@pytest.mark.skipif(sys.platform != "linux", reason="a file system that takes any bytes")
def test_names_that_are_no_text(environment: dict[str, str]) -> None:
    data = os.fsdecode(b"\xff\xfe.csv")
    write_csv(data, "a,label", *(f"{i},{i % 2}" for i in range(60)))
    done = start(
        environment, "train", data, "--epochs", 1, "--device", "cpu", "--no-report", "--out", os.fsdecode(b"run-\xff")
    )
    assert (done.returncode, b"model.safetensors" in done.stdout) == (0, True), done.stderr
    done = start(
        environment, "predict", os.fsdecode(b"run-\xff/model.safetensors"), data, "--out", os.fsdecode(b"\xfe")
    )
    assert done.returncode == 0, done.stderr
    assert predictions(Path(os.fsdecode(b"\xfe")).read_text()) <= {"0", "1"}


def on_a_terminal(environment: dict[str, str], *options: str, **variables: str) -> bytes:
    """Return what training on iris writes to a terminal as its standard error."""
    import pty

    main, terminal = pty.openpty()
    command = [sys.executable, "-m", "xpnet", "train", "iris", "--device", "cpu", "--no-report", "--out", "run"]
    usual = {"TERM": "xterm", "CI": ""}
    with subprocess.Popen(
        [*command, *options], env={**environment, **usual, **variables}, stdout=subprocess.DEVNULL, stderr=terminal
    ) as process:
        os.close(terminal)
        written = b""
        with pytest.raises(OSError, match="Input/output"):  # noqa: PT012 - the end, on Linux
            while True:
                written += os.read(main, 1 << 16)
    os.close(main)
    assert process.returncode == 0
    return written


CURSOR = re.compile(rb"\x1b\[[0-9;?]*[A-HJKSTfhlsu]")


@pytest.mark.parametrize("name", ["FORCE_COLOR", "TTY_COMPATIBLE", "CLICOLOR_FORCE"])
def test_a_log_has_one_line_for_each_epoch(name: str, environment: dict[str, str]) -> None:
    done = start(
        environment, "train", "iris", "--epochs", 9, "--device", "cpu", "--no-report", "--out", "run", **{name: "1"}
    )
    assert done.returncode == 0
    assert not CURSOR.search(done.stderr + done.stdout)
    assert [line.split()[1] for line in done.stderr.splitlines()] == [f"{i}/9".encode() for i in range(1, 10)]


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals")
@pytest.mark.parametrize(
    ("variables", "redraws"), [({}, True), ({"CI": "true"}, False), ({"TERM": "dumb"}, False)], ids=["", "CI", "dumb"]
)
def test_a_bar_needs_a_cursor(variables: dict[str, str], redraws: bool, environment: dict[str, str]) -> None:
    written = on_a_terminal(environment, "--epochs", "3", **variables)
    assert bool(CURSOR.search(written)) == redraws
    assert written.startswith(b"xpnet: reading iris\r\n") == redraws
    assert redraws or [line.split()[1] for line in written.splitlines()] == [b"1/3", b"2/3", b"3/3"]


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals")
@pytest.mark.parametrize("option", ["--quiet", "--json"])
def test_a_silent_run_writes_nothing_on_a_terminal_before_it_starts(option: str, environment: dict[str, str]) -> None:
    assert b"preparing" not in on_a_terminal(environment, "--epochs", "1", option)


@pytest.mark.parametrize("columns", ["0", "1", "-3", "x", "100000"])
def test_odd_widths(columns: str, environment: dict[str, str]) -> None:
    for command in (
        ["datasets"],
        ["--help"],
        ["train", "iris", "--epochs", 1, "--device", "cpu", "--no-report", "--out", "run"],
    ):
        done = start(environment, *command, COLUMNS=columns, LINES=columns)
        assert (done.returncode, done.stdout != b"") == (0, True), done.stderr


@pytest.mark.skipif(os.name != "posix", reason="descriptors are inherited")
@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_closed_streams(closed: tuple[int, ...], environment: dict[str, str]) -> None:
    # A shell closes them: a function that runs after a fork may deadlock where the tests have loaded JAX.
    shell = ["sh", "-c", 'exec "$@" ' + " ".join(f"{descriptor}>&-" for descriptor in closed), "sh"]
    command = [*shell, sys.executable, "-m", "xpnet", "train"]
    run = [*command, "iris", "--epochs", "3", "--device", "cpu", "--no-report", "--out", "run"]
    done = subprocess.run(run, env=environment, capture_output=True, check=False)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
    assert [json.loads(line)["epoch"] for line in Path("run/metrics.jsonl").read_text().splitlines()] == [1, 2, 3]
    done = subprocess.run([*command, "no.csv"], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
