"""Measure how long imports take, each in a new process; run it as ``python benchmarks/import_time.py [ROUNDS]``.

The rounds are interleaved, so that changes in the machine's speed affect all lines equally. Compare only results of
one run.
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
    """Return the milliseconds of a process that only executes the statement."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return (time.perf_counter() - started) * 1e3


def main() -> None:
    """Print the median of each statement, and its difference from the statement with which it is compared."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 11
    for statement in STATEMENTS:
        measure(statement)  # writes the bytecode and fills the file cache
    times: dict[str, list[float]] = {statement: [] for statement in STATEMENTS}
    for _ in range(rounds):
        for statement, column in times.items():
            column.append(measure(statement))
    for statement, base in STATEMENTS.items():
        line = f"{statement:50}{statistics.median(times[statement]):7.0f} ms"
        if base:
            pairs = zip(times[statement], times[base], strict=True)
            line += f"  {statistics.median(a - b for a, b in pairs):+.0f} ms compared with {base}"
        print(line)


if __name__ == "__main__":
    main()
