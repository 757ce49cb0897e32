"""Search spaces: from which values `xpnet tune` draws the settings of a recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np

__all__ = ["AROUND_PLAIN", "REALMLP", "REALMLP_CLASSES", "Choice", "Distribution", "LogUniform", "Space"]


class Distribution(Protocol):
    """What scikit-learn's `ParameterSampler` draws from."""

    def rvs(self, *, random_state: np.random.RandomState) -> Any:
        """Draw a value."""


class Choice(NamedTuple):
    """One of some values, each with its probability; without probabilities all have the same."""

    values: tuple[Any, ...]
    probabilities: tuple[float, ...] | None = None

    def rvs(self, *, random_state: np.random.RandomState) -> Any:
        """Draw a value."""
        return self.values[random_state.choice(len(self.values), p=self.probabilities)]


class LogUniform(NamedTuple):
    """A number whose logarithm is uniform, to three significant digits."""

    low: float
    high: float

    def rvs(self, *, random_state: np.random.RandomState) -> float:
        """Draw a number."""
        return float(f"{math.exp(random_state.uniform(math.log(self.low), math.log(self.high))):.3g}")


# By the name of an option of `xpnet train`, with which a user repeats a trial.
Space = Mapping[str, Distribution]

# That of RealMLP-HPO, for the settings that RealMLP-TD-S has: arXiv:2407.04491, as `recipes`.
REALMLP: Space = MappingProxyType(
    {
        "hidden": Choice(("256,256,256", "64,64,64,64,64", "512"), (0.6, 0.2, 0.2)),
        "activation": Choice((("relu",), ("selu",), ("mish",))),
        "input_scale": Choice((True, False), (0.6, 0.4)),
        "dropout": Choice((0.0, 0.15, 0.3), (0.3, 0.5, 0.2)),
        "lr": LogUniform(2e-2, 3e-1),
        "optimizer": Choice(("adam:beta_2=0.95", "adamw:beta_2=0.95,weight_decay=0.02")),
    }
)
REALMLP_CLASSES: Space = MappingProxyType({**REALMLP, "label_smoothing": Choice((0.0, 0.1), (0.3, 0.7))})

AROUND_PLAIN: Space = MappingProxyType(
    {
        "hidden": Choice(("64", "256", "64,64", "128,64", "256,128", "128,64,32")),
        "dropout": Choice((0.0, 0.1, 0.2, 0.4)),
        "lr": LogUniform(3e-4, 1e-2),
        "l2": Choice((0.0, 1e-4, 1e-3, 1e-2)),
        "batch_size": Choice((16, 32, 64, 128)),
    }
)
