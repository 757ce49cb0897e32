"""``xpnet predict``."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.command_line import species_csv, train, write_csv, xpnet
from xpnet.model.model import Model
from xpnet.model.model_file import load_model

pytestmark = pytest.mark.usefixtures("folder")


def predict(*arguments: object) -> list[dict[str, str]]:
    """Predict to stdout, and read the table."""
    code, out, err = xpnet("predict", *arguments)
    assert (code, err) == (0, "")
    return list(csv.DictReader(io.StringIO(out)))


def column(rows: list[dict[str, str]], name: str) -> np.ndarray:
    return np.asarray([float(row[name]) for row in rows])


def test_to_a_file_and_to_stdout(models):
    _, out, _ = xpnet("predict", models["iris"], "iris")
    assert xpnet("predict", models["iris"], "iris", "--out", "p.csv") == (
        0,
        "",
        "xpnet: wrote 150 predictions to p.csv\n",
    )
    assert Path("p.csv").read_text() == out
    assert out.splitlines()[0] == "prediction"
    assert len(out.splitlines()) == 151
    assert [path.name for path in Path().iterdir()] == ["p.csv"]


def test_a_file_that_is_there_is_replaced(models):
    Path("p.csv").write_text("old\n" * 1000)
    assert xpnet("predict", models["iris"], "iris", "--out", "p.csv").code == 0
    assert len(Path("p.csv").read_text().splitlines()) == 151


@pytest.mark.skipif(os.name != "posix", reason="links and devices")
def test_what_is_no_file_stays_what_it_is(models):
    Path("there").mkdir()
    Path("link.csv").symlink_to("there/real.csv")
    for out in ("link.csv", "/dev/null"):
        assert xpnet("predict", models["iris"], "iris", "--out", out).code == 0
    assert Path("link.csv").is_symlink()
    assert len(Path("there/real.csv").read_text().splitlines()) == 151
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def svm(path: str, rows: np.ndarray, first: int) -> None:
    lines = (" ".join(f"{i}:{value}" for i, value in enumerate(row, first) if value) for row in rows)
    Path(path).write_text("".join(f"{int(row[2] > 0)} {line}\n" for row, line in zip(rows, lines, strict=True)))


@pytest.mark.parametrize("first", [0, 1])
def test_the_first_index_of_a_libsvm_file_is_the_models(first):
    rows = np.random.default_rng(0).normal(size=(60, 4)).round(3)
    svm("train.svm", rows, first)
    train("train.svm", "--epochs", 20, "--quiet", "--device", "cpu", "--out", "run")
    model = load_model("run/model.safetensors")
    assert model.index_base == first
    rows[:, [0, 3]] = 0  # neither the first nor the last index occurs
    svm("new.svm", rows, first)
    expected = model.predict_proba(rows)[:, 1]
    written = column(predict("run/model.safetensors", "new.svm", "--probabilities"), "probability_1")
    np.testing.assert_allclose(written, expected, rtol=1e-6)
    scores = json.loads(xpnet("evaluate", "run/model.safetensors", "new.svm", "--json").out)
    assert scores["accuracy"] == pytest.approx(np.mean((expected > 0.5) == (rows[:, 2] > 0)))


def test_indices_that_the_model_does_not_have():
    rows = np.random.default_rng(0).normal(size=(60, 3)).round(3)
    for first in (0, 1):
        svm("train.svm", rows, first)
        train("train.svm", "--epochs", 1, "--quiet", "--device", "cpu", "--out", f"run{first}")
    Path("beyond.svm").write_text("1 3:1\n")
    code, _, err = xpnet("predict", "run0/model.safetensors", "beyond.svm")
    assert (code, "features: expected 3, as in training; received index 3, counted from 0" in err) == (2, True)
    Path("below.svm").write_text("1 0:1\n")
    code, _, err = xpnet("predict", "run1/model.safetensors", "below.svm")
    assert (code, "indices that start at 1, as those of the model's data; received index 0" in err) == (2, True)


def strict_json(text: str) -> dict[str, Any]:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_scores_that_are_no_numbers_are_null(models):
    write_csv("large.csv", "area,rooms,price", "1,2,1e30", "2,1,-1e30")  # their squares are beyond float32
    _, out, _ = xpnet("evaluate", models["house"], "large.csv", "--json")
    assert strict_json(out)["loss"] is None
    write_csv("wild.csv", "a,target", *(f"{i},{i * 0.37}" for i in range(60)))
    wild = ("--task", "regression", "--lr", 1e15, "--optimizer", "sgd", "--scale", "none", "--epochs", 1)
    _, out, _ = xpnet("train", "wild.csv", *wild, "--hidden", 4, "--json", "--quiet", "--out", "run")
    for text in filter(None, [out, *Path("run/metrics.jsonl").read_text().splitlines()]):
        strict_json(text)


def test_it_is_what_the_library_predicts(models):
    model = load_model(models["house"])
    x = np.asarray([[50.0, 2], [80, 4], [123, 5]])
    write_csv("new.csv", "area,rooms", "50,2", "80,4", "123,5")
    # The text gives the very float32 back.
    np.testing.assert_array_equal(column(predict(models["house"], "new.csv"), "prediction"), model.predict(x))


def test_regression_is_in_the_units_of_the_target(models):
    write_csv("new.csv", "area,rooms", "50,2", "100,4")
    expected = [1000.5 * 50 + 9000 * 2, 1000.5 * 100 + 9000 * 4]
    assert column(predict(models["house"], "new.csv"), "prediction") == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("area,rooms", "50,2"),
        ("rooms,area", "2,50"),
        ("price,rooms,area", "0,2,50"),
        ("area,price,rooms", "50,,2"),
        (None, "50,2"),
    ],
    ids=["as in training", "another order", "with the target", "with an empty target", "without names"],
)
def test_columns_are_taken_by_name(models, header, row):
    write_csv("plain.csv", "area,rooms", "50,2")
    write_csv("new.csv", header, row) if header else Path("new.csv").write_text(f"{row}\n")
    assert predict(models["house"], "new.csv") == predict(models["house"], "plain.csv")


def test_text_labels(models):
    write_csv("new.csv", "flipper,bill", "0,1", "5,9")
    assert [row["prediction"] for row in predict(models["species"], "new.csv")] == ["adelie", "gentoo"]


def test_a_label_with_a_comma_is_quoted():
    path = species_csv()
    path.write_text(path.read_text().replace("gentoo", '"gentoo, ""big"""'))
    train(path, "--target", "species", "--quiet", "--epochs", 60, "--lr", 0.03, "--out", "run")
    assert {row["prediction"] for row in predict("run/model.safetensors", path)} == {"adelie", 'gentoo, "big"'}


