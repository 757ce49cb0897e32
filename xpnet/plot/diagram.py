"""A drawing of a network: its layers with sizes, activations and parameters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from xpnet.nn.network import Network
from xpnet.plot.figures import COLOURS, axes_or_new, ink, label_text
from xpnet.plot.fitted import as_model

__all__ = ["network_diagram"]

_MOST_UNITS = 8  # of a layer that is drawn in full; of others, three at each end
_ENDS = 3
_MOST_COLUMNS = 8
_FIRST, _LAST = 4, 3  # columns that are drawn of a longer network


def network_diagram(model: Any, ax: Any = None) -> Any:
    """Draw the units of each layer, with sizes, activations and numbers of parameters below.

    Layers of more than 8 units are abridged, and networks of more than 8 columns. Between two layers that are drawn in
    full, lines are weights: blue ones are positive, orange ones negative, and the thicker the larger.

    Parameters
    ----------
    model : Model, fitted estimator, or Network
        A `Network` has no weights; all its lines are alike. Of an ensemble, the first member is drawn.
    ax : Axes, optional

    Returns
    -------
    Axes

    Examples
    --------
    >>> import xpnet
    >>> ax = network_diagram(xpnet.Network((784, 512, 10)))
    >>> ax.get_title()
    '407,050 parameters'
    """
    trained = None if isinstance(model, Network) else as_model(model)
    network = model if trained is None else trained.network
    sizes = network.layer_sizes
    columns = list(range(len(sizes)))
    if len(columns) > _MOST_COLUMNS:
        columns = [*columns[:_FIRST], -1, *columns[-_LAST:]]  # -1: those between
    ax = axes_or_new(ax, 9, 3)
    units = {layer: _heights(sizes[layer]) for layer in columns if layer >= 0}
    radius = 200 if max(sizes) <= 4 else 70
    for place, (layer, after) in enumerate(pairwise([*columns, -1])):
        if layer < 0:
            ax.text(place, 0, "⋯", ha="center", va="center", size=16)
            continue
        if after >= 0:
            _lines(ax, place, units[layer], units[after], None if trained is None else trained.params[layer][0])
        kind = 7 if layer == 0 else 1 if layer == len(sizes) - 1 else 0
        ax.scatter([place] * len(units[layer]), units[layer], radius, color=COLOURS[kind], zorder=3)
        if sizes[layer] > _MOST_UNITS:
            ax.text(place, 0, "⋮", ha="center", va="center", size=14)
    if trained is not None:
        _names(ax, 0, units[0], trained.feature_names, -1)
        _names(ax, len(columns) - 1, units[columns[-1]], trained.classes, 1)
    ax.set_xticks(range(len(columns)), [_words(network, layer) for layer in columns], size=8)
    ax.set_yticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.grid(visible=False)
    top = max(heights[0] for heights in units.values()) + 0.6
    ax.set(xlim=(-0.6, len(columns) - 0.4), ylim=(-top, top))
    members = 1 if trained is None else len(trained.members)
    more = f", the first of {members} networks" if members > 1 else ""
    ax.set_title(f"{network.n_parameters:,} parameters{more}")
    return ax


def _heights(size: int) -> np.ndarray:
    """Return the places of the units that are drawn, from the top, around 0."""
    if size <= _MOST_UNITS:
        return (size - 1) / 2 - np.arange(size)
    ends = np.arange(_ENDS) + 1.0
    return np.concatenate([ends[::-1], -ends])


def _words(network: Network, layer: int) -> str:
    if layer < 0:
        return f"{len(network.layer_sizes) - _FIRST - _LAST} more\nlayers"
    size = f"{network.layer_sizes[layer]:,}"
    if layer == 0:
        return f"input\n{size}"
    last = layer == network.n_layers
    function = str(network.output if last else network.activation_names[layer - 1]).partition(":")[0]
    n = sum(segment.size for segment in network.segments if segment.layer == layer - 1)
    count = f"{n:,}" if n < 1e6 else f"{n / 1e6:.1f} M"
    return f"{'output' if last else f'hidden {layer}'}\n{size} {function}\n{count} parameters"


def _lines(ax: Any, place: int, left: np.ndarray, right: np.ndarray, W: np.ndarray | None) -> None:
    """Draw a line for each pair of units, in the colour and width of its weight if all units are drawn."""
    from matplotlib.collections import LineCollection

    ends = [[(place, a), (place + 1, b)] for a in left for b in right]
    if W is None or W.shape != (len(left), len(right)):
        ax.add_collection(LineCollection(ends, colors=ink(), alpha=0.2 if len(ends) > 12 else 0.6, linewidths=0.6))
        return
    colours = [COLOURS[0] if weight > 0 else COLOURS[1] for weight in W.flat]
    widths = 0.3 + 2.5 * np.abs(W.ravel()) / max(np.abs(W).max(), np.finfo(np.float32).tiny)
    ax.add_collection(LineCollection(ends, colors=colours, linewidths=widths, alpha=0.8))


def _names(ax: Any, place: int, heights: np.ndarray, names: Sequence[Any] | np.ndarray | None, side: int) -> None:
    """Write names beside the units of the first or the last layer, if each of its units is drawn and has one."""
    if names is None or len(names) != len(heights):
        return
    for height, name in zip(heights, names, strict=True):
        align = "right" if side < 0 else "left"
        ax.text(place + 0.12 * side, height, label_text(name), ha=align, va="center", size=8, parse_math=False)
