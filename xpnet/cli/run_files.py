"""The files of a run: their names, and how each is told from a file of another program."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from xpnet.errors import XpnetError
from xpnet.files import open_file, write_atomically, writing
from xpnet.model.model_file import MODEL_FILE
from xpnet.training.metrics_file import holds_metrics

__all__ = [
    "CHECKPOINTS",
    "COLUMNS",
    "CONFIG",
    "CONFUSION",
    "CROSS_VALIDATION",
    "CURVES",
    "FILM",
    "FINGERPRINT",
    "IS_OWN",
    "METRICS",
    "MLFLOW",
    "MODEL",
    "PICTURES",
    "REPORT",
    "SUMMARY",
    "TENSORBOARD",
    "TRIALS",
    "exists",
    "write_own",
]

MODEL, CONFIG, METRICS, FINGERPRINT = MODEL_FILE, "config.toml", "metrics.jsonl", "data.json"
CHECKPOINTS, CURVES, CONFUSION, COLUMNS = "checkpoints", "curves.png", "confusion.png", "columns.md"
SUMMARY, REPORT = "summary.json", "report.html"
CROSS_VALIDATION, TRIALS = "cv.json", "trials.jsonl"
PICTURES = ("regions.png", "units.png", "patterns.png", "forward.png", "backward.png", "symmetry.png")  # of `show`
FILM = "film.gif"
TENSORBOARD, MLFLOW = "tensorboard", "mlflow.json"


def _holds(mark: bytes) -> Callable[[Path], bool]:
    def holds(path: Path) -> bool:
        with open_file(path) as file:
            return mark in file.read(4096)

    return holds


# How a file of a run is told from another file with its name; None for what a reader checks.
IS_OWN: dict[str, Callable[[Path], bool] | None] = {
    CONFIG: None,
    FINGERPRINT: None,
    METRICS: holds_metrics,
    MODEL: _holds(b'{"__metadata__":{"xpnet":'),
    CURVES: _holds(b"Creator\0xpnet"),
    CONFUSION: _holds(b"Creator\0xpnet"),
    COLUMNS: _holds(b"| column "),
    SUMMARY: _holds(b'"xpnet": '),
    REPORT: _holds(b'name="generator" content="xpnet '),
    MLFLOW: _holds(b'{"run_id": '),
    CROSS_VALIDATION: _holds(b'{"folds": '),
    TRIALS: _holds(b'{"trial": '),
    **dict.fromkeys(PICTURES, _holds(b"Creator\0xpnet")),
    FILM: _holds(b"Creator xpnet"),
}


def write_own(folder: Path) -> Callable[[str, bytes], Path]:
    """Make a folder that a user named for pictures, and return a function that writes one into it.

    A picture of an earlier command is replaced, another file of its name is not.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)

    def write(name: str, data: bytes) -> Path:
        path, is_own = folder / name, IS_OWN[name]
        is_there = exists(path)
        if is_there and is_own is not None and not is_own(path):
            raise XpnetError(
                f"{path}: expected a picture of xpnet or nothing; received another file. Move it elsewhere."
            )
        write_atomically(path, data, exclusive=not is_there)
        return path

    return write


def exists(path: Path) -> bool:
    """Return whether there is a file, a folder, or a link that may lead nowhere."""
    return path.is_symlink() or path.exists()
