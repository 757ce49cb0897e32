"""Recipes: what they set is what networks and trainers take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xpnet.nn.network import Network
from xpnet.training.recipes import PLAIN, TABULAR
from xpnet.training.trainer import Trainer

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("recipes", [PLAIN, TABULAR])
@pytest.mark.parametrize("task", ["classification", "regression", "multilabel"])
def test_a_recipe_makes_a_network_and_a_trainer(recipes: Any, task: str) -> None:
    recipe = recipes[task]
    loss = {"classification": "cross_entropy", "regression": "squared_error", "multilabel": "binary_cross_entropy"}
    network = Network((5, 8, 6, 3), loss=loss[task], **recipe.network_arguments(2))
    y = RNG.integers(0, 3, 60) if task == "classification" else RNG.integers(0, 2, (60, 3)).astype(np.float64)
    x = RNG.normal(size=(60, 5))
    arguments = {**recipe.trainer_arguments(60, validation=True), "epochs": 2}
    assert len(Trainer(network, **arguments).fit(x, y, validation=(x, y)).history) == 2
    arguments = {**recipe.trainer_arguments(60, validation=False), "epochs": 1}
    assert len(Trainer(network, **arguments).fit(x, y).history) == 1


def test_realmlp_starts_with_zero_outputs_and_scaled_inputs() -> None:
    for recipe in TABULAR.values():
        network = Network((5, *recipe.hidden_layer_sizes, 3), **recipe.network_arguments(3))
        assert network.layer_sizes == (5, 256, 256, 256, 3)
        assert (network.parametrization, network.input_scale) == ("ntk", True)
        np.testing.assert_array_equal(network.forward(network.init(0), RNG.normal(size=(9, 5))), 0)
        assert recipe.trainer["optimizer"] == "adam:beta_2=0.95"
        assert (recipe.scale, recipe.clips_output) == ("robust", True)
    rates = {task: recipe.trainer["learning_rate"] for task, recipe in TABULAR.items()}
    assert (rates["classification"], rates["regression"]) == (0.04, 0.07)


def test_few_samples_are_one_batch_and_without_validation_nothing_stops_early() -> None:
    recipe = TABULAR["classification"]
    assert recipe.trainer_arguments(100, validation=True)["batch_size"] == 100
    assert recipe.trainer_arguments(1000, validation=True)["batch_size"] == 256
    assert recipe.trainer_arguments(1000, validation=True)["early_stopping"] is not None
    assert recipe.trainer_arguments(1000, validation=False)["early_stopping"] is None
    assert PLAIN["regression"].trainer_arguments(100, validation=True)["batch_size"] == "auto"
