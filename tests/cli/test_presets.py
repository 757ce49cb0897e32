"""The textbook networks: each is what its name says, and reaches its figure in the median of 5 seeds."""

from __future__ import annotations

from statistics import median
from typing import Any

import numpy as np
import pytest

from tests.runs import job_of, trained_score
from xpnet.cli.presets import PRESETS
from xpnet.errors import UnknownNameError


def score(*arguments: str, seeds: int = 5) -> float:
    return median(trained_score(job_of(*arguments, "--device", "cpu", "--seed", str(seed))) for seed in range(seeds))


FIGURES = {
    "sigmoid-mse": ("digits", 0.96),
    "digits-15": ("digits", 0.88),
    "relu-softmax": ("digits", 0.96),
    "softmax-regression": ("digits", 0.95),
    "softmax-regression on iris": ("iris", 0.94),
    "house-price": ("diabetes", 0.40),
    "xor": ("xor", 1.0),
    "circles": ("circles", 0.97),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_it_reaches_its_figure(name: str) -> None:
    data, expected = FIGURES[name]
    preset = name.partition(" ")[0]
    assert score(data, "--preset", preset) >= expected
    if " " not in name:
        assert PRESETS[preset].expected == expected


def test_every_preset_has_a_figure() -> None:
    general = {"plain", "tabular"}  # for any data
    assert {name.partition(" ")[0] for name in FIGURES} == set(PRESETS) - general
    assert {PRESETS[name].expected for name in general} == {None}


@pytest.mark.slow
def test_digits_15_with_the_mean_in_place_of_the_sum() -> None:
    assert score("--preset", "digits-15", "--reduction", "mean", seeds=9) == pytest.approx(0.68, abs=0.04)


@pytest.mark.parametrize("name", ["xor", "circles"])
def test_without_the_hidden_layer_it_stays_near_chance(name: str) -> None:
    assert score("--preset", name, "--hidden", "none") < 0.8


NETWORKS: dict[str, dict[str, Any]] = {
    "plain": {"layer_sizes": (64, 128, 64, 10), "activation": "relu", "parametrization": "standard"},
    "tabular": {
        "layer_sizes": (64, 256, 256, 256, 10),
        "activation": "selu",
        "parametrization": "ntk",
        "input_scale": True,
        "label_smoothing": 0.1,
    },
    "sigmoid-mse": {
        "layer_sizes": (64, 30, 10),
        "activation_names": ("sigmoid", "sigmoid"),
        "loss": "squared_error",
        "initializer": "normal",
    },
    "digits-15": {
        "layer_sizes": (64, 15, 10),
        "activation": "sigmoid",
        "output": "sigmoid",
        "loss": "binary_cross_entropy",
        "initializer": "normal",
        "reduction": "sum",
    },
    "relu-softmax": {
        "layer_sizes": (64, 32, 32, 10),
        "activation_names": ("relu", "relu", "identity"),
        "output": "softmax",
        "loss": "cross_entropy",
        "initializer": "he_normal",
    },
    "softmax-regression": {"layer_sizes": (64, 10), "output": "softmax", "loss": "cross_entropy"},
    "house-price": {"activation_names": ("relu", "identity"), "output": "identity", "loss": "squared_error"},
    "xor": {"activation_names": ("tanh", "identity")},
    "circles": {"activation_names": ("tanh", "identity")},
}
TRAINERS: dict[str, dict[str, Any]] = {
    "plain": {"optimizer": "adam", "learning_rate": None, "schedule": "constant", "epochs": 20},
    "tabular": {"optimizer": "adam:beta_2=0.95", "learning_rate": 0.04, "schedule": "coslog4", "epochs": 256},
    "sigmoid-mse": {"optimizer": "sgd", "schedule": "constant"},
    "digits-15": {"optimizer": "sgd", "learning_rate": 0.01, "batch_size": 10, "epochs": 50},
    "relu-softmax": {"batch_size": 32},
}


@pytest.mark.parametrize("name", PRESETS)
def test_it_is_the_network_of_its_name(name: str) -> None:
    job = job_of("--preset", name)
    for attribute, expected in NETWORKS[name].items():
        assert getattr(job.model.network, attribute) == expected, attribute
    for attribute, expected in TRAINERS.get(name, {}).items():
        assert getattr(job.trainer, attribute) == expected, attribute


@pytest.mark.parametrize(("name", "largest"), [("sigmoid-mse", 1.0), ("digits-15", 16.0)])
def test_the_parts_and_scales_of_the_book(name: str, largest: float) -> None:
    job = job_of("--preset", name)
    assert {part: len(x) for part, (x, _) in job.parts.items()} == {"train": 1500, "test": 297}
    x = job.arguments()["x"]
    assert (x.min(), x.max()) == (0, largest)


@pytest.mark.parametrize("name", ["sigmoid-mse", "digits-15"])
def test_weights_and_biases_are_drawn_from_the_standard_normal(name: str) -> None:
    params = job_of("--preset", name).model.params
    for drawn in (params[0][0], np.concatenate([b for _, b in params])):
        assert np.std(drawn) == pytest.approx(1, abs=3 / np.sqrt(drawn.size))


def test_house_price_scales_features_and_target() -> None:
    job = job_of("--preset", "house-price")
    arguments = job.arguments()
    for values in (arguments["x"], arguments["y"]):
        np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(values.std(axis=0), 1, atol=1e-5)


def test_house_price_takes_the_users_file(tmp_path: Any) -> None:
    rng = np.random.default_rng(0)
    rooms, area = rng.integers(1, 6, 200), rng.uniform(40, 200, 200)
    price = 1000 * area + 20000 * rooms + rng.normal(0, 5000, 200)
    path = tmp_path / "house.csv"
    np.savetxt(path, np.column_stack([rooms, area, price]), delimiter=",", header="rooms,area,price", comments="")
    job = job_of(str(path), "--target", "price", "--preset", "house-price")
    assert (job.model.task, job.model.feature_names) == ("regression", ("rooms", "area"))
    assert trained_score(job) > 0.9


def test_an_option_goes_before_the_preset() -> None:
    job = job_of("wine", "--preset", "digits-15", "--hidden", "7", "--epochs", "3")
    assert job.model.network.layer_sizes == (13, 7, 3)
    assert (job.trainer.epochs, job.trainer.learning_rate) == (3, 0.01)


def test_an_unknown_preset() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown preset: .*Did you mean 'sigmoid-mse'"):
        job_of("--preset", "sigmoid_mse")
