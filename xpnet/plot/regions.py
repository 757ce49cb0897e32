"""Decision regions: what a model answers at each point of a plane."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.plot.figures import COLOURS, axes_or_new, ink, label_text
from xpnet.plot.plane import Plane, linear_model, plane_of, predictions_of, raw_targets
from xpnet.plot.predictions import Predictions

__all__ = ["class_colours", "decision_regions", "decision_regions_beside_linear", "draw_pair"]

_SIDE = 160  # points of the grid, by axis
_MARGIN = 0.08  # of the range of the samples
_FAINTEST, _STRONGEST = 0.06, 0.55  # opacity of the regions, from a guess to certainty
_MOST_CLASSES_WITH_NAMES = 12
_MOST_SINGLE_POINTS = 200  # of more, an SVG has one image
_VALUES = "viridis"


def decision_regions(model: Any, x: Any = None, y: Any = None, ax: Any = None) -> Any:
    """Draw what a model answers at each point of the plane of two features, with the samples on it.

    Classes have colours, which fade where the confidence falls to that of a guess; lines separate the regions. Of a
    regression, colours are the predicted values, and those of the samples the true values.

    Parameters
    ----------
    model : Model, fitted estimator, Predictions, or any object with `predict`
        An object such as a pipeline of scikit-learn answers with `predict_proba`, if it has it. With `Predictions`, `x`
        and `y` are not needed.
    x, y
        Raw features, (n_samples, 2) or a table of two columns of numbers, and raw targets.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    DataError
        The data do not have two features that are numbers.
    InvalidParameterError
        The model is one of labels of which several may be true.

    Examples
    --------
    >>> import numpy as np, xpnet
    >>> x, y = np.asarray([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), ["no", "yes", "yes", "no"]
    >>> clf = xpnet.MLPClassifier((8,), solver="lbfgs", random_state=0).fit(x, y)
    >>> ax = decision_regions(clf, x, y)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['no', 'yes']
    """
    ax = axes_or_new(ax, 5, 4)
    _draw(ax, plane_of(model, x, y))
    return ax


def decision_regions_beside_linear(model: Any, x: Any = None, y: Any = None, ax: Any = None) -> Any:
    """Draw the decision regions of a linear model and, beside them, those of the network.

    The linear model is the network without its hidden layers, trained on the same samples with the same loss.

    Parameters
    ----------
    model : Model, fitted estimator, or Predictions
    x, y, ax
        As for `decision_regions`. Each half of the axes gets axes of its own.

    Returns
    -------
    Axes

    Raises
    ------
    DataError, InvalidParameterError
        As for `decision_regions`.
    """
    each = predictions_of(model, x, y)
    linear = Predictions.of(linear_model(each), each.x, raw_targets(each))
    ax = axes_or_new(ax, 9, 4)
    ax.set_axis_off()
    pair = ax.inset_axes((0, 0, 0.48, 1)), ax.inset_axes((0.52, 0, 0.48, 1))
    draw_pair(pair, (plane_of(linear), plane_of(each)), ("linear model", "network"))
    return ax


def draw_pair(axes: tuple[Any, Any], planes: tuple[Plane, Plane], titles: tuple[str, str]) -> None:
    """Draw the decision regions of two models side by side, with one key and one scale of values."""
    left, right = axes
    norm = _draw(right, planes[1])
    _draw(left, planes[0], norm, key=False)
    left.set_title(titles[0])
    right.set_title(titles[1])
    right.set_ylabel("")
    right.tick_params(labelleft=False)


def class_colours(n_classes: int) -> Any:
    """Return a colour for each class, (n_classes, 3)."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    if n_classes <= len(COLOURS):
        return np.asarray([to_rgb(colour) for colour in COLOURS[:n_classes]])
    return colormaps["turbo"](np.linspace(0.05, 0.95, n_classes))[:, :3]


def _draw(ax: Any, plane: Plane, norm: Any = None, *, key: bool = True) -> Any:
    """Draw regions and samples, with a legend or a colour bar as a key. Return the scale of colours of values."""
    low, high = plane.points.min(axis=0), plane.points.max(axis=0)
    margin = _MARGIN * np.where(high > low, high - low, 1)
    axes = [np.linspace(*ends, _SIDE) for ends in zip(low - margin, high + margin, strict=True)]
    grid = np.stack([each.ravel() for each in np.meshgrid(*axes)], axis=1)
    answers = plane.answers(grid)
    if plane.labels is None:
        norm = _draw_values(ax, plane, axes, answers.reshape(_SIDE, _SIDE), norm, key)
    else:
        _draw_classes(ax, plane, plane.labels, axes, answers.reshape(_SIDE, _SIDE, -1), key)
    ax.set_xlabel(plane.names[0], parse_math=False)
    ax.set_ylabel(plane.names[1], parse_math=False)
    ax.grid(visible=False)
    return norm


def _draw_classes(ax: Any, plane: Plane, labels: np.ndarray, axes: Any, answers: np.ndarray, key: bool) -> None:
    colours = class_colours(answers.shape[2])
    predicted, confidence = answers.argmax(axis=2), answers.max(axis=2)
    guess = 1 / answers.shape[2]
    certainty = np.clip((confidence - guess) / (1 - guess), 0, 1)
    opacity = _FAINTEST + (_STRONGEST - _FAINTEST) * certainty
    _image(ax, axes, np.concatenate([colours[predicted], opacity[..., None]], axis=2))
    for i in np.unique(predicted)[1:]:
        others = np.delete(answers, i, axis=2).max(axis=2)
        ax.contour(*axes, answers[..., i] - others, levels=[0], colors=[ink()], linewidths=1)
    for i, label in enumerate(labels):
        _points(ax, plane.points[plane.true == i], len(plane.points), color=colours[i], label=label_text(label))
    if key and len(labels) <= _MOST_CLASSES_WITH_NAMES:
        legend = ax.legend(loc="upper left", bbox_to_anchor=(1, 1.02), handletextpad=0.2, frameon=False)
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
            handle.set_sizes([30])
            text.set_parse_math(False)


def _draw_values(ax: Any, plane: Plane, axes: Any, values: np.ndarray, norm: Any, key: bool) -> Any:
    from matplotlib.colors import Normalize

    norm = norm or Normalize(min(values.min(), plane.true.min()), max(values.max(), plane.true.max()))
    image = _image(ax, axes, values, cmap=_VALUES, norm=norm)
    if np.ptp(values):
        ax.contour(*axes, values, levels=8, colors="white", linewidths=0.5, linestyles="solid", alpha=0.6)
    _points(ax, plane.points, len(plane.points), c=plane.true, cmap=_VALUES, norm=norm)
    if key:
        bar = ax.figure.colorbar(image, cax=ax.inset_axes((1.03, 0, 0.05, 1)))
        bar.set_label(plane.target, parse_math=False)
    return norm


def _image(ax: Any, axes: Any, values: np.ndarray, **style: Any) -> Any:
    extent = [
        end for places in axes for end in (1.5 * places[0] - 0.5 * places[1], 1.5 * places[-1] - 0.5 * places[-2])
    ]  # a pixel has its point in the middle
    return ax.imshow(values, origin="lower", extent=extent, aspect="auto", interpolation="bilinear", **style)


def _points(ax: Any, points: np.ndarray, n: int, **style: Any) -> None:
    many = n > _MOST_SINGLE_POINTS
    size = 9 if many else 16 if n > 50 else 30
    ax.scatter(*points.T, size, edgecolors="white", linewidths=0.4, rasterized=many, zorder=3, **style)
