"""The options of ``xpnet train``: each is there and does something; which of two sources wins."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from tests.command_line import Outcome, house_csv, idx_folder, refused, train, xpnet
from xpnet.cli.options import TrainOptions
from xpnet.data.readers import SUFFIXES
from xpnet.model.model import Model
from xpnet.model.model_file import load_model
from xpnet.nn.activations import ACTIVATIONS
from xpnet.nn.initializers import INITIALIZERS
from xpnet.nn.losses import LOSSES
from xpnet.nn.optimizers import OPTIMIZERS
from xpnet.training.schedules import SCHEDULES

# The list.
NAMES = [
    "--device", "--backend", "--dtype", "--seed", "--hidden", "--activation", "--loss", "--optimizer", "--lr",
    "--momentum", "--schedule", "--l2", "--l1", "--dropout", "--clip-norm", "--batch-size", "--epochs",
    "--early-stopping", "--val-fraction", "--test-fraction", "--target", "--task", "--scale", "--preset", "--config",
    "--data-dir", "--out", "--quiet", "--json", "--debug",
]  # fmt: skip


# Each is run once with and once without; what is left must differ.
EFFECTS = {
    "--activation": ["tanh"],
    "--backend": ["strict"],
    "--batch-size": ["7"],
    "--class-weight": ["balanced", "--val-fraction=0.35", "--test-fraction=0.35"],
    "--clip-norm": ["0.001", "--optimizer=sgd"],
    "--config": ["given.toml"],
    "--device": ["strict:cpu"],
    "--dropout": ["0.5"],
    "--dtype": ["float64"],
    "--early-stopping": ["accuracy:patience=1", "--epochs=40"],
    "--epochs": ["3"],
    "--hidden": ["9"],
    "--micro-batch": ["5"],
    "--init": ["zeros"],
    "--input-scale": ["true"],
    "--keep-last": ["true", "--lr=0.5", "--epochs=12", "--val-fraction=0.3"],
    "--l1": ["0.1"],
    "--l2": ["0.1"],
    "--label-smoothing": ["0.3"],
    "--loss": ["squared_error"],
    "--lr": ["0.5"],
    "--lr-factors": ["biases=0.1"],
    "--metric": ["auc", "--lr=0.5", "--epochs=12", "--val-fraction=0.3"],
    "--momentum": ["0.1", "--optimizer=nesterov"],
    "--optimizer": ["rmsprop"],
    "--parametrization": ["ntk"],
    "--output": ["sigmoid", "--loss=squared_error"],
    "--preset": ["xor"],
    "--reduction": ["sum", "--optimizer=sgd"],
    "--scale": ["minmax"],
    "--schedule": ["cosine"],
    "--seed": ["1"],
    "--task": ["regression"],
    "--test-fraction": ["0.4"],
    "--val-fraction": ["0.3"],
}
# These have a test of their own here or beside.
ELSEWHERE = {
    "--categorical", "--checkpoint-every", "--cv", "--data-dir", "--date", "--debug", "--decimal",
    "--distributed",
    "--delimiter", "--drop", "--encoding", "--ensemble", "--group", "--header", "--json", "--keep", "--log",
    "--memory-limit", "--missing", "--numeric", "--on-divergence", "--out", "--precision", "--quiet", "--report",
    "--target", "--threads", "--time", "--weight",
}  # fmt: skip


@pytest.fixture(autouse=True)
def folder(folder, monkeypatch):
    monkeypatch.setattr("xpnet.cli.run_pictures.draw_pictures", lambda *_: [])  # they are slow
    Path("given.toml").write_text("lr = 0.25\n")
    return folder


def config_of(*arguments: object) -> dict:
    train(*arguments, "--out", "run", "--quiet")
    return tomllib.loads(Path("run/config.toml").read_text())


def fingerprint(out: str) -> tuple:
    """What a run computed and where."""
    model: Model = load_model(Path(out) / "model.safetensors")
    device = tomllib.loads((Path(out) / "config.toml").read_text())["device"]
    return device, model.vector.dtype.name, model.vector.tobytes()


@pytest.fixture(scope="module")
def help_text() -> str:
    return xpnet("train", "--help").out


@pytest.mark.parametrize("name", NAMES)
def test_every_option_of_the_list_is_there(name, help_text):
    assert f"{name} " in help_text


def test_every_option_is_tested():
    options = {f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(TrainOptions)}
    assert EFFECTS.keys() | ELSEWHERE == options | {"--debug"}
    assert set(NAMES) <= options | {"--debug"}


@pytest.mark.parametrize("name", EFFECTS)
def test_every_option_has_an_effect(name):
    value, *others = EFFECTS[name]
    common = others if name == "--device" else [*others, "--device=cpu"]
    train(*common, "--out", "without")
    train(*common, f"{name}={value}", "--out", "with")
    assert fingerprint("with") != fingerprint("without")


def test_layers_may_differ_in_activation():
    train("--hidden", "5,4", "--activation", "tanh", "--activation", "prelu", "--out", "run")
    network = load_model("run/model.safetensors").network
    assert network.layer_sizes == (4, 5, 4, 3)
    assert network.activation == ("tanh", "prelu")


@pytest.mark.parametrize(
    "given", [["--hidden", "5", "4"], ["--hidden", "5,", "4"], ["--hidden=5", "4"], ["--hidden", "5 , 4"]]
)
def test_sizes_in_several_arguments(given):
    outcome = xpnet("train", "iris", "--epochs", 1, *given, "--out", "run", "--quiet")
    assert outcome == (0, "", "")
    assert load_model("run/model.safetensors").network.layer_sizes == (4, 5, 4, 3)
    assert tomllib.loads(Path("run/config.toml").read_text())["hidden"].replace(" ", "") == "5,4"


def test_sizes_before_the_data():
    assert xpnet("train", "--hidden", 5, 4, "iris", "--epochs", 1, "--out", "run", "--quiet") == (0, "", "")
    assert load_model("run/model.safetensors").network.layer_sizes == (4, 5, 4, 3)


def test_no_hidden_layer():
    train("--hidden", "none", "--out", "run")
    assert load_model("run/model.safetensors").network.layer_sizes == (4, 3)


def test_data_dir(folder):
    idx_folder(folder / "data" / "mnist")
    train("mnist", "--data-dir", "data", "--out", "run")
    assert load_model("run/model.safetensors").network.layer_sizes[0] == 4
    assert tomllib.loads(Path("run/config.toml").read_text())["data-dir"] == str(folder / "data")


@pytest.mark.parametrize(("target", "names"), [("price", ("area", "rooms")), ("rooms", ("area", "price"))])
def test_target(target, names):
    house_csv()
    train("house.csv", "--target", target, "--out", "run")
    model = load_model("run/model.safetensors")
    assert (model.feature_names, model.target_name) == (names, target)


@pytest.mark.parametrize(
    ("arguments", "device"),
    [
        (["--device", "cpu"], "numpy:cpu"),
        (["--backend", "numpy"], "numpy:cpu"),
        (["--backend", "strict", "--device", "cpu:1"], "strict:cpu:1"),
        (["--backend", "strict", "--device", "strict:cpu"], "strict:cpu"),
    ],
)
def test_device_and_backend(arguments, device):
    assert config_of(*arguments)["device"] == device


# Precedence: the command line, then the configuration, then the preset, then the default.


@pytest.mark.parametrize(
    ("arguments", "lr", "hidden", "dropout"),
    [
        ([], None, None, None),
        (["--preset", "circles"], 0.02, "16", None),
        (["--config", "c.toml"], 0.3, None, 0.125),
        (["--config", "c.toml", "--preset", "circles"], 0.3, "16", 0.125),
        (["--preset", "circles", "--config", "c.toml", "--lr", "0.7"], 0.7, "16", 0.125),
        (["--preset", "circles", "--hidden", "3"], 0.02, "3", None),
        (["--config", "preset.toml"], 0.02, "16", None),
        (["--config", "preset.toml", "--preset", "digits-15"], 0.01, "15", None),
    ],
)
def test_precedence(arguments, lr, hidden, dropout):
    Path("c.toml").write_text("lr = 0.3\ndropout = 0.125\n")
    Path("preset.toml").write_text('preset = "circles"\n')
    assert xpnet("train", "iris", *arguments, "--epochs", 1, "--out", "run", "--quiet") == Outcome(0, "", "")
    config = tomllib.loads(Path("run/config.toml").read_text())
    assert (config.get("lr"), config.get("hidden"), config.get("dropout")) == (lr, hidden, dropout)


def test_an_option_that_was_removed():
    Path("c.toml").write_text("lr = 0.3\nautotune = false\n")
    config = config_of("iris", "--config", "c.toml", "--epochs", 1)
    assert config["lr"] == 0.3
    assert "autotune" not in config


@pytest.mark.parametrize(
    ("arguments", "data"),
    [
        ([], "digits"),
        (["--preset", "xor"], "xor"),
        (["moons", "--preset", "xor"], "moons"),
        (["--data", "moons", "--preset", "xor"], "moons"),
        (["--config", "c.toml", "--preset", "xor"], "iris"),
    ],
)
def test_precedence_of_the_data(arguments, data):
    Path("c.toml").write_text('data = "iris"\n')
    assert xpnet("train", *arguments, "--epochs", 1, "--hidden", "4", "--out", "run", "--quiet").code == 0
    assert tomllib.loads(Path("run/config.toml").read_text())["data"] == data


# As a user sees it


@pytest.mark.parametrize("command", ["", "train", "predict", "evaluate", "gradcheck", "devices", "datasets"])
def test_help_fits_a_terminal(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = xpnet(*command.split(), "--help")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out
    assert "Usage: xpnet" in out


def test_help_tells_what_each_command_does():
    out = xpnet("--help").out
    order = [out.index(f"│ {name} ") for name in ("train", "predict", "evaluate", "datasets", "devices", "gradcheck")]
    assert order == sorted(order)
    for words in ("Train a network", "Predict with", "Evaluate a", "List each backend", "--debug with any command"):
        assert words in out


def test_version():
    import xpnet as package

    assert xpnet("--version").out.strip() == package.__version__


def test_help_lists_every_kind_of_data_file(help_text):
    described = help_text[: help_text.index("--device")]
    parts = {part for suffix in SUFFIXES for part in re.findall(r"\.\w+", suffix)}  # .csv.gz is a .csv and a .gz
    assert [part for part in parts if not re.search(rf"{re.escape(part)}\b", described)] == []


@pytest.mark.parametrize("table", [ACTIVATIONS, INITIALIZERS, LOSSES, OPTIMIZERS, SCHEDULES])
def test_help_lists_every_name(table, help_text):
    words = set(re.findall(r"\w+", help_text))
    assert [name for name in table if name not in words] == []


def test_help_says_which_loss_demands_which_output(help_text):
    text = " ".join(help_text.replace("│", " ").split())
    for name, factory in LOSSES.items():
        assert re.search(rf"{factory().output or 'any activation'} for (\w+, )*{name}\b", text), name


def test_defaults_are_shown_as_they_are_typed(help_text):
    text = " ".join(help_text.replace("│", " ").split())
    assert "[default: relu; for tables selu, mish]" in text
    assert "[default: 128,64; for tables 256,256,256]" in text
    assert "[default: 20; for tables 256]" in text
    assert "('relu',)" not in help_text
    assert "[default: False]" not in help_text


def test_a_folder_with_the_name_of_a_data_set_does_not_get_in_the_way(folder):
    Path("iris").mkdir()
    train("iris", "--out", "first")
    train("--config", "first/config.toml", "--out", "second")
    assert Path("first/model.safetensors").read_bytes() == Path("second/model.safetensors").read_bytes()


def test_label_smoothing_is_for_classes(folder):
    house_csv()
    assert "--label-smoothing: expected 0 for regression" in refused(
        "train", "house.csv", "--target", "price", "--label-smoothing", "0.1"
    )


def test_outputs_that_are_no_probabilities_are_not_called_so(folder):
    train("iris", "--loss", "squared_error", "--out", "run")
    assert "--probabilities: expected" in refused("predict", "run/model.safetensors", "iris", "--probabilities")


def test_the_help_says_that_threads_may_be_auto(help_text):
    assert "--threads INT INT or auto:" in " ".join(help_text.replace("│", " ").split())
