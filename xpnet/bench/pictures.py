"""Pictures of step times, sweeps and parity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from xpnet.bench.parity import Comparison
from xpnet.bench.results import WorkloadResults
from xpnet.bench.sweep import Sweep
from xpnet.plot.figures import new_figure, png

__all__ = ["parity_png", "sweeps_png", "workloads_png"]


def workloads_png(results: Sequence[WorkloadResults]) -> bytes:
    """Draw the step times of each workload with quartiles, and the matrix products alone as a dotted line."""
    figure = new_figure(3 + 1.2 * len(results), 4)
    axes = figure.subplots()
    names = list(dict.fromkeys(row.name for each in results for row in each.rows if row.seconds))
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        places, steps = [], []
        for place, each in enumerate(results):
            for row in each.rows:
                if row.name == name and row.seconds:
                    places.append(place - 0.4 + (i + 0.5) * width)
                    steps.append([seconds * 1e6 for seconds in row.step])
        medians, lows, highs = np.asarray(steps).T
        axes.bar(places, medians, width, yerr=(medians - lows, highs - medians), label=name)
    for place, each in enumerate(results):
        bounds = [np.median(row.matmul_bound) * 1e6 for row in each.rows if row.matmul_bound]
        label = {"label": "matrix products alone"} if place == 0 else {}
        axes.hlines(bounds[:1], place - 0.45, place + 0.45, color="black", linestyle="dotted", **label)
    axes.set(ylabel="µs per step", yscale="log")
    axes.set_xticks(range(len(results)), [each.workload.name for each in results])
    axes.grid(axis="y", alpha=0.3)
    axes.legend()
    return png(figure)


def sweeps_png(sweeps: Sequence[Sweep]) -> bytes:
    """Draw samples per second by the swept size, and mark where a device becomes faster than the first."""
    figure = new_figure(6, 4 * len(sweeps))
    for axes, sweep in zip(figure.subplots(len(sweeps), squeeze=False)[:, 0], sweeps, strict=True):
        for name, speeds in sweep.speeds.items():
            (line,) = axes.plot(sweep.values, [speed.median for speed in speeds], marker=".", label=name)
            low, high = ([getattr(speed, end) for speed in speeds] for end in ("low", "high"))
            axes.fill_between(sweep.values, low, high, color=line.get_color(), alpha=0.2)
        for first, other, at in sweep.crossings():
            if at is not None:
                axes.axvline(at, color="gray", linestyle="dashed", label=f"{other} over {first}: {at:,.0f}")
        axes.set(
            xlabel=sweep.axis.replace("-", " "), ylabel="samples/s", xscale="log", yscale="log", title=sweep.workload
        )
        axes.grid(alpha=0.3)
        axes.legend()
    return png(figure)


def parity_png(by_dtype: Mapping[str, Sequence[Comparison]]) -> bytes:
    """Draw the largest difference of each device by epoch, with the tolerance as a line; one panel for each dtype."""
    figure = new_figure(4.5 * len(by_dtype), 3.5)
    for axes, (dtype, rows) in zip(figure.subplots(1, len(by_dtype), squeeze=False)[0], by_dtype.items(), strict=True):
        least = np.finfo(dtype).eps / 8  # a logarithmic axis has no place for 0
        for row in rows:
            worst = [max(*each, least) for each in row.differences]
            axes.plot(range(1, 1 + len(worst)), worst, marker=".", label=row.device)
        if rows:
            axes.axhline(rows[0].tolerance, color="black", linestyle="dotted", label="tolerance")
            axes.legend()
        axes.set(xlabel="epoch", ylabel="relative difference", yscale="log", title=dtype)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    return png(figure)
