"""A short run on real images; docs/results.md has the command of the full run and its accuracy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.runs import fashion_mnist_folder
from xpnet import load_model
from xpnet.cli import main
from xpnet.data.named import load_dataset


@pytest.mark.slow
def test_two_epochs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = fashion_mnist_folder(), tmp_path / "run"
    command = f"train fashion-mnist --data-dir {folder} --hidden 256,128,100 --batch-size 128 --epochs 2 --device cpu"
    assert main([*command.split(), "--out", str(out), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["test"]["accuracy"] >= 0.84
    assert (summary["task"], summary["device"], summary["epochs"]) == ("classification", "numpy:cpu", 2)
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 2

    model = load_model(out / "model.safetensors")
    assert model.network.layer_sizes == (784, 256, 128, 100, 10)
    dataset = load_dataset("fashion-mnist", data_dir=folder)
    predicted = model.predict(dataset.x_test)
    assert np.mean(predicted == dataset.y_test) == pytest.approx(summary["test"]["accuracy"], abs=1e-9)
