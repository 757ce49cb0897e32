"""``xpnet export``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from sklearn.datasets import load_iris

from tests.command_line import records, refused, species_csv, train, xpnet
from xpnet.model.model_file import load_model

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture(scope="module")
def iris(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("iris") / "run"
    train("iris", "--epochs", 5, "--quiet", "--device", "cpu", "--out", run, "--seed", 7)
    return run


def test_an_onnx_file_predicts_as_the_model_and_knows_its_run(iris):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    assert xpnet("export", iris, "iris.onnx") == (0, "", "")
    x, _ = load_iris(return_X_y=True)
    label, p = onnxruntime.InferenceSession("iris.onnx").run(None, {"x": x.astype(np.float32)})
    model = load_model(iris / "model.safetensors")
    np.testing.assert_array_equal(label, model.predict(x))
    np.testing.assert_allclose(p, model.predict_proba(x), atol=1e-5)
    about = {entry.key: entry.value for entry in onnx.load("iris.onnx").metadata_props}
    settings = json.loads(about["settings"])
    assert (settings["data"], settings["seed"], settings["epochs"]) == ("iris", 7, 5)
    assert json.loads(about["last_epoch"]) == records(iris)[-1]
    assert json.loads(about["feature_names"]) == list(model.feature_names)


def test_a_table_and_its_scores(tmp_path):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    data = species_csv(tmp_path / "species.csv")
    train(data, "--target", "species", "--epochs", 5, "--quiet", "--device", "cpu", "--out", "run")
    Path("run/summary.json").write_text(json.dumps({"task": "x", "test": {"accuracy": 0.5}, "seconds": 3}))
    with Path("run/metrics.jsonl").open("a") as file:
        file.write('{"epoch": 6, "lo')  # of a run that was killed
    assert xpnet("export", "run", "s.onnx", "--dtype", "float64", "--opset", 18).code == 0
    proto = onnx.load("s.onnx")
    about = {entry.key: entry.value for entry in proto.metadata_props}
    assert json.loads(about["scores"]) == {"train": None, "validation": None, "test": {"accuracy": 0.5}}
    assert json.loads(about["last_epoch"])["epoch"] == 5
    assert json.loads(about["settings"])["data"] == "species.csv"  # not the folders of this machine
    assert str(tmp_path) not in str(proto)
    bill, flipper = np.indices((10, 6), dtype=np.float64).reshape(2, -1, 1)
    label, _ = onnxruntime.InferenceSession("s.onnx").run(None, {"bill": bill, "flipper": flipper})
    frame = {"bill": bill[:, 0], "flipper": flipper[:, 0]}
    np.testing.assert_array_equal(label, load_model("run/model.safetensors").predict(frame))


def test_a_state_dict(iris):
    assert xpnet("export", iris / "model.safetensors", "state.SAFETENSORS", "--dtype", "float64") == (0, "", "")
    state = safetensors.numpy.load_file("state.SAFETENSORS")
    assert {name: (array.shape, array.dtype.name) for name, array in state.items()} == {
        "0.weight": ((8, 4), "float64"),
        "0.bias": ((8,), "float64"),
        "2.weight": ((3, 8), "float64"),
        "2.bias": ((3,), "float64"),
    }


def test_what_is_refused(iris):
    assert "OUT: expected a name that ends with .onnx or .safetensors; received m.pt" in refused("export", iris, "m.pt")
    assert "opset: expected none for a state dict; received 18" in refused(
        "export", iris, "m.safetensors", "--opset", 18
    )
    assert "expected a model file; received: No such file" in refused("export", "nothing", "m.safetensors")
    shutil.copytree(iris, "run")
    for run in ("run", "run/model.safetensors"):
        assert "expected another file than the model" in refused("export", run, "run/model.safetensors")
    Path("link.safetensors").symlink_to("run/model.safetensors")
    assert "expected another file than the model" in refused("export", "run", "link.safetensors")
    Path("run/summary.json").write_text("[1]")
    assert "run/summary.json: expected the summary of a run" in refused("export", "run", "m.onnx")


def test_a_model_card(iris):
    assert xpnet("export", iris, "--card", "README.md") == (0, "", "")
    _, head, body = Path("README.md").read_text(encoding="utf-8").split("---\n", 2)
    summary = json.loads((iris / "summary.json").read_text())
    assert f'- {{type: "accuracy", value: {summary["test"]["accuracy"]}}}' in head
    assert f"| test | {summary['test']['loss']:.4f} | {summary['test']['accuracy']:.4f} |" in body
    assert "| epochs | 5 |" in body
    assert "Classes: 0, 1, 2." in body
    assert "| 2 | 8 | 3 | softmax | 0 | 27 |" in body


def test_a_model_card_of_hostile_files(tmp_path):
    data = tmp_path / "data.csv"
    rows = (f"{i},{'ab'[i % 2]}<script>" for i in range(60))
    data.write_text("\n".join(["x,a|b<i>", *rows]))
    train(data, "--target", "a|b<i>", "--out", "run")
    for summary in ('{"xpnet": ""}', '{"xpnet": "1", "test": {"loss": "<i>", "r2": [1]}, "seed": {"<i>": "<i>"}}'):
        Path("run/summary.json").write_text(summary)
        assert xpnet("export", "run", "--card", "card.md").code == 0
        text = Path("card.md").read_text(encoding="utf-8")
        assert "target a\\|b&lt;i>" in text
        assert "<i>" not in text
        assert "<script" not in text


def test_nothing_to_write(iris):
    assert "expected a file to write, or --card FILE" in refused("export", iris)
    assert "another file than the model" in refused("export", iris, "--card", iris / "model.safetensors")
