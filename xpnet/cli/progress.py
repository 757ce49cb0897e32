"""What a run shows while it runs and at its end, and how it is interrupted."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from types import FrameType
from typing import Any, Self

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from xpnet.callbacks import Callback, EpochRecord, StopTraining
from xpnet.trainer import Run

__all__ = ["NAMES", "Bar", "Display", "Interrupt", "Lines", "make_progress", "print_summary"]


_SCORES = ("loss", "accuracy", "r2")
NAMES = {"r2": "R2"}


class Interrupt(Callback):
    """On Ctrl-C, stop between two batches instead of in the midst of one; a second Ctrl-C stops at once."""

    exit_code = 130

    def __init__(self) -> None:
        self._requested = False

    def __enter__(self) -> Interrupt:
        self._previous = signal.signal(signal.SIGINT, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._previous)

    def _request(self, signum: int, frame: FrameType | None) -> None:
        self._requested = True
        signal.signal(signal.SIGINT, self._previous)

    def on_steps(self, epoch: int, done: int) -> None:
        """Stop if it was asked for."""
        if self._requested:
            raise StopTraining


def _figure(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.4g}"


def _describe(record: EpochRecord, names: Sequence[str]) -> str:
    validation = record.validation or {}
    scores = "  ".join(f"{NAMES.get(name, name)} {_figure(validation[name])}" for name in names if name in validation)
    return f"loss {_figure(record.loss)}" + (scores and f"  validation {scores}")


def _speed(samples_per_second: float) -> str:
    return f"{samples_per_second:,.0f} samples/s"


class Display(Callback):
    """What shows a run while it lasts: nothing, on ``--quiet``."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Lines(Display):
    """One plain line an epoch, where the output is no terminal."""

    def on_start(self, n_steps: int, epochs: int) -> None:
        """Note how many epochs there will be."""
        self._epochs = epochs

    def on_epoch(self, record: EpochRecord, run: Run) -> None:
        """Print the line."""
        figures = f"{_describe(record, _SCORES)}  {_speed(record.samples_per_second)}"
        print(f"epoch {record.epoch}/{self._epochs}  {figures}", file=sys.stderr, flush=True)


class Bar(Display):
    """A progress bar in a terminal; the figures are those of the last whole epoch, the speed is that of now."""

    def __init__(self, console: Console, n_samples: int) -> None:
        texts = (
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[speed]}"),
        )
        columns = (TextColumn("{task.fields[epoch]}"), BarColumn(10), *texts, TimeRemainingColumn(compact=True))
        self._progress = Progress(*columns, console=console)
        self._task = TaskID(0)
        self._n_samples = n_samples
        self._n_steps = 0
        self._epochs = 0
        self._started = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def on_start(self, n_steps: int, epochs: int) -> None:
        """Show an empty bar."""
        self._n_steps, self._epochs = n_steps, epochs
        self._task = self._progress.add_task("", total=n_steps * epochs, epoch=f"1/{epochs}", speed="")
        self._started = perf_counter()

    def on_steps(self, epoch: int, done: int) -> None:
        """Move the bar."""
        completed = (epoch - 1) * self._n_steps + done
        speed = _speed(self._n_samples * done / self._n_steps / (perf_counter() - self._started))
        self._progress.update(self._task, completed=completed, epoch=f"{epoch}/{self._epochs}", speed=speed)

    def on_epoch(self, record: EpochRecord, run: Run) -> None:
        """Show the epoch's figures."""
        self._progress.update(self._task, description=_describe(record, _SCORES[1:]))
        self._started = perf_counter()


def make_progress(*, quiet: bool, n_samples: int) -> Display:
    """Return the callback that fits the output; all progress goes to stderr, results go to stdout."""
    console = Console(stderr=True)
    if quiet:
        return Display()
    return Bar(console, n_samples) if console.is_terminal else Lines()


def print_summary(title: str, summary: dict[str, Any], run: Run, files: list[Path]) -> None:
    """Print a table of the parts with their loss and score, and where the files are."""
    console = Console(highlight=False, markup=False)
    parts = [name for name in ("train", "validation", "test") if summary[name]]
    metrics: list[str] = list(summary[parts[0]])
    table = Table("part", *(NAMES.get(metric, metric) for metric in metrics), box=box.SIMPLE_HEAD)
    for part in parts:
        table.add_row(part, *(_figure(summary[part][metric]) for metric in metrics))
    console.print(title)
    console.print(table)
    epochs = f"{summary['epochs']} epoch{'s' * (summary['epochs'] != 1)}"
    ended = "" if run.stopped == "epochs" else f" ({run.stopped})"
    console.print(
        f"{epochs}{ended} in {summary['seconds']:.1f} s on {summary['device']}, "
        f"{summary['samples_per_second']:,.0f} samples/s",
    )
    for path in files:
        console.print(f"  {path}", soft_wrap=True)
