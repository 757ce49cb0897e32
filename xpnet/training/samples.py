"""Training data on the device: dtypes and shapes, per-sample weights, and the order of the batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, is_array_api_obj

from xpnet.backend import Array, Backend, backend_of, to_host
from xpnet.data.checks import check_data
from xpnet.errors import DataError, InvalidParameterError
from xpnet.nn.network import Network
from xpnet.seeds import Purpose, seed_sequence

__all__ = [
    "ClassWeight",
    "Samples",
    "SparseRows",
    "as_array",
    "class_weights",
    "epoch_order",
    "pieces",
    "place",
    "to_device",
    "weigh",
]

ClassWeight = str | Mapping[int, float] | None

# A call of a compiled run does about this many floating-point operations, and at most this many steps. That takes some
# tenths of a second on a CPU: long enough to hide the cost of the call, short enough to show progress and to react to
# an interrupt.
_OPERATIONS_PER_CALL = 2e10
_STEPS_PER_CALL = 256

# This many elements of sparse inputs are made dense at once: 64 MiB in float32.
_DENSE_ELEMENTS = 1 << 24

_SUM_TOLERANCE = 1e-3  # for the sum of a row of target probabilities, which may be rounded


class SparseRows:
    """A SciPy sparse matrix (n_samples, n_in) on the host. Indexing returns rows as a dense array on the device.

    The array API standard has no sparse arrays.
    """

    def __init__(self, matrix: Any, backend: Backend, dtype: str) -> None:
        if matrix.dtype.kind not in "biuf":
            raise DataError(
                f"features: expected real numbers; received dtype {matrix.dtype}; convert them to float32 or float64"
            )
        self._csr = matrix.tocsr().astype(dtype, copy=False)
        self._backend = backend
        self.shape: tuple[int, int] = self._csr.shape
        self.values: np.ndarray = self._csr.data

    def __getitem__(self, key: tuple[Any, Any]) -> Array:
        rows, _ = key  # always all columns
        return self._backend.asarray(self._csr[rows].toarray())


class Samples(NamedTuple):
    """Inputs (n_samples, n_in), targets and optional weights (n_samples,), on the device.

    Targets are class indices, (n_samples,) int32, or values, (n_samples, n_out).
    """

    x: Array | SparseRows
    y: Array
    weight: Array | None = None

    def dense(self, backend: Backend, rows: np.ndarray) -> tuple[tuple[Array, ...], Array]:
        """Return the samples `rows`, (n_steps, batch), as dense arrays, and the indices of the batches in them."""
        flat = rows.reshape(-1)
        indices = backend.asarray(flat)
        rest = (backend.xp.take(array, indices, axis=0) for array in self.arrays[1:])
        own = np.arange(flat.size, dtype=np.int32).reshape(rows.shape)
        return (self.x[flat, :], *rest), backend.asarray(own)

    @property
    def arrays(self) -> tuple[Any, ...]:
        """The arrays of a batch, as a step takes them."""
        return (self.x, self.y) if self.weight is None else tuple(self)


def place(network: Network, backend: Backend, dtype: str, x: Any, y: Any) -> Samples:
    """Move inputs and targets to the device, in the dtypes of the step, and check that they fit the network.

    Raises
    ------
    InvalidParameterError
        The shape does not fit the network, or a class index is out of range.
    DataError
        No samples, unequal lengths, NaN or infinity.

    Notes
    -----
    One-dimensional integers are class indices, save for one output that is no probability: there they are values.
    """
    # SciPy need not be imported to know its matrices.
    x = SparseRows(x, backend, dtype) if hasattr(x, "tocsr") else as_array(x)
    y = as_array(y)
    n_in, n_out = network.layer_sizes[0], network.layer_sizes[-1]
    if len(x.shape) != 2 or x.shape[1] != n_in:
        raise InvalidParameterError(f"x: expected the shape (n_samples, {n_in}); received {tuple(x.shape)}.")
    _check(x, y)
    # With one output a whole number is a class only where the output is a probability; elsewhere it is a quantity.
    has_classes = n_out > 1 or network.loss_function.targets.are_binary
    if y.ndim == 1 and has_classes and array_namespace(y).isdtype(y.dtype, "integral"):
        low, high = (int(extreme(y)) for extreme in (array_namespace(y).min, array_namespace(y).max))
        if low < 0 or high >= max(n_out, 2):
            raise InvalidParameterError(
                f"y: expected class indices from 0 to {max(n_out, 2) - 1}; received {low} to {high}."
            )
        return Samples(_inputs(backend, x, dtype), to_device(backend, y, "int32"))
    if tuple(y.shape) not in ((x.shape[0], n_out), (x.shape[0],) * (n_out == 1)):
        raise InvalidParameterError(
            f"y: expected integers of shape ({x.shape[0]},) or numbers of shape ({x.shape[0]}, {n_out}); "
            f"received {y.dtype} of shape {tuple(y.shape)}."
        )
    kind = network.loss_function.targets
    least, most = (float(extreme(y)) for extreme in (array_namespace(y).min, array_namespace(y).max))
    if least < kind.lowest or most > kind.highest:
        raise InvalidParameterError(
            f"y: expected numbers from {kind.lowest:g} to {kind.highest:g} for the loss {network.loss!r}; "
            f"received {least:g} to {most:g}."
        )
    if kind.sum_to_one:
        sums = array_namespace(y).sum(y, axis=1)
        if not bool(array_namespace(y).all(abs(sums - 1) < _SUM_TOLERANCE)):
            raise InvalidParameterError(
                f"y: expected class indices, or rows that sum to 1, for the loss {network.loss!r}; received others."
            )
    return Samples(_inputs(backend, x, dtype), backend.xp.reshape(to_device(backend, y, dtype), (-1, n_out)))


def _inputs(backend: Backend, x: Array | SparseRows, dtype: str) -> Array | SparseRows:
    return x if isinstance(x, SparseRows) else to_device(backend, x, dtype)


def as_array(value: Any) -> Any:
    """Return an array of any library unchanged, and convert anything else to a NumPy array."""
    return value if is_array_api_obj(value) else np.asarray(value)


def _check(x: Any, y: Any) -> None:
    """Check the data as `check_data` does, without moving a device array to the host."""
    if isinstance(x, np.ndarray) and isinstance(y, np.ndarray):
        check_data(x, y)
        return
    if x.shape[0] != (y.shape[0] if y.ndim else 0) or x.shape[0] == 0:
        raise DataError(
            f"x, y: expected as many targets as samples, at least one; received the shapes {tuple(x.shape)} and "
            f"{tuple(y.shape)}"
        )
    for name, array in (("x", x), ("y", y)):
        if isinstance(array, SparseRows):
            array = array.values
        xp = array_namespace(array)
        if xp.isdtype(array.dtype, "real floating") and not bool(xp.all(xp.isfinite(array))):
            raise DataError(f"{name}: expected finite numbers; received NaN or infinity; remove or fill in such values")


def to_device(backend: Backend, array: Array, dtype: str) -> Array:
    """Move an array of any library to a backend's device, in a dtype. It is copied only if needed."""
    if not isinstance(array, np.ndarray) and backend_of(array).device == backend.device:
        return backend.xp.astype(array, getattr(backend.xp, dtype), copy=False)
    return backend.asarray(np.asarray(to_host(array), dtype=dtype, order="C"))  # PyTorch takes no negative strides


