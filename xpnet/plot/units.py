"""What the hidden units of a network of images look for: their weights, and the samples that excite them most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet.data.images import as_images
from xpnet.errors import InvalidParameterError, shown
from xpnet.model.model import Model
from xpnet.nn.layer_values import layer_outputs, unit_gradients
from xpnet.plot.figures import axes_or_new, ink
from xpnet.plot.fitted import as_model
from xpnet.plot.predictions import Predictions, raw_features, spread_rows, taken
from xpnet.plot.signed import signed_colours

__all__ = ["exciting_patterns", "hidden_units", "influential_units", "units_size", "weight_limit"]

_MOST_UNITS = 100
_MOST_SAMPLES = 5000  # among which the exciting ones are sought
_MOST_FOR_GRADIENTS = 200
_CLIPPED = 99.5  # percentile of the magnitudes that has the strongest colour: a few weights must not pale all others
_GAP = 0.12  # of an image's side


def hidden_units(
    model: Any,
    image_shape: tuple[int, ...] | None = None,
    ax: Any = None,
    *,
    units: Sequence[int] | None = None,
    limit: float | None = None,
) -> Any:
    """Draw the weights of each unit of the first layer as an image: what the unit looks for.

    Blue pixels raise the unit's input, orange ones lower it, and those without colour do not matter. All units have one
    scale.

    Parameters
    ----------
    model : Model, fitted estimator, or Predictions
    image_shape : tuple of int, optional
        Shape of a sample: (height, width), or with the channels in front or behind. By default that of the model.
    ax : Axes, optional
    units : sequence of int, optional
        Indices of the units. By default all, or the 100 with the largest weights to the next layer.
    limit : float, optional
        The weight with the strongest colour. By default the 99.5th percentile of their magnitudes.

    Returns
    -------
    Axes

    Raises
    ------
    InvalidParameterError
        The samples are no images, or the network has no hidden layer.

    Examples
    --------
    >>> import xpnet
    >>> from sklearn.datasets import load_digits
    >>> x, y = load_digits(return_X_y=True)
    >>> network = xpnet.Network([64, 16, 10])
    >>> run = xpnet.Trainer(network, epochs=5).fit(x, y)
    >>> model = xpnet.Model(network, run.params.vector, "classification")
    >>> hidden_units(model, (8, 8)).get_title()
    'weights of the 16 hidden units'
    """
    model = _model(model)
    shape = _shape(model, image_shape, "hidden_units")
    _check_layer(model, 1, "hidden_units")
    (W, _), *_ = model.params.scaled_layers()
    n_units = W.shape[1]
    units = influential_units(model) if units is None else list(units)
    weights = _without_channels(as_images(W.T[units], shape))
    limit = limit or weight_limit(model)
    columns = _columns(len(units))
    rows = math.ceil(len(units) / columns)
    tiles = np.zeros((rows * columns, *weights.shape[1:3], 4))
    tiles[: len(units)] = signed_colours(weights, limit)
    ax = axes_or_new(ax, *units_size(model, shape))
    _show(ax, tiles.reshape(rows, columns, *tiles.shape[1:]), len(units))
    which = f"the {n_units}" if len(units) == n_units else f"{len(units)} of the {n_units:,}"
    ax.set_title(f"weights of {which} hidden units")
    return ax


def exciting_patterns(
    model: Any,
    x: Any = None,
    image_shape: tuple[int, ...] | None = None,
    ax: Any = None,
    *,
    layer: int = 1,
    n_units: int = 8,
    n_samples: int = 8,
) -> Any:
    """Draw for some hidden units what raises their input, and beside it the samples that excite them most.

    The first image of a row is the mean gradient of the unit's input z with respect to the sample. In the first layer
    these are the unit's weights. Units are taken whose output differs most between samples, times their weights to the
    next layer.

    Parameters
    ----------
    model : Model, fitted estimator, or Predictions
        With `Predictions`, `x` is not needed.
    x
        Raw features.
    image_shape : tuple of int, optional
        Shape of a sample. By default that of the model.
    ax : Axes, optional
    layer : int
        The hidden layer, counted from 1.
    n_units, n_samples : int
        Rows and samples in a row.

    Returns
    -------
    Axes

    Raises
    ------
    InvalidParameterError
        The samples are no images, or the network has no such hidden layer.
    """
    if isinstance(model, Predictions):
        x = model.x
    model = _model(model)
    shape = _shape(model, image_shape, "exciting_patterns")
    _check_layer(model, layer, "exciting_patterns")
    x = raw_features(model, x)
    x = taken(x, spread_rows(len(x), _MOST_SAMPLES))
    features = model.features(x)
    a = np.asarray(layer_outputs(model.network, model.params, features)[layer])
    spread = a.std(axis=0) * np.linalg.norm(model.params[layer][0], axis=1)
    units = np.argsort(-spread, kind="stable")[:n_units]
    best = np.argsort(-a[:, units], axis=0, kind="stable")[:n_samples].T
    some = features[spread_rows(len(features), _MOST_FOR_GRADIENTS)]
    gradients = np.asarray(unit_gradients(model.network, model.params, some, layer, units.tolist()))
    gradients = _without_channels(as_images(gradients.mean(axis=1), shape))
    patterns = np.stack([signed_colours(each, _limit(each)) for each in gradients])
    height, width = patterns.shape[1:3]
    rows = np.zeros((len(units), 1 + best.shape[1], height, width, 4))
    rows[:, 0] = patterns
    samples = _as_colours(as_images(np.asarray(x)[best.ravel()], shape))
    rows[:, 1:] = samples.reshape(*best.shape, height, width, 4)
    ax = axes_or_new(ax, 0.6 * rows.shape[1] + 0.8, 0.6 * len(rows) + 0.6)
    places, firsts = _show(ax, rows, first_gap=0.5)
    ax.set_yticks(places, [f"unit {unit + 1}" for unit in units])
    ax.tick_params(left=False, labelleft=True)
    what = "weights" if layer == 1 else "mean\ngradient"
    style = {"ha": "center", "va": "bottom", "fontsize": "small", "color": ink()}
    top = -0.1 * height
    ax.text(firsts[0], top, what, **style)
    ax.text((firsts[1] + firsts[-1]) / 2, top, f"samples that excite a unit of hidden layer {layer} most", **style)
    return ax


def _model(model: Any) -> Model:
    return model.model if isinstance(model, Predictions) else as_model(model)


def _shape(model: Model, given: tuple[int, ...] | None, what: str) -> tuple[int, ...]:
    shape = given or model.image_shape
    n_in = model.network.layer_sizes[0]
    if shape is None:
        raise InvalidParameterError(
            f"{what}: expected a model of images; received one of {n_in} features without an image_shape. If they "
            "are pixels, give image_shape=(height, width)."
        )
    if math.prod(shape) != n_in:
        raise InvalidParameterError(
            f"image_shape: expected {n_in} values, as many as the network has inputs; received {shown(shape)}."
        )
    return tuple(shape)


def _check_layer(model: Model, layer: int, what: str) -> None:
    n_hidden = model.network.n_layers - 1
    if n_hidden == 0:
        raise InvalidParameterError(f"{what}: expected a network with a hidden layer; received one without.")
    if layer not in range(1, n_hidden + 1):
        raise InvalidParameterError(f"layer: expected a hidden layer from 1 to {n_hidden}; received {shown(layer)}.")


def _columns(n: int) -> int:
    """Return the columns for n tiles: about as many as rows, or up to twice as many if all rows are then full."""
    least = math.ceil(math.sqrt(n))
    return next((columns for columns in range(least, 2 * least) if n % columns == 0), least)


def units_size(model: Any, image_shape: tuple[int, ...] | None = None, most: int = _MOST_UNITS) -> tuple[float, float]:
    """Return width and height of the picture of `hidden_units`, in inches."""
    model = _model(model)
    shape = _shape(model, image_shape, "units_size")
    height, width = as_images(np.empty((1, math.prod(shape))), shape).shape[1:3]
    n = min(model.network.layer_sizes[1], most)
    columns = _columns(n)
    gap = _GAP * max(height, width)
    across, down = columns * (width + gap), math.ceil(n / columns) * (height + gap)
    scale = 6 / max(across, down)
    return max(across * scale, 3), down * scale + 0.4


def influential_units(model: Model, most: int = _MOST_UNITS) -> list[int]:
    """Return the indices of the units of the first layer with the largest weights to the next layer, sorted."""
    influence = np.linalg.norm(np.asarray(model.params[1][0]), axis=1)
    return sorted(np.argsort(-influence, kind="stable")[:most].tolist())


def weight_limit(model: Model) -> float:
    """Return the weight of the first layer from which on colours of `hidden_units` are strongest."""
    return _limit(np.asarray(model.params.scaled_layers()[0][0]))


def _limit(weights: np.ndarray) -> float:
    return float(np.percentile(np.abs(weights), _CLIPPED)) or 1.0


def _without_channels(images: np.ndarray) -> np.ndarray:
    """Return the mean over the channels of images, (n, height, width)."""
    return images if images.ndim == 3 else images.mean(axis=3)


def _as_colours(images: np.ndarray) -> np.ndarray:
    """Return images of any range, (n, height, width) or with colours behind, as RGBA; each channel from 0 to 1."""
    low, high = float(images.min()), float(images.max())
    scaled = (images - low) / ((high - low) or 1.0)
    if scaled.ndim == 3:
        scaled = np.repeat(scaled[..., None], 3, axis=3)
    opaque = np.ones((*scaled.shape[:3], 1))
    return np.concatenate([scaled[..., :3], scaled[..., 3:] if scaled.shape[3] == 4 else opaque], axis=3)


def _show(
    ax: Any, tiles: np.ndarray, n_tiles: int | None = None, first_gap: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw tiles, (rows, columns, height, width, 4), as one picture with gaps; the first `n_tiles` have a frame.

    Returns
    -------
    rows, columns : ndarray
        The places of their centres.
    """
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    height, width = tiles.shape[2:4]
    gap = max(1, round(_GAP * max(height, width)))
    extra = round(first_gap * width)
    picture = np.zeros((len(tiles) * (height + gap) - gap, tiles.shape[1] * (width + gap) - gap + extra, 4))
    tops = np.arange(len(tiles)) * (height + gap)
    lefts = np.arange(tiles.shape[1]) * (width + gap)
    lefts[1:] += extra
    for row, top in zip(tiles, tops, strict=True):
        for tile, left in zip(row, lefts, strict=True):
            picture[top : top + height, left : left + width] = tile
    ax.imshow(picture, interpolation="nearest")
    places = [(left - 0.5, top - 0.5) for top in tops for left in lefts]
    frames = PatchCollection([Rectangle(place, width, height) for place in places[:n_tiles]])
    frames.set(facecolor="none", edgecolor=ink(), linewidth=0.4, alpha=0.4)  # also around what is pale
    ax.add_collection(frames)
    frames.set_clip_on(False)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.grid(visible=False)
    return tops + (height - 1) / 2, lefts + (width - 1) / 2
