"""What equal initial weights do: the units of a layer stay equal, and the network is no better than a narrow one."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from xpnet.data.targets import infer_task
from xpnet.errors import InvalidParameterError, shown
from xpnet.model.model import Model
from xpnet.nn.network import Network
from xpnet.plot.figures import COLOURS, axes_or_new
from xpnet.plot.films import Frames
from xpnet.plot.plane import is_plane, plane_of
from xpnet.plot.predictions import spread_rows
from xpnet.plot.regions import draw_pair
from xpnet.training.trainer import Trainer

__all__ = ["SymmetryRun", "symmetry", "symmetry_runs"]

_RATE, _MOST_SAMPLES, _FRAMES = 0.03, 300, 60
_NAMES = "equal start", "random start"


class SymmetryRun(NamedTuple):
    """A training run with one kind of start.

    Attributes
    ----------
    model : Model
        After training.
    losses : list of float
        Of each epoch.
    epochs : list of int
        Epochs from 0 whose spread is known.
    spread : list of float
        The largest difference between two units of a hidden layer: in the weight from the same input.
    """

    model: Model
    losses: list[float]
    epochs: list[int]
    spread: list[float]


def symmetry_runs(network: Network, x: Any, y: Any, epochs: int = 300) -> tuple[SymmetryRun, SymmetryRun]:
    """Train a network from equal weights, and from random ones, on all samples at once.

    In the equal start all weights of a layer are ``1 / sqrt(fan_in)`` and the biases zero.

    Parameters
    ----------
    network : Network
    x : (n_samples, n_in)
        Features as the network takes them. Of more than 300 samples, evenly spaced ones are taken.
    y : (n_samples,) int or (n_samples, n_out)
        Class indices, or targets.
    epochs : int

    Returns
    -------
    equal, random : SymmetryRun

    Raises
    ------
    InvalidParameterError
        No hidden layer has two units.
    """
    if max(network.layer_sizes[1:-1], default=0) < 2:
        raise InvalidParameterError(
            f"symmetry: expected a network with a hidden layer of at least two units; received the layers "
            f"{shown(network.layer_sizes)}."
        )
    x, y = np.asarray(x, np.float64), np.asarray(y)
    rows = spread_rows(len(x), _MOST_SAMPLES)
    sizes = zip(network.layer_sizes[:-1], network.layer_sizes[1:], strict=True)
    equal = [(np.full((n_in, n_out), 1 / math.sqrt(n_in)), np.zeros(n_out)) for n_in, n_out in sizes]
    starts = equal, network.init()
    equal_run, random_run = (_run(network, x[rows], y[rows], epochs, start) for start in starts)
    return equal_run, random_run


def _run(network: Network, x: np.ndarray, y: np.ndarray, epochs: int, start: Any) -> SymmetryRun:
    frames = Frames(_FRAMES)
    trainer = Trainer(
        network, learning_rate=_RATE, batch_size=None, epochs=epochs, dtype="float64", callbacks=[frames], device="cpu"
    )
    run = trainer.fit(x, y, params=start)
    model = Model(network, run.params.vector, infer_task(y))
    kept = frames.of(model)
    spread = [max(float(np.ptp(W, axis=1).max()) for W, _ in frame.model.params[:-1]) for frame in kept]
    return SymmetryRun(model, [record.loss for record in run.history], [frame.epoch for frame in kept], spread)


def symmetry(network: Network, x: Any, y: Any, ax: Any = None) -> Any:
    """Draw what equal initial weights do, beside a random start: the loss, and how much the units of a layer differ.

    Units of a layer that begin with equal weights get equal gradients, so they stay equal for ever: the network can do
    no more than one with a single unit in each hidden layer. Random weights break the symmetry. Rumelhart, Hinton,
    Williams (1986), Nature 323, 533-536. For data with two features, the decision regions are drawn too.

    Parameters
    ----------
    network : Network
    x : (n_samples, n_in)
        Features as the network takes them.
    y : (n_samples,) int or (n_samples, n_out)
        Class indices, or targets.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    InvalidParameterError
        No hidden layer has two units.
    """
    runs = symmetry_runs(network, x, y)
    plane = is_plane(runs[0].model)
    ax = axes_or_new(ax, 8, 6.5 if plane else 3.2)
    ax.set_axis_off()
    bottom, height = (0.6, 0.4) if plane else (0, 1)
    losses, spreads = (ax.inset_axes((left, bottom, 0.4, height)) for left in (0, 0.55))
    for run, name, colour in zip(runs, _NAMES, (COLOURS[1], COLOURS[0]), strict=True):
        losses.plot(range(1, 1 + len(run.losses)), run.losses, color=colour, label=name)
        spreads.plot(run.epochs, run.spread, color=colour, label=name)
    losses.set(xlabel="epoch", ylabel="loss", title="loss")
    spreads.set(xlabel="epoch", ylabel="largest difference of weights", title="how much units differ")
    losses.legend(frameon=False)
    if plane:
        pair = ax.inset_axes((0, 0, 0.4, 0.42)), ax.inset_axes((0.55, 0, 0.4, 0.42))
        draw_pair(pair, (plane_of(runs[0].model, x, y), plane_of(runs[1].model, x, y)), _NAMES)
    return ax
