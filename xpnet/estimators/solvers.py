"""scikit-learn's optimizers, schedules, stopping rule, initial weights and shuffles, expressed for the trainer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from xpnet.training.early_stopping import EarlyStopping, StoppingState
from xpnet.training.history import EpochRecord
from xpnet.training.schedules import Schedule, ScheduleState

__all__ = [
    "ACTIVATIONS",
    "MEAN_OVER_OUTPUTS",
    "AdaptivePlateau",
    "Plateau",
    "adaptive",
    "draw_weights",
    "in_order",
    "inverse_scaling",
    "is_stochastic",
    "learning_rate_rule",
    "optimizer_name",
    "optimizer_spec",
    "scikit_learns_name",
    "shuffled",
]

# scikit-learn's names of activations, where the library has another.
ACTIVATIONS = {"logistic": "sigmoid"}

# Losses of which scikit-learn takes the mean over outputs; the library's losses are sums.
MEAN_OVER_OUTPUTS = ("squared_error",)

_SMALLEST_RATE = 1e-6  # below which "adaptive" stops
_ADAPTIVE_FACTOR = 5.0


def scikit_learns_name(activation: str) -> str:
    """Return scikit-learn's name of an activation, or its own name if scikit-learn does not have it."""
    return next((theirs for theirs, ours in ACTIVATIONS.items() if ours == activation), activation)


def _sgd(params: Mapping[str, Any]) -> str:
    if not params["momentum"]:
        return "sgd"
    name = "nesterov" if params["nesterovs_momentum"] else "momentum"
    return f"{name}:momentum={float(params['momentum'])!r},classical=1"


def _adam(params: Mapping[str, Any]) -> str:
    beta_1, beta_2, epsilon = (float(params[name]) for name in ("beta_1", "beta_2", "epsilon"))
    return f"adam:beta_1={beta_1!r},beta_2={beta_2!r},epsilon_hat={epsilon!r}"


_SGD = "sgd"
# scikit-learn's solvers that work by mini-batches: from an estimator's parameters to the spec of an optimizer.
_SOLVERS: dict[str, Callable[[Mapping[str, Any]], str]] = {_SGD: _sgd, "adam": _adam}


def optimizer_spec(params: Mapping[str, Any]) -> str:
    """Return the spec of the optimizer that an estimator's parameters describe; any other solver is a spec already."""
    solver: str = params["solver"]
    return _SOLVERS[solver](params) if solver in _SOLVERS else solver


def optimizer_name(optimizer: str) -> str:
    """Return the name of an optimizer without its options."""
    return optimizer.partition(":")[0]


def is_stochastic(estimator: Any) -> bool:
    """Return True if the solver trains on mini-batches.

    Raises
    ------
    AttributeError
        The solver is ``"lbfgs"``. This makes ``hasattr(estimator, "partial_fit")`` return False.
    """
    if estimator.solver == "lbfgs":
        raise AttributeError("partial_fit is only available for stochastic optimizers. lbfgs is not stochastic.")
    return True


def learning_rate_rule(params: Mapping[str, Any]) -> Any:
    """Return an estimator's `learning_rate`; scikit-learn's own rules have an effect with its solver "sgd" only."""
    rule = params["learning_rate"]
    return "constant" if rule in ("invscaling", "adaptive") and params["solver"] != _SGD else rule


class Plateau(EarlyStopping):
    """Stop as scikit-learn does: after `patience` epochs that did not exceed the best value by `tolerance`.

    Unlike in `EarlyStopping`, the value to exceed is the best one, even if it was reached in small steps. With the
    training loss the last parameters are kept, not the best.
    """

    def observe(self, state: StoppingState, record: EpochRecord) -> StoppingState:
        """Return the state after an epoch."""
        value = self.value(record)
        best, stale = _count(state.best, state.stale, value, self.tolerance)
        improved = value > state.best and self.metric != "training_loss"
        return StoppingState(best, best, stale, improved)


class AdaptivePlateau(Plateau):
    """Stop as `Plateau` does, but only once the learning rate cannot be reduced any more."""

    def observe(self, state: StoppingState, record: EpochRecord) -> StoppingState:
        """Return the state after an epoch."""
        state = super().observe(state, record)
        over = state.stale >= self.patience and record.learning_rate > _SMALLEST_RATE
        return state._replace(stale=0) if over else state


def _count(best: float, stale: int, value: float, tolerance: float) -> tuple[float, int]:
    return (value if value > best else best), (stale + 1 if value < best + tolerance else 0)


def inverse_scaling(power: float, seen: int, n_samples: int, *, fresh: bool) -> Schedule:
    """Return ``(samples seen + 1)^-power``, scikit-learn's ``"invscaling"``.

    Parameters
    ----------
    seen, n_samples : int
        Samples seen so far, and samples of each further epoch.
    fresh : bool
        Whether the optimizer starts anew, so that the first epoch has the initial rate.
    """

    def factor(state: ScheduleState, epoch: int, epochs: int) -> float:
        samples = 0 if fresh and epoch == 0 else seen + epoch * n_samples
        return float((samples + 1) ** -power)

    return Schedule(factor)


def adaptive(stopping: Plateau, state: StoppingState) -> Schedule:
    """Return scikit-learn's ``"adaptive"``: the rate is divided by 5 when `stopping` would stop."""

    def observe(state: ScheduleState, record: EpochRecord) -> ScheduleState:
        factor, best, stale = state
        best, stale = _count(best, int(stale), stopping.value(record), stopping.tolerance)
        if stale >= stopping.patience and record.learning_rate > _SMALLEST_RATE:
            return factor / _ADAPTIVE_FACTOR, best, 0
        return factor, best, stale

    return Schedule(lambda state, epoch, epochs: state[0], observe, (1.0, state.best, state.stale))


def draw_weights(
    rng: np.random.RandomState, layer_sizes: Sequence[int], activation: str | Sequence[str], dtype: str
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Draw ``(W, b)`` of each layer as scikit-learn does, uniformly: Glorot, Bengio (2010), AISTATS."""
    factor = 2 if activation == ACTIVATIONS["logistic"] else 6
    layers = []
    for fan_in, fan_out in pairwise(layer_sizes):
        bound = math.sqrt(factor / (fan_in + fan_out))
        weights = rng.uniform(-bound, bound, (fan_in, fan_out))
        layers.append((weights.astype(dtype), rng.uniform(-bound, bound, fan_out).astype(dtype)))
    return layers


def in_order(epoch: int, n_samples: int) -> np.ndarray:
    """Return the order of an epoch that is not shuffled."""
    return np.arange(n_samples, dtype=np.int32)


def shuffled(rng: np.random.RandomState) -> Callable[[int, int], np.ndarray]:
    """Return the order of each epoch as scikit-learn draws it: it shuffles the order of the epoch before."""
    order = np.empty(0, dtype=np.int32)

    def next_order(epoch: int, n_samples: int) -> np.ndarray:
        nonlocal order
        permutation = np.arange(n_samples, dtype=np.int32)
        rng.shuffle(permutation)
        order = order[permutation] if order.size else permutation
        return order

    return next_order
