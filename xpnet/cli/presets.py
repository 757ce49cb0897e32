"""Presets: a recipe of network and trainer, and options of `xpnet train` on top of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from xpnet.data.targets import Task
from xpnet.training.recipes import PLAIN, TABULAR, Recipe

__all__ = ["PRESETS", "Preset", "default_preset"]


class Preset(NamedTuple):
    """Options of `xpnet train`.

    Attributes
    ----------
    expected : float or None
        Score on the test part that a textbook network reaches: accuracy, or R2 for house-price.
    options : dict
    recipe : mapping of Task to Recipe
        Settings that the options do not give.
    """

    expected: float | None
    options: dict[str, Any]
    recipe: Mapping[Task, Recipe] = PLAIN


def default_preset(*, is_table: bool) -> str:
    """Return the name of the preset for data without one."""
    return "tabular" if is_table else "plain"


PRESETS: dict[str, Preset] = {
    "tabular": Preset(None, {}, TABULAR),
    "plain": Preset(None, {}),
    # Nielsen, Neural Networks and Deep Learning (2015), chapter 1, on digits of 8 x 8 pixels. With some seeds an output
    # is saturated at the start, squared error hardly changes it, and its class is not learned.
    "sigmoid-mse": Preset(
        0.96,
        {
            "hidden": "30",
            "activation": ("sigmoid",),
            "output": "sigmoid",
            "loss": "squared_error",
            "optimizer": "sgd",
            "lr": 3.0,
            "batch-size": 10,
            "epochs": 100,
            "init": "normal",
            "scale": "divide:16",
            "val-fraction": 0.0,
            "test-fraction": 297 / 1797,
        },
    ),
    # The reduction matters: with the mean instead of the sum the same run reaches only about 68 %.
    "digits-15": Preset(
        0.88,
        {
            "hidden": "15",
            "activation": ("sigmoid",),
            "loss": "binary_cross_entropy",
            "reduction": "sum",
            "optimizer": "sgd",
            "lr": 0.01,
            "batch-size": 10,
            "epochs": 50,
            "init": "normal",
            "scale": "none",
            "val-fraction": 0.0,
            "test-fraction": 297 / 1797,
        },
    ),
    "relu-softmax": Preset(
        0.96,
        {
            "hidden": "32,32",
            "activation": ("relu",),
            "loss": "cross_entropy",
            "init": "he_normal",
            "batch-size": 32,
            "epochs": 40,
            "scale": "divide:16",
            "val-fraction": 0.0,
        },
    ),
    "softmax-regression": Preset(
        0.95, {"hidden": "none", "loss": "cross_entropy", "lr": 0.05, "epochs": 60, "val-fraction": 0.0}
    ),
    "house-price": Preset(
        0.40,
        {
            "data": "diabetes",
            "task": "regression",
            "hidden": "32",
            "activation": ("relu",),
            "loss": "squared_error",
            "scale": "standard",
            "lr": 0.003,
            "l2": 0.1,
            "epochs": 60,
            "early-stopping": "loss",
        },
    ),
    "xor": Preset(1.0, {"data": "xor", "hidden": "8", "activation": ("tanh",), "lr": 0.02, "epochs": 30}),
    "circles": Preset(0.97, {"data": "circles", "hidden": "16", "activation": ("tanh",), "lr": 0.02, "epochs": 40}),
}
