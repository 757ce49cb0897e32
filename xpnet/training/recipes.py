"""Recipes: settings of the network and of the trainer that belong together, by task."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from xpnet.data.targets import Task

__all__ = ["TABULAR", "Recipe"]


class Recipe(NamedTuple):
    """Settings that were tuned together.

    Attributes
    ----------
    hidden_layer_sizes : tuple of int
    network : mapping of str to object
        Keyword arguments of `Network`, without `layer_sizes`.
    trainer : mapping of str to object
        Keyword arguments of `Trainer`, without the network, the seed and the device. A training part with fewer
        samples than `batch_size` is one batch; see `batch_size`.
    """

    hidden_layer_sizes: tuple[int, ...]
    network: Mapping[str, Any]
    trainer: Mapping[str, Any]

    def batch_size(self, n_samples: int) -> int:
        """Return the batch size for a training part of `n_samples` samples."""
        return min(int(self.trainer["batch_size"]), n_samples)


def _realmlp_td_s(network: Mapping[str, Any], trainer: Mapping[str, Any]) -> Recipe:
    """Return RealMLP-TD-S, the simplified form with tuned defaults: Holzmueller, Grinsztajn, Steinwart (2024).

    "Better by default: strong pre-tuned MLPs and boosted trees on tabular data", NeurIPS, arXiv:2407.04491, table A.1.
    """
    return Recipe(
        (256, 256, 256),
        MappingProxyType(
            {
                "parametrization": "ntk",
                "input_scale": True,
                "initializer": ("normal", "normal", "normal", "zeros"),
                **network,
            }
        ),
        MappingProxyType(
            {
                "optimizer": "adam:beta_2=0.95",
                "learning_rate_factors": {"input_scale": 6.0, "biases": 0.1},
                "schedule": "coslog4",
                "batch_size": 256,
                "epochs": 256,
                **trainer,
            }
        ),
    )


TABULAR: dict[Task, Recipe] = {
    "classification": _realmlp_td_s(
        {"activation": "selu", "loss": "cross_entropy", "label_smoothing": 0.1},
        {"learning_rate": 0.04, "early_stopping": "accuracy:patience=256"},
    ),
    # The targets are standardised.
    "regression": _realmlp_td_s(
        {"activation": "mish", "loss": "squared_error"},
        {"learning_rate": 0.07, "early_stopping": "r2:patience=256"},
    ),
}
