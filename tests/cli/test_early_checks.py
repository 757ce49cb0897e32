"""A wrong option is refused before the data are read: here the data could not be read at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.command_line import refused, train, write_csv
from xpnet.backend import get_backend
from xpnet.cli.early_checks import check_options
from xpnet.cli.options import TrainOptions
from xpnet.cli.presets import PRESETS

pytestmark = pytest.mark.usefixtures("folder")

WRONG = {
    "--epochs 0": "--epochs: expected",
    "--lr -1": "--lr: expected",
    "--batch-size 0": "--batch-size: expected",
    "--early-stopping foo": "unknown early_stopping",
    "--optimizer foo": "unknown optimizer",
    "--hidden a": "--hidden: expected",
    "--dropout 2": "--dropout: expected",
    "--activation foo": "unknown activation",
    "--output foo": "unknown output",
    "--output sigmoid --loss cross_entropy": "--output: expected 'softmax'",
    "--init foo": "unknown initializer",
    "--loss foo": "unknown loss",
    "--loss cross_entropy --task regression": "--loss: expected",
    "--schedule foo": "unknown schedule",
    "--checkpoint-every x": "--checkpoint-every: expected",
    "--keep 0": "--keep: expected",
    "--memory-limit x": "--memory-limit: expected",
    "--metric foo": "unknown metric",
    "--metric auc --task regression": "--metric: expected",
    "--scale foo": "unknown scaling",
    "--val-fraction 2": "--val-fraction: expected",
    "--test-fraction -1": "--test-fraction: expected",
    "--seed -1": "--seed: expected",
    "--lr-factors x": "--lr-factors: expected",
    "--momentum 0.9 --optimizer adam": "--momentum: expected",
    "--label-smoothing 2": "--label-smoothing: expected",
}


@pytest.mark.parametrize("data", ["nope.csv", "nope.npz", "empty"])
@pytest.mark.parametrize("options", WRONG)
def test_an_option_is_refused_first(options: str, data: str) -> None:
    Path("empty").mkdir()
    assert refused("train", data, *options.split()).startswith(f"xpnet: {WRONG[options]}")


@pytest.mark.parametrize("options", ["", "--loss poisson --task regression", "--val-fraction 0"])
def test_right_options_are_not_refused(options: str) -> None:
    assert refused("train", "nope.csv", *options.split()).startswith("xpnet: nope.csv: no such file")


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    "options",
    [
        {"loss": "cross_entropy"},
        {"loss": "binary_cross_entropy"},
        {"loss": "squared_error"},
        {"loss": "huber:delta=2"},
        {"label_smoothing": 0.1},  # for classes only
        {"early_stopping": "r2"},
        {"metric": "auc"},
        {"metric": "rmse"},
        {"val_fraction": 0.6, "test_fraction": 0.6},  # right for data with a test part of their own
        {"batch_size": 10**6},
        {"hidden": "none"},
        {"output": "softmax"},
        {"output": "exp", "loss": "poisson"},
        {"task": "multilabel"},
    ],
    ids=str,
)
def test_options_that_suit_some_data_are_not_refused(preset: str, options: dict) -> None:
    check_options(TrainOptions(device="cpu", **options), get_backend("cpu"), PRESETS[preset].recipe)


def test_options_that_suit_two_classes_only() -> None:
    train("breast-cancer", "--loss", "binary_cross_entropy", "--output", "sigmoid", "--quiet", "--out", "run")


@pytest.mark.parametrize("data", ["diabetes", "prices.csv", "prices.npz", "tables", "arrays"])
def test_numbers_that_are_taken_for_classes(data: str) -> None:
    prices = 100 + np.arange(240) % 120
    for folder in ("tables", "arrays"):
        Path(folder).mkdir()
    for table in ("prices.csv", "tables/prices.csv"):
        write_csv(table, "a,target", *(f"{i % 17},{price}" for i, price in enumerate(prices)))
    for array in ("prices.npz", "arrays/prices.npz"):
        np.savez(array, X=np.arange(240)[:, None] % 17, y=prices)
    given = train(data, "--task", "classification", "--quiet", "--out", "given")
    n = 214 if data == "diabetes" else 120
    assert f"the target has {n} different numbers, and --task classification takes each for a class" in given.err
    assert "--task regression" in given.err
    assert "different numbers" not in train(data, "--quiet", "--out", "own").err
    assert "different" not in train("iris", "--task", "classification", "--quiet", "--out", "iris").err
