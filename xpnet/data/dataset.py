"""A data set in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from numpy.typing import NDArray

__all__ = ["Dataset"]

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples and targets of a file or a named data set.

    Attributes
    ----------
    name : str
        Used in messages and folder names.
    x : ndarray, shape (n_samples, n_features)
        uint8 for images, float32 where the file holds float32, else float64. A `pyarrow.Table` if the file is a table
        whose features are not all finite numbers.
    y : ndarray, shape (n_samples,) or (n_samples, n_outputs)
        Raw targets: integers, strings, booleans or floats.
    feature_names : tuple of str or None
    target_name : str or None
        Name of the target's column, key or file, if it has one.
    x_test, y_test : ndarray or None
        The test part that comes with the data set, if there is one.
    index_base : int or None
        The index of the first feature in a LIBSVM file, 0 or 1; None for other formats.
    image_shape : tuple of int or None
        Shape of a sample before it was flattened, if the samples are images: (height, width), or with the channels in
        front or behind.
    """

    name: str
    x: Array
    y: Array
    feature_names: tuple[str, ...] | None = None
    target_name: str | None = None
    x_test: Array | None = None
    y_test: Array | None = None
    index_base: int | None = None
    image_shape: tuple[int, ...] | None = None
