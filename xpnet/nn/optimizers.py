"""Optimizers: pairs of pure functions over the flat parameter vector.

The state's learning rate and counters are arrays, for a Python scalar would be baked into a captured or compiled step.
`update` consumes the state and the parameters: where a library has arrays that can be written, it writes in place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from array_api_compat import device

from xpnet.backend.steps import Array
from xpnet.constraints import fraction, real
from xpnet.specs import lookup

__all__ = ["OPTIMIZERS", "Optimizer", "OptimizerState", "get_optimizer"]


class OptimizerState(NamedTuple):
    """State of an optimizer; n is the number of parameters.

    Attributes
    ----------
    learning_rate : scalar, the parameters' dtype
    count : scalar int32
        Updates done.
    slots : tuple of (n,) arrays, the parameters' dtype
        Velocity, or moments; what they are is the optimizer's affair.
    """

    learning_rate: Array
    count: Array
    slots: tuple[Array, ...]


class Optimizer(NamedTuple):
    """A pair of pure functions.

    Attributes
    ----------
    init : (xp, params, n_weights) -> OptimizerState
        State before the first update; the first `n_weights` parameters are weights, the rest biases and slopes.
    update : (xp, gradient, state, params) -> (params, state)
    learning_rate : float
        Default learning rate.
    """

    init: Callable[[Any, Array, int], OptimizerState]
    update: Callable[[Any, Array, OptimizerState, Array], tuple[Array, OptimizerState]]
    learning_rate: float


def _init(n_slots: int, value: float = 0.0) -> Callable[[Any, Array, int], OptimizerState]:
    def init(xp: Any, params: Array, n_weights: int) -> OptimizerState:
        slots = tuple(xp.full_like(params, value) for _ in range(n_slots))
        where = device(params)
        return OptimizerState(
            xp.zeros((), dtype=params.dtype, device=where), xp.zeros((), dtype=xp.int32, device=where), slots
        )

    return init


def _sgd(momentum: float = 0.0, nesterov: bool = False, classical: float = 0.0) -> Optimizer:
    """Stochastic gradient descent, with momentum and Nesterov's: Sutskever et al. (2013), ICML.

    The velocity gathers gradients, as in PyTorch, or with `classical` steps, learning rate included, as in the paper,
    eq. 1 and 3, and in scikit-learn; the two differ where the learning rate changes.
    """

    def update(xp: Any, gradient: Array, state: OptimizerState, params: Array) -> tuple[Array, OptimizerState]:
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

    return Optimizer(_init(1 if momentum else 0), update, 0.01 if momentum else 0.1)


def _adam(
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
    epsilon_hat: float = 0.0,
) -> Optimizer:
    """Adam: Kingma, Ba (2015), arXiv:1412.6980; decoupled decay: Loshchilov, Hutter (2019), arXiv:1711.05101.

    `epsilon_hat` above 0 stands in place of ``epsilon sqrt(1 - beta_2^t)``: the end of the paper's section 2, and
    scikit-learn.
    """
    log_beta_1, log_beta_2 = (math.log(beta) if beta else -math.inf for beta in (beta_1, beta_2))

    def init(xp: Any, params: Array, n_weights: int) -> OptimizerState:
        state = _init(2)(xp, params, n_weights)
        if not weight_decay:
            return state
        weights = xp.arange(params.shape[0], device=device(params)) < n_weights
        return state._replace(slots=(*state.slots, weight_decay * xp.astype(weights, params.dtype)))

    def update(xp: Any, gradient: Array, state: OptimizerState, params: Array) -> tuple[Array, OptimizerState]:
        learning_rate, count, (mean, square, *decay) = state
        count += 1
        t = xp.astype(count, params.dtype)
        mean *= beta_1
        mean += (1 - beta_1) * gradient
        square *= beta_2
        square += (1 - beta_2) * gradient * gradient
        # 1 - beta^t without cancellation, also in float32
        root = xp.sqrt(-xp.expm1(t * log_beta_2))
        rate = learning_rate * root / -xp.expm1(t * log_beta_1)
        deviation = xp.sqrt(square)
        deviation += epsilon_hat or epsilon * root
        if decay:
            params *= 1 - learning_rate * decay[0]
        params -= rate * mean / deviation
        return params, OptimizerState(learning_rate, count, (mean, square, *decay))

    return Optimizer(init, update, 0.001)


def _rmsprop(rho: float = 0.99, epsilon: float = 1e-8) -> Optimizer:
    """RMSprop: Tieleman, Hinton (2012), Neural Networks for Machine Learning, lecture 6.5."""

    def update(xp: Any, gradient: Array, state: OptimizerState, params: Array) -> tuple[Array, OptimizerState]:
        learning_rate, count, (square,) = state
        count += 1
        square *= rho
        square += (1 - rho) * gradient * gradient
        params -= learning_rate * gradient / (xp.sqrt(square) + epsilon)
        return params, OptimizerState(learning_rate, count, (square,))

    return Optimizer(_init(1), update, 0.001)


def _adagrad(initial_accumulator: float = 0.0, epsilon: float = 1e-10) -> Optimizer:
    """Adagrad: Duchi, Hazan, Singer (2011), JMLR 12, 2121-2159."""

    def update(xp: Any, gradient: Array, state: OptimizerState, params: Array) -> tuple[Array, OptimizerState]:
        learning_rate, count, (total,) = state
        count += 1
        total += gradient * gradient
        params -= learning_rate * gradient / (xp.sqrt(total) + epsilon)
        return params, OptimizerState(learning_rate, count, (total,))

    return Optimizer(_init(1, initial_accumulator), update, 0.01)


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


_RANGES = {
    **dict.fromkeys(("beta_1", "beta_2", "rho"), real(0, 1)),
    "momentum": fraction(),
    **dict.fromkeys(("classical", "epsilon_hat", "initial_accumulator", "weight_decay"), real(0)),
    "epsilon": real(0, closed=False),
}


def get_optimizer(name: str | Optimizer) -> Optimizer:
    """Return the optimizer of a name, with options after a colon: ``"adam:beta_1=0.8"``; one itself as it is."""
    if isinstance(name, Optimizer):
        return name
    optimizer: Optimizer = lookup("optimizer", name, OPTIMIZERS, _RANGES)
    return optimizer
