"""Checks of the inputs of users: arrays of any library, lists, data frames, sparse matrices."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from array_api_compat import device, is_array_api_obj
from sklearn import get_config
from sklearn.utils.validation import _check_sample_weight, check_consistent_length, validate_data

from xpnet.backend import Array, Backend, backend_of, dtype_name, get_backend, map_arrays, namespace_of, to_host
from xpnet.errors import DataError, InvalidParameterError
from xpnet.nn.network import Network, Parameters
from xpnet.training.samples import as_array

__all__ = [
    "all_on_host",
    "check_inputs",
    "check_layers",
    "check_range",
    "check_same_place",
    "check_training",
    "check_weights",
    "data_backend_of",
    "host",
    "take_rows",
    "widest_float",
]

_SPARSE = ["csr", "csc"]


def _is_foreign(x: Any) -> bool:
    """Return True for an array of a library other than NumPy. scikit-learn's validation would move it to the host."""
    return not isinstance(x, np.ndarray | np.generic) and is_array_api_obj(x)


def host(value: Any) -> Any:
    """Move an array of another library to the host; return anything else unchanged."""
    return to_host(value) if _is_foreign(value) else value


def all_on_host(value: Any) -> Any:
    """Move the arrays in lists and nested tuples to the host."""
    if isinstance(value, list):
        return [all_on_host(each) for each in value]
    return map_arrays(host, value)


def data_backend_of(x: Any) -> Backend:
    """Return the backend of the device where data lies. Data that is not an array lies on the host."""
    return backend_of(x) if _is_foreign(x) else _host_backend()


@cache
def _host_backend() -> Backend:
    return get_backend("cpu")


def check_training(
    estimator: Any, x: Any, y: Any, *, reset: bool, dtype: str | None, y_numeric: bool
) -> tuple[Array, np.ndarray]:
    """Check training data by scikit-learn's rules. `x` stays on its device, `y` moves to the host.

    Returns
    -------
    x : (n_samples, n_features), float32 or float64
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)

    Raises
    ------
    ValueError
        The data breaks a rule; the messages are those of scikit-learn.
    """
    y = host(y)
    if _passes(estimator, x, dtype, reset=reset) and _targets_pass(y, x.shape[0], y_numeric=y_numeric):
        if reset:
            estimator.n_features_in_ = x.shape[1]
            vars(estimator).pop("feature_names_in_", None)
        return x, y
    options = {"multi_output": True, "y_numeric": y_numeric}
    if not _is_foreign(x):
        checked: tuple[Array, np.ndarray] = validate_data(
            estimator, x, y, accept_sparse=_SPARSE, dtype=_float_types(dtype), reset=reset, **options
        )  # pyright: ignore[reportAssignmentType] - scikit-learn's inferred types
        return checked
    x = _check_foreign(estimator, x, dtype)
    validate_data(estimator, x, y, skip_check_array=True, reset=reset)
    y = validate_data(estimator, "no_validation", y, reset=False, **options)
    check_consistent_length(np.empty(x.shape[0]), y)
    return x, y


def check_inputs(estimator: Any, x: Any) -> Array:
    """Check inputs of a fitted estimator by scikit-learn's rules. They stay on their device."""
    if _passes(estimator, x, None, reset=False):
        return x
    if not _is_foreign(x):
        checked: Any = validate_data(estimator, x, accept_sparse=_SPARSE, dtype=_float_types(None), reset=False)
        return checked
    x = _check_foreign(estimator, x, None)
    validate_data(estimator, x, skip_check_array=True, reset=False)
    return x


def check_range(x: Any, dtype: str) -> None:
    """Check that the weights' type can hold inputs of a wider type; a value that becomes infinite has no prediction.

    Raises
    ------
    DataError
    """
    values = x.data if hasattr(x, "tocsr") else x
    if 0 in values.shape or dtype_name(values) == dtype or dtype == "float64":
        return
    most = float(np.finfo(dtype).max)
    backend = data_backend_of(values)
    with backend.scope(dtype_name(values)):
        too_large = float(backend.xp.max(values)) > most or float(backend.xp.min(values)) < -most
    if too_large:
        raise DataError(
            f"features: expected numbers that {dtype} can hold, up to {most:.2g}; received larger ones; rescale them, "
            "or train in float64"
        )


