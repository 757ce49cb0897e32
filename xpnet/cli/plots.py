"""Pictures of runs and of results, drawn with Matplotlib (the extra ``plot``)."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet.training.history import EpochRecord

if TYPE_CHECKING:
    from xpnet.bench.parity import Comparison
    from xpnet.bench.results import WorkloadResults
    from xpnet.bench.sweep import Sweep

__all__ = ["confusion_matrix_png", "curves_png", "is_available", "parity_png", "sweeps_png", "workloads_png"]

_MOST_CLASSES = 50  # in a picture
_MOST_CLASSES_WITH_NUMBERS = 20
_MOST_EPOCHS_WITH_POINTS = 30
_LONGEST_NAME = 12


def is_available() -> bool:
    """Return whether Matplotlib is installed."""
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def curves_png(history: Sequence[EpochRecord], metric: str) -> bytes:
    """Draw the training loss and, if there is a validation part, its loss and score by epoch."""
    figure = _figure(8, 3.2)
    epochs = [record.epoch for record in history]
    validation = [record.validation for record in history if record.validation]
    style = {"marker": "."} if len(epochs) < _MOST_EPOCHS_WITH_POINTS else {}  # a single point makes no line
    left, *right = figure.subplots(1, 2 if validation else 1, squeeze=False)[0]
    left.plot(epochs, [record.loss for record in history], label="training", **style)
    left.set(xlabel="epoch", ylabel="loss")
    if validation:
        left.plot(epochs, [scores["loss"] for scores in validation], label="validation", **style)
        left.legend()
        right[0].plot(epochs, [scores[metric] for scores in validation], color="tab:orange", **style)
        right[0].set(xlabel="epoch", ylabel=f"validation {'R2' if metric == 'r2' else metric}")
    for axes in (left, *right):
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return _png(figure)


def confusion_matrix_png(true: np.ndarray, predicted: np.ndarray, labels: np.ndarray, part: str) -> bytes:
    """Draw the confusion matrix of sorted class labels; rows are true classes, columns predicted ones.

    Of more than 50 classes, it has the 20 that are in most errors. No larger matrix is made.
    """
    rows, columns = np.searchsorted(labels, true), np.searchsorted(labels, predicted)
    title = f"{part} part"
    totals = np.bincount(rows, minlength=len(labels))
    if len(labels) > _MOST_CLASSES:
        wrong = rows != columns
        errors = np.bincount(np.concatenate([rows[wrong], columns[wrong]]), minlength=len(labels))
        drawn = np.sort(np.argsort(-errors, kind="stable")[:_MOST_CLASSES_WITH_NUMBERS])
        title += f", the {drawn.size} of {len(labels):,} classes with the most errors"
        both = np.isin(rows, drawn) & np.isin(columns, drawn)
        rows, columns = np.searchsorted(drawn, rows[both]), np.searchsorted(drawn, columns[both])
        labels, totals = labels[drawn], totals[drawn]
    matrix = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(matrix, (rows, columns), 1)
    shares = matrix / np.maximum(totals, 1)[:, None]
    size = 3 + 0.35 * min(len(labels), _MOST_CLASSES_WITH_NUMBERS)
    figure = _figure(size + 0.5, size)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the true class")
    axes.set(xlabel="predicted", ylabel="true", title=title)
    if len(labels) <= _MOST_CLASSES_WITH_NUMBERS:
        ticks = np.arange(len(labels))
        names = [name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..." for name in map(str, labels)]
        # Labels are plain text, so a dollar sign must not start a formula.
        axes.set_xticks(ticks, names, rotation=45 if max(map(len, names)) > 2 else 0, parse_math=False)
        axes.set_yticks(ticks, names, parse_math=False)
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                dark = shares[row, column] > 0.5
                axes.text(column, row, count, ha="center", va="center", color="white" if dark else "black", size=8)
    return _png(figure)


def workloads_png(results: Sequence[WorkloadResults]) -> bytes:
    """Draw the step times of each workload with quartiles, and the matrix products alone as a dotted line."""
    figure = _figure(3 + 1.2 * len(results), 4)
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
    return _png(figure)


def sweeps_png(sweeps: Sequence[Sweep]) -> bytes:
    """Draw samples per second by the swept size, and mark where a device becomes faster than the first."""
    figure = _figure(6, 4 * len(sweeps))
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
    return _png(figure)


def parity_png(by_dtype: Mapping[str, Sequence[Comparison]]) -> bytes:
    """Draw the largest difference of each device by epoch, with the tolerance as a line; one panel for each dtype."""
    figure = _figure(4.5 * len(by_dtype), 3.5)
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
    return _png(figure)


def _figure(width: float, height: float) -> Any:
    # Without pyplot there is no global state, no window, and no need for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # no font has the glyphs of this label
        # `savefig` would lay out and draw the figure twice, and compress for longer than it draws.
        figure.canvas.print_png(file, metadata={"Creator": "xpnet"}, pil_kwargs={"compress_level": 3})
    return file.getvalue()
