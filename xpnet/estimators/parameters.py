"""Constructor parameters: their constraints, in scikit-learn's declarative form, and how they are stored."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, Options, StrOptions, validate_parameter_constraints

from xpnet.backend import Backend, get_backend
from xpnet.backend.costs import Work, choose_backend
from xpnet.constraints import as_tuple
from xpnet.errors import (
    BackendNotInstalledError,
    DeviceIndexError,
    DeviceUnavailableError,
    InvalidParameterError,
    UnknownNameError,
    shown,
)
from xpnet.nn.activations import ACTIVATION_SYNONYMS, ACTIVATIONS, get_activation
from xpnet.nn.initializers import INITIALIZER_SYNONYMS, INITIALIZERS, get_initializer
from xpnet.nn.losses import LOSS_SYNONYMS, get_loss
from xpnet.nn.optimizers import OPTIMIZER_SYNONYMS, OPTIMIZERS, get_optimizer
from xpnet.training.schedules import SCHEDULE_SYNONYMS, SCHEDULES, Schedule, get_schedule

__all__ = [
    "SHARED_CONSTRAINTS",
    "check_names",
    "check_values",
    "hidden_sizes",
    "predict_device",
    "store",
    "train_device",
]

# First scikit-learn's parameters, then those of this library. `check_names` checks names first.
SHARED_CONSTRAINTS: dict[str, Any] = {
    "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
    "activation": [str, "array-like"],
    "solver": [str],
    "alpha": [Interval(Real, 0, None, closed="left")],
    "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "learning_rate": [str, Schedule],
    "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
    "power_t": [Interval(Real, 0, None, closed="left")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
    "tol": [Interval(Real, 0, None, closed="left")],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
    "momentum": [Interval(Real, 0, 1, closed="both")],
    "nesterovs_momentum": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="left")],
    "beta_1": [Interval(Real, 0, 1, closed="left")],
    "beta_2": [Interval(Real, 0, 1, closed="left")],
    "epsilon": [Interval(Real, 0, None, closed="neither")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
    "max_fun": [Interval(Integral, 1, None, closed="left")],
    "loss": [str],
    "device": [str, Backend, None],
    "dtype": [StrOptions({"float32", "float64"}), None],
    "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
    "l1": [Interval(Real, 0, None, closed="left")],
    "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
    "initializer": [str, None],
    "scoring": [str, callable, list, tuple, dict, None],
    "callbacks": [list, tuple, None],
}


def store(estimator: Any, parameters: Mapping[str, Any]) -> None:
    """Store the arguments of a constructor, its ``locals()``, unchanged, as scikit-learn demands."""
    vars(estimator).update({name: value for name, value in parameters.items() if name not in ("self", "__class__")})


class _Names(NamedTuple):
    """The names that a parameter takes.

    Attributes
    ----------
    get : callable
        Look up a name with its options.
    table : mapping
        This library's names.
    synonyms : mapping
        Names that others use, for hints.
    sklearns : tuple of str
        Names of scikit-learn that are not in the table.
    """

    get: Callable[[Any], Any]
    table: Mapping[str, Any]
    synonyms: Mapping[str, str]
    sklearns: tuple[str, ...] = ()


_NAMES = {
    "activation": _Names(get_activation, ACTIVATIONS, ACTIVATION_SYNONYMS, ("logistic",)),
    "solver": _Names(get_optimizer, OPTIMIZERS, OPTIMIZER_SYNONYMS, ("lbfgs",)),
    "learning_rate": _Names(get_schedule, SCHEDULES, SCHEDULE_SYNONYMS, ("invscaling",)),
    "initializer": _Names(get_initializer, INITIALIZERS, INITIALIZER_SYNONYMS),
}


def check_names(estimator: Any, losses: Sequence[str], sklearns_losses: tuple[str, ...]) -> None:
    """Check the names of activations, solvers, schedules, initializers and losses.

    Parameters
    ----------
    losses : sequence of str
        This library's losses that fit the task.
    sklearns_losses : tuple of str
        Names of losses that only scikit-learn has.

    Raises
    ------
    UnknownNameError, InvalidParameterError
        A name or an option is unknown. The message has the parameter of the estimator, and all its names.
    """
    synonyms = {**LOSS_SYNONYMS, "logloss": "log_loss"}
    kinds = {**_NAMES, "loss": _Names(get_loss, dict.fromkeys(losses), synonyms, sklearns_losses)}
    for parameter, kind in kinds.items():
        value = getattr(estimator, parameter)
        if (value is None and parameter == "initializer") or isinstance(value, Schedule):
            continue
        several = parameter == "activation" and isinstance(value, list | tuple | np.ndarray)
        specs: Any = value if several else (value,)
        for spec in specs:
            _check_name(parameter, kind, spec)


def _check_name(parameter: str, names: _Names, spec: Any) -> None:
    known = sorted({*names.table, *names.sklearns})
    if not isinstance(spec, str):
        raise InvalidParameterError(f"{parameter}: expected one of {', '.join(known)}; received {shown(spec)}.")
    if spec in names.sklearns:
        return
    if spec.partition(":")[0] not in names.table:
        raise UnknownNameError.among(parameter, spec, known, names.synonyms)
    try:
        names.get(spec)
    except InvalidParameterError as exc:
        raise _about(parameter, exc) from None


def check_values(estimator: BaseEstimator) -> None:
    """Check the parameters against scikit-learn's constraints; a message shows numbers of NumPy as Python's own.

    Raises
    ------
    ValueError
        scikit-learn's, with its message.
    """
    values = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in estimator.get_params(deep=False).items()
    }
    validate_parameter_constraints(estimator._parameter_constraints, values, type(estimator).__name__)


def hidden_sizes(value: int | Iterable[int]) -> list[int]:
    """Return the units of each hidden layer.

    Raises
    ------
    ValueError
        A size is not an integer above 0. The message has the parameter's name, ``hidden_layer_sizes``.
    """
    sizes = list(as_tuple(value))
    if not all(isinstance(size, Integral) and not isinstance(size, bool) for size in sizes):
        whole = [int(size) for size in sizes if isinstance(size, float | np.floating) and float(size).is_integer()]
        hint = f" Write {tuple(whole)}." if len(whole) == len(sizes) else ""
        raise InvalidParameterError(
            "hidden_layer_sizes: expected an integer, or a sequence with one integer for each hidden layer; "
            f"received {shown(value)}.{hint}"
        )
    if any(size <= 0 for size in sizes):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {shown(sizes)}.")  # scikit-learn's message
    return [int(size) for size in sizes]


def train_device(device: str | Backend, work: Work | None = None) -> Backend:
    """Return the backend of the parameter `device`; ``"auto"`` depends on the work, if it is known."""
    try:
        return get_backend(device) if work is None else choose_backend(device, work).backend
    except InvalidParameterError as exc:
        raise _about("device", exc) from exc.__cause__


def predict_device(device: str | Backend | None, otherwise: Backend) -> Backend:
    """Return the backend of the parameter `device`; `otherwise` without one, or with a warning if it is not there.

    The fitted estimator may come from another machine. Training would raise.
    """
    if device is None:
        return otherwise
    try:
        return get_backend(device)
    except (BackendNotInstalledError, DeviceIndexError, DeviceUnavailableError) as exc:
        message = f"{exc} Predicting on {otherwise.name}; set_params(device=None) silences this."
        warnings.warn(message, stacklevel=4)  # the line that calls `predict`
        return otherwise


def _about(parameter: str, exc: InvalidParameterError) -> InvalidParameterError:
    """Return the same error with the name of the parameter in its message."""
    return type(exc)(str(exc) if parameter in str(exc) else f"{parameter}: {exc}")
