"""``xpnet info``."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import refused, train, write_csv, xpnet
from xpnet.model.model_file import load_model

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture(autouse=True)
def width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def about(path: object) -> dict[str, Any]:
    code, out, err = xpnet("info", path, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a table with columns of each kind."""
    folder = tmp_path_factory.mktemp("table")
    rows = (f"{i % 7 / 3},{'abc'[i % 3]},2024-01-{1 + i % 28:02},{'yes' if i % 2 else 'no'},{i % 5}" for i in range(80))
    data = write_csv(folder / "t.csv", "size,colour,day,is_new,price", *rows)
    options = ("--task", "regression", "--ensemble", 2, "--seed", 3, "--hidden", "8,4", "--preset", "tabular")
    train(data, "--target", "price", *options, "--epochs", 4, "--quiet", "--out", folder / "run")
    return folder / "run"


def test_a_model_of_a_table(table: Path) -> None:
    model = about(table)["model"]
    loaded = load_model(table)
    assert (model["task"], model["target"], model["classes"], model["outputs"]) == ("regression", "price", None, 1)
    assert {each["name"]: each["kind"] for each in model["features"]} == {
        "size": "number", "colour": "category", "day": "date", "is_new": "boolean",
    }  # fmt: skip
    assert model["n_features"] == 4
    assert (model["scaling"], model["target_scaling"]) == ("robust", "standard")
    assert [(layer["inputs"], layer["units"]) for layer in model["layers"]] == list(
        zip(loaded.network.layer_sizes[:-1], loaded.network.layer_sizes[1:], strict=True)
    )
    assert model["layers"][-1]["activation"] == "identity"
    assert (model["parameters"], model["members"], model["dtype"]) == (loaded.network.n_parameters, 2, "float32")
    assert (model["format_version"], model["loss"]) == (1, loaded.network.loss)
    assert model["bytes"] == (table / "model.safetensors").stat().st_size


def test_a_run(table: Path) -> None:
    run, summary = about(table)["run"], json.loads((table / "summary.json").read_text())
    assert run["data"] == str(table.parent / "t.csv")
    for key in ("samples", "command", "device", "xpnet", "epochs", "kept_epoch", "seconds", "metric"):
        assert run[key] == summary[key]
    assert {part: run["scores"][part] for part in ("train", "validation", "test")} == {
        part: summary[part] for part in ("train", "validation", "test")
    }
    assert run["scores"]["mean"] == {key: summary["baseline"][key] for key in ("r2", "rmse", "mae")}
    found = {path.name for path in table.iterdir()} - {".lock", "metrics-2.jsonl"}
    assert {*run["files"]} == found
    assert run["started"].startswith("20")


def test_the_page(table: Path) -> None:
    code, out, err = xpnet("info", table)
    assert (code, err) == (0, "")
    title, *lines = out.splitlines()
    assert title == f"{table}/model.safetensors"
    assert max(map(len, lines)) <= 80
    words = [" ".join(line.split()) for line in lines]
    for expected in (
        "task regression of 'price'",
        "features 4",
        "numbers size",
        "categories colour",
        "dates day",
        "truth values is_new",
        "scaling robust; of the target standard",
        "layer inputs units activation dropout parameters",
        "part loss R2 RMSE MAE",
    ):
        assert expected in words
    assert any(line.startswith("parameters ") and line.endswith("in float32, each of 2 networks") for line in words)
    (epochs,) = (line for line in words if line.startswith("epochs "))
    assert re.fullmatch(r"epochs 8, [\d.]+ s", epochs)  # of both networks, each of which kept another


def test_the_page_names_the_epoch_of_a_single_network(models: dict[str, Path]) -> None:
    assert re.search(r"epochs +\d+, kept epoch \d+, ", xpnet("info", models["iris"]).out)


def test_dropout_is_as_it_was_given() -> None:
    train("iris", "--epochs", 1, "--hidden", "4,3", "--dropout", 0.15, "--quiet", "--out", "run")
    assert [layer["dropout"] for layer in about("run")["model"]["layers"]] == [0.15, 0.15, 0.0]


def test_of_many_names_the_first_are_shown() -> None:
    train("digits", "--epochs", 1, "--quiet", "--out", "run")
    out = " ".join(xpnet("info", "run").out.split())
    assert "features 64, images (8, 8)" in out
    assert "pixel_1_3, and 52 more" in out
    assert len(about("run")["model"]["features"]) == 64
    assert "10 classes 0, 1, 2" in out


def test_a_model_file_alone_and_in_its_run(models: dict[str, Path]) -> None:
    shutil.copy(models["iris"], "m.safetensors")
    alone, beside = about("m.safetensors"), about(models["iris"])
    assert alone["run"] is None
    assert beside == about(models["iris"].parent)
    assert {**alone["model"], "file": ""} == {**beside["model"], "file": ""}
    assert alone["model"]["classes"] == [0, 1, 2]
    assert "command" not in xpnet("info", "m.safetensors").out


def test_a_run_that_has_not_ended(models: dict[str, Path]) -> None:
    shutil.copytree(models["iris"].parent, "run")
    for name in ("model.safetensors", "summary.json"):
        Path("run", name).unlink()
    found = about("run")
    assert found["model"] is None
    assert found["run"]["problem"] == "running, or killed after epoch 20 of 20"
    assert found["run"]["scores"] == {}
    out = xpnet("info", "run").out
    assert out.startswith("run\n")
    assert "running, or killed after epoch 20 of 20" in out


def test_damaged_files(models: dict[str, Path]) -> None:
    shutil.copytree(models["iris"].parent, "run")
    Path("run/summary.json").write_text("{")
    assert "damaged: run/summary.json" in xpnet("info", "run").out
    Path("run/summary.json").write_text('{"samples": 3, "baseline": [1], "epochs": "9", "command": {}, "stopped": []}')
    assert xpnet("info", "run").code == 0
    Path("run/model.safetensors").write_text("")
    assert "run/model.safetensors: expected a whole safetensors file" in refused("info", "run")


def test_names_from_a_file_stay_text() -> None:
    write_csv("t.csv", "[bold]a\x1b[31m,target", *(f"{i},{'xy'[i % 2]}[red]" for i in range(60)))
    train("t.csv", "--quiet", "--out", "run")
    out = xpnet("info", "run").out
    assert "\x1b" not in out
    assert "[bold]a" in out
    assert "x[red], y[red]" in out
