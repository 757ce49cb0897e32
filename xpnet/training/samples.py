"""Training data in the shapes that a step takes, checked against the network, on the device if they fit there."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import is_array_api_obj

from xpnet.backend import Array, Backend, backend_of, dtype_name, namespace_of, to_host
from xpnet.data.checks import as_floats, check_data, warn_of_merged
from xpnet.data.scaled_bytes import ScaledBytes
from xpnet.data.shared_rows import SharedRows, check_shared, warn_of_merged_rows
from xpnet.errors import DataError, InvalidParameterError
from xpnet.nn.network import Network
from xpnet.training.input_rows import InputRows

__all__ = ["Samples", "as_array", "host_inputs", "to_device", "to_samples"]

# The part of the device's free memory that inputs may take. The rest is for parameters, their copies and activations.
_LARGEST_PART = 0.75
_SUM_TOLERANCE = 1e-3  # for the sum of a row of target probabilities, which may be rounded


class Samples(NamedTuple):
    """Inputs (n_samples, n_in), targets and optional weights (n_samples,), on the device.

    Targets are class indices, (n_samples,) int32, or values, (n_samples, n_out). Inputs are `InputRows` if they are
    sparse or too large for the device, and so stay on the host, or if they are bytes.
    """

    x: Array | InputRows
    y: Array
    sample_weight: Array | None = None

    @property
    def divisor(self) -> float:
        """The step divides the inputs by it."""
        return self.x.divisor if isinstance(self.x, InputRows) else 1.0

    @property
    def arrays(self) -> tuple[Any, ...]:
        """The arrays of a batch, as a step takes them."""
        x = self.x.values if isinstance(self.x, InputRows) else self.x
        return (x, self.y) if self.sample_weight is None else (x, self.y, self.sample_weight)


def to_samples(network: Network, backend: Backend, dtype: str, x: Any, y: Any, *, checked: bool = False) -> Samples:
    """Move inputs and targets to the device, in the dtypes of the step, and check that they fit the network.

    Parameters
    ----------
    x : (n_samples, n_in) array of any library, SciPy sparse matrix, SharedRows, or ScaledBytes
        Bytes (uint8) stay bytes.
    y : (n_samples,) or (n_samples, n_out) array of any library
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
    x, divisor = x if isinstance(x, ScaledBytes) else (x, 1.0)
    # SciPy need not be imported to know its matrices.
    x = _csr(x, dtype) if hasattr(x, "tocsr") else x if isinstance(x, SharedRows) else as_array(x)
    y = as_array(y)
    n_in, n_out = network.layer_sizes[0], network.layer_sizes[-1]
    if len(x.shape) != 2 or x.shape[1] != n_in:
        raise InvalidParameterError(f"x: expected the shape (n_samples, {n_in}); received {tuple(x.shape)}.")
    if not checked:
        _check(x, y)
    x = _narrowed(x, dtype, "features")
    has_classes = n_out > 1 or network.loss_function.targets.are_binary
    if y.ndim == 1 and has_classes and namespace_of(y).isdtype(y.dtype, "integral"):
        low, high = (int(extreme(y)) for extreme in (namespace_of(y).min, namespace_of(y).max))
        if low < 0 or high >= max(n_out, 2):
            raise InvalidParameterError(
                f"y: expected class indices from 0 to {max(n_out, 2) - 1}; received {low} to {high}."
            )
        return Samples(_place(backend, x, dtype, divisor), to_device(backend, y, "int32"))
    if tuple(y.shape) not in ((x.shape[0], n_out), (x.shape[0],) * (n_out == 1)):
        raise InvalidParameterError(
            f"y: expected integers of shape ({x.shape[0]},) or numbers of shape ({x.shape[0]}, {n_out}); "
            f"received {y.dtype} of shape {tuple(y.shape)}."
        )
    if isinstance(y, np.ndarray) and y.dtype.kind in "UST":
        raise DataError(f"targets: expected numbers or class indices; received text such as {str(y.flat[0])!r:.60}")
    y = _narrowed(y, dtype, "targets")
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
    return Samples(_place(backend, x, dtype, divisor), backend.xp.reshape(to_device(backend, y, dtype), (-1, n_out)))


