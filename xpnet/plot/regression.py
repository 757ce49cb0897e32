"""How well values are predicted: predicted against true values, residuals, and a histogram of the errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpnet.errors import InvalidParameterError, shown
from xpnet.plot.figures import COLOURS, axes_or_new, grid, ink
from xpnet.plot.predictions import Predictions
from xpnet.training.metric_functions import r2

__all__ = ["error_histogram", "predicted_against_true", "residuals"]

_MOST_SINGLE_POINTS = 500  # of more, an SVG has one image
_MOST_BINS = 40
_RUNNING = 20  # means along the axis


def predicted_against_true(model: Any, x: Any = None, y: Any = None, output: int = 0, ax: Any = None) -> Any:
    """Draw predicted against true values, with the diagonal of perfect predictions and R2.

    Parameters
    ----------
    model : Model, fitted estimator, or Predictions
        With `Predictions`, `x` and `y` are not needed.
    x, y
        Raw features and raw targets.
    output : int
        Which one of several targets to draw, counted from 0.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    InvalidParameterError
        The model is not for regression, or has no such output.

    Examples
    --------
    >>> import numpy as np, xpnet
    >>> model = xpnet.MLPRegressor(solver="lbfgs", random_state=0).fit([[0.0], [1.0]] * 20, [3.0, 5.0] * 20)
    >>> ax = predicted_against_true(model, [[0.0], [1.0]], [3.0, 5.0])
    >>> ax.get_xlabel()
    'true value'
    """
    true, predicted, name = _values(model, x, y, output, "predicted_against_true")
    ax = axes_or_new(ax, 4, 4)
    _points(ax, true, predicted)
    score = r2(predicted[:, None], true[:, None])
    ax.axline(
        (true[0], true[0]), slope=1, label=f"perfect; R2: {score:.3f}", color=ink(), alpha=0.6, linestyle="dotted"
    )
    _name(ax, f"true {name}", f"predicted {name}")
    ax.legend(loc="upper left")
    return ax


def residuals(model: Any, x: Any = None, y: Any = None, output: int = 0, ax: Any = None) -> Any:
    """Draw the residuals, true minus predicted, against the predicted values, with their running mean.

    Parameters
    ----------
    model, x, y, output, ax
        As for `predicted_against_true`.

    Returns
    -------
    Axes

    Raises
    ------
    InvalidParameterError
        The model is not for regression, or has no such output.
    """
    true, predicted, name = _values(model, x, y, output, "residuals")
    ax = axes_or_new(ax)
    _points(ax, predicted, true - predicted)
    order = np.argsort(predicted, kind="stable")
    groups = np.array_split(order, min(_RUNNING, max(1, len(order) // 10)))
    means = np.asarray([[predicted[rows].mean(), (true - predicted)[rows].mean()] for rows in groups])
    ax.plot(*means.T, label="running mean", color=COLOURS[1])
    ax.axhline(0, color=ink(), alpha=0.6, linestyle="dotted")
    _name(ax, f"predicted {name}", "true - predicted")
    ax.legend()
    return ax


def error_histogram(model: Any, x: Any = None, y: Any = None, output: int = 0, ax: Any = None) -> Any:
    """Draw the distribution of the errors, predicted minus true, with their mean, MAE and RMSE in the target's units.

    Parameters
    ----------
    model, x, y, output, ax
        As for `predicted_against_true`.

    Returns
    -------
    Axes

    Raises
    ------
    InvalidParameterError
        The model is not for regression, or has no such output.
    """
    true, predicted, name = _values(model, x, y, output, "error_histogram")
    errors = predicted - true
    ax = axes_or_new(ax)
    bins = min(math.ceil(math.sqrt(len(errors))), _MOST_BINS)
    middle = (errors.min() + errors.max()) / 2  # errors that differ by rounding only have one bar
    reach = max(np.ptp(errors) / 2, 1e-6 * np.abs(true).max(), np.finfo(np.float32).tiny)
    ax.hist(errors, bins, range=(middle - reach, middle + reach), color=COLOURS[0], alpha=0.8)
    ax.axvline(0, color=ink(), alpha=0.6, linestyle="dotted")
    mean = f"mean: {errors.mean():.4g}"
    ax.axvline(errors.mean(), label=mean, color=COLOURS[1])
    _name(ax, f"predicted - true {name}", "samples")
    ax.set_title(f"MAE: {np.abs(errors).mean():.4g}, RMSE: {np.sqrt(np.mean(errors**2)):.4g}")
    ax.legend()
    return ax


def _values(model: Any, x: Any, y: Any, output: int, what: str) -> tuple[np.ndarray, np.ndarray, str]:
    """Return true and predicted values of an output, (n_samples,), and the name of the target."""
    each = model if isinstance(model, Predictions) else Predictions.of(model, x, y)
    each.check_task(what, "regression")
    n_out = each.true.shape[1]
    if output not in range(n_out):
        raise InvalidParameterError(f"output: expected a number from 0 to {n_out - 1}; received {shown(output)}.")
    name = each.model.target_name or "value"
    return each.true[:, output], each.predicted[:, output], name if n_out == 1 else f"{name} {output + 1}"


def _points(ax: Any, x: np.ndarray, y: np.ndarray) -> None:
    many = len(x) > _MOST_SINGLE_POINTS
    style = {"markersize": 2, "alpha": 0.4} if many else {"markersize": 4, "alpha": 0.7}
    ax.plot(x, y, linestyle="none", marker="o", markeredgewidth=0, color=COLOURS[0], rasterized=many, **style)


def _name(ax: Any, xlabel: str, ylabel: str) -> None:
    ax.set_xlabel(xlabel, parse_math=False)  # the name of a target is plain text
    ax.set_ylabel(ylabel, parse_math=False)
    grid(ax)
