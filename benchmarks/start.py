"""Measure how long commands and imports take, each in a new process: ``python benchmarks/start.py [CHECKOUT ...]``.

The rounds are interleaved over the commands and the checkouts of the repository (default: this one), so that changes in
the machine's speed affect all of them equally. Compare only results of one run. A line gives the medians of the seconds
from the start of the process to its end, and of the seconds that the processor works for it. At the end, the commands
that read data run on a pseudo-terminal: the medians are of the seconds to the first line, which should be below 0.3.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

ROUNDS = 5
HERE = Path(__file__).parents[1]
XPNET = ("-m", "xpnet")
COMMANDS: dict[str, tuple[str, ...]] = {
    "import numpy": ("-c", "import numpy"),
    "import xpnet": ("-c", "import xpnet"),
    "from xpnet import Trainer": ("-c", "from xpnet import Trainer"),
    "from xpnet import MLPClassifier": ("-c", "from xpnet import MLPClassifier"),
    "from sklearn.neural_network import MLPClassifier": ("-c", "from sklearn.neural_network import MLPClassifier"),
    "xpnet --help": (*XPNET, "--help"),
    "xpnet train --help": (*XPNET, "train", "--help"),
    "xpnet train digits": (*XPNET, "train", "digits", "--epochs", "1", "--quiet"),
    "xpnet train digits --device numba:cpu": (
        *XPNET, "train", "digits", "--epochs", "1", "--quiet", "--device", "numba:cpu",
    ),
    "xpnet train table.csv": (
        *XPNET, "train", "table.csv", "--target", "target", "--epochs", "1", "--quiet", "--out", "model",
    ),
    "xpnet predict": (*XPNET, "predict", "model/model.safetensors", "table.csv", "--out", "predictions.csv"),
    "xpnet evaluate": (*XPNET, "evaluate", "model/model.safetensors", "table.csv"),
    "xpnet inspect": (*XPNET, "inspect", "table.csv"),
}  # fmt: skip

READERS = ("xpnet train digits", "xpnet train table.csv", "xpnet predict", "xpnet evaluate", "xpnet inspect")


def run(command: tuple[str, ...], checkout: Path, folder: Path) -> tuple[float, float]:
    """Return the seconds that a process takes, by the clock and of the processor."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (checkout, checkout / "backends")))}
    before, started = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *command], cwd=folder, env=environment, check=True, capture_output=True)
    seconds, after = time.perf_counter() - started, os.times()
    work = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, work


def first_line(command: tuple[str, ...], checkout: Path, folder: Path) -> float:
    """Return the seconds until a process writes to a terminal for the first time; then it is killed."""
    import pty  # not on Windows

    path = os.pathsep.join(map(str, (checkout, checkout / "backends")))
    environment = {**os.environ, "PYTHONPATH": path, "TERM": "xterm", "CI": ""}
    main, terminal = pty.openpty()
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *command], cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=terminal
    ) as process:
        os.close(terminal)
        with suppress(OSError):  # Linux reports the end so
            os.read(main, 1)
        seconds = time.perf_counter() - started
        process.kill()
    os.close(main)
    return seconds


def main() -> None:
    """Print the medians of each command for each checkout."""
    checkouts = [Path(argument).resolve() for argument in sys.argv[1:]] or [HERE]
    times: dict[tuple[str, Path], list[tuple[float, float]]] = {}
    lines_after: dict[tuple[str, Path], list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rng = random.Random(0)
        rows = [(rng.randint(17, 80), rng.choice("abcde"), rng.random()) for _ in range(2000)]
        lines = [f"{age},{job},{pay:.3f},{age + 60 * pay > 80}" for age, job, pay in rows]
        (folder / "table.csv").write_text("\n".join(["age,job,pay,target", *lines, ""]))
        for number in range(-1, ROUNDS):  # the first round writes bytecode and fills the caches
            for label, command in COMMANDS.items():
                for checkout in checkouts:
                    if "model" in command:
                        (folder / "model").mkdir(exist_ok=True)
                        for file in (folder / "model").iterdir():
                            file.unlink()
                    measured = run(command, checkout, folder)
                    if number >= 0:
                        times.setdefault((label, checkout), []).append(measured)
            for label in READERS if os.name == "posix" else ():
                for checkout in checkouts:
                    loud = tuple(word for word in COMMANDS[label] if word != "--quiet")
                    seconds = first_line(loud, checkout, folder)
                    if number >= 0:
                        lines_after.setdefault((label, checkout), []).append(seconds)
    print(f"{'s by the clock (s of the processor)':50}" + "".join(f"{path.name:>18}" for path in checkouts))
    for label in COMMANDS:
        cells = []
        for checkout in checkouts:
            seconds, work = map(statistics.median, zip(*times[label, checkout], strict=True))
            cells.append(f"{f'{seconds:.2f} ({work:.2f})':>18}")
        print(f"{label:50}{''.join(cells)}")
    for label in dict.fromkeys(label for label, _ in lines_after):
        medians = (statistics.median(lines_after[label, checkout]) for checkout in checkouts)
        print(f"{f'first line of {label}':50}{''.join(f'{seconds:>18.2f}' for seconds in medians)}")


if __name__ == "__main__":
    main()
