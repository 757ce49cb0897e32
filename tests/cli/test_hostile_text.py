"""Names, labels and cells that a spreadsheet, a terminal or Markdown could take for something else."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from tests.command_line import train, xpnet
from xpnet.model.model import Model
from xpnet.model.model_file import save_model
from xpnet.nn.network import Network

pytestmark = pytest.mark.usefixtures("folder")

NAMES = ["a\rb", "c\nd", "e|f", "g\\|h", "\x1b[31mred", "<b>", "\u202eright to left"]


def hostile_csv() -> Path:
    rows = [[f"{name}{i % 3}" for name in NAMES] + [str(i % 2)] for i in range(30)]
    with Path("hostile.csv").open("w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([[*NAMES, "target"], *rows])
    return Path("hostile.csv")


@pytest.mark.parametrize("labels", [["a\rb", "c"], ["a\r\nb", "c"], ["a\nb", 'c"d'], ["a,b", "c"]])
def test_labels_are_read_back_from_the_predictions(labels: list[str]) -> None:
    network = Network([1, 1], loss="binary_cross_entropy", initializer="zeros")
    params = network.init()
    params.vector[0] = 1.0
    save_model("m", Model(network, params.vector, "classification", np.asarray(labels)))
    np.savez("x.npz", x=np.asarray([[-1.0], [1.0]]))
    assert xpnet("predict", "m", "x.npz", "--probabilities", "--out", "p.csv").code == 0
    with Path("p.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["prediction", *(f"probability_{label}" for label in labels)]
    assert [row[0] for row in rows] == labels


def test_lines_of_predictions_end_as_before() -> None:
    train("--out", "run", "--device", "cpu")
    assert xpnet("predict", "run/model.safetensors", "iris", "--out", "p.csv").code == 0
    assert b"\r" not in Path("p.csv").read_bytes()


def test_cells_that_are_kept_are_those_of_the_table() -> None:
    data = hostile_csv()
    train(data, "--out", "run", "--quiet", "--device", "cpu")
    assert xpnet("predict", "run/model.safetensors", data, "--keep", "all", "--out", "p.csv").code == 0
    with data.open(newline="") as given, Path("p.csv").open(newline="") as kept:
        assert [row[: len(NAMES)] for row in csv.reader(kept)] == [row[: len(NAMES)] for row in csv.reader(given)]


def test_a_terminal_obeys_no_name() -> None:
    data = hostile_csv()
    _, shown, err = xpnet("inspect", data)
    assert "\\x1b[31mred" in shown
    assert [char for char in shown + err if char != "\n" and not char.isprintable()] == []


def test_the_file_of_columns_has_one_row_for_each() -> None:
    train(hostile_csv(), "--out", "run", "--quiet", "--device", "cpu")
    lines = Path("run/columns.md").read_text().split("\n")
    table = [re.sub(r"\\.", "", line) for line in lines if line.startswith("|")]  # without escaped characters
    assert len(table) == 2 + len(NAMES)
    assert {line.count("|") for line in table} == {8}
    assert "<b>" not in "".join(table)
