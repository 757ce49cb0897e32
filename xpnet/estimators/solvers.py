"""scikit-learn's solvers in the terms of the trainer: its optimizers, rates, stopping rule, weights and order."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from xpnet.training.callbacks import EpochRecord
from xpnet.training.early_stopping import EarlyStopping, StoppingMemory
from xpnet.training.schedules import Memory, Schedule

__all__ = [
    "ACTIVATIONS",
    "MEAN_OVER_OUTPUTS",
    "AdaptivePlateau",
    "Plateau",
    "adaptive",
    "draw_weights",
    "inverse_scaling",
    "optimizer_spec",
    "rate_rule",
    "scikit_learns_name",
    "shuffled",
]

# scikit-learn's names of activations, where the library has another.
ACTIVATIONS = {"logistic": "sigmoid"}

# Losses of which scikit-learn takes the mean over outputs; the library's losses are sums.
MEAN_OVER_OUTPUTS = ("squared_error",)

_SMALLEST_RATE = 1e-6  # at which "adaptive" gives up
_ADAPTIVE_FACTOR = 5.0


def scikit_learns_name(activation: str) -> str:
    """Return scikit-learn's name of one of the library's activations, its own where there is none."""
    return next((theirs for theirs, ours in ACTIVATIONS.items() if ours == activation), activation)


def _sgd(params: Mapping[str, Any]) -> str:
    if not params["momentum"]:
        return "sgd"
    kind = "nesterov" if params["nesterovs_momentum"] else "momentum"
    return f"{kind}:momentum={float(params['momentum'])!r},classical=1"


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


def rate_rule(params: Mapping[str, Any]) -> Any:
    """Return an estimator's `learning_rate`; scikit-learn's own rules have an effect with its solver "sgd" only."""
    rule = params["learning_rate"]
    return "constant" if rule in ("invscaling", "adaptive") and params["solver"] != _SGD else rule


class Plateau(EarlyStopping):
    """scikit-learn's rule: `patience` epochs that did not come `tolerance` above the best, however it was reached.

    Where it watches the training loss the last parameters are kept, not the best.
    """

    def observe(self, memory: StoppingMemory, record: EpochRecord) -> StoppingMemory:
        """Return the memory after an epoch."""
        value = self.value(record)
        best, stale = _count(memory.best, memory.stale, value, self.tolerance)
        improved = value > memory.best and self.metric != "training_loss"
        return StoppingMemory(best, best, stale, improved)


class AdaptivePlateau(Plateau):
    """The same, but a smaller learning rate comes first."""

    def observe(self, memory: StoppingMemory, record: EpochRecord) -> StoppingMemory:
        """Return the memory after an epoch."""
        memory = super().observe(memory, record)
        over = memory.stale >= self.patience and record.learning_rate > _SMALLEST_RATE
        return memory._replace(stale=0) if over else memory


def _count(best: float, stale: int, value: float, tolerance: float) -> tuple[float, int]:
    return (value if value > best else best), (stale + 1 if value < best + tolerance else 0)


def inverse_scaling(power: float, seen: int, n_samples: int, *, fresh: bool) -> Schedule:
    """Return ``(samples seen + 1)^-power``, scikit-learn's ``"invscaling"``.

    Parameters
    ----------
    seen, n_samples : int
        Samples seen so far, and in each epoch from now on.
    fresh : bool
        The optimizer starts anew, so the first epoch has the initial rate.
    """

    def factor(memory: Memory, epoch: int, epochs: int) -> float:
        samples = 0 if fresh and epoch == 0 else seen + epoch * n_samples
        return float((samples + 1) ** -power)

    return Schedule(factor)


def adaptive(stopping: Plateau, memory: StoppingMemory) -> Schedule:
    """Return a rate that is divided by 5 where `stopping` would stop, scikit-learn's ``"adaptive"``."""

    def observe(memory: Memory, record: EpochRecord) -> Memory:
        factor, best, stale = memory
        best, stale = _count(best, int(stale), stopping.value(record), stopping.tolerance)
        if stale >= stopping.patience and record.learning_rate > _SMALLEST_RATE:
            return factor / _ADAPTIVE_FACTOR, best, 0
        return factor, best, stale

    return Schedule(lambda memory, epoch, epochs: memory[0], observe, (1.0, memory.best, memory.stale))


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


def shuffled(rng: np.random.RandomState) -> Callable[[int, int], np.ndarray]:
    """Return the order of each epoch as scikit-learn draws it: each shuffles that of the epoch before."""
    order = np.empty(0, dtype=np.int32)

    def next_order(epoch: int, n_samples: int) -> np.ndarray:
        nonlocal order
        permutation = np.arange(n_samples, dtype=np.int32)
        rng.shuffle(permutation)
        order = order[permutation] if order.size else permutation
        return order

    return next_order