def test_probabilities_of_classes(models):
    rows = predict(models["species"], models["species"].parents[1] / "species.csv", "--probabilities")
    assert list(rows[0]) == ["prediction", "probability_adelie", "probability_gentoo"]
    p = np.stack([column(rows, f"probability_{label}") for label in ("adelie", "gentoo")], axis=1)
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)
    assert [row["prediction"] for row in rows] == [("adelie", "gentoo")[i] for i in p.argmax(axis=1)]
    assert np.ptp(p) > 0.5


def test_several_labels(models):
    rows = predict(models["labels"], models["labels"].parents[1] / "labels.npz", "--probabilities")
    assert list(rows[0]) == [f"{name}_{i}" for name in ("prediction", "probability") for i in range(3)]
    for i in range(3):
        predicted = column(rows, f"prediction_{i}")
        assert set(predicted) == {0, 1}
        np.testing.assert_array_equal(predicted, column(rows, f"probability_{i}") > 0.5)


def test_a_folder_of_images_is_predicted_by_its_test_part(models):
    rows = predict(models["images"], models["images"].parents[1] / "images")
    assert [row["prediction"] for row in rows] == ["0", "1"] * 10


@pytest.mark.parametrize("device", ["torch:cpu", "jax:cpu", "strict:cpu:1"])
def test_a_model_of_one_device_on_another(models, device):
    pytest.importorskip({"strict": "array_api_strict"}.get(library := device.partition(":")[0], library))
    data = models["species"].parents[1] / "species.csv"
    here, there = (
        json.loads(xpnet("evaluate", models["species"], data, "--device", d, "--json").out) for d in ("cpu", device)
    )
    assert (here["device"], there["device"]) == ("numpy:cpu", device)
    assert there["accuracy"] == here["accuracy"]
    assert there["loss"] == pytest.approx(here["loss"], rel=1e-5)
    here, there = (predict(models["species"], data, "--device", d) for d in ("cpu", device))
    assert [row["prediction"] for row in there] == [row["prediction"] for row in here]
    name = "probability_gentoo"
    np.testing.assert_allclose(column(there, name), column(here, name), rtol=1e-5)


def test_a_model_trained_on_another_device_loads_here():
    pytest.importorskip("torch")
    train("iris", "--device", "torch:cpu", "--quiet", "--epochs", 20, "--out", "run")
    assert json.loads(xpnet("evaluate", "run/model.safetensors", "iris", "--json").out)["accuracy"] > 0.5


def test_rows_are_predicted_a_few_at_a_time_where_there_are_many_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = np.random.default_rng(0).standard_normal((40, 2))
    np.savez("x.npz", x=frame, y=np.arange(40) % 20)
    write_csv("x.csv", "a,b,target", *(f"{a},{b},c{i % 20}" for i, (a, b) in enumerate(frame)))
    for data in ("x.npz", "x.csv"):
        train(data, "--task", "classification", "--epochs", 1, "--quiet", "--out", data[2:])
        arguments = ("predict", f"{data[2:]}/model.safetensors", data, "--probabilities")
        if data == "x.csv":
            arguments += ("--keep", "b")
        whole = xpnet(*arguments)
        seen: list[int] = []
        outputs = Model.outputs
        with monkeypatch.context() as patched:
            patched.setattr("xpnet.cli.predict._OUTPUT_VALUES", 7 * 20)
            patched.setattr(
                Model,
                "outputs",
                lambda self, x, *given, outputs=outputs, seen=seen, **more: (
                    seen.append(len(x)) or outputs(self, x, *given, **more)
                ),
            )
            assert xpnet(*arguments) == whole
        assert seen == [7] * 5 + [5]
