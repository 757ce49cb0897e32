"""Progress of a run, shown in a notebook or on stderr."""

from __future__ import annotations

import sys
from contextlib import suppress
from time import perf_counter
from typing import Any

from xpnet.terminal import can_redraw
from xpnet.training.callbacks import Callback
from xpnet.training.history import EpochRecord
from xpnet.training.metrics import METRICS, metric_label
from xpnet.training.notebook_bar import NotebookBar, in_notebook
from xpnet.training.state import Run

__all__ = ["Progress", "figure"]

_BARS = ((90, 10), (70, 4), (0, 0))  # columns of a terminal and of the bar in it
_OTHERS = 11  # columns of the time and of the spaces between all columns


class Progress(Callback):
    """Show a progress bar in a notebook or a terminal, or else print one line for each epoch, on stderr.

    The bar shows the figures of the last completed epoch. If stderr is closed, the run continues without it.

    Parameters
    ----------
    n_samples : int, optional
        Samples of an epoch, to show the current speed. Without it the bar shows the speed of the last completed epoch.
    """

    def __init__(self, n_samples: int | None = None) -> None:
        self._n_samples = n_samples
        self._bar: NotebookBar | _TerminalBar | None = None

    def __getstate__(self) -> dict[str, Any]:  # a bar belongs to one terminal
        return {**vars(self), "_bar": None}

    def on_start(self, n_steps: int, epochs: int) -> None:
        """Show an empty bar in a notebook, or if stderr is a terminal."""
        self._n_steps, self._epochs = n_steps, epochs
        self._completed = self._done = 0  # steps in whole epochs, and in all
        total, first = n_steps * epochs, f"1/{epochs}"
        if in_notebook():
            self._bar = NotebookBar(total, first)
        elif can_redraw(sys.stderr):
            self._bar = _TerminalBar.on_stderr(total, first)
        self._started = perf_counter()

    def on_steps(self, epoch: int, done: int) -> None:
        """Move the bar."""
        if self._bar is None:
            return
        self._done = (epoch - 1) * self._n_steps + done
        shown = {}
        if self._n_samples is not None:
            shown["speed"] = _short_speed(self._n_samples * done / self._n_steps / (perf_counter() - self._started))
        self._show(completed=self._done, epoch=f"{epoch}/{self._epochs}", **shown)

    def on_epoch(self, record: EpochRecord, run: Run) -> None:
        """Show the figures of the epoch, or print its line."""
        speed = _speed(record.samples_per_second)
        if self._bar is None:
            figures = f"{_describe(record, 'validation', len(METRICS))}  {speed}"
            with suppress(OSError):
                print(f"epoch {record.epoch}/{self._epochs}  {figures}", file=sys.stderr, flush=True)
            return
        self._completed = record.epoch * self._n_steps
        self._show(description=_describe(record, "val", 1), speed=_short_speed(record.samples_per_second))
        self._started = perf_counter()

    def on_end(self) -> None:
        """Stop the bar. It is full if training ended after a completed epoch, as with early stopping."""
        if self._bar is None:
            return
        if 0 < self._completed == self._done:
            self._show(total=self._completed)
        with suppress(OSError):
            self._bar.stop()
        self._bar = None

    def _show(self, **fields: Any) -> None:
        if self._bar is not None:
            self._bar.show(**fields)


class _TerminalBar:
    """A progress bar on a terminal. In a narrow one the bar is shorter, and then the speed is left out."""

    def __init__(self, console: Any, total: int, epoch: str) -> None:
        from rich import progress
        from rich.table import Column

        texts = (
            progress.TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            progress.TextColumn("{task.fields[speed]}", table_column=Column(no_wrap=True)),
        )
        width = next(bar for columns, bar in _BARS if console.width >= columns)
        columns = (
            progress.TextColumn("{task.fields[epoch]}", table_column=Column(no_wrap=True)),
            *([progress.BarColumn(width)] if width else []),
            *texts,
            progress.TimeRemainingColumn(compact=True),
        )
        self._bar = progress.Progress(*columns, console=console)
        self._bar.start()
        self._task = self._bar.add_task("", total=total, epoch=epoch, speed="")
        self._place = console.width - width - _OTHERS  # for the epoch, the description and the speed

    @classmethod
    def on_stderr(cls, total: int, epoch: str) -> _TerminalBar | None:
        """Return a bar; None if the library takes stderr for no terminal."""
        from rich.console import Console  # slow to import, and not every run is shown

        class Unseen(Console):
            def on_broken_pipe(self) -> None:
                """Continue; by default the library ends the program."""

        console = Unseen(stderr=True)
        return cls(console, total, epoch) if console.is_terminal else None

    def show(self, **fields: Any) -> None:
        """Show new values of ``completed``, ``total``, ``epoch``, ``speed`` or ``description``."""
        before = self._bar.tasks[0]
        shown = {"description": before.description, **before.fields, **fields}
        if sum(len(shown[name]) for name in ("epoch", "description", "speed")) > self._place:
            fields["speed"] = ""
        self._bar.update(self._task, **fields)

    def stop(self) -> None:
        """Draw the bar for the last time."""
        self._bar.stop()


def figure(value: float) -> str:
    """Return a loss or a score as text, with about four significant digits."""
    return f"{value:.4f}" if value == 0 or 0.1 <= abs(value) < 1000 else f"{value:.4g}"


def _describe(record: EpochRecord, validation: str, n_metrics: int) -> str:
    """Return the losses and the last metrics of an epoch, those of the validation part after that word."""
    scores = record.validation or {}
    names = [name for name in scores if name == "loss"] + [name for name in scores if name in METRICS][-n_metrics:]
    figures = "  ".join(f"{metric_label(name)} {figure(scores[name])}" for name in names)
    return f"loss {figure(record.loss)}" + (figures and f"  {validation} {figures}")


def _speed(samples_per_second: float) -> str:
    return f"{samples_per_second:,.0f} samples/s"


def _short_speed(samples_per_second: float) -> str:
    """Return the speed in thousands or millions of samples, as a bar has place for it."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if samples_per_second >= unit:
            return f"{samples_per_second / unit:.3g}{name} samples/s"
    return f"{samples_per_second:.3g} samples/s"
