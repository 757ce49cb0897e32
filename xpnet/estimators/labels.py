"""Encoding of class labels and label matrices for the loss, and decoding of the network's output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d, compute_class_weight, compute_sample_weight

from xpnet.backend import Array, Backend
from xpnet.constraints import real
from xpnet.errors import DataError, InvalidParameterError, shown

__all__ = ["combine_weights", "decide", "decode", "encode", "is_vector", "learn", "normalised"]

_WEIGHT = real(0)


def is_vector(y: Any) -> bool:
    """Return True for an array of labels, one a sample, of a type that can be nothing else."""
    return type(y) is np.ndarray and y.ndim == 1 and y.dtype.kind in "biu"


def learn(y: Any) -> tuple[np.ndarray, bool]:
    """Return the classes of targets, sorted, and whether they are a matrix of labels.

    Raises
    ------
    ValueError
        The targets are no classes.
    """
    if is_vector(y):
        classes = np.unique(y)
        if 2 * len(classes) <= len(y):  # else scikit-learn warns that they may be no classes
            return classes, False
    binarizer = LabelBinarizer().fit(y)
    return binarizer.classes_, binarizer.y_type_ == "multilabel-indicator"


def encode(y: Any, classes: np.ndarray, *, multilabel: bool) -> np.ndarray:
    """Return class indices, (n_samples,) int32, or the matrix of labels, (n_samples, n_labels) float64.

    Raises
    ------
    ValueError
        A label is not in `classes`, or the number of labels per sample differs.
    """
    if multilabel:
        matrix: np.ndarray = y.toarray() if hasattr(y, "toarray") else np.asarray(y)
        if matrix.shape[1:] != classes.shape:
            raise DataError(f"y: expected {classes.size} labels per sample; received the shape {matrix.shape}.")
        return matrix.astype(np.float64)
    if is_vector(y) and is_vector(classes):
        indices = np.searchsorted(classes, y)
        known = np.array_equal(classes.take(indices, mode="clip"), y)
    else:  # there may be no order among labels of different types
        y = column_or_1d(y, warn=True)
        known = not np.setdiff1d(y, classes).size
        indices = np.searchsorted(classes, y) if known else np.empty(0)
    if not known:
        given = np.unique(y)
        raise ValueError(f"`y` has classes not in `self.classes_`. `self.classes_` has {classes}. 'y' has {given}.")
    return indices.astype(np.int32)


def combine_weights(
    y: Any,
    classes: np.ndarray,
    class_weight: Mapping[Any, float] | list[Mapping[Any, float]] | str,
    sample_weight: np.ndarray | None,
    *,
    multilabel: bool,
) -> np.ndarray:
    """Return the product of per-sample weights and class weights, (n_samples,).

    For ``"balanced"`` the frequency of a class is the sum of its samples' weights, so a weight of 2 equals two samples.

    Raises
    ------
    InvalidParameterError
        A weight is not a finite number of at least 0.
    """
    for mapping in [class_weight] if isinstance(class_weight, Mapping) else class_weight:
        for label, weight in mapping.items() if isinstance(mapping, Mapping) else ():
            if not _WEIGHT.holds(weight):
                raise InvalidParameterError(
                    f"class_weight: expected {_WEIGHT.expected} for each class; received {shown(weight)} for "
                    f"{shown(label)}."
                )
    per_sample = 1.0 if sample_weight is None else sample_weight
    if multilabel:
        balanced: np.ndarray = compute_sample_weight(class_weight, y.toarray() if hasattr(y, "toarray") else y)
        return balanced * per_sample
    y = np.ravel(y)
    with np.errstate(divide="ignore", invalid="ignore"):  # the weights of a class may sum to 0
        by_class = compute_class_weight(class_weight, classes=classes, y=y, sample_weight=sample_weight)
        return np.where(per_sample, by_class[np.searchsorted(classes, y)] * per_sample, 0.0)


def decide(output: Array, backend: Backend, *, multilabel: bool) -> Array:
    """Return the class index of each sample, or whether it has each label, on the device of the output.

    Parameters
    ----------
    output : (n_samples, n_outputs)
        A single output is the probability of the second class.
    """
    if multilabel:
        return output > 0.5
    return backend.xp.argmax(output, axis=1) if output.shape[1] > 1 else output[:, 0] > 0.5


def decode(indices: Array, data_backend: Backend, classes: np.ndarray, *, multilabel: bool) -> Array:
    """Return the labels of the result of `decide` on its device. Text labels are returned on the host."""
    xp = data_backend.xp
    if multilabel:
        return xp.astype(indices, xp.int64)
    indices = indices & (len(classes) > 1) if xp.isdtype(indices.dtype, "bool") else indices
    if classes.dtype.kind in "biuf":
        return xp.take(data_backend.asarray(classes), xp.astype(indices, xp.int64), axis=0)
    return classes[data_backend.to_numpy(indices).astype(np.int64)]


def normalised(output: Array, data_backend: Backend) -> Array:
    """Return the probability of each class, (n_samples, n_classes); each row sums to 1."""
    xp = data_backend.xp
    if output.shape[1] == 1:
        return xp.concat([1 - output, output], axis=1)
    total = xp.sum(output, axis=1, keepdims=True)
    return output / xp.maximum(total, xp.finfo(output.dtype).smallest_normal)
