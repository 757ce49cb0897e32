"""Commands say that new data have values that training did not have."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path

import pytest

from tests.command_line import write_csv, xpnet
from xpnet.cli.model_data import labelled_data
from xpnet.cli.table_options import ReadingOptions
from xpnet.data.streams.table import TableSource
from xpnet.errors import UnknownValuesWarning
from xpnet.model.model_file import load_model

pytestmark = pytest.mark.usefixtures("folder")

SEEDS = 4  # in half of the splits, the rare row is not in the training part
SAID = "column 'sex': 80 of 80 values did not occur in training, taken for no known category: 'MALE', 'FEMALE'; "
SAID += "column 'age': 1 value cannot be read as numbers and is taken as missing: 'old'."


@pytest.fixture
def new(folder: Path) -> Path:
    rows = [("male" if i % 2 else "female", f"{i}.5", "yn"[i % 3 == 0]) for i in range(80)]
    write_csv("known.csv", "sex,age,label", *map(",".join, rows))
    code, _, err = xpnet(
        *("train", "known.csv", "--target", "label", "--epochs", 2, "--out", "run", "--device", "cpu", "--no-report")
    )
    assert code == 0
    assert "did not occur" not in err
    other = [(sex.upper(), "old" if i == 7 else age, label) for i, (sex, age, label) in enumerate(reversed(rows))]
    return Path(write_csv("new.csv", "sex,age,label", *map(",".join, other)))


def test_predict_says_it_once(new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpnet.cli.predict._OUTPUT_VALUES", 10)  # pieces of a few rows
    code, out, err = xpnet("predict", "run", new)
    assert (code, err) == (0, f"xpnet: {SAID}\n")
    assert len(list(csv.DictReader(out.splitlines()))) == 80
    assert xpnet("predict", "run", "known.csv").err == ""


def test_evaluate_says_it_once(new: Path) -> None:
    assert xpnet("evaluate", "run", new).err == f"xpnet: {SAID}\n"
    assert "did not occur" not in xpnet("evaluate", "run", "known.csv").err
    assert xpnet("evaluate", "run").err == ""


def test_the_library_warns(new: Path) -> None:
    model = load_model("run")
    columns = {"sex": ["MALE", "male"], "age": [1.0, 2.0], "label": ["y", "n"]}
    for method in (model.predict, model.predict_proba, model.features, model.evaluate):
        with pytest.warns(UnknownValuesWarning, match="column 'sex': 1 of 2 values") as caught:
            method(columns)
        assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict({**columns, "sex": ["female", "male"]})


def test_a_source_is_one_warning(new: Path) -> None:
    model = load_model("run")
    source, _ = labelled_data(model, str(new), None, ReadingOptions())
    assert isinstance(source, TableSource)
    with pytest.warns(UnknownValuesWarning) as caught:
        model.evaluate(source)
    assert [str(each.message) for each in caught] == [SAID]


def test_the_parts_of_one_data_set_are_silent() -> None:
    rows = [f"{'x' if i == 0 else 'mf'[i % 2]},{i}.5,{'yn'[i % 3 == 0]}" for i in range(24)]
    write_csv("few.csv", "sex,age,label", *rows)
    outside = []
    for seed in range(SEEDS):
        run = f"run{seed}"
        code, _, err = xpnet(
            *("train", "few.csv", "--target", "label", "--epochs", 1, "--seed", seed, "--out", run),
            *("--device", "cpu", "--no-report", "--test-fraction", 0.25, "--val-fraction", 0.25),
        )
        assert (code, "did not occur" in err) == (0, False), err
        model = load_model(run)
        assert model.encoding is not None
        outside.append(
            "sex=x" not in model.encoding.feature_names and "sex (other)" not in model.encoding.feature_names
        )
        assert xpnet("evaluate", run).err == ""
    assert any(outside)  # the rare category is in a part that the encoding has not seen
