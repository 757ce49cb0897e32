"""``xpnet evaluate``: other data, and the parts of a run."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from tests.command_line import refused, species_csv, train, write_csv, xpnet
from xpnet.cli.finished_run import run_parts
from xpnet.cli.model_data import rows_in_memory
from xpnet.model.model import Model
from xpnet.model.model_file import load_model

pytestmark = pytest.mark.usefixtures("folder")

OF_CLASSES = "loss accuracy balanced accuracy macro F1 AUC"


def evaluated(*arguments: object) -> dict[str, Any]:
    code, out, err = xpnet("evaluate", *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def summary_of(run: str | Path) -> dict[str, Any]:
    return json.loads(Path(run, "summary.json").read_text())


def test_data_in_json(models: dict[str, Path]) -> None:
    path = models["house"].parents[1] / "house.csv"
    summary = evaluated(models["house"], path)
    assert summary.keys() == {"task", "device", "samples", "part", "loss", "r2", "rmse", "mae", "classes"}
    assert (summary["task"], summary["device"], summary["samples"]) == ("regression", "numpy:cpu", 60)
    model = load_model(models["house"])
    table = np.loadtxt(path, delimiter=",", skiprows=1)
    residual = table[:, 2] - model.predict(table[:, :2])
    assert summary["r2"] == pytest.approx(1 - np.sum(residual**2) / np.sum((table[:, 2] - table[:, 2].mean()) ** 2))
    assert summary["r2"] > 0.9
    assert summary["mae"] == pytest.approx(np.abs(residual).mean(), rel=1e-5)
    assert summary["classes"] == []


@pytest.mark.parametrize(
    ("model", "data", "title", "columns"),
    [
        ("iris", "iris", "iris: 150 samples, including those of training", OF_CLASSES),
        ("images", "./images", "./images: 20 samples", OF_CLASSES),
        ("species", "species.csv", "species.csv: 60 samples", OF_CLASSES),
        ("labels", "labels.npz", "labels.npz: 60 samples", "loss accuracy macro F1 AUC"),
        ("house", "house.csv", "house.csv: 60 samples", "loss R2 RMSE MAE"),
    ],
)  # fmt: skip
def test_data_in_words(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, model: str, data: str, title: str, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(models[model].parents[1])
    outcome = xpnet("evaluate", models[model], data)
    assert outcome.code == 0, outcome.err
    lines = [" ".join(line.split()) for line in outcome.out.splitlines()]
    assert lines[0] == title
    assert columns in lines
    has_classes = any(line.startswith("class precision recall F1 support") for line in lines)
    assert has_classes == (model != "house")


def test_columns_in_another_order(models: dict[str, Path]) -> None:
    path = models["species"].parents[1] / "species.csv"
    rows = [line.split(",") for line in path.read_text().splitlines()]
    write_csv("turned.csv", "species,flipper,bill", *(f"{c},{b},{a}" for a, b, c in rows[1:]))
    assert evaluated(models["species"], path) == evaluated(models["species"], "turned.csv")


@pytest.mark.parametrize("name", ["species", "labels", "iris", "images"])
def test_scores_of_each_class_are_scikit_learns(models: dict[str, Path], name: str) -> None:
    model, run = load_model(models[name]), models[name].parent
    classes = evaluated(run)["classes"]
    assert {row["part"] for row in classes} == {"test"}
    _, parts = run_parts(run)
    x, y = rows_in_memory(parts["test"], 1000)
    expected = precision_recall_fscore_support(y, model.predict(x), zero_division=0)
    for key, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert [row[key] for row in classes] == pytest.approx(values.tolist())
    labels = [1, 2, 3] if model.classes is None else model.classes.tolist()
    assert [row["class"] for row in classes] == labels


@pytest.mark.parametrize("name", ["species", "labels", "iris", "images", "house"])
def test_a_run_is_evaluated_by_the_parts_of_its_training(models: dict[str, Path], name: str) -> None:
    run = models[name].parent
    found, summary = evaluated(run), summary_of(run)
    assert list(found["parts"]) == list(summary["samples"])
    for part, scores in found["parts"].items():
        assert scores.pop("samples") == summary["samples"][part]
        assert scores == pytest.approx(summary[part], rel=1e-5)
    assert found["baseline"] == summary["baseline"]
    assert evaluated(models[name])["parts"].keys() == found["parts"].keys()  # its model file stands for the run
    (one,) = (alone := evaluated(run, "--part", "validation"))["parts"].items()
    assert one[0] == alone["baseline"]["part"] == "validation"
    assert one[1].pop("samples") == summary["samples"]["validation"]
    assert one[1] == pytest.approx(summary["validation"], rel=1e-5)


def test_no_sample_is_assessed_twice(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def count(real: Any) -> Any:
        return lambda self, x, y, *more: seen.append(len(y)) or real(self, x, y, *more)

    monkeypatch.setattr(Model, "evaluate", count(Model.evaluate))
    monkeypatch.setattr(Model, "assess", count(Model.assess))
    evaluated(models["iris"].parent)
    assert seen == list(summary_of(models["iris"].parent)["samples"].values())


def test_a_run_in_words(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    outcome = xpnet("evaluate", models["iris"].parent)
    assert outcome.err == ""
    lines = outcome.out.splitlines()
    assert lines[0] == "iris: classification"
    names = ("train", "validation", "test", "majority class")
    rows = [name for line in lines for name in names if re.match(rf" *{name} +(\d|$)", line)]
    assert tuple(rows) == names
    assert "class (test)" in outcome.out
    assert max(map(len, lines)) <= 80


def test_data_of_the_run_include_those_of_training(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    run = models["house"].parent
    monkeypatch.chdir(run.parent)
    for model in ("house", "house/model.safetensors"):
        note = xpnet("evaluate", model, "house.csv").err
        assert note == (
            "xpnet: house.csv: the samples include those with which the model was trained. Those that it has not seen: "
            "xpnet evaluate house --part test\n"
        )
    write_csv("other.csv", "area,rooms,price", "50,2,68025", "90,3,117045")
    assert xpnet("evaluate", "house", "other.csv").err == ""
    assert "--part test" in xpnet("evaluate", models["iris"].parent, "iris").err
    Path("other.csv").unlink()


def test_the_advice_names_a_part_that_there_is() -> None:
    train("iris", "--test-fraction", 0, "--quiet", "--out", "run")
    assert "xpnet evaluate run --part validation" in xpnet("evaluate", "run", "iris").err
    assert "expected a part of the run, train, validation; received 'test'" in refused(
        "evaluate", "run", "--part", "test"
    )
    train("iris", "--test-fraction", 0, "--val-fraction", 0, "--quiet", "--out", "all")
    assert xpnet("evaluate", "all", "iris").err.endswith("with which the model was trained.\n")
    assert list(evaluated("all")["parts"]) == ["train"]


def test_a_damaged_configuration_does_not_keep_from_other_data(models: dict[str, Path]) -> None:
    shutil.copytree(models["iris"].parent, "run")
    Path("run/config.toml").write_text("[")
    assert xpnet("evaluate", "run", "iris").code == 0
    assert "run/config.toml: expected TOML" in refused("evaluate", "run")


def test_a_model_without_a_run(models: dict[str, Path]) -> None:
    shutil.copy(models["iris"], "m.safetensors")
    assert evaluated("m.safetensors", "iris")["samples"] == 150
    assert "DATA: expected data, for there is no config.toml of a run beside the model" in refused(
        "evaluate", "m.safetensors"
    )
    assert "part: expected none with other data" in refused("evaluate", "m.safetensors", "iris", "--part", "test")


def test_data_that_have_changed_or_gone() -> None:
    train(species_csv(), "--target", "species", "--quiet", "--out", "run")
    species_csv(n=50)
    assert "expected the data with which the run trained" in refused("evaluate", "run")
    Path("species.csv").unlink()
    assert "expected the data of the run run; received no such file" in refused("evaluate", "run")


def test_data_that_are_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = np.random.default_rng(0).normal(size=(600, 3))
    Path("tables").mkdir()
    for number in range(3):
        rows = frame[number::3]
        write_csv(
            f"tables/{number}.csv", "a,b,c,label", *(f"{a},{b},{c},{'no' if a > b else 'yes'}" for a, b, c in rows)
        )
    train("tables", "--target", "label", "--quiet", "--out", "run")
    whole = evaluated("run")
    assert [row["class"] for row in whole["classes"]] == ["no", "yes"]
    assert sum(row["support"] for row in whole["classes"]) == whole["parts"]["test"]["samples"]
    of_table = evaluated("run", "tables/0.csv")
    assert sum(row["support"] for row in of_table["classes"]) == 200
    monkeypatch.setattr("xpnet.cli.evaluate._MOST_BYTES", 10)  # too large for memory
    in_pieces = evaluated("run")
    assert in_pieces["classes"] == []
    for part, scores in whole["parts"].items():
        found = in_pieces["parts"][part]
        assert found == pytest.approx({name: scores[name] for name in found}, rel=1e-5)
        assert found.keys() >= {"samples", "loss", "accuracy", "f1"}
    assert evaluated("run", "tables/0.csv")["accuracy"] == of_table["accuracy"]


def test_many_classes_are_in_json_only() -> None:
    frame = np.random.default_rng(0).standard_normal((200, 2))
    np.savez("x.npz", x=frame, y=np.arange(200) % 40)
    train("x.npz", "--task", "classification", "--quiet", "--out", "run")
    outcome = xpnet("evaluate", "run")
    assert "40 classes: their precision, recall and F1 are in --json" in outcome.out
    assert len(evaluated("run")["classes"]) == 40
