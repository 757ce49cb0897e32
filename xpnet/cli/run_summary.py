"""``summary.json``: what a run was, on what it ran, and how well it did."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import xpnet
from xpnet.errors import DataError
from xpnet.files import open_file
from xpnet.json_text import json_text
from xpnet.training.metrics import fitting_metrics, metric_label
from xpnet.training.progress import figure

if TYPE_CHECKING:
    from xpnet.cli.job import Job

__all__ = ["describe_failure", "provenance", "read_summary", "summary_file"]


def provenance(job: Job) -> dict[str, Any]:
    """Return what a run depends on besides its options: the data's sizes, versions and the system."""
    library = job.backend.name.partition(":")[0]
    versions = {
        "Python": platform.python_version(),
        np.__name__: np.__version__,
        library: getattr(sys.modules.get(library), "__version__", "unknown"),
    }
    return {
        "name": job.data.name,
        "samples": job.data.sizes,
        "seed": job.trainer.seed,
        "command": job.command,
        "versions": versions,
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
    }


def describe_failure(summary: Mapping[str, Any]) -> str:
    """Return a sentence where the default metric of a run is no better than the trivial baseline; else nothing."""
    baseline = summary["baseline"]
    if baseline is None:
        return ""
    part, metric = baseline["part"], fitting_metrics(summary["task"])[0]
    reached, trivial = summary[part][metric], baseline[metric]
    if reached > trivial:
        return ""
    compared = f"the {part} {metric_label(metric)} {figure(reached)} is no better than {figure(trivial)}, that of the "
    advice = "Try a smaller --lr, more --epochs, or other columns"
    if summary["task"] == "classification" and summary[part]["balanced_accuracy"] > baseline["balanced_accuracy"]:
        advice = "For rare classes see the balanced accuracy, and --class-weight balanced"
    return f"{compared}{baseline['name']} alone. {advice}."


def summary_file(summary: Mapping[str, Any]) -> bytes:
    """Return the content of ``summary.json``."""
    return f"{json_text({'xpnet': xpnet.__version__, **summary}, indent=2)}\n".encode()


def read_summary(path: Path) -> dict[str, Any]:
    """Return the summary of a run; nothing for a run of a version that wrote none."""
    if not path.exists():
        return {}
    try:
        with open_file(path) as file:
            values = json.loads(file.read())
    except (ValueError, RecursionError) as exc:
        raise DataError(f"{path}: expected the summary of a run; received no JSON.") from exc
    if not isinstance(values, dict):
        raise DataError(f"{path}: expected the summary of a run; received another value.")
    return values
