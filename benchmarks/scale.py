"""How the cost of a step grows with the samples in it and with the width of the layers, beside its products alone.

Run it as ``python benchmarks/scale.py [--device cpu] [--rounds 5] [--quick] [--out FOLDER]``. The floor is the step's
matrix products alone, on the same threads, in the same rounds: a step that costs a constant times its floor grows as
the products do. The rung is mnist-large, with its batch from 1 to 65536 and its hidden layers from 16 to 8192 wide.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from writing import show, write

from xpnet.bench.contenders import device
from xpnet.bench.race import Settings, race
from xpnet.bench.report import Grid
from xpnet.bench.sweep import SWEEPS
from xpnet.bench.timing import spread
from xpnet.bench.workloads import LADDER

RUNG = LADDER["mnist-large"]


def exponent(values: list[int], times: list[float]) -> float:
    """Return the power of the value with which the time grows over the larger half of the values."""
    half = len(values) // 2
    return math.log(times[-1] / times[half]) / math.log(values[-1] / values[half])


def main() -> None:
    """Print a table for each axis."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small values only: to see that it works")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    contender = device(given.device)
    grids, remarks, found = [], [], {}
    for axis, (change, values) in SWEEPS.items():
        chosen = [value for value in values if value <= 256] if given.quick else list(values)
        steps, floors, cells = [], [], []
        for value in chosen:
            rung = change(RUNG, value)
            (lane,) = race(rung, [contender], Settings(given.rounds))
            step, floor = spread(lane.seconds), spread(lane.floor)
            steps.append(step.median)
            floors.append(floor.median)
            cells.append((
                f"{value:,}",
                f"{step.median * 1e6:,.0f}",
                f"{step.low * 1e6:,.0f} to {step.high * 1e6:,.0f}",
                f"{step.median / rung.batch * 1e6:,.2f}",
                f"{rung.flops / step.median / 1e9:,.1f}",
                f"{step.median / floor.median:.2f}",
            ))  # fmt: skip
            print(f"{axis} {value}: {step.median * 1e6:,.0f} us a step", flush=True)
        columns = (axis, "us a step", "quartiles", "us a sample", "GFLOP/s", "step / products alone")
        grids.append(Grid(f"{RUNG.name} on {contender.name}: cost of a step by {axis}", columns, cells))
        remarks.append(
            f"Over the larger half a step grows with the {axis} to the power {exponent(chosen, steps):.2f}, "
            f"its products alone to the power {exponent(chosen, floors):.2f}."
        )
        found[axis] = {"values": chosen, "seconds": steps, "floor": floors}
    for grid in grids:
        show(grid)

    def draw(figure: Any) -> None:
        for axes, (axis, row) in zip(figure.subplots(1, 2), found.items(), strict=True):
            axes.plot(row["values"], row["seconds"], marker=".", label="step")
            axes.plot(row["values"], row["floor"], linestyle="dotted", color="black", label="its products alone")
            axes.set(xlabel=axis.replace("-", " "), ylabel="seconds a step", xscale="log", yscale="log")
            axes.grid(alpha=0.3)
            axes.legend()

    write(given.out, "scale", grids, remarks, found, draw)


if __name__ == "__main__":
    main()
