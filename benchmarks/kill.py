"""Kill training runs with SIGKILL at random times, resume them, and compare the results with a run that was not killed.

Each run is a process. It is killed after a random time, resumed and killed again until it reaches the end. Its model,
metrics, pictures and last checkpoints must then equal those of the run that was not killed, bit for bit except for
measured times. After each kill no file may be incomplete.

    python benchmarks/kill.py --kills 200
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a forked process has no other threads

from xpnet.cli import main as xpnet
from xpnet.model.model_file import load_model
from xpnet.training.checkpoint_file import load_state
from xpnet.training.state import RunState

# Several checkpoints in each epoch, so that some kills hit the middle of an epoch and some hit a write.
OPTIONS = {
    "--hidden": "8",
    "--activation": "prelu",
    "--dropout": "0.1",
    "--batch-size": "2",
    "--epochs": "4",
    "--lr": "0.02",
    "--schedule": "adaptive",
    "--early-stopping": "loss:patience=99",
    "--checkpoint-every": "200steps",
    "--keep": "2",
    "--device": "cpu",
}
# What differs between a run that was killed and one that was not: measurements, and how and where it was called.
MEASURED = {"seconds", "samples_per_second", "peak_memory", "threads", "model", "command"}
SETTINGS = ["train", "digits", "--quiet", *(part for option in OPTIONS.items() for part in option), "--out"]


def live(run: Path, lifetime: float | None, first: Callable[[], object] = bool) -> bool:
    """Train or resume in a new process, kill it after `lifetime` seconds, and return whether it was still running.

    The process calls `first` before it starts. Without a lifetime it is not killed.
    """
    # A folder without a configuration cannot be resumed.
    command = ["resume", str(run), "--quiet"] if (run / "config.toml").exists() else [*SETTINGS, str(run)]
    child = os.fork()
    if child == 0:
        log = os.open(f"{run}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        first()
        os._exit(xpnet(command))
    if lifetime is not None:
        time.sleep(lifetime)
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, -signal.SIGKILL):
        raise AssertionError(f"{run}: exit {status}: {Path(f'{run}.log').read_text()}")
    return status != 0


def checkpoints(run: Path) -> list[Path]:
    """Return the checkpoints of a run, from the oldest to the newest."""
    return sorted((run / "checkpoints").glob("epoch-*.safetensors"))


def check_whole(run: Path) -> bool:
    """Check that the files of a killed run are complete, and return whether it was killed during a write."""
    for path in checkpoints(run):
        load_state(path)
    if (run / "model.safetensors").exists():
        load_model(run / "model.safetensors")
    if (run / "metrics.jsonl").exists():
        *lines, _ = (run / "metrics.jsonl").read_text().split("\n")
        for number, line in enumerate(lines, 1):
            assert json.loads(line)["epoch"] == number
    return any(run.rglob(".*.part"))


def _compared(values: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if name not in MEASURED}


def contents(run: Path) -> dict[str, object]:
    """Return the content of all files of a run, without what was measured, and how it was called."""
    found: dict[str, object] = {}
    for path in sorted(run.rglob("*")):
        if path in checkpoints(run):
            found[str(path.relative_to(run))] = facts(load_state(path)[1])
        elif path.name == "metrics.jsonl":
            found[path.name] = [_compared(json.loads(line)) for line in path.read_text().splitlines()]
        elif path.name == "summary.json":
            found[path.name] = _compared(json.loads(path.read_text()))
        else:
            found[str(path.relative_to(run))] = path.read_bytes() if path.is_file() else None
    return found


def facts(state: RunState) -> str:
    """Return the content of a state as text, exact to the bit, without measured times."""
    history = tuple(record._replace(seconds=0, samples_per_second=0) for record in state.history)

    def bits(value: object) -> object:
        if isinstance(value, tuple):
            return [bits(part) for part in value]
        return value.tobytes() if hasattr(value, "tobytes") else value

    return repr(bits(state._replace(history=history)))


def check_same(left: dict[str, object], expected: dict[str, object], run: Path) -> None:
    """Check that a run left the expected files."""
    assert left.keys() == expected.keys(), f"{run}: {sorted(left.keys() ^ expected.keys())}"
    for name, content in expected.items():
        assert left[name] == content, f"{run}/{name} differs from that of the run that was not killed"


def survive(kills: int, seed: int, folder: Path) -> str:
    """Kill runs that many times, and return a summary in one line."""
    draw = random.Random(seed)
    whole = folder / "whole"
    started = time.perf_counter()
    xpnet([*SETTINGS, str(whole)])  # in this process, so that the imports are done once for all
    started, again = time.perf_counter(), folder / "again"
    live(again, None)
    duration = time.perf_counter() - started
    expected = contents(whole)
    assert len(checkpoints(whole)) == 2
    killed = within = within_epoch = runs = 0
    while killed < kills:
        run = folder / f"run-{runs}"
        while killed < kills and live(run, draw.uniform(0, duration)):
            killed += 1
            within += check_whole(run)
            within_epoch += any(load_state(path)[1].position > 0 for path in checkpoints(run)[-1:])
        live(run, None)
        check_same(contents(run), expected, run)
        runs += 1
    return (
        f"{killed} of {killed} kills survived: {within} during a write, {within_epoch} resumed within an epoch; "
        f"{runs} runs of {duration:.1f} s, each equal to the run that was not killed"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        print(survive(given.kills, given.seed, Path(scratch)))
    sys.exit()