def _passes(estimator: Any, x: Any, dtype: str | None, *, reset: bool) -> bool:
    """Return True for an ordinary array that scikit-learn's validation would return as it is.

    To find that out takes scikit-learn longer than it takes a small network to predict a sample.
    """
    return (
        type(x) is np.ndarray
        and x.ndim == 2
        and x.size > 0
        and x.dtype in _float_types(dtype)
        and (reset or (x.shape[1] == estimator.n_features_in_ and not hasattr(estimator, "feature_names_in_")))
        and _is_finite(x)
    )


def _targets_pass(y: Any, n_samples: int, *, y_numeric: bool) -> bool:
    """Return True for an ordinary array of targets that scikit-learn's validation would return as it is."""
    return (
        type(y) is np.ndarray
        and y.ndim in (1, 2)
        and y.size > 0
        and len(y) == n_samples
        and y.dtype.kind in ("biuf" if y_numeric else "biufU")
        and (y.dtype.kind != "f" or _is_finite(y))
    )


def _is_finite(values: np.ndarray) -> bool:
    """Return whether all values are finite; False also for finite values whose sum is not."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(np.add.reduce(values, axis=None)))


def _float_types(dtype: str | None) -> list[Any]:
    return [np.float64, np.float32] if dtype is None else [np.dtype(dtype)]


def _check_foreign(estimator: Any, x: Array, dtype: str | None) -> Array:
    xp = namespace_of(x)
    name = type(estimator).__name__
    if x.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {x.ndim}D array instead: shape {tuple(x.shape)}. Reshape your data with "
            "(-1, 1) if it has a single feature or (1, -1) if it contains a single sample."
        )
    for axis, what in ((0, "sample"), (1, "feature")):
        if x.shape[axis] == 0:
            raise ValueError(
                f"Found array with 0 {what}(s) (shape={tuple(x.shape)}) while a minimum of 1 is required by {name}."
            )
    if xp.isdtype(x.dtype, "complex floating"):
        raise ValueError(f"Complex data not supported by {name}.")
    if dtype is None and x.dtype not in (xp.float32, xp.float64):
        dtype = widest_float(xp, device(x))
    if dtype is not None:
        x = xp.astype(x, getattr(xp, dtype), copy=False)
    if not bool(xp.all(xp.isfinite(x))):
        what = "NaN" if bool(xp.any(xp.isnan(x))) else "infinity or a value too large for its type"
        raise ValueError(f"Input X contains {what}.")
    return x


def widest_float(xp: Any, where: Any) -> str:
    """Return the widest real float type of a device: ``"float64"``, or ``"float32"`` if there is none."""
    types = xp.__array_namespace_info__().dtypes(device=where, kind="real floating")
    return "float64" if "float64" in types else "float32"


def check_weights(weight: Any, n_samples: int) -> np.ndarray:
    """Check sample weights by scikit-learn's rules, and return them on the host, (n_samples,)."""
    checked: np.ndarray = _check_sample_weight(host(weight), np.empty((n_samples, 0)))
    return checked


def check_layers(network: Network, coefs: Sequence[Any] | None, intercepts: Sequence[Any] | None) -> Parameters:
    """Return given weights and biases as parameters, and check their shapes."""
    if coefs is None or intercepts is None:
        raise InvalidParameterError("coefs_init, intercepts_init: expected both or neither; received one of them.")
    if len(coefs) != len(intercepts):
        raise InvalidParameterError(
            f"coefs_init, intercepts_init: expected one of each per layer; received {len(coefs)} and {len(intercepts)}."
        )
    return network.pack([(as_array(W), as_array(b)) for W, b in zip(coefs, intercepts, strict=True)])


def check_same_place(estimator: Any, x: Any, method: str) -> None:
    """Raise scikit-learn's error if its array API dispatch is on and `x` is not on the device of the weights."""
    if not get_config()["array_api_dispatch"]:
        return
    expected, received = data_backend_of(estimator.coefs_[0]), data_backend_of(x)
    if received is not expected:
        raise ValueError(
            f"Inputs passed to {type(estimator).__name__}.{method}() must use the same namespace and the same device "
            f"as those passed to fit(): expected {expected.name}; received {received.name}. Move the inputs there, or "
            "switch the option array_api_dispatch off, which allows any array."
        )


def take_rows(x: Array, rows: np.ndarray) -> Array:
    """Return some samples of an array or a sparse matrix, on its device."""
    if _is_foreign(x):
        return namespace_of(x).take(x, data_backend_of(x).asarray(rows), axis=0)
    return x[rows]
