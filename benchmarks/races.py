"""Start, resume and kill runs at random times in the same folders, and check that none of them harms another.

Each round has processes that train into one folder, one that resumes whatever is there, and two that choose folders of
their own in the same second. Some are killed. Of those that train into one folder at most one may come to its end.
Afterwards the run in the folder is resumed: its model must be that of its seed, bit for bit, its metrics must be whole,
and files of others must be as they were. In the scenario `code` processes share a folder of Numba's machine code, whose
files are damaged and removed meanwhile: each must come to the same model. The exit code is 1 if anything is not so.

    python benchmarks/races.py --seconds 10
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a forked process has no other threads

from xpnet.cli import main as xpnet
from xpnet.cli import run_pictures
from xpnet.model.model_file import load_model

EPOCHS, SEEDS = 8, 3
TRAIN = ["train", "iris", "--hidden", "8", "--epochs", str(EPOCHS), "--device", "cpu", "--quiet", "--seed"]
INTO = ["--checkpoint-every", "5steps", "--keep", "2", "--out", "run"]
FOREIGN = {".notes.12345678.part": b"mine", ".model.part": b"mine", "notes.txt": b"mine", "metrics.json": b"mine"}


class Process(NamedTuple):
    """A command in a process of its own: when it starts, and for how long it lives; None for as long as it wants."""

    command: Sequence[str]
    delay: float = 0.0
    lifetime: float | None = None


def run_all(processes: Sequence[Process], folder: Path) -> list[int]:
    """Run commands at the same time in a folder, and return their exit codes; -9 for one that was killed."""
    started = []
    for number, process in enumerate(processes):
        child = os.fork()
        if child == 0:
            log = os.open(folder / f"log-{number}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.chdir(folder)
            if process.lifetime is not None:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends the process as SIGKILL does
                signal.setitimer(signal.ITIMER_REAL, process.delay + process.lifetime)
            time.sleep(process.delay)
            os._exit(xpnet(process.command))
        started.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in started]
    for number, code in enumerate(codes):
        text = (folder / f"log-{number}").read_text()
        assert code in (0, 2, -signal.SIGALRM), f"{processes[number].command}: exit {code}: {text}"
        assert "Traceback" not in text, text
    return codes


def race_for_a_folder(draw: random.Random, folder: Path) -> Counter[str]:
    """Let processes train into one folder, resume it, and choose folders of their own; check what is left."""
    run = folder / "run"
    if exists := draw.random() < 0.5:
        run.mkdir()
        for name, data in FOREIGN.items():
            (run / name).write_bytes(data)

    def at_random(command: Sequence[str]) -> Process:
        return Process(command, draw.uniform(0, 0.15), draw.choice([None, draw.uniform(0, 0.3)]))

    into = [at_random([*TRAIN, str(seed), *INTO]) for seed in range(SEEDS)]
    again = at_random(["resume", "run", "--quiet"])
    own = [Process([*TRAIN, str(seed)], draw.uniform(0, 0.05)) for seed in range(2)]
    codes = run_all([*into, again, *own], folder)
    assert codes[:SEEDS].count(0) <= 1, f"several runs came to their end in one folder: {codes}"
    assert codes[-2:] == [0, 0], f"runs with folders of their own: {codes}"
    assert len(list((folder / "runs").glob("iris-*/model.safetensors"))) == 2
    assert sorted(path.is_symlink() for path in (folder / "runs").iterdir()) == [False, False, True], "runs/latest"
    assert load_model(folder / "runs" / "latest"), "runs/latest leads to a run"
    # A run that was killed before it wrote its configuration has left a folder that is free.
    last = ["resume", "run", "--quiet"] if (run / "config.toml").exists() else [*TRAIN, "0", *INTO]
    assert run_all([Process(last)], folder) == [0], (folder / "log-0").read_text()
    check(run, folder.parent)
    for name, data in FOREIGN.items() if exists else ():
        assert (run / name).read_bytes() == data, f"{name} of another program has changed"
    killed = sum(code < 0 for code in codes)
    return Counter(killed=killed, refused=codes.count(2), ended=codes.count(0) + 1)


def check(run: Path, references: Path) -> None:
    """Check that a folder holds the run of its configuration, whole, and nothing incomplete."""
    seed = tomllib.loads((run / "config.toml").read_text())["seed"]
    model, expected = (load_model(path / "model.safetensors") for path in (run, references / f"seed-{seed}"))
    assert model.vector.tobytes() == expected.vector.tobytes(), f"{run}: another model than that of seed {seed}"
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == list(range(1, EPOCHS + 1)), f"{run}: epochs of several runs"
    left = [path.name for path in run.rglob(".*") if path.name not in (".lock", *FOREIGN)]
    assert not left, f"{run}: left behind: {left}"


def damage(folder: Path, draw: random.Random) -> None:
    """Spoil files of a folder, or all of it, at random times until this process is killed."""
    while True:
        time.sleep(draw.uniform(0, 0.1))
        with suppress(OSError, IndexError):
            path = draw.choice(list(folder.iterdir()))
            how = draw.randrange(7)
            if how == 0:
                path.unlink()
            elif how == 1:
                os.truncate(path, draw.randrange(path.stat().st_size))
            elif how == 2:
                path.write_bytes(draw.randbytes(path.stat().st_size))
            elif how == 3:
                path.chmod(0o666)
            elif how == 4:
                folder.chmod(draw.choice([0o500, 0o777]))
            elif how == 5:
                folder.rename(folder.with_name(f"old-{draw.random()}"))
            else:
                shutil.rmtree(folder)


def race_for_machine_code(draw: random.Random, folder: Path) -> Counter[str]:
    """Let processes share a folder of machine code, which another one damages; the results must not change."""
    from xpnet_backends.numba import _compile  # which a fork of this process would remember

    command = ["train", "iris", "--hidden", "none", "--optimizer", "sgd", "--epochs", "2", "--device", "numba:cpu"]
    command += ["--quiet", "--out"]  # a small program, which is compiled in a second
    os.environ["NUMBA_CACHE_DIR"] = str(folder / "cache")
    expected, kept = folder.parent / "compiled", folder.parent / "cache"
    if not expected.exists():
        assert xpnet([*command, str(expected)]) == 0
        _compile.cache_clear()
        (folder / "cache").rename(kept)
    if draw.random() < 0.7:  # otherwise all begin without machine code
        shutil.copytree(kept, folder / "cache")
    names = [f"run-{number}" for number in range(3)]
    processes = [Process([*command, name], draw.uniform(0, 0.3)) for name in names]
    killed = Process([*command, "killed"], draw.uniform(0, 0.3), draw.uniform(0, 2))
    vandal = os.fork()
    if vandal == 0:
        damage(folder / "cache" / "xpnet" / "machine-code", draw)
    try:
        codes = run_all([*processes, killed], folder)
    finally:
        os.kill(vandal, signal.SIGKILL)
        os.waitpid(vandal, 0)
    assert codes[:-1] == [0, 0, 0], f"exit codes {codes}"
    for name in names:
        model, reference = (load_model(path / "model.safetensors") for path in (folder / name, expected))
        assert model.vector.tobytes() == reference.vector.tobytes(), f"{name}: another model than without a cache"
    return Counter(killed=int(codes[-1] < 0), ended=codes.count(0))


SCENARIOS: dict[str, Callable[[random.Random, Path], Counter[str]]] = {"run": race_for_a_folder}
if find_spec("numba") is not None:
    SCENARIOS["code"] = race_for_machine_code


def race(scenario: str, seconds: float, seed: int, folder: Path) -> str:
    """Repeat a scenario for some seconds, and return a summary in one line."""
    for number in range(SEEDS):  # in this process, so that the imports are done once for all
        assert xpnet([*TRAIN, str(number), "--out", str(folder / f"seed-{number}")]) == 0
    draw, rounds, end = random.Random(seed), 0, time.monotonic() + seconds
    seen: Counter[str] = Counter()
    while rounds == 0 or time.monotonic() < end:
        place = folder / f"round-{rounds}"
        place.mkdir()
        seen += SCENARIOS[scenario](draw, place)
        shutil.rmtree(place)
        rounds += 1
    return f"{scenario}: {rounds} rounds; processes: {', '.join(f'{n} {what}' for what, n in seen.items())}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", choices=SCENARIOS, help="one of them; by default all")
    parser.add_argument("--seconds", type=float, default=10, help="for each scenario")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    run_pictures.draw_pictures = lambda *_: []  # they take most of the time of a short run
    for name in [given.scenario] if given.scenario else SCENARIOS:
        with tempfile.TemporaryDirectory() as scratch:
            try:
                print(race(name, given.seconds, given.seed, Path(scratch)), flush=True)
            except AssertionError as exc:
                sys.exit(f"{name}: {exc}")
