"""Measure how the time of a step grows with the batch size and with the width of the layers.

Run it as ``python benchmarks/scale.py [--device cpu] [--rounds 5] [--quick] [--out FOLDER]``. The workload is
mnist-large, with batch sizes from 1 to 65536 and hidden layers from 16 to 8192 units. Each step is compared with its
lower bound, the time of its matrix products alone, on the same threads and in the same rounds. If the ratio of both is
constant, a step grows like its matrix products.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from writing import show, write

from xpnet.bench.implementations import xpnet_on
from xpnet.bench.report import TextTable
from xpnet.bench.step_times import Settings, measure_step_times
from xpnet.bench.sweep import SWEEPS
from xpnet.bench.timing import spread
from xpnet.bench.workloads import WORKLOADS

WORKLOAD = WORKLOADS["mnist-large"]


def exponent(values: list[int], times: list[float]) -> float:
    """Return the exponent p for which the time grows as ``value**p`` over the larger half of the values."""
    half = len(values) // 2
    return math.log(times[-1] / times[half]) / math.log(values[-1] / values[half])


def main() -> None:
    """Print a table for the batch size and one for the width."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small sizes only, for a test")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    implementation = xpnet_on(given.device)
    tables, remarks, found = [], [], {}
    for axis, (change, values) in SWEEPS.items():
        chosen = [value for value in values if value <= 256] if given.quick else list(values)
        steps, bounds, cells = [], [], []
        for value in chosen:
            workload = change(WORKLOAD, value)
            (times,) = measure_step_times(workload, [implementation], Settings(given.rounds))
            step, bound = spread(times.seconds), spread(times.matmul_bound)
            steps.append(step.median)
            bounds.append(bound.median)
            cells.append((
                f"{value:,}",
                f"{step.median * 1e6:,.0f}",
                f"{step.low * 1e6:,.0f} to {step.high * 1e6:,.0f}",
                f"{step.median / workload.batch * 1e6:,.2f}",
                f"{workload.flops / step.median / 1e9:,.1f}",
                f"{step.median / bound.median:.2f}",
            ))  # fmt: skip
            print(f"{axis} {value}: {step.median * 1e6:,.0f} us per step", flush=True)
        columns = (axis, "us per step", "quartiles", "us per sample", "GFLOP/s", "step / matrix products alone")
        tables.append(TextTable(f"{WORKLOAD.name} on {implementation.name}: time of a step by {axis}", columns, cells))
        size = axis.replace("-", " ")
        remarks.append(
            f"Over the larger half of the sizes a step grows as the {size} to the power {exponent(chosen, steps):.2f}, "
            f"its matrix products as the {size} to the power {exponent(chosen, bounds):.2f}."
        )
        found[axis] = {"values": chosen, "seconds": steps, "floor": bounds}
    for table in tables:
        show(table)

    def draw(figure: Any) -> None:
        for axes, (axis, row) in zip(figure.subplots(1, 2), found.items(), strict=True):
            axes.plot(row["values"], row["seconds"], marker=".", label="step")
            axes.plot(row["values"], row["floor"], linestyle="dotted", color="black", label="its matrix products alone")
            axes.set(xlabel=axis.replace("-", " "), ylabel="seconds per step", xscale="log", yscale="log")
            axes.grid(alpha=0.3)
            axes.legend()

    write(given.out, "scale", tables, remarks, found, draw)


if __name__ == "__main__":
    main()
