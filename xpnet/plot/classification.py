"""How well classes are told apart: confusion matrix, ROC and precision-recall curves, calibration."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.plot.calibration import calibration, event
from xpnet.plot.figures import COLOURS, axes_or_new, grid, heat, ink, label_text
from xpnet.plot.predictions import Predictions

__all__ = ["confusion_matrix", "confusion_size", "draw_confusion", "precision_recall", "reliability_diagram", "roc"]

_MOST_CLASSES = 50  # in a picture
_MOST_CLASSES_WITH_NUMBERS = 20
_MOST_POINTS = 300  # of a curve
_N_BINS = 15


def confusion_matrix(model: Any, x: Any = None, y: Any = None, ax: Any = None) -> Any:
    """Draw how many samples of each class are taken for each class; the colour is the share of the true class.

    Rows are true classes, columns predicted ones. Of more than 50 classes, the picture has the 20 that are in most
    errors.

    Parameters
    ----------
    model : Model, fitted estimator, or Predictions
        With `Predictions`, `x` and `y` are not needed.
    x, y
        Raw features and raw class labels.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    InvalidParameterError
        The model is not for classification.

    Examples
    --------
    >>> import numpy as np, xpnet
    >>> clf = xpnet.MLPClassifier(solver="lbfgs", random_state=0).fit([[0.0], [1.0]] * 20, ["no", "yes"] * 20)
    >>> ax = confusion_matrix(clf, [[0.0], [1.0], [0.9]], ["no", "yes", "yes"])
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['no', 'yes']
    """
    each = _predictions(model, x, y)
    each.check_task("confusion_matrix", "classification")
    return draw_confusion(each.labels[each.true], each.labels[each.predicted], each.labels, ax)


def draw_confusion(true: np.ndarray, predicted: np.ndarray, labels: np.ndarray, ax: Any = None, part: str = "") -> Any:
    """Draw the confusion matrix of labels that are predicted already; see `confusion_matrix`. Return the axes.

    Parameters
    ----------
    true, predicted : (n_samples,)
        Labels.
    labels : (n_classes,)
        All labels, sorted.
    ax : Axes, optional
    part : str
        The part of the data, for the title.
    """
    from matplotlib.colors import PowerNorm  # so that a few errors are seen beside many hits

    rows, columns = np.searchsorted(labels, true), np.searchsorted(labels, predicted)
    said = [part] if part else []
    totals = np.bincount(rows, minlength=len(labels))
    if len(labels) > _MOST_CLASSES:  # no larger matrix is made
        wrong = rows != columns
        errors = np.bincount(np.concatenate([rows[wrong], columns[wrong]]), minlength=len(labels))
        drawn = np.sort(np.argsort(-errors, kind="stable")[:_MOST_CLASSES_WITH_NUMBERS])
        said.append(f"the {drawn.size} of {len(labels):,} classes with the most errors")
        both = np.isin(rows, drawn) & np.isin(columns, drawn)
        rows, columns = np.searchsorted(drawn, rows[both]), np.searchsorted(drawn, columns[both])
        labels, totals = labels[drawn], totals[drawn]
    matrix = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(matrix, (rows, columns), 1)
    shares = matrix / np.maximum(totals, 1)[:, None]
    ax = axes_or_new(ax, *confusion_size(len(labels)))
    image = ax.imshow(shares, cmap=heat(), norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    ax.grid(visible=False)
    ax.spines[:].set_visible(True)
    ax.figure.colorbar(image, ax=ax, label="share of the true class", fraction=0.046, pad=0.03)
    ax.set(xlabel="predicted", ylabel="true")
    ax.set_title(", ".join(said))
    few = len(labels) <= _MOST_CLASSES_WITH_NUMBERS
    ticks = np.arange(0, len(labels), 1 if few else 5)
    names = [label_text(label) for label in labels[ticks]]
    rotation = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if max(map(len, names)) > 2 else {}
    # Labels are plain text, so a dollar sign must not start a formula.
    ax.set_xticks(ticks, names, parse_math=False, **rotation)
    ax.set_yticks(ticks, names, parse_math=False)
    for row, column in np.argwhere(matrix) if few else ():
        colour = "white" if image.norm(shares[row, column]) > 0.75 else ink()
        ax.text(column, row, matrix[row, column], ha="center", va="center", color=colour, size=8)
    return ax


def confusion_size(n_classes: int) -> tuple[float, float]:
    """Return width and height of a confusion matrix of so many classes, in inches."""
    size = 3 + 0.35 * min(n_classes, _MOST_CLASSES_WITH_NUMBERS)
    return size + 0.5, size


def roc(model: Any, x: Any = None, y: Any = None, ax: Any = None) -> Any:
    """Draw the receiver operating characteristic of a model of two classes, with the area under it.

    The second class is the positive one. With samples of one class only, there is no curve, and the area is nan.
    Fawcett (2006), Pattern Recognition Letters 27, 861-874.

    Parameters
    ----------
    model : Model, fitted estimator, or Predictions
        With `Predictions`, `x` and `y` are not needed.
    x, y
        Raw features and raw class labels.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    InvalidParameterError
        The model is not one of two classes.
    """
    each = _predictions(model, x, y)
    hits, false = _cumulated(each, "roc")
    rates = _shares(np.append(0, false), false[-1]), _shares(np.append(0, hits), hits[-1])
    area = float(np.trapezoid(rates[1], rates[0]))
    ax = _unit_square(ax, each, "false positive rate", "true positive rate")
    ax.plot([0, 1], [0, 1], label="chance: 0.5", color=ink(), alpha=0.6, linestyle="dotted")
    ax.plot(*_thinned(*rates), label=f"area: {area:.3f}", color=COLOURS[0])
    ax.legend(loc="lower right")
    return ax


def precision_recall(model: Any, x: Any = None, y: Any = None, ax: Any = None) -> Any:
    """Draw precision against recall of a model of two classes, with the average precision.

    The second class is the positive one. Its share of the samples is the precision of chance. Without samples of this
    class, there is no curve, and the average is nan.

    Parameters
    ----------
    model, x, y, ax
        As for `roc`.

    Returns
    -------
    Axes

    Raises
    ------
    InvalidParameterError
        The model is not one of two classes.
    """
    each = _predictions(model, x, y)
    hits, false = _cumulated(each, "precision_recall")
    precision, recall = hits / (hits + false), _shares(hits, hits[-1])
    average = float(np.sum(np.diff(recall, prepend=0) * precision))
    share = precision[-1]
    ax = _unit_square(ax, each, "recall", "precision")
    ax.axhline(share, label=f"chance: {share:.3f}", color=ink(), alpha=0.6, linestyle="dotted")
    # A precision holds for all recalls down to that of the threshold before.
    ax.step(*_thinned(np.append(0, recall), np.append(1, precision)), label=f"average: {average:.3f}", color=COLOURS[0])
    ax.legend(loc="lower left")
    return ax


def reliability_diagram(model: Any, x: Any = None, y: Any = None, ax: Any = None) -> Any:
    """Draw how often what the model predicts with some probability happens, with the expected calibration error.

    Of two classes, it is about the probability of the second class; of more, about that of the predicted class. The
    bars are the shares of the samples. See `xpnet.plot.calibration.expected_calibration_error`.

    Parameters
    ----------
    model : Model, fitted estimator, or Predictions
        With `Predictions`, `x` and `y` are not needed.
    x, y
        Raw features and raw class labels.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    InvalidParameterError
        The model is not for classification, or its outputs are not probabilities.
    """
    each = _predictions(model, x, y)
    each.check_task("reliability_diagram", "classification")
    bins = calibration(*event(each.probabilities, each.true), _N_BINS)
    if len(each.labels) == 2:
        ax = _unit_square(ax, each, "predicted probability", "fraction of the samples")
    else:
        ax = _unit_square(ax, None, "confidence", "accuracy")
    shares = bins.counts / bins.counts.sum()
    centers = (np.minimum(np.floor(bins.predicted * _N_BINS), _N_BINS - 1) + 0.5) / _N_BINS
    ax.bar(centers, shares, 1 / _N_BINS, label="share of all samples", color=COLOURS[7], alpha=0.35)
    ax.plot([0, 1], [0, 1], label="perfect", color=ink(), alpha=0.6, linestyle="dotted")
    label = f"calibration error: {bins.error:.3f}"
    ax.scatter(bins.predicted, bins.happened, 20 + 120 * shares, label=label, color=COLOURS[0], clip_on=False)
    ax.legend()
    return ax


def _predictions(model: Any, x: Any, y: Any) -> Predictions:
    return model if isinstance(model, Predictions) else Predictions.of(model, x, y)


def _cumulated(each: Predictions, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Return for each threshold how many samples above it are positive, and how many are not."""
    positive, score = each.of_second_class(what)
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)  # equal scores have one threshold
    hits = np.cumsum(positive[order])[ends]
    return hits, ends + 1 - hits


def _shares(counts: np.ndarray, total: int) -> np.ndarray:
    return counts / total if total else np.full(len(counts), np.nan)


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return some points of a curve: the first, the last, and others at even distances along it."""
    if len(x) <= _MOST_POINTS:
        return x, y
    length = np.append(0, np.cumsum(np.hypot(np.diff(x), np.diff(y))))
    kept = np.unique(np.searchsorted(length, np.linspace(0, length[-1], _MOST_POINTS)).clip(0, len(x) - 1))
    return x[kept], y[kept]


def _unit_square(ax: Any, each: Predictions | None, xlabel: str, ylabel: str) -> Any:
    """Prepare axes from 0 to 1; with the name of the positive class, if there is one."""
    ax = axes_or_new(ax, 4, 4)
    ax.set(xlabel=xlabel, ylabel=ylabel, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    grid(ax)
    if each is not None:
        ax.set_title(f"positive class: {label_text(each.labels[1])}", parse_math=False)
    return ax
