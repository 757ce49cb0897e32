"""Learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpnet.plot.figures import axes_or_new
from xpnet.training.history import EpochRecord

__all__ = ["learning_curves"]

_MOST_EPOCHS_WITH_POINTS = 30


def learning_curves(history: Sequence[EpochRecord], metric: str = "loss", ax: Any = None) -> Any:
    """Draw the training loss and the validation scores by epoch.

    Parameters
    ----------
    history : sequence of EpochRecord
        Such as ``run.history``.
    metric : str
        "loss", of both parts, or a score of the validation part: "accuracy" or "r2".
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    ax = axes_or_new(ax)
    epochs = [record.epoch for record in history]
    scored = [record for record in history if record.validation]
    style = {"marker": "."} if len(epochs) < _MOST_EPOCHS_WITH_POINTS else {}  # a single point makes no line
    if metric == "loss":
        ax.plot(epochs, [record.loss for record in history], label="training", **style)
    if scored:
        values = [record.validation[metric] for record in scored if record.validation]
        ax.plot([record.epoch for record in scored], values, label="validation", color="tab:orange", **style)
    ax.set(xlabel="epoch", ylabel="R2" if metric == "r2" else metric)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend()
    return ax
