"""Optimizers: pure functions from gradient, state and parameters to new parameters and state.

The learning rate and the counter in the state are arrays: a compiled step would bake in a Python scalar.
`update` consumes the state and the parameters: where a library's arrays can be written, it updates them in place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from array_api_compat import device

from xpnet.backend.array import Array, Namespace
from xpnet.constraints import fraction, real
from xpnet.specs import from_spec

__all__ = ["OPTIMIZERS", "OPTIMIZER_SYNONYMS", "Optimizer", "OptimizerState", "get_optimizer"]


class OptimizerState(NamedTuple):
    """State of an optimizer; n is the number of parameters.

    Attributes
    ----------
    learning_rate : scalar or (n,), the parameters' dtype
    count : scalar int32
        Number of updates so far.
    slots : tuple of (n,) arrays, the parameters' dtype
        Velocity or moments, in the optimizer's own order.
    """

    learning_rate: Array
    count: Array  # type: ignore[assignment]  # tuples have a method of this name
    slots: tuple[Array, ...]


# (xp, params, n_weights) -> the initial value of a slot, (n,).
InitSlot = Callable[[Namespace, Array, int], Array]


class Optimizer(NamedTuple):
    """An update rule, and the vectors that it keeps.

    Attributes
    ----------
    update : (xp, gradient, state, params) -> (params, state)
    learning_rate : float
        Default learning rate.
    slots : tuple of (xp, params, n_weights) -> (n,) array
        Initial value of each slot. The first `n_weights` parameters are weights, the rest are biases and slopes.
    """

    update: Callable[[Namespace, Array, OptimizerState, Array], tuple[Array, OptimizerState]]
    learning_rate: float
    slots: tuple[InitSlot, ...] = ()

    def init(self, xp: Namespace, params: Array, n_weights: int) -> OptimizerState:
        """Return the state before the first update."""
        where = device(params)
        return OptimizerState(
            xp.zeros((), dtype=params.dtype, device=where),
            xp.zeros((), dtype=xp.int32, device=where),
            tuple(init_slot(xp, params, n_weights) for init_slot in self.slots),
        )


def _full(value: float) -> InitSlot:
    return lambda xp, params, n_weights: xp.full_like(params, value)


_zeros = _full(0.0)


def _sgd(momentum: float = 0.0, nesterov: bool = False, classical: float = 0.0) -> Optimizer:
    """Stochastic gradient descent, with momentum or Nesterov's momentum: Sutskever et al. (2013), ICML.

    The velocity sums gradients, as in PyTorch. With `classical` it sums steps, which include the learning rate, as in
    the paper (eq. 1 and 3) and in scikit-learn. The two differ where the learning rate changes.
    """

    def update(xp: Namespace, gradient: Array, state: OptimizerState, params: Array) -> tuple[Array, OptimizerState]:
        learning_rate, count, slots = state
        count += 1
        if classical:
            gradient = learning_rate * gradient
        if momentum:
            (velocity,) = slots
            velocity *= momentum
            velocity += gradient
            slots = (velocity,)
            gradient = gradient + momentum * velocity if nesterov else velocity
        params -= gradient if classical else learning_rate * gradient
        return params, OptimizerState(learning_rate, count, slots)

    return Optimizer(update, 0.01, (_zeros,)) if momentum else Optimizer(update, 0.1)


def _adam(
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
    epsilon_hat: float = 0.0,
) -> Optimizer:
    """Adam: Kingma, Ba (2015), arXiv:1412.6980; decoupled decay: Loshchilov, Hutter (2019), arXiv:1711.05101.

    An `epsilon_hat` above 0 replaces ``epsilon sqrt(1 - beta_2^t)``, as at the end of the paper's section 2 and in
    scikit-learn.
    """
    log_beta_1, log_beta_2 = (math.log(beta) if beta else -math.inf for beta in (beta_1, beta_2))

    def decay_of_weights(xp: Namespace, params: Array, n_weights: int) -> Array:
        weights = xp.arange(params.shape[0], device=device(params)) < n_weights
        return weight_decay * xp.astype(weights, params.dtype)

    def update(xp: Namespace, gradient: Array, state: OptimizerState, params: Array) -> tuple[Array, OptimizerState]:
        learning_rate, count, (mean, square, *decay) = state
        count += 1
        t = xp.astype(count, params.dtype)
        mean *= beta_1
        mean += (1 - beta_1) * gradient
        square *= beta_2
        square += (1 - beta_2) * gradient * gradient
        # 1 - beta^t without cancellation, also in float32
        root = xp.sqrt(-xp.expm1(t * log_beta_2))
        rate = learning_rate * (root / -xp.expm1(t * log_beta_1))
        deviation = xp.sqrt(square)
        deviation += epsilon_hat or epsilon * root
        if decay:
            params *= 1 - learning_rate * decay[0]
        params -= rate * mean / deviation
        return params, OptimizerState(learning_rate, count, (mean, square, *decay))

    return Optimizer(update, 0.001, (_zeros, _zeros, decay_of_weights) if weight_decay else (_zeros, _zeros))


def _rmsprop(rho: float = 0.99, epsilon: float = 1e-8) -> Optimizer:
    """RMSprop: Tieleman, Hinton (2012), Neural Networks for Machine Learning, lecture 6.5."""

    def update(xp: Namespace, gradient: Array, state: OptimizerState, params: Array) -> tuple[Array, OptimizerState]:
        learning_rate, count, (square,) = state
        count += 1
        square *= rho
        square += (1 - rho) * gradient * gradient
        params -= learning_rate * gradient / (xp.sqrt(square) + epsilon)
        return params, OptimizerState(learning_rate, count, (square,))

    return Optimizer(update, 0.001, (_zeros,))


def _adagrad(initial_accumulator: float = 0.0, epsilon: float = 1e-10) -> Optimizer:
    """Adagrad: Duchi, Hazan, Singer (2011), JMLR 12, 2121-2159."""

    def update(xp: Namespace, gradient: Array, state: OptimizerState, params: Array) -> tuple[Array, OptimizerState]:
        learning_rate, count, (total,) = state
        count += 1
        total += gradient * gradient
        params -= learning_rate * gradient / (xp.sqrt(total) + epsilon)
        return params, OptimizerState(learning_rate, count, (total,))

    return Optimizer(update, 0.01, (_full(initial_accumulator),))


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": lambda: _sgd(),
    "momentum": lambda momentum=0.9, classical=0: _sgd(momentum, classical=classical),
    "nesterov": lambda momentum=0.9, classical=0: _sgd(momentum, nesterov=True, classical=classical),
    "adam": lambda beta_1=0.9, beta_2=0.999, epsilon=1e-8, epsilon_hat=0: _adam(
        beta_1, beta_2, epsilon, epsilon_hat=epsilon_hat
    ),
    "adamw": lambda beta_1=0.9, beta_2=0.999, epsilon=1e-8, weight_decay=0.01: _adam(
        beta_1, beta_2, epsilon, weight_decay
    ),
    "rmsprop": _rmsprop,
    "adagrad": _adagrad,
}

# What others call them, for hints in errors; see `UnknownNameError.among`.
OPTIMIZER_SYNONYMS = {
    **dict.fromkeys(("gd", "gradient_descent"), "sgd"),
    **dict.fromkeys(("sgdm", "sgd_momentum", "heavy_ball"), "momentum"),
    **dict.fromkeys(("nag", "sgd_nesterov"), "nesterov"),
    **dict.fromkeys(("lbfgs", "l_bfgs", "bfgs"), "adam There is no L-BFGS, which needs all samples in a step."),
}


_RANGES = {
    **dict.fromkeys(("beta_1", "beta_2", "rho"), real(0, 1)),
    "momentum": fraction(),
    **dict.fromkeys(("classical", "epsilon_hat", "initial_accumulator", "weight_decay"), real(0)),
    "epsilon": real(0, closed=False),
}


def get_optimizer(spec: str | Optimizer) -> Optimizer:
    """Return the optimizer of a spec: ``"adam:beta_1=0.8"``; an `Optimizer` is returned as it is."""
    if isinstance(spec, Optimizer):
        return spec
    optimizer: Optimizer = from_spec("optimizer", spec, OPTIMIZERS, _RANGES, OPTIMIZER_SYNONYMS)
    return optimizer
