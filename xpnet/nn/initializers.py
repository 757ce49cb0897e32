"""Initial weights and biases, drawn on the host with NumPy, so that every backend starts from the same bits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from xpnet.specs import from_spec

__all__ = ["INITIALIZERS", "INITIALIZER_SYNONYMS", "Initializer", "get_initializer"]


class Initializer(NamedTuple):
    """A way to draw the parameters of a layer.

    Attributes
    ----------
    weights : (rng, fan_in, fan_out) -> (fan_in, fan_out) ndarray
    biases : (rng, fan_out) -> (fan_out,) ndarray
        Zeros by default.
    """

    weights: Callable[[np.random.Generator, int, int], np.ndarray]
    biases: Callable[[np.random.Generator, int], np.ndarray] = lambda rng, fan_out: np.zeros(fan_out)


def _normal(deviation: Callable[[int, int], float]) -> Initializer:
    def draw(rng: np.random.Generator, fan_in: int, fan_out: int) -> np.ndarray:
        W = rng.standard_normal((fan_in, fan_out))
        W *= deviation(fan_in, fan_out)  # in place: the largest layer in float64 decides how much memory drawing takes
        return W

    return Initializer(draw)


def _uniform(limit: Callable[[int, int], float]) -> Initializer:
    def draw(rng: np.random.Generator, fan_in: int, fan_out: int) -> np.ndarray:
        bound = limit(fan_in, fan_out)
        return rng.uniform(-bound, bound, (fan_in, fan_out))

    return Initializer(draw)


def _standard_normal() -> Initializer:
    """Draw weights and biases from the standard normal distribution."""
    weights = _normal(lambda fan_in, fan_out: 1.0).weights
    return Initializer(weights, lambda rng, fan_out: rng.standard_normal(fan_out))


# Glorot, Bengio (2010), AISTATS; He et al. (2015), arXiv:1502.01852; LeCun et al. (1998), Efficient BackProp.
INITIALIZERS: dict[str, Callable[..., Initializer]] = {
    "normal": _standard_normal,
    "glorot_uniform": lambda: _uniform(lambda fan_in, fan_out: math.sqrt(6 / (fan_in + fan_out))),
    "glorot_normal": lambda: _normal(lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out))),
    "he_uniform": lambda: _uniform(lambda fan_in, fan_out: math.sqrt(6 / fan_in)),
    "he_normal": lambda: _normal(lambda fan_in, fan_out: math.sqrt(2 / fan_in)),
    "lecun_normal": lambda: _normal(lambda fan_in, fan_out: math.sqrt(1 / fan_in)),
    "zeros": lambda: Initializer(lambda rng, fan_in, fan_out: np.zeros((fan_in, fan_out))),
}

# What others call them, for hints in errors; see `UnknownNameError.among`.
INITIALIZER_SYNONYMS = {
    **dict.fromkeys(("xavier", "xavier_uniform", "glorot"), "glorot_uniform"),
    "xavier_normal": "glorot_normal",
    **dict.fromkeys(("he", "kaiming", "kaiming_normal"), "he_normal"),
    "kaiming_uniform": "he_uniform",
    "lecun": "lecun_normal",
    **dict.fromkeys(("gaussian", "random_normal", "standard_normal"), "normal"),
}


def get_initializer(spec: str) -> Initializer:
    """Return the initializer of a spec: ``"he_normal"``."""
    initializer: Initializer = from_spec("initializer", spec, INITIALIZERS, synonyms=INITIALIZER_SYNONYMS)
    return initializer
