"""Images for which a model is confidently wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet.data.images import as_images
from xpnet.errors import InvalidParameterError
from xpnet.plot.figures import axes_or_new, label_text
from xpnet.plot.predictions import Predictions, most_wrong, taken

__all__ = ["wrong_samples"]

_ROWS, _COLUMNS = 2, 8


def wrong_samples(
    model: Any, x: Any = None, y: Any = None, image_shape: Sequence[int] | None = None, ax: Any = None
) -> Any:
    """Draw the images that are most confidently taken for a wrong class, at most 16, the most confident first.

    Parameters
    ----------
    model : Model, fitted estimator, or Predictions
        With `Predictions`, `x` and `y` are not needed.
    x, y
        Raw features and raw class labels.
    image_shape : tuple of int, optional
        Shape of an image, if the model does not know it; see `Model`.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    InvalidParameterError
        The model is not for classification, or the shape of the images is not known.
    """
    each = model if isinstance(model, Predictions) else Predictions.of(model, x, y)
    shape = image_shape or each.model.image_shape
    if shape is None:
        raise InvalidParameterError("image_shape: expected the shape of an image, such as (28, 28); received none.")
    wrong = most_wrong(each, n=_ROWS * _COLUMNS)
    columns = max(1, min(len(wrong), _COLUMNS))
    ax = axes_or_new(ax, 10, 3.4)
    ax.set_axis_off()
    if not wrong:
        ax.text(0.5, 0.5, "All predictions are right.", ha="center", va="center", transform=ax.transAxes)
        return ax
    images = as_images(taken(each.x, np.searchsorted(each.rows, [sample.row for sample in wrong])), shape)
    images = images.astype(np.float64)
    low, high = images.min(), images.max()
    images = (images - low) / max(high - low, np.finfo(np.float64).tiny)
    height, width = images.shape[1] / max(images.shape[1:3]), images.shape[2] / max(images.shape[1:3])
    for i, (image, sample) in enumerate(zip(images, wrong, strict=True)):
        left, top = 1.25 * (i % columns), (height + 0.55) * (i // columns)
        ax.imshow(image, "gray", vmin=0, vmax=1, extent=(left, left + width, top + height, top))
        said = f"{label_text(sample.true)}\n→ {label_text(sample.predicted)} ({sample.confidence:.2f})"
        ax.text(left + width / 2, top + height + 0.05, said, ha="center", va="top", size=8, parse_math=False)
    ax.set_title("true class → predicted class (confidence)")
    ax.set(xlim=(-0.1, 1.25 * columns - 0.15), ylim=((height + 0.55) * -(-len(wrong) // columns), -0.05))
    return ax
