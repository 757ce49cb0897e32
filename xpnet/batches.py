"""Training data on the device: its dtype and shape, its weights, and the order of its batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace

from xpnet.backend import Array, Backend, backend_of
from xpnet.data import check_data
from xpnet.errors import InvalidParameterError
from xpnet.network import Network

__all__ = ["ClassWeight", "Samples", "batch_orders", "place", "weigh"]

ClassWeight = str | Mapping[int, float] | None

# A compiled run of steps is handed about this many floating-point operations at once: tens of milliseconds on a CPU,
# enough to hide the cost of a call, and little enough for an interrupt to be answered promptly.
_OPERATIONS_PER_CALL = 2e10


class Samples(NamedTuple):
    """Inputs (n_samples, n_in), targets and perhaps weights (n_samples,), on the device.

    Targets are class indices, (n_samples,) int32, or values, (n_samples, n_out).
    """

    x: Array
    y: Array
    weight: Array | None = None

    @property
    def arrays(self) -> tuple[Array, ...]:
        """Those that are there, as a step takes them."""
        return (self.x, self.y) if self.weight is None else tuple(self)


def place(network: Network, backend: Backend, dtype: str, x: Any, y: Any) -> Samples:
    """Bring inputs and targets to the device, in the dtypes of the step, and hold them to the network's shape.

    Raises
    ------
    InvalidParameterError
        The shape is not the network's, or a class index is outside.
    DataError
        No samples, unequal lengths, NaN or infinity.
    """
    x, y = (array if hasattr(array, "dtype") else np.asarray(array) for array in (x, y))
    if isinstance(x, np.ndarray) and isinstance(y, np.ndarray):
        check_data(x, y)
    n_in, n_out = network.layer_sizes[0], network.layer_sizes[-1]
    if x.ndim != 2 or x.shape[1] != n_in:
        raise InvalidParameterError(f"x: expected the shape (n_samples, {n_in}); received {tuple(x.shape)}.")
    if y.ndim == 1 and array_namespace(y).isdtype(y.dtype, "integral"):
        samples = Samples(_to_device(backend, x, dtype), _to_device(backend, y, "int32"))
        low, high = (int(backend.to_numpy(extreme(samples.y))) for extreme in (backend.xp.min, backend.xp.max))
        if low < 0 or high >= max(n_out, 2):
            raise InvalidParameterError(
                f"y: expected class indices from 0 to {max(n_out, 2) - 1}; received {low} to {high}."
            )
        return samples
    if tuple(y.shape) not in ((x.shape[0], n_out), (x.shape[0],) * (n_out == 1)):
        raise InvalidParameterError(
            f"y: expected integers of shape ({x.shape[0]},) or numbers of shape ({x.shape[0]}, {n_out}); "
            f"received {y.dtype} of shape {tuple(y.shape)}."
        )
    return Samples(_to_device(backend, x, dtype), backend.xp.reshape(_to_device(backend, y, dtype), (-1, n_out)))


def _to_device(backend: Backend, array: Any, dtype: str) -> Array:
    if not isinstance(array, np.ndarray):
        source = backend_of(array)
        if source.device == backend.device:
            return backend.xp.astype(array, getattr(backend.xp, dtype), copy=False)
        array = source.to_numpy(array)
    return backend.asarray(array.astype(dtype, copy=False))


def weigh(samples: Samples, backend: Backend, dtype: str, sample_weight: Any, class_weight: ClassWeight) -> Samples:
    """Add the product of the samples' own weights and their classes' weights.

    Parameters
    ----------
    class_weight : "balanced", mapping of class index to weight, or None
        ``"balanced"`` is ``n_samples / (n_classes * count)``; a class that is not named weighs 1.

    Raises
    ------
    InvalidParameterError
        A weight is negative or not finite, there are not as many as samples, or the targets are no classes.
    """
    if sample_weight is None and class_weight is None:
        return samples
    n_samples = samples.x.shape[0]
    weight = np.ones(n_samples) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (n_samples,):
        raise InvalidParameterError(f"sample_weight: expected the shape ({n_samples},); received {weight.shape}.")
    if class_weight is not None:
        weight = weight * _class_weights(backend.to_numpy(samples.y), class_weight)
    if not np.all(np.isfinite(weight)) or np.any(weight < 0):
        raise InvalidParameterError("weights: expected finite numbers of at least 0; received another.")
    return samples._replace(weight=backend.asarray(weight.astype(dtype)))


def _class_weights(y: np.ndarray, class_weight: str | Mapping[int, float]) -> np.ndarray:
    if y.ndim > 1:
        raise InvalidParameterError(f"class_weight: expected class indices as targets; received shape {y.shape}.")
    counts = np.bincount(y)
    if class_weight == "balanced":
        table = y.size / (np.count_nonzero(counts) * np.maximum(counts, 1))
    elif isinstance(class_weight, Mapping) and set(class_weight) <= set(range(counts.size)):
        table = np.asarray([class_weight.get(k, 1.0) for k in range(counts.size)], dtype=np.float64)
    else:
        raise InvalidParameterError(
            f"class_weight: expected 'balanced' or a mapping of class indices from 0 to {counts.size - 1} to weights; "
            f"received {class_weight!r}."
        )
    weights: np.ndarray = table[y]
    return weights


def batch_orders(
    network: Network, backend: Backend, n_samples: int, batch_size: int, seed: int, epoch: int, position: int
) -> Iterator[Array]:
    """Yield an epoch's shuffled order from step `position` on, in pieces (n_steps, batch) on the device.

    The order follows from the seed and the epoch alone. The last batch, where it is short, is a piece of its own,
    for a compiled run has one shape.
    """
    order = np.random.default_rng((seed, epoch)).permutation(n_samples).astype(np.int32)
    full = n_samples // batch_size
    per_step = 6 * network.n_weights * batch_size  # a multiplication and an addition, forward and twice backward
    per_call = max(1, int(_OPERATIONS_PER_CALL / per_step))
    rows = order[: full * batch_size].reshape(full, batch_size)
    for start in range(position, full, per_call):
        yield backend.asarray(rows[start : start + per_call])
    if full * batch_size < n_samples and position <= full:
        yield backend.asarray(order[None, full * batch_size :])
