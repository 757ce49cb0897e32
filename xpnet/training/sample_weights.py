"""Sample weights of a training part, made of per-sample weights and class weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj

from xpnet.backend import Backend, to_host
from xpnet.data.checks import as_floats
from xpnet.errors import InvalidParameterError, shown
from xpnet.nn.network import Network
from xpnet.subnormals import UserState
from xpnet.training.samples import Samples

__all__ = ["ClassWeight", "add_sample_weights", "check_any_weight", "class_weights", "with_weights"]

ClassWeight = str | Mapping[int, float] | None


def add_sample_weights(
    network: Network,
    backend: Backend,
    dtype: str,
    samples: Samples,
    sample_weight: Any = None,
    class_weight: ClassWeight = None,
) -> Samples:
    """Add weights to samples: the product of per-sample weights and class weights.

    Parameters
    ----------
    class_weight : "balanced", mapping of class index to weight, or None
        ``"balanced"`` is ``n_samples / (n_classes * count)``. A class that is not in the mapping has weight 1.

    Raises
    ------
    InvalidParameterError
        A weight is negative or not finite, all are 0, their number is not `n_samples`, or the targets are not class
        indices.
    DataError
        A weight is too large for `dtype`.
    """
    if sample_weight is None and class_weight is None:
        return samples
    n_samples = samples.x.shape[0]
    weight = np.ones(n_samples)
    if is_array_api_obj(sample_weight):
        sample_weight = to_host(sample_weight)
    if sample_weight is not None:
        weight = _numbers("sample_weight", sample_weight)
    if weight.shape != (n_samples,):
        raise InvalidParameterError(f"sample_weight: expected the shape ({n_samples},); received {weight.shape}.")
    if class_weight is not None:
        y = backend.to_numpy(samples.y)
        if y.ndim > 1:
            raise InvalidParameterError(f"class_weight: expected class indices as targets; received shape {y.shape}.")
        weight = weight * class_weights(network, class_weight, lambda: [y])[y]
    weighted = with_weights(backend, dtype, samples, weight)
    check_any_weight(weight.astype(dtype))
    return weighted


def with_weights(backend: Backend, dtype: str, samples: Samples, weight: np.ndarray) -> Samples:
    """Return samples with weights, (n_samples,), which are checked as in `add_sample_weights`, but may all be 0."""
    return samples._replace(sample_weight=backend.asarray(as_floats(_checked(weight), dtype, "weights")))


def check_any_weight(weight: np.ndarray) -> None:
    """Check that some weight is above 0: with weights of 0 alone a run would train on nothing.

    Raises
    ------
    InvalidParameterError
    """
    if not weight.any():
        raise InvalidParameterError("weights: expected at least one above 0; received none. Leave out such samples.")


def class_weights(
    network: Network, class_weight: str | Mapping[int, float], targets: Callable[[], Iterable[np.ndarray]]
) -> np.ndarray:
    """Return the weight of each class, (n_classes,).

    Parameters
    ----------
    targets : callable
        Return arrays of class indices, several at a time. They are counted for ``"balanced"``.

    Raises
    ------
    InvalidParameterError
        A class is unknown, the targets are not class indices, or a weight is negative or not finite.
    """
    n_classes = max(network.layer_sizes[-1], 2)
    if class_weight == "balanced":
        counts = np.zeros(n_classes, dtype=np.int64)
        with UserState():  # the targets may come from an iterable of the user
            for y in targets():
                if y.ndim > 1 or y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= n_classes:
                    raise InvalidParameterError(
                        f"class_weight: expected class indices from 0 to {n_classes - 1} as targets; received "
                        f"{y.dtype} of shape {y.shape}."
                    )
                counts += np.bincount(y, minlength=n_classes)
        table = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))
    elif isinstance(class_weight, Mapping) and set(class_weight) <= set(range(n_classes)):
        table = _numbers("class_weight", [class_weight.get(k, 1.0) for k in range(n_classes)])
    else:
        raise InvalidParameterError(
            f"class_weight: expected 'balanced' or a mapping of class indices from 0 to {n_classes - 1} to weights; "
            f"received {shown(class_weight)}."
        )
    return _checked(table)


def _numbers(what: str, values: Any) -> np.ndarray:
    try:
        numbers = np.asarray(values)
        if numbers.dtype.kind in "biufO":
            return numbers.astype(np.float64)
        raise TypeError
    except (TypeError, ValueError, OverflowError):
        raise InvalidParameterError(f"{what}: expected numbers; received {shown(values):.60}.") from None


def _checked(weight: np.ndarray) -> np.ndarray:
    if not np.all(np.isfinite(weight)) or np.any(weight < 0):
        raise InvalidParameterError(
            f"weights: expected finite numbers of at least 0; received {weight.min():g} to {weight.max():g}."
        )
    return weight
