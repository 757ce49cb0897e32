"""The summary that a run prints at its end."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from xpnet.cli.console import make_console
from xpnet.cli.rich_console import PlainConsole
from xpnet.cli.score_table import score_table
from xpnet.errors import size_text
from xpnet.memory import parse_size
from xpnet.training.history import EpochRecord
from xpnet.training.metrics import METRICS, metric_label
from xpnet.training.progress import figure
from xpnet.training.trainer import Run

__all__ = ["print_files", "print_summary"]


class _Console(PlainConsole):
    def on_broken_pipe(self) -> None:
        """Let the command report it; by default the library ends the program silently."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def print_summary(
    title: str,
    summary: dict[str, Any],
    run: Run,
    kept: EpochRecord | None,
    chosen_by: str,
    memory_limit: str | None = None,
) -> None:
    """Print a table of the parts with their scores beside the trivial baseline, the epoch that was kept, and the speed.

    Parameters
    ----------
    kept : EpochRecord or None
        Of the epoch whose parameters the model has; None if the run ended within it.
    chosen_by : str
        The loss or the metric that chose it.
    """
    console = make_console(_Console)
    parts = [name for name in ("train", "validation", "test") if summary[name]]
    rows: dict[str, dict[str, Any]] = {part: summary[part] for part in parts}
    if baseline := summary["baseline"]:
        rows[baseline["name"]] = {metric: baseline[metric] for metric in METRICS if metric in baseline}
    if cv := summary.get("cv"):
        rows |= {f"{len(cv['folds'])}-fold {name}": cv[name] for name in ("mean", "std")}
    console.print(title)
    console.print(score_table("part", rows, console.width))
    if kept is not None and kept.validation is not None:
        score = kept.validation.get(chosen_by)
        reached = "" if score is None else f", validation {metric_label(chosen_by)} {figure(score)}"
        which = "the last" if run.state.best is None else "the best"
        console.print(f"kept epoch {kept.epoch} of {summary['epochs']}, {which}{reached}")
    epochs = f"{summary['epochs']} epoch{'s' * (summary['epochs'] != 1)}"
    ended = "" if run.stopped == "epochs" else f" ({run.stopped})"
    console.print(
        f"{epochs}{ended} in {summary['seconds']:.1f} s on {summary['device']}, "
        f"{summary['samples_per_second']:,.0f} samples/s",
    )
    if "ranks" in summary:
        each = f"{summary['samples_per_second_per_rank']:,.0f} samples/s each"
        console.print(f"{summary['ranks']} ranks, {each}; {summary['communication']:.0%} of the time in their sums")
    if memory_limit is not None:
        console.print(
            f"peak memory {size_text(summary['peak_memory'])} of {size_text(parse_size(memory_limit))} allowed"
        )


def print_files(files: list[Path]) -> None:
    """Print the paths of the files of a run."""
    console = make_console(_Console)
    for path in files:
        console.print(f"  {path}", soft_wrap=True)
