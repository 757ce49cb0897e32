"""Bad models, bad places, and how an error looks: one printable line, and a traceback with ``--debug`` alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.command_line import house_csv, refused, species_csv, train, write_csv, xpnet


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    """Trained models: iris by number of features, house by their names."""
    folder = tmp_path_factory.mktemp("models")
    house = house_csv(folder / "house.csv")
    train("iris", "--quiet", "--out", folder / "iris")
    train(house, "--target", "price", "--quiet", "--out", folder / "house")
    return {name: folder / name / "model.safetensors" for name in ("iris", "house")}


pytestmark = pytest.mark.usefixtures("folder")


# Models


@pytest.mark.parametrize("command", ["predict", "evaluate"])
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: data[:-10], "safetensors file"),
        (lambda data: data[:50], "safetensors file"),
        (lambda data: b"", "safetensors file"),
        (lambda data: b"PK\3\4" + data, "safetensors file"),
        (lambda data: data.replace(b"format_version", b"format_Version"), "metadata"),
        (lambda data: data.replace(b"relu", b"rulu"), "unknown activation"),
    ],
    ids=["truncated", "truncated header", "empty", "no safetensors", "other metadata", "unknown activation"],
)
def test_a_bad_model_file(models, command, spoil, words):
    Path("bad.safetensors").write_bytes(spoil(models["iris"].read_bytes()))
    message = refused(command, "bad.safetensors", "iris")
    assert message.startswith("xpnet: bad.safetensors: ")
    assert words in message


def test_a_model_file_without_the_metadata_of_xpnet():
    save_file({"weight": np.ones((2, 2))}, "other.safetensors", {"format": "pt"})
    assert "other.safetensors: expected a model written by xpnet" in refused("evaluate", "other.safetensors", "iris")


def test_a_model_that_is_not_there():
    assert "nope.safetensors: expected a model file" in refused("predict", "nope.safetensors", "iris")
    Path("empty").mkdir()
    for command in (
        ["predict", "empty", "iris"],
        ["evaluate", "empty"],
        ["export", "empty", "m.onnx"],
        ["info", "empty"],
    ):
        assert (
            "empty: expected a model file, or the folder of a run that has ended; received a folder without"
            in refused(*command)
        )


@pytest.mark.parametrize(
    ("model", "header", "words"),
    [
        ("house", "area,price", ["area, rooms", "without rooms"]),
        ("house", "area,room,price", ["area, rooms", "without rooms"]),
        ("iris", "a,b,c", ["sepal length (cm)", "received a table without sepal length (cm)"]),
    ],
)
def test_features_of_other_names(models, model, header, words):
    write_csv("new.csv", header, ",".join("1" for _ in header.split(",")))
    message = refused("predict", models[model], "new.csv")
    assert all(word in message for word in ["new.csv", *words]), message


@pytest.mark.parametrize("data", ["digits", "new.csv", "new.npz"])
def test_features_of_another_number(models, data):
    write_csv("new.csv", "1,2,3")
    np.savez("new.npz", X=np.ones((2, 5)))
    message = refused("predict", models["iris"], data)
    assert f"{data}: features: expected 4, as in training; received" in message


def test_prediction_and_evaluation_that_cannot_be(models):
    write_csv("new.csv", "area,rooms", "50,2")
    assert "--probabilities" in refused("predict", models["house"], "new.csv", "--probabilities")
    assert "expected the target 'price'" in refused("evaluate", models["house"], "new.csv")
    write_csv("new.csv", "area,rooms,price", "50,inf,1")
    assert "new.csv: features: expected finite numbers; received inf in column 'rooms', row 1" in refused(
        "predict", models["house"], "new.csv"
    )
    assert "--device" not in refused("predict", models["house"], "new.csv", "--device", "gpuu")


def test_a_label_that_was_not_there_in_training():
    species = species_csv()
    train(species, "--target", "species", "--quiet", "--out", "run")
    species.write_text(species.read_text().replace("gentoo", "emperor"))
    assert "expected one of adelie, gentoo; received 'emperor' in row 9" in refused(
        "evaluate", "run/model.safetensors", species
    )


# Places that cannot be written


@pytest.mark.parametrize("out", ["file/run", "file", "file/a/b", "/dev/null/run", "x" * 300])
def test_an_impossible_place_for_a_run(out):
    Path("file").write_text("taken")
    message = refused("train", "iris", "--out", out)
    assert "cannot make the folder" in message
    assert "--out" in message


@pytest.mark.parametrize("out", ["file/p.csv", "no/such/p.csv", "folder", "/dev/null/p.csv", "a\0b"])
def test_an_impossible_place_for_predictions(models, out):
    Path("file").write_text("taken")
    Path("folder").mkdir()
    assert "cannot write" in refused("predict", models["iris"], "iris", "--out", out)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_place(models):
    Path("closed").mkdir(mode=0o500)
    assert "closed" in refused("train", "iris", "--out", "closed/run")
    assert "closed" in refused("train", "iris", "--out", "closed")
    assert "closed" in refused("predict", models["iris"], "iris", "--out", "closed/p.csv")


# How an error looks


@pytest.mark.parametrize(
    "name", ["a[bold]b.csv", "[red]x.csv", "a  b.csv", ":smile:.csv", "$HOME %s {x}.csv", "größe.csv"]
)
def test_names_are_printed_as_they_are(name):
    assert f"xpnet: {name}: no such file" in refused("train", name)
    assert name in refused("train", "iris", "--config", name)
    assert f"xpnet: {name}: expected a model file" in refused("predict", name, "iris")
    write_csv(name, "a,target", "1,2", "1")
    assert f"xpnet: {name}: line 3: uneven rows" in refused("train", name)


@pytest.mark.parametrize("value", ["a\nb", "a\r\nb", "a\x1b[31mb", "a\x07b", "a\u2028b", "a\udcffb", "x" * 100_000])
@pytest.mark.parametrize(
    "option", ["--activation", "--device", "--lr", "--epochs", "--config", "--preset", "--hidden", "--task", "--data"]
)
def test_any_value_gives_one_line_of_moderate_length(option, value):
    message = refused("train", option, value)
    assert len(message) < 2000
    assert message[:-1].isprintable()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["train", "nope.csv"], "DataError"),
        (["train", "iris", "--lr", "0"], "InvalidParameterError"),
        (["train", "iris", "--lr", "x"], "CoercionError"),
        (["evaluate", "nope.safetensors", "iris"], "ModelFormatError"),
        (["trian"], "UnknownCommandError"),
    ],
)
def test_debug_shows_the_traceback(arguments, error):
    line = refused(*arguments)
    for with_debug in (["--debug", *arguments], [*arguments, "--debug"]):
        code, out, err = xpnet(*with_debug)
        assert (code, out) == (2, "")
        assert "Traceback (most recent call last)" in err
        assert error in err
        assert err.endswith(line)
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError("Unable to allocate 9 TiB"), "out of memory: Unable to allocate 9 TiB."),
        (MemoryError(), "out of memory"),
        (OSError(5, "Input/output error", "disk.csv"), "disk.csv: Input/output error"),
        (OSError("weird"), "weird"),
    ],
)
def test_errors_of_the_system_are_one_line_too(monkeypatch, error, words):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("xpnet.cli.job_data.load_dataset", fail)
    assert refused("train", "iris").startswith(f"xpnet: {words}")


def test_an_error_of_the_program_is_not_hidden(monkeypatch):
    monkeypatch.setattr("xpnet.cli.job_data.load_dataset", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        xpnet("train", "iris")


@pytest.mark.parametrize("command", ["datasets", "--help", "predict MODEL digits.npz"])
def test_a_reader_that_leaves_early(models, environment, command):
    np.savez("digits.npz", X=np.ones((50_000, 4)))  # more predictions than a pipe holds
    command = command.replace("MODEL", str(models["iris"]))
    xpnet_ = subprocess.Popen(
        [sys.executable, "-m", "xpnet", *command.split()],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    xpnet_.stdout.close()
    broken = b"xpnet: cannot write to the standard output: Broken pipe.\n"
    assert xpnet_.stderr.read() == (broken if "predict" in command else b"")
    xpnet_.stderr.close()
    assert xpnet_.wait() in (0, 1)


def test_a_full_disk_behind_stdout(environment):
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "xpnet", "datasets"]
        done = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr == "xpnet: No space left on device\n"


def test_the_messages_of_json_runs_are_on_stderr():
    code, out, err = xpnet("train", "iris", "--json", "--hidden", "0")
    assert (code, out) == (2, "")
    with pytest.raises(json.JSONDecodeError):
        json.loads(err)
