"""Runs that are killed with SIGKILL, and resumed, come to the bits of a run that was not.

Twenty random kills, and one at every stage of a write. `benchmarks/kill.py` does more of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")]

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("seed", range(2))
def test_ten_kills_at_random_moments(environment: dict[str, str], seed: int) -> None:
    script = ROOT / "benchmarks" / "kill.py"
    command = [sys.executable, str(script), "--kills", "10", "--seed", str(seed)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("10 of 10 kills survived: ")
    assert done.stderr == ""


def test_runs_that_race_for_a_folder(environment: dict[str, str]) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "races.py"), "--seconds", "10", "--scenario", "run"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("run: ")


# Each line: a call of the system, which one of them, and whether the run had been killed at it.
STAGES = """
import os, signal, sys
from pathlib import Path
from benchmarks.kill import *

def dying(name, n):
    real, count = getattr(os, name), 0
    def die(*arguments, **options):
        nonlocal count
        count += 1
        if count == n:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    return lambda: setattr(os, name, die)

folder = Path(sys.argv[1])
xpnet([*SETTINGS, str(folder / "whole")])
expected = contents(folder / "whole")
for name, places in {"fsync": (1, 2, 3, 4, 9, 10), "replace": (1, 2, 5), "link": (1, 2, 3), "unlink": (1, 2, 3)}.items():
    for n in places:
        run = folder / f"{name}-{n}"
        killed = live(run, None, dying(name, n))
        check_whole(run)
        live(run, None)
        check_same(contents(run), expected, run)
        print(name, n, killed)
"""


def test_kills_at_each_stage_of_a_write(environment: dict[str, str], tmp_path: Path) -> None:
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment["PYTHONPATH"]])
    done = subprocess.run([sys.executable, "-c", STAGES, tmp_path], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 15
    assert all(line.endswith(" True") for line in lines), lines
