"""What goes on in the layers: distributions of weights and activations, and norms of the gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from xpnet.backend import without_float_warnings
from xpnet.model.model import Model
from xpnet.nn.layer_values import layer_values
from xpnet.plot.figures import COLOURS, axes_or_new, grid, ink
from xpnet.plot.fitted import as_model
from xpnet.plot.predictions import Predictions, raw_features, spread_rows, taken

__all__ = ["activation_distributions", "gradient_norms", "weight_distributions"]

_MOST_SAMPLES = 1000
_MOST_VALUES = 200_000  # of a distribution
_MOST_LAYERS_WITH_WORDS = 8
_MOST_BINS = 50
_LARGEST = 1e100  # value that is drawn


def weight_distributions(model: Any, ax: Any = None) -> Any:
    r"""Draw the distribution of the weights and biases of each layer, with the standard deviation of the weights.

    Parameters
    ----------
    model : Model or fitted estimator
        Of an ensemble, the first member is drawn.
    ax : Axes, optional

    Returns
    -------
    Axes

    Examples
    --------
    >>> import xpnet
    >>> network = xpnet.Network((3, 5, 2))
    >>> ax = weight_distributions(xpnet.Model(network, network.init().vector, "classification"))
    >>> [label.get_text() for label in ax.get_xticklabels()]
    ['1\n3-5\nstd 0.62', '2\n5-2\nstd 0.36']
    """
    model = as_model(model)
    ax = axes_or_new(ax)
    sizes = model.network.layer_sizes
    words = []
    for layer, (W, b) in enumerate(model.params, 1):
        _half(ax, layer, W, -1, COLOURS[0], "weights")
        _half(ax, layer, b, 1, COLOURS[1], "biases")
        words.append(f"{sizes[layer - 1]}-{sizes[layer]}\nstd {W.std():.2g}")
    _name(ax, model, words, "value")
    return ax


def activation_distributions(model: Any, x: Any = None, ax: Any = None) -> Any:
    """Draw the distribution of the activations of each layer on at most 1,000 samples.

    The last layer is drawn without its output function, such as the softmax. Zeros are left out of the distribution,
    and their share is given. For activations that are zero for negative inputs, such as the ReLU, the share of dead
    units is given too: those that are zero for all samples, so that they learn nothing.

    Parameters
    ----------
    model : Model, fitted estimator, or Predictions
        With `Predictions`, `x` is not needed. Of an ensemble, the first member is drawn.
    x
        Raw features.
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    each, model = model, as_model(model)
    x = each.x if isinstance(each, Predictions) else raw_features(model, x)
    features = model.features(taken(x, spread_rows(len(x), _MOST_SAMPLES)))
    network, words = model.network, []
    _, layers = without_float_warnings(layer_values)(network, model.params, features)
    names, outputs = list(network.activation_names), [np.asarray(layer.out) for layer in layers]
    if network.loss_function.output:
        names[-1], outputs[-1] = f"before {network.output}", np.asarray(layers[-1].z)
    ax = axes_or_new(ax)
    for layer, (name, activation, a) in enumerate(zip(names, network.activations, outputs, strict=True), 1):
        _half(ax, layer, a[a != 0], 0, COLOURS[0])
        said = name
        if not activation.function(np, np.asarray([-1.0]), activation.slope).any():
            said += f"\nzero: {np.mean(a == 0):.0%}\ndead: {np.mean((a == 0).all(axis=0)):.1%}"
        words.append(said)
    _name(ax, model, words, "activation")
    return ax


def gradient_norms(model: Any, x: Any = None, y: Any = None, ax: Any = None) -> Any:
    """Draw the norm of the gradient of the objective by layer, on at most 1,000 samples, without dropout.

    Norms that fall from layer to layer towards the input are vanishing gradients: these layers hardly learn. After
    training, all of them are small. A norm that is zero or not finite is left out.

    Parameters
    ----------
    model : Model, fitted estimator, or Predictions
        With `Predictions`, `x` and `y` are not needed. Of an ensemble, the first member is drawn.
    x, y
        Raw features and raw targets.
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    from matplotlib.ticker import LogFormatter

    each = model if isinstance(model, Predictions) else Predictions.of(model, x, y, _MOST_SAMPLES)
    each = each.some(_MOST_SAMPLES)
    model = each.model
    _, grads = model.network.loss_and_grads(model.params, model.features(each.x), each.targets)
    ax = axes_or_new(ax)
    norms = np.asarray([[np.linalg.norm(array.astype(np.float64)) for array in arrays] for arrays in grads])
    norms[~(np.isfinite(norms) & (norms > 0))] = np.nan  # these have no place on a logarithmic axis
    for colour, name, column in zip(COLOURS, ("weights", "biases"), norms.T, strict=False):
        ax.plot(range(1, 1 + len(norms)), column, marker="o", label=name, color=colour)
    sizes = model.network.layer_sizes
    _name(ax, model, [f"{n_in}-{n_out}" for n_in, n_out in pairwise(sizes)], "norm of the gradient")
    if not np.isnan(norms).all():
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(LogFormatter())  # plain text
        ax.yaxis.set_minor_formatter(LogFormatter())
    return ax


def _half(ax: Any, at: int, values: np.ndarray, side: int, colour: str, label: str = "") -> None:
    """Draw the left (-1), the right (1), or both sides (0) of a violin: a histogram on its side."""
    values = values.ravel()
    values = values[:: 1 + len(values) // _MOST_VALUES].astype(np.float64)
    values = values[np.abs(values) < _LARGEST]
    if len(values) == 0:
        return
    low, high = values.min(), values.max()
    margin = max(1e-9, 0.01 * (high - low), 1e-6 * abs(high))  # equal values are a line
    n_bins = min(max(8, math.isqrt(len(values))), _MOST_BINS)
    counts, edges = np.histogram(values, n_bins, (low - margin, high + margin))
    width = 0.4 * counts / counts.max()
    left, right = at - width * (side <= 0), at + width * (side >= 0)
    centers = (edges[1:] + edges[:-1]) / 2
    ax.fill_betweenx(centers, left, right, color=colour, alpha=0.8, label=label if at == 1 else "")
    ends = at - 0.4 * (side <= 0), at + 0.4 * (side >= 0)
    ax.plot(ends, [values.mean()] * 2, color=ink(), alpha=0.6, linewidth=1)


def _name(ax: Any, model: Model, words: Sequence[str], ylabel: str) -> None:
    """Name the layers below the axis, with words unless there are many."""
    layers = range(1, 1 + len(words))
    if len(words) <= _MOST_LAYERS_WITH_WORDS:
        ax.set_xticks(layers, [f"{layer}\n{said}" for layer, said in zip(layers, words, strict=True)])
    else:
        ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set(xlabel="layer", ylabel=ylabel, xlim=(0.4, len(words) + 0.6))
    grid(ax, "y")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0)
    if len(model.members) > 1:
        ax.set_title(f"the first of {len(model.members)} networks", loc="left")
