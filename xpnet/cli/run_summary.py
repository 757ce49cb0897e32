"""``summary.json``: what a run was, on what it ran, and how well it did."""

from __future__ import annotations

import json
import math
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
from xpnet.training.metrics import is_lower_better, metric_label
from xpnet.training.progress import figure

if TYPE_CHECKING:
    from xpnet.cli.job import Job

__all__ = ["describe_failure", "provenance", "read_summary", "summary_file"]

_AUC_OF_CHANCE = 0.5


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
    """Return a sentence where a run is no better than the trivial baseline by its metric; else nothing."""
    baseline, metric = summary["baseline"], summary["metric"]
    if baseline is None:
        return ""
    part, sign = baseline["part"], -1 if is_lower_better(metric) else 1
    reached, trivial = summary[part].get(metric), baseline.get(metric, _AUC_OF_CHANCE)
    if reached is None or math.isnan(reached) or sign * reached > sign * trivial:
        return ""
    advice = "Try a smaller --lr, more --epochs, or other columns"
    auc = summary[part].get("auc", _AUC_OF_CHANCE)
    if metric == "accuracy" and auc > _AUC_OF_CHANCE + 0.05:
        advice = f"Its AUC is {figure(auc)}, so it can tell the classes apart: try --class-weight balanced"
    compared = f"the {part} {metric_label(metric)} {figure(reached)} is no better than {figure(trivial)}, that of the "
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
