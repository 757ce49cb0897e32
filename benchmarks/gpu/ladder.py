"""Sections 2 and 5: ``ladder.py --device gpu --peers torch-graph:gpu tiny digits``: an item for each workload."""

from __future__ import annotations

import argparse
import os
import statistics
from typing import Any

from record import item

from xpnet.bench.implementations import Implementation, Unavailable, resolve
from xpnet.bench.step_times import Settings, StepTimes, measure_step_times
from xpnet.bench.workloads import Workload, get_workloads

QUICK = bool(os.environ.get("QUICK"))
TOLERANCE = 2e-3  # of losses, of which some are rounded to TF32
SETTINGS = Settings(1, 0.001) if QUICK else Settings(5, 0.05)


def rows(workload: Workload, found: list[Implementation | Unavailable]) -> dict[str, Any]:
    """Return the times of a workload; an error if a loss differs."""
    available = [each for each in found if isinstance(each, Implementation)]
    values: dict[str, Any] = {each.name: {"reason": each.reason} for each in found if isinstance(each, Unavailable)}
    if not available:
        return {"error": "no device", "rows": values}
    measured = measure_step_times(workload, available, SETTINGS)
    for each, times in zip(available, measured, strict=True):
        values[each.name] = {
            "us_per_step": 1e6 * statistics.median(times.seconds),
            "products_us": 1e6 * statistics.median(times.matmul_bound) if times.matmul_bound else None,
            "rounds_us": [round(1e6 * seconds, 3) for seconds in times.seconds],
            "first_step_s": times.time_to_first_step,
            "loss": times.loss,
        }
    differ = [each.name for each, times in zip(available, measured, strict=True) if not agrees(times, measured[0])]
    return {"error": f"losses differ: {', '.join(differ)}" if differ else "", "rows": values}


def agrees(times: StepTimes, first: StepTimes) -> bool:
    """Tell whether a loss equals that of the first row, up to rounding."""
    return abs(times.loss - first.loss) <= TOLERANCE * abs(first.loss)


def main() -> None:
    """Measure the workloads in order."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", action="append", default=[])
    parser.add_argument("--peers", default="")
    parser.add_argument("workloads", nargs="+")
    options = parser.parse_args()
    found = resolve(options.device, tuple(filter(None, options.peers.split(","))))
    for workload in get_workloads(tuple(options.workloads)):
        name = " ".join([workload.name, *options.device, *filter(None, [options.peers])])
        item(name, lambda w=workload: rows(w.quick() if QUICK else w, found))  # type: ignore[misc]


if __name__ == "__main__":
    main()
