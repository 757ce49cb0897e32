"""Milliseconds that imports take, in fresh processes; run it as ``python benchmarks/import_time.py [ROUNDS]``.

Rounds are interleaved, so that a drift of the machine's speed meets every line alike; quote differences of one run.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

BASE = "import numpy, sklearn"
STATEMENTS = {
    BASE: "",
    f"{BASE}, xpnet": BASE,
    "from sklearn.neural_network import MLPClassifier": "",
    "from xpnet import MLPClassifier": "from sklearn.neural_network import MLPClassifier",
}


def measure(statement: str) -> float:
    """Return the milliseconds of a process that does nothing else."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return (time.perf_counter() - started) * 1e3


def main() -> None:
    """Print a line for each statement: its median, and how much more that is than what it is compared with."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 11
    for statement in STATEMENTS:
        measure(statement)  # writes the bytecode, and fills the file cache
    times: dict[str, list[float]] = {statement: [] for statement in STATEMENTS}
    for _ in range(rounds):
        for statement, column in times.items():
            column.append(measure(statement))
    for statement, base in STATEMENTS.items():
        line = f"{statement:50}{statistics.median(times[statement]):7.0f} ms"
        if base:
            pairs = zip(times[statement], times[base], strict=True)
            line += f"  {statistics.median(a - b for a, b in pairs):+.0f} ms against {base}"
        print(line)


if __name__ == "__main__":
    main()
