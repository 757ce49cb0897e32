"""What the files of a run tell of it, also if the run has not ended or a file is damaged."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xpnet.cli.config import settings_of
from xpnet.cli.run_files import CONFIG, METRICS, MODEL, SUMMARY, exists
from xpnet.cli.run_summary import read_summary
from xpnet.errors import XpnetError
from xpnet.files import open_file
from xpnet.training.metrics import fitting_metrics

__all__ = ["PARTS", "RunRecord", "is_run", "numbers", "read_record"]

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class RunRecord:
    """A run as its files tell it.

    Attributes
    ----------
    folder : Path
    settings : dict of str to object
        The content of ``config.toml``.
    summary : dict of str to object
        The content of ``summary.json``; it may hold anything. Empty for a run that has not ended.
    problem : str
        Why there are no scores: the run has not ended, or a file is damaged.
    """

    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""

    @property
    def task(self) -> str:
        """The task, if the run has ended."""
        return str(self.summary.get("task", ""))

    @property
    def name(self) -> str:
        """The name of the data."""
        return str(self.summary.get("name") or Path(str(self.settings.get("data", ""))).stem)

    @property
    def metric(self) -> str:
        """The metric that ``--metric`` gave the run, else the default of its task."""
        metric = self.summary.get("metric")
        fitting = fitting_metrics(self.task)  # type: ignore[arg-type]  # none for another text
        return metric if metric in fitting else next(iter(fitting), "loss")

    @property
    def scores(self) -> dict[str, dict[str, int | float]]:
        """Loss and metrics of each part that has any."""
        return {part: found for part in PARTS if (found := numbers(self.summary.get(part)))}

    def number(self, name: str) -> int | float | None:
        """Return an entry of the summary if it is a number."""
        return numbers({name: self.summary.get(name)}).get(name)


def numbers(values: Any) -> dict[str, int | float]:
    """Return those values of an object in JSON that are numbers."""
    given = values if isinstance(values, dict) else {}
    return {name: value for name, value in given.items() if type(value) in (int, float)}


def is_run(folder: Path) -> bool:
    """Return whether a folder has files of a run, and may be looked into."""
    return any(os.path.lexists(folder / name) for name in (CONFIG, SUMMARY, MODEL))


def read_record(folder: Path) -> RunRecord:
    """Read the configuration and the summary of a run."""
    settings: Mapping[str, Any] = {}
    try:
        settings = _settings(folder / CONFIG)
        summary = read_summary(folder / SUMMARY)
        problem = "" if summary else _how_far(folder, settings)
    except (XpnetError, OSError, ValueError, RecursionError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        return RunRecord(folder, settings, problem=f"damaged: {reason}")
    return RunRecord(folder, settings, summary, problem)


def _settings(path: Path) -> Mapping[str, Any]:
    """Return the content of a configuration file, also one of another version, whose options may be others."""
    if not exists(path):
        return {}
    with open_file(path) as file:
        try:
            return settings_of(file.read())
        except (ValueError, RecursionError) as exc:
            raise ValueError(f"{path}: expected TOML; received: {exc}") from exc


def _how_far(folder: Path, settings: Mapping[str, Any]) -> str:
    """Say how far a run without a summary has come."""
    from xpnet.training.metrics_file import read_metrics

    done = read_metrics(folder / METRICS) if (folder / METRICS).exists() else []
    of = f" of {settings['epochs']}" if "epochs" in settings else ""
    ended = "stopped" if exists(folder / MODEL) else "running, or killed"
    return f"{ended} after epoch {len(done)}{of}"
