"""``benchmarks/gpu_suite.sh`` on the double of CuPy: from end to end, out of time, and killed in each section."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.host_compiler import COMPILER

ROOT = Path(__file__).parents[2]
SUITE = ROOT / "benchmarks" / "gpu_suite.sh"
SECTIONS = ("steps", "peers", "tests", "parity", "rest")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def start(out: Path, environment: dict[str, str], *sections: str, **settings: str) -> subprocess.Popen[str]:
    if None in (shutil.which("bash"), shutil.which("timeout"), COMPILER):
        pytest.skip("the suite needs bash, coreutils and g++")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    rehearsal = {"DOUBLE": "1", "QUICK": "1", "LIMIT": "400", "WORKERS": "1"}
    environment = {**environment, "PATH": path, "OUT": str(out), **rehearsal, **settings}
    command, pipe = ["bash", str(SUITE), *sections], subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def kill_session(leader: int) -> None:
    """Kill all processes of a session; `timeout` gives its own a group apart."""
    for pid in session(leader):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def session(leader: int) -> list[int]:
    """Return the processes of a session."""
    found = []
    for pid in [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()]:
        with suppress(ProcessLookupError):
            if os.getsid(pid) == leader:
                found.append(pid)
    return found


def running(leader: int) -> list[int]:
    """Return the processes of a session that have not ended."""
    found = []
    for pid in session(leader):
        with suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{pid}/cmdline").read_bytes():  # one that has ended has none
                found.append(pid)
    return found


def items(out: Path) -> list[dict[str, Any]]:
    path = out / "results.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def test_it_runs_through(tmp_path: Path, environment: dict[str, str]) -> None:
    suite = start(tmp_path / "out", environment)
    _, errors = suite.communicate()
    assert suite.returncode == 0, errors
    found = items(tmp_path / "out")
    ends = {each["section"]: each["exit_code"] for each in found if each["item"] == "end"}
    assert ends == dict.fromkeys(SECTIONS, 0)
    device, *rest = found
    assert device["device"] == "a double of a GPU"
    named = {each["item"]: each for each in rest}
    assert named["tiny float32"]["us_per_step"] > 0
    assert named["tiny float32"]["difference"] < 1e-5
    assert named["case classes float64"]["error"] == ""
    assert set(named["tiny gpu eager:gpu"]["rows"]) == {"cupy:gpu", "peer eager:cupy:gpu"}
    assert named["tests"]["passed"] > 0 == named["tests"]["failed"]
    assert 0 < named["gpu: digits float32"]["difference"] < 1e-4
    unusable = [each["error"] for each in rest if each.get("error")]
    missing = ("no GPU", "finds no", "no device", "not installed")  # PyTorch and JAX
    assert all(any(text in error for text in missing) for error in unusable)
    text = (tmp_path / "out" / "summary.md").read_text()
    assert "| steps | well |" in text
    assert "- tiny float32: difference" in text
    with tarfile.open(tmp_path / "out" / "archive.tar.gz") as archive:
        assert {f"./{name}.log" for name in SECTIONS} <= set(archive.getnames())
    assert {each.name for each in (tmp_path / "out").iterdir()} == {"results.jsonl", "summary.md", "archive.tar.gz"}

    again = start(tmp_path / "out", environment)
    assert "without results" in again.communicate()[1]
    assert again.returncode == 2


def test_sections_out_of_time(tmp_path: Path, environment: dict[str, str]) -> None:
    suite = start(tmp_path / "out", environment, "steps", "tests", LIMIT="1")
    suite.communicate()
    assert suite.returncode == 0
    ends = [each for each in items(tmp_path / "out") if each["item"] == "end"]
    assert [(each["section"], each["exit_code"]) for each in ends] == [("steps", 124), ("tests", 124)]
    assert "| tests | out of time |" in (tmp_path / "out" / "summary.md").read_text()


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_suite_ends_its_section(sign: int, tmp_path: Path, environment: dict[str, str]) -> None:
    out = tmp_path / "out"
    suite = start(out, environment, "steps", "parity")
    while not items(out) and suite.poll() is None:
        time.sleep(0.05)
    os.killpg(suite.pid, sign)
    try:
        suite.communicate(timeout=20)
        assert suite.returncode == 130
        deadline = time.monotonic() + 10  # a process that got the signal may still be about to end
        while running(suite.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not running(suite.pid)
    finally:
        kill_session(suite.pid)
    assert {each["section"] for each in items(out)} == {"steps"}


def test_what_cannot_be_run_is_refused_first(tmp_path: Path, environment: dict[str, str]) -> None:
    suite = start(tmp_path / "out", environment, "steps", "stepz")
    assert "no such section: stepz; expected some of" in suite.communicate()[1]
    assert suite.returncode == 2
    assert not items(tmp_path / "out")
    (tmp_path / "file").touch()
    suite = start(tmp_path / "file" / "out", environment, "steps")
    suite.communicate()
    assert suite.returncode == 2


@pytest.mark.parametrize("section", SECTIONS)
def test_what_was_measured_before_a_kill_is_there(section: str, tmp_path: Path, environment: dict[str, str]) -> None:
    out = tmp_path / "out"
    suite = start(out, environment, section)
    deadline = time.monotonic() + 300
    while not items(out) and suite.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    kill_session(suite.pid)
    suite.communicate()
    found = items(out)
    assert found, f"nothing was measured in {section}"
    assert {each["section"] for each in found} == {section}
    subprocess.run([sys.executable, ROOT / "benchmarks" / "gpu" / "summary.py", out], check=True)
    assert f"| {section} | " in (out / "summary.md").read_text()


def test_a_process_that_dies_does_not_cost_the_others(tmp_path: Path, environment: dict[str, str]) -> None:
    (stub := tmp_path / "python3").write_text(
        f'#!/bin/sh\ncase "$*" in *" tiny"*) exit 7;; *) exec {sys.executable} "$@";; esac\n'
    )
    stub.chmod(0o755)
    path = os.pathsep.join([str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]])
    start(tmp_path / "out", environment, "steps", PATH=path).communicate()
    first, *rest = items(tmp_path / "out")
    assert (first["item"], first["error"]) == ("device tiny", "exit code 7")
    assert {each["item"] for each in rest} > {"case classes float32", "end"}


def test_an_error_of_an_item_does_not_cost_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SUITE.parent / "gpu"))
    import record
    import summary

    monkeypatch.setenv("GPU_RESULTS", str(tmp_path / "results.jsonl"))
    monkeypatch.setenv("GPU_SECTION", "steps")
    assert not record.item("one", lambda: {"value": 1 / 0})
    assert record.item("two", lambda: {"value": 0.123456, "rows": {"gpu": {"us": 3.0}}})
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('{"section": "steps", "item": "cut o')
    assert [each["item"] for each in summary.items_of(tmp_path)] == ["one", "two"]
    text = summary.markdown(summary.items_of(tmp_path))
    assert "- one: **ZeroDivisionError: division by zero**" in text
    assert "- two: value 0.1235\n  - gpu: us 3" in text
    assert "| steps | not ended |  | 2 | 1 |" in text
