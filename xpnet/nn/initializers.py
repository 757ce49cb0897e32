"""Initial weights, drawn on the host with NumPy, so that every backend starts from the same bits.

An initializer takes a generator, fan-in and fan-out, and gives ``W`` of shape (n_in, n_out) in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from xpnet.specs import lookup

__all__ = ["INITIALIZERS", "Initializer", "default_initializer", "get_initializer"]

Initializer = Callable[[np.random.Generator, int, int], np.ndarray]


def _normal(deviation: Callable[[int, int], float]) -> Initializer:
    def draw(rng: np.random.Generator, fan_in: int, fan_out: int) -> np.ndarray:
        W = rng.standard_normal((fan_in, fan_out))
        W *= deviation(fan_in, fan_out)  # in place, for the largest layer in float64 is what drawing takes
        return W

    return draw


def _uniform(limit: Callable[[int, int], float]) -> Initializer:
    def draw(rng: np.random.Generator, fan_in: int, fan_out: int) -> np.ndarray:
        bound = limit(fan_in, fan_out)
        return rng.uniform(-bound, bound, (fan_in, fan_out))

    return draw


# Glorot, Bengio (2010), AISTATS; He et al. (2015), arXiv:1502.01852; LeCun et al. (1998), Efficient BackProp.
INITIALIZERS: dict[str, Callable[[], Initializer]] = {
    "normal": lambda: _normal(lambda fan_in, fan_out: 1.0),
    "glorot_uniform": lambda: _uniform(lambda fan_in, fan_out: math.sqrt(6 / (fan_in + fan_out))),
    "glorot_normal": lambda: _normal(lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out))),
    "he_uniform": lambda: _uniform(lambda fan_in, fan_out: math.sqrt(6 / fan_in)),
    "he_normal": lambda: _normal(lambda fan_in, fan_out: math.sqrt(2 / fan_in)),
    "lecun_normal": lambda: _normal(lambda fan_in, fan_out: math.sqrt(1 / fan_in)),
    "zeros": lambda: lambda rng, fan_in, fan_out: np.zeros((fan_in, fan_out)),
}

_SATURATING = {"identity", "sigmoid", "tanh", "softmax", "exp"}


def get_initializer(name: str) -> Initializer:
    """Return the initializer of a name."""
    initializer: Initializer = lookup("initializer", name, INITIALIZERS)
    return initializer


def default_initializer(activation: str) -> str:
    """Name of the initializer that suits the layer in front of an activation."""
    bare = activation.partition(":")[0]
    if bare == "selu":
        return "lecun_normal"
    return "glorot_uniform" if bare in _SATURATING else "he_normal"
