"""Start: seconds from the shell to the first epoch and to the end, by command, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xpnet.bench.runs.request import Request
from xpnet.bench.runs.results import Column, RunResults, RunRow, as_time
from xpnet.bench.timing import take_turns
from xpnet.errors import XpnetError

__all__ = ["COLUMNS", "COMMANDS", "measure"]

COLUMNS = (
    Column("cpu", "CPU", as_time, "processor time of all threads"),
    Column("first", "first epoch", as_time, "from the shell to the end of the first epoch, where the command shows it"),
)
_XPNET = ("-m", "xpnet")
_TABLE = "table.csv"
_TABLE_ROWS = 500
# What Python is called with.
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "python -c pass": ("-c", "pass"),
    "import numpy": ("-c", "import numpy"),
    "import sklearn.neural_network": ("-c", "import sklearn.neural_network"),
    "import xpnet": ("-c", "import xpnet"),
    "xpnet --help": (*_XPNET, "--help"),
    "xpnet train digits --epochs 1 --quiet": (*_XPNET, "train", "digits", "--epochs", "1", "--quiet"),
    "xpnet train digits --epochs 1": (*_XPNET, "train", "digits", "--epochs", "1"),
    "xpnet train FILE.csv --epochs 1": (*_XPNET, "train", _TABLE, "--epochs", "1"),
}
_QUICK = ("import xpnet", "xpnet train FILE.csv --epochs 1")


class _Seconds(NamedTuple):
    wall: float
    cpu: float | None
    first: float | None


def measure(request: Request[Any]) -> RunResults:
    """Run each command in each round; a round before them fills the file cache and writes the bytecode."""
    commands = {name: command for name, command in COMMANDS.items() if not request.quick or name in _QUICK}
    with tempfile.TemporaryDirectory() as folder:
        _write_table(Path(folder, _TABLE))
        calls = [partial(_run, name, command, Path(folder)) for name, command in commands.items()]
        rounds = request.rounds if request.quick else 1 + request.rounds
        taken = [row if request.quick else row[1:] for row in take_turns(calls, rounds)]
    rows = [
        RunRow(
            name, "", tuple(each.wall for each in own),
            {"cpu": _median([each.cpu for each in own]), "first": _median([each.first for each in own])},
        )
        for name, own in zip(commands, taken, strict=True)
    ]  # fmt: skip
    remarks = (f"the table has {_TABLE_ROWS} rows of 9 columns; files and bytecode are in the cache of the system",)
    return request.results(
        run="start",
        title="from the shell to the end of a command",
        case="command",
        timed="wall",
        columns=COLUMNS,
        rows=rows,
        remarks=remarks,
    )


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _write_table(path: Path) -> None:
    """Write a small table with numbers, a column of categories, and a target."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((_TABLE_ROWS, 7))
    kinds = rng.choice(["red", "green", "blue"], _TABLE_ROWS)
    target = np.where(x[:, 0] + (kinds == "red") > 0, "yes", "no")
    lines = ["a,b,c,d,e,f,g,kind,target"]
    lines += [
        ",".join([*(f"{value:.4f}" for value in row), kind, label])
        for row, kind, label in zip(x, kinds, target, strict=True)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _run(name: str, command: tuple[str, ...], folder: Path, turn: int) -> _Seconds:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    first = None
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=folder, env=environment, text=True,
    )  # fmt: skip
    lines = []
    with process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                lines.append(line)
                if first is None and line.startswith("epoch 1/"):
                    first = time.perf_counter() - began
            cpu = _wait(process)
        except BaseException:  # an interrupt may reach this process only
            process.kill()
            raise
    wall = time.perf_counter() - began
    if process.returncode:
        last = lines[-1].strip() if lines else f"exit code {process.returncode}"
        raise XpnetError(f"start: expected {name!r} to succeed; received: {last}. Run it alone to see the error.")
    return _Seconds(wall, cpu, first)


def _wait(process: subprocess.Popen[str]) -> float | None:
    """Wait for a process and return its processor time, or None where the system does not report it."""
    if not hasattr(os, "wait4"):
        process.wait()
        return None
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime
