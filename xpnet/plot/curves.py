"""Learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet.errors import InvalidParameterError, UnknownNameError
from xpnet.plot.figures import COLOURS, axes_or_new, grid, ink
from xpnet.training.history import EpochRecord

__all__ = ["learning_curves"]

_MOST_EPOCHS_WITH_POINTS = 30
_PART_COLOURS = {"training": COLOURS[0], "validation": COLOURS[1]}


def learning_curves(history: Sequence[EpochRecord], metric: str = "loss", ax: Any = None) -> Any:
    """Draw the training loss and the validation scores by epoch, and mark the best epoch.

    The best epoch is that of the lowest loss or the highest score of the validation part; without a validation part,
    that of the lowest training loss.

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

    Raises
    ------
    InvalidParameterError
        The history is empty, or the validation part has no such score.

    Examples
    --------
    >>> import numpy as np, xpnet
    >>> network = xpnet.Network((1, 2))
    >>> run = xpnet.Trainer(network, epochs=3).fit(np.asarray([[0.0], [1.0]]), np.asarray([0, 1]))
    >>> ax = learning_curves(run.history)
    >>> ax.get_ylabel()
    'loss'
    """
    if not history:
        raise InvalidParameterError("history: expected at least one epoch; received none. Train the network first.")
    scored = [(record.epoch, record.validation) for record in history if record.validation]
    known = ["loss", *(name for name in (scored[0][1] if scored else ()) if name != "loss")]
    if metric not in known:
        raise UnknownNameError.among("metric", metric, known)
    curves = {}
    if metric == "loss":
        curves["training"] = [record.epoch for record in history], [record.loss for record in history]
    if scored:
        curves["validation"] = [epoch for epoch, _ in scored], [scores[metric] for _, scores in scored]
    ax = axes_or_new(ax)
    style = {"marker": "."} if len(history) < _MOST_EPOCHS_WITH_POINTS else {}  # a single point makes no line
    for part, (epochs, values) in curves.items():
        ax.plot(epochs, _finite(values), label=part, color=_PART_COLOURS[part], **style)
    epochs, values = list(curves.values())[-1]  # the validation part decides, if there is one
    ranked = -_finite(values) if metric == "loss" else _finite(values)
    if np.isfinite(ranked).any():
        best = int(np.nanargmax(ranked))
        label = f"best: epoch {epochs[best]}, {values[best]:.4g}"
        ax.axvline(epochs[best], label=label, color=ink(), alpha=0.6, linestyle="dotted")
    ax.set(xlabel="epoch", ylabel={"r2": "R2"}.get(metric, metric))
    grid(ax)
    ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    ax.legend()
    return ax


def _finite(values: Sequence[float]) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)
