"""Measure the score of each preset on the test part: median and range over several seeds.

Run it as ``python benchmarks/presets.py [SEEDS]``. It gives the table in docs/results.md.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time

RUNS = (
    "digits --preset sigmoid-mse",
    "digits --preset digits-15",
    "digits --preset digits-15 --reduction mean",
    "digits --preset relu-softmax",
    "digits --preset softmax-regression",
    "iris --preset softmax-regression",
    "--preset house-price",
    "--preset xor",
    "--preset xor --hidden none",
    "--preset circles",
    "--preset circles --hidden none",
)


def score(arguments: str, seed: int) -> float:
    """Train, and return the accuracy or R2 on the test part."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "xpnet", "train", *arguments.split(), "--seed", str(seed), "--device", "cpu"]
        done = subprocess.run([*command, "--json", "--quiet"], cwd=folder, capture_output=True, text=True, check=True)
    test = json.loads(done.stdout)["test"]
    value: float = test.get("accuracy", test.get("r2"))
    return value


def main() -> None:
    """Print a line for each run."""
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
    for arguments in RUNS:
        started = time.perf_counter()
        scores = [score(arguments, seed) for seed in seeds]
        seconds = (time.perf_counter() - started) / len(seeds)
        print(
            f"{arguments:45} median {statistics.median(scores):.3f}  from {min(scores):.3f} to {max(scores):.3f}"
            f"  {seconds:.1f} s per run"
        )


if __name__ == "__main__":
    main()
