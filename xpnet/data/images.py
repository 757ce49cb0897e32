"""Samples that are images: their shape, and features as pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["as_images", "image_shape"]

_CHANNELS = (1, 3, 4)  # grey, colour, colour with transparency


def image_shape(shape: Sequence[int]) -> tuple[int, ...] | None:
    """Return the shape of a sample that is an image, from the shape of the array of all samples; else None.

    Images are (height, width), or have 1, 3 or 4 channels in front or behind.

    Examples
    --------
    >>> image_shape((60000, 28, 28)), image_shape((100, 32, 32, 3)), image_shape((150, 4))
    ((28, 28), (32, 32, 3), None)
    """
    sample = tuple(map(int, shape[1:]))
    if len(sample) == 2 or (len(sample) == 3 and (sample[0] in _CHANNELS or sample[2] in _CHANNELS)):
        return sample
    return None


def as_images(x: Any, shape: Sequence[int]) -> np.ndarray:
    """Return features, (n_samples, n_features), as images, (n_samples, height, width) or with colours behind.

    Raises
    ------
    ValueError
        The features do not have the size of the images.
    """
    images = np.asarray(x).reshape(-1, *shape)
    if len(x) != len(images):
        raise ValueError(f"x: expected {math.prod(shape)} features; received the shape {np.shape(x)}.")
    if images.ndim == 4:
        images = images if shape[2] in _CHANNELS else np.moveaxis(images, 1, 3)
        images = images[..., 0] if images.shape[3] == 1 else images
    return images
