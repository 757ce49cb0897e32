"""Recipes: settings of the network, the trainer and the scaling that belong together, by task."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from xpnet.data.targets import Task
from xpnet.training.search_spaces import AROUND_PLAIN, REALMLP, REALMLP_CLASSES, Space

__all__ = ["PLAIN", "TABULAR", "Recipe"]

# Keeps the best epoch, the last of them if several are equally good, and never stops early.
_BEST_OF_ALL = "patience=inf,latest=1"


class Recipe(NamedTuple):
    """Settings that were tuned together.

    Attributes
    ----------
    hidden_layer_sizes : tuple of int
    network : mapping of str to object
        Keyword arguments of `Network`, without `layer_sizes` and `initializer`.
    trainer : mapping of str to object
        Keyword arguments of `Trainer`, without the network, the seed and the device.
    scale : str or None
        Scaling of the features, see `xpnet.data.scaling.fit_scaler`; None leaves it to the data.
    initializers : (str, str) or None
        Initializers of the hidden layers and of the last layer; None takes the default of each activation.
    clips_output : bool
        Whether predictions of a regression are clipped to the range of the training targets.
    search_space : mapping of str to Distribution
        What `xpnet tune` draws options of `xpnet train` from.
    """

    hidden_layer_sizes: tuple[int, ...]
    network: Mapping[str, Any]
    trainer: Mapping[str, Any]
    scale: str | None = None
    initializers: tuple[str, str] | None = None
    clips_output: bool = False
    search_space: Space = MappingProxyType({})

    def network_arguments(self, n_hidden: int) -> dict[str, Any]:
        """Return the keyword arguments of a `Network` with that many hidden layers, without `layer_sizes`."""
        initializer = None
        if self.initializers is not None:
            hidden, last = self.initializers
            initializer = (*(hidden,) * n_hidden, last)
        return {**self.network, "initializer": initializer}

    def trainer_arguments(self, n_samples: int, *, validation: bool) -> dict[str, Any]:
        """Return the keyword arguments of a `Trainer` for that many training samples.

        A training part with fewer samples than a batch is one batch. Without a validation part the parameters of the
        last epoch are the result.
        """
        arguments = dict(self.trainer)
        if isinstance(arguments["batch_size"], int):
            arguments["batch_size"] = min(arguments["batch_size"], n_samples)
        if not validation:
            arguments["early_stopping"] = None
        return arguments


def _plain(metric: str) -> Recipe:
    network = {"activation": "relu", "parametrization": "standard", "input_scale": False, "label_smoothing": 0.0}
    trainer = {
        "optimizer": "adam",
        "learning_rate": None,
        "learning_rate_factors": None,
        "schedule": "constant",
        "batch_size": "auto",
        "epochs": 20,
        "early_stopping": f"{metric}:{_BEST_OF_ALL}",
        "drop_last": False,
    }
    return Recipe((128, 64), MappingProxyType(network), MappingProxyType(trainer), search_space=AROUND_PLAIN)


def _realmlp_td_s(network: Mapping[str, Any], trainer: Mapping[str, Any], space: Space = REALMLP) -> Recipe:
    """Return RealMLP-TD-S, the simplified form with tuned defaults: Holzmüller, Grinsztajn, Steinwart (2024).

    "Better by default: strong pre-tuned MLPs and boosted trees on tabular data", NeurIPS, arXiv:2407.04491.
    """
    return Recipe(
        (256, 256, 256),
        MappingProxyType({"parametrization": "ntk", "input_scale": True, **network}),
        MappingProxyType(
            {
                "optimizer": "adam:beta_2=0.95",
                "learning_rate_factors": {"input_scale": 6.0, "biases": 0.1},
                "schedule": "coslog4",
                "batch_size": 256,
                "epochs": 256,
                "drop_last": True,
                **trainer,
            }
        ),
        scale="robust",
        initializers=("normal", "zeros"),
        clips_output=True,
        search_space=space,
    )


PLAIN: dict[Task, Recipe] = {
    "classification": _plain("accuracy"),
    "multilabel": _plain("accuracy"),
    "regression": _plain("r2"),
}
TABULAR: dict[Task, Recipe] = {
    "classification": _realmlp_td_s(
        {"activation": "selu", "label_smoothing": 0.1},
        {"learning_rate": 0.04, "early_stopping": f"accuracy:{_BEST_OF_ALL}"},
        REALMLP_CLASSES,
    ),
    "multilabel": _realmlp_td_s(
        {"activation": "selu", "label_smoothing": 0.0},
        {"learning_rate": 0.04, "early_stopping": f"accuracy:{_BEST_OF_ALL}"},
    ),
    # The targets are standardised.
    "regression": _realmlp_td_s(
        {"activation": "mish", "label_smoothing": 0.0},
        {"learning_rate": 0.07, "early_stopping": f"r2:{_BEST_OF_ALL}"},
    ),
}
