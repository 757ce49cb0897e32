"""The pictures and the report that a run leaves in its folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from xpnet.cli.console import say
from xpnet.cli.folder import CONFUSION, CURVES, REPORT, RunFolder
from xpnet.model.model import Model
from xpnet.plot.classification import confusion_size, draw_confusion
from xpnet.plot.curves import learning_curves
from xpnet.plot.figures import new_figure, png
from xpnet.report.finished_run import FinishedRun
from xpnet.training.history import EpochRecord

if TYPE_CHECKING:
    from xpnet.cli.job import Confusion

__all__ = ["draw_pictures", "write_report"]


def draw_pictures(
    history: Sequence[EpochRecord], model: Model, confusion: Confusion | None, folder: RunFolder
) -> list[Path]:
    """Draw the curves and, for classes, the confusion matrix; return the paths of the files."""
    pictures = {}
    with _if_possible("no pictures were drawn"):
        if history:
            pictures[CURVES] = _curves(history, model.metric)
        if history and confusion is not None and model.classes is not None:
            pictures[CONFUSION] = _confusion(confusion, model)
    return [folder.write(file, content) for file, content in pictures.items()]


def write_report(run: FinishedRun, folder: RunFolder) -> list[Path]:
    """Write the report; return its path, or nothing if it could not be made."""
    with _if_possible("no report was made"):
        from xpnet.report.sections import report_page

        return [folder.write(REPORT, report_page(run))]
    return []


@contextmanager
def _if_possible(otherwise: str) -> Iterator[None]:
    """Say so and go on where memory is short or a library does not load: the run is done."""
    try:
        yield
    except (ImportError, MemoryError) as exc:
        say(f"{otherwise}: {str(exc) or 'out of memory'}.")


def _curves(history: Sequence[EpochRecord], metric: str) -> bytes:
    """Draw the loss and, if there is a validation part, its score beside it."""
    metrics = ("loss", metric) if any(record.validation for record in history) else ("loss",)
    figure = new_figure(8, 3.2)
    for name, ax in zip(metrics, figure.subplots(1, len(metrics), squeeze=False)[0], strict=True):
        learning_curves(history, name, ax)
    return png(figure)


def _confusion(confusion: Confusion, model: Model) -> bytes:
    assert model.classes is not None
    part = {"train": "training"}.get(confusion.part, confusion.part)
    figure = new_figure(*confusion_size(len(model.classes)))
    draw_confusion(confusion.labels, confusion.predicted, model.classes, figure.subplots(), part=f"{part} part")
    return png(figure)
