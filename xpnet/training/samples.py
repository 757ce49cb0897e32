"""Training data on the device, in the dtypes and shapes that a step takes, checked against the network."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from array_api_compat import is_array_api_obj

from xpnet.backend import Array, Backend, backend_of, namespace_of, to_host
from xpnet.data.checks import check_data
from xpnet.errors import DataError, InvalidParameterError
from xpnet.nn.network import Network
from xpnet.training.sparse_rows import SparseRows

__all__ = ["Samples", "as_array", "to_device", "to_samples"]

_SUM_TOLERANCE = 1e-3  # for the sum of a row of target probabilities, which may be rounded


class Samples(NamedTuple):
    """Inputs (n_samples, n_in), targets and optional weights (n_samples,), on the device.

    Targets are class indices, (n_samples,) int32, or values, (n_samples, n_out).
    """

    x: Array | SparseRows
    y: Array
    sample_weight: Array | None = None

    def dense(self, backend: Backend, rows: np.ndarray) -> tuple[tuple[Array, ...], Array]:
        """Return the samples `rows`, (n_steps, batch), as dense arrays, and the indices of the batches in them."""
        flat = rows.reshape(-1)
        indices = backend.asarray(flat)
        rest = (backend.xp.take(array, indices, axis=0) for array in self.arrays[1:])
        local = np.arange(flat.size, dtype=np.int32).reshape(rows.shape)
        return (self.x[flat, :], *rest), backend.indices(local)

    @property
    def arrays(self) -> tuple[Any, ...]:
        """The arrays of a batch, as a step takes them."""
        return (self.x, self.y) if self.sample_weight is None else tuple(self)


def to_samples(network: Network, backend: Backend, dtype: str, x: Any, y: Any, *, checked: bool = False) -> Samples:
    """Move inputs and targets to the device, in the dtypes of the step, and check that they fit the network.

    Parameters
    ----------
    checked : bool
        The data are known to be finite and of equal length.

    Raises
    ------
    InvalidParameterError
        The shape does not fit the network, or a class index is out of range.
    DataError
        No samples, unequal lengths, NaN or infinity.

    Notes
    -----
    1-D integers are class indices. Exception: a network with one output that is not a probability treats them as
    values.
    """
    # SciPy need not be imported to know its matrices.
    x = SparseRows(x, backend, dtype) if hasattr(x, "tocsr") else as_array(x)
    y = as_array(y)
    n_in, n_out = network.layer_sizes[0], network.layer_sizes[-1]
    if len(x.shape) != 2 or x.shape[1] != n_in:
        raise InvalidParameterError(f"x: expected the shape (n_samples, {n_in}); received {tuple(x.shape)}.")
    if not checked:
        _check(x, y)
    has_classes = n_out > 1 or network.loss_function.targets.are_binary
    if y.ndim == 1 and has_classes and namespace_of(y).isdtype(y.dtype, "integral"):
        low, high = (int(extreme(y)) for extreme in (namespace_of(y).min, namespace_of(y).max))
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
    valid = network.loss_function.targets
    if not valid.may_be_scaled:
        least, most = (float(extreme(y)) for extreme in (namespace_of(y).min, namespace_of(y).max))
        if least < valid.lowest or most > valid.highest:
            raise InvalidParameterError(
                f"y: expected numbers from {valid.lowest:g} to {valid.highest:g} for the loss {network.loss!r}; "
                f"received {least:g} to {most:g}."
            )
    if valid.sum_to_one:
        sums = namespace_of(y).sum(y, axis=1)
        if not bool(namespace_of(y).all(abs(sums - 1) < _SUM_TOLERANCE)):
            raise InvalidParameterError(
                f"y: expected class indices, or rows that sum to 1, for the loss {network.loss!r}; received others."
            )
    return Samples(_inputs(backend, x, dtype), backend.xp.reshape(to_device(backend, y, dtype), (-1, n_out)))


def _inputs(backend: Backend, x: Array | SparseRows, dtype: str) -> Array | SparseRows:
    return x if isinstance(x, SparseRows) else to_device(backend, x, dtype)


def as_array(value: Any) -> Any:
    """Return an array of any library unchanged, and convert anything else to a NumPy array."""
    try:
        return value if is_array_api_obj(value) else np.asarray(value)
    except ValueError as exc:  # rows of several lengths
        raise DataError(f"expected an array, or rows of one length; received others: {exc}") from exc


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
        xp = namespace_of(array)
        if xp.isdtype(array.dtype, "real floating") and not bool(xp.all(xp.isfinite(array))):
            raise DataError(f"{name}: expected finite numbers; received NaN or infinity; remove or fill in such values")


def to_device(backend: Backend, array: Array, dtype: str) -> Array:
    """Move an array of any library to a backend's device, in a dtype. It is copied only if needed."""
    if not isinstance(array, np.ndarray) and backend_of(array).device == backend.device:
        return backend.xp.astype(array, getattr(backend.xp, dtype), copy=False)
    return backend.asarray(np.asarray(to_host(array), dtype=dtype, order="C"))  # PyTorch takes no negative strides