def _narrowed(values: Any, dtype: str, what: str) -> Any:
    """Return an array of larger floats or of integers in a smaller type, which its values must fit; others unchanged.

    Warns
    -----
    XpnetWarning
        The values of a column differ, but not in this type.
    """
    if not isinstance(values, np.ndarray | SharedRows) or values.dtype == "uint8" or np.can_cast(values.dtype, dtype):
        return values
    if isinstance(values, SharedRows):
        shared = values.map(lambda own: as_floats(own, dtype, what))
        warn_of_merged_rows(values, shared, what)
        return shared
    narrowed = as_floats(values, dtype, what)
    warn_of_merged(values, narrowed, what)
    return narrowed


def _csr(matrix: Any, dtype: str) -> Any:
    if matrix.dtype.kind not in "biuf":
        raise DataError(
            f"features: expected real numbers; received dtype {matrix.dtype}; convert them to float32 or float64"
        )
    return matrix.tocsr().astype(dtype, copy=False)


def _place(backend: Backend, x: Any, dtype: str, divisor: float) -> Array | InputRows:
    """Return inputs on the device if they fit there and are not sparse, else on the host."""
    stored = _stored_dtype(x, dtype)
    free = backend.free_bytes() if isinstance(x, np.ndarray) else None
    if (
        hasattr(x, "tocsr")
        or isinstance(x, SharedRows)
        or (free is not None and _n_bytes(x, stored) > _LARGEST_PART * free)
    ):
        return host_inputs(backend, x, dtype, divisor)
    placed = to_device(backend, x, stored)
    return placed if stored == dtype else InputRows(placed, backend, dtype, divisor, on_host=False)


def host_inputs(backend: Backend, x: Any, dtype: str, divisor: float = 1.0) -> InputRows:
    """Return inputs on the host, of which a few rows at a time come to the device.

    Parameters
    ----------
    x : (n_samples, n_in) ndarray, SciPy sparse matrix, SharedRows, or ScaledBytes
    divisor : float
        The inputs are ``x / divisor``.
    """
    if isinstance(x, ScaledBytes):
        x, divisor = x
    if hasattr(x, "tocsr"):
        return InputRows(_csr(x, dtype), backend, dtype, divisor, on_host=True)
    stored = _stored_dtype(x, dtype)

    def converted(rows: Any) -> np.ndarray:
        return np.asarray(rows, stored, order="C")  # PyTorch takes no negative strides

    values = x.map(converted) if isinstance(x, SharedRows) else converted(x)
    return InputRows(values, backend, dtype, divisor, on_host=True)


def _stored_dtype(x: Any, dtype: str) -> str:
    """Return the type in which dense inputs are stored: bytes stay bytes."""
    return "uint8" if dtype_name(x.own if isinstance(x, SharedRows) else x) == "uint8" else dtype


def _n_bytes(x: Array, dtype: str) -> int:
    return math.prod(x.shape) * np.dtype(dtype).itemsize


def as_array(value: Any) -> Any:
    """Return an array of any library unchanged, and convert anything else to a NumPy array."""
    try:
        return value if is_array_api_obj(value) else np.asarray(value)
    except ValueError as exc:  # rows of several lengths
        raise DataError(f"expected an array, or rows of one length; received others: {exc}") from exc


def _check(x: Any, y: Any) -> None:
    """Check the data as `check_data` does, without moving a device array to the host."""
    if isinstance(x, SharedRows):
        check_shared(x, to_host(y))
        return
    if isinstance(x, np.ndarray) and isinstance(y, np.ndarray):
        check_data(x, y)
        return
    if x.shape[0] != (y.shape[0] if y.ndim else 0) or x.shape[0] == 0:
        raise DataError(
            f"x, y: expected as many targets as samples, at least one; received the shapes {tuple(x.shape)} and "
            f"{tuple(y.shape)}"
        )
    values: Any = x.data if hasattr(x, "tocsr") else x
    for name, array in (("x", values), ("y", y)):
        xp = namespace_of(array)
        if xp.isdtype(array.dtype, "real floating") and not bool(xp.all(xp.isfinite(array))):
            raise DataError(f"{name}: expected finite numbers; received NaN or infinity; remove or fill in such values")


def to_device(backend: Backend, array: Array, dtype: str) -> Array:
    """Move an array of any library to a backend's device, in a dtype. It is copied only if needed."""
    if not isinstance(array, np.ndarray) and backend_of(array).device == backend.device:
        return backend.xp.astype(array, getattr(backend.xp, dtype), copy=False)
    return backend.asarray(np.asarray(to_host(array), dtype=dtype, order="C"))  # PyTorch takes no negative strides