def weigh(
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
        A weight is negative or not finite, their number is not `n_samples`, or the targets are not class indices.
    """
    if sample_weight is None and class_weight is None:
        return samples
    n_samples = samples.x.shape[0]
    weight = np.ones(n_samples)
    if is_array_api_obj(sample_weight):
        sample_weight = to_host(sample_weight)
    if sample_weight is not None:
        weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (n_samples,):
        raise InvalidParameterError(f"sample_weight: expected the shape ({n_samples},); received {weight.shape}.")
    if class_weight is not None:
        y = backend.to_numpy(samples.y)
        if y.ndim > 1:
            raise InvalidParameterError(f"class_weight: expected class indices as targets; received shape {y.shape}.")
        weight = weight * class_weights(network, class_weight, lambda: [y])[y]
    return samples._replace(weight=backend.asarray(_checked(weight).astype(dtype)))


def class_weights(
    network: Network, class_weight: str | Mapping[int, float], targets: Callable[[], Iterable[np.ndarray]]
) -> np.ndarray:
    """Return the weight of each class, (n_classes,).

    Parameters
    ----------
    targets : callable
        Return the class indices in pieces. They are counted for ``"balanced"``.

    Raises
    ------
    InvalidParameterError
        A class is unknown, the targets are not class indices, or a weight is negative or not finite.
    """
    n_classes = max(network.layer_sizes[-1], 2)
    if class_weight == "balanced":
        counts = np.zeros(n_classes, dtype=np.int64)
        for y in targets():
            if y.ndim > 1 or y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= n_classes:
                raise InvalidParameterError(
                    f"class_weight: expected class indices from 0 to {n_classes - 1} as targets; received {y.dtype} of "
                    f"shape {y.shape}."
                )
            counts += np.bincount(y, minlength=n_classes)
        table = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))
    elif isinstance(class_weight, Mapping) and set(class_weight) <= set(range(n_classes)):
        table = np.asarray([class_weight.get(k, 1.0) for k in range(n_classes)], dtype=np.float64)
    else:
        raise InvalidParameterError(
            f"class_weight: expected 'balanced' or a mapping of class indices from 0 to {n_classes - 1} to weights; "
            f"received {class_weight!r}."
        )
    return _checked(table)


def _checked(weight: np.ndarray) -> np.ndarray:
    if not np.all(np.isfinite(weight)) or np.any(weight < 0):
        raise InvalidParameterError(
            f"weights: expected finite numbers of at least 0; received {weight.min():g} to {weight.max():g}."
        )
    return weight


def epoch_order(n_samples: int, seed: int, epoch: int, *, shuffle: bool = True) -> np.ndarray:
    """Return the order of the samples in an epoch, (n_samples,) int32 indices. It depends on seed and epoch alone."""
    if not shuffle:
        return np.arange(n_samples, dtype=np.int32)
    return np.random.default_rng(seed_sequence(seed, Purpose.SHUFFLE, epoch)).permutation(n_samples).astype(np.int32)


def pieces(
    network: Network, backend: Backend, samples: Samples, order: np.ndarray, batch_size: int, position: int
) -> Iterator[tuple[tuple[Array, ...], Array]]:
    """Yield the rest of an epoch, starting with step `position`, in pieces of several steps.

    A piece is the data and (n_steps, batch) indices into it, both on the device. If the last batch is smaller it is a
    piece of its own, because a compiled run has one shape.
    """
    n_samples = order.size
    full = n_samples // batch_size
    per_step = 6 * network.n_weights * batch_size  # a multiplication and an addition, forward and twice backward
    per_call = min(max(1, int(_OPERATIONS_PER_CALL / per_step)), _STEPS_PER_CALL)
    sparse = isinstance(samples.x, SparseRows)
    if sparse:
        per_call = min(per_call, max(1, _DENSE_ELEMENTS // (batch_size * network.layer_sizes[0])))
    orders = []
    if position < full:
        rows: Any = order[: full * batch_size].reshape(full, batch_size)
        rows = rows if sparse else backend.asarray(rows)  # to the device once an epoch
        orders = [rows[start : min(start + per_call, full), :] for start in range(position, full, per_call)]
    if full * batch_size < n_samples and position <= full:
        rest = order[None, full * batch_size :]
        orders.append(rest if sparse else backend.asarray(rest))
    for rows in orders:
        yield samples.dense(backend, rows) if sparse else (samples.arrays, rows)
