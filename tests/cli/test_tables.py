"""A table as it comes, from the file to predictions: in memory, in pieces, compressed, as Parquet, from a pipe."""

from __future__ import annotations

import csv
import gzip
import io
import json
import signal
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.command_line import listing, records, refused, without_timings, write_csv, xpnet
from tests.runs import StopAt, job_of
from xpnet.cli.folder import RunFolder
from xpnet.data.tables.files import TableFile
from xpnet.estimators.tabular import TabularRegressor
from xpnet.model.model_file import load_model, save_model
from xpnet.training.callbacks import Interrupt

pytestmark = pytest.mark.usefixtures("folder")

SMALL = ("--epochs", 3, "--hidden", "8", "--device", "cpu")
HEADER = "Unnamed: 0,area,town,built,heated,note,price"
TOWNS = ("Köln", "Bonn", "Aachen")
N = 150


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr("xpnet.cli.run_pictures.draw_pictures", lambda *_: [])  # they are slow


def rows(n: int = N) -> list[list[str]]:
    """A row number, numbers with gaps, text, a date, a truth value, a note unique to each row, a target with gaps."""
    cells = []
    for i in range(n):
        area, town = 40 + 7 * i % 83 + i % 10 / 10, TOWNS[i % 7 % 3]
        built = f"{1960 + i % 41}-{i % 12 + 1:02d}-{i % 28 + 1:02d}"
        price = 10 * area + 100 * TOWNS.index(town) + i % 41
        heated, note = ("yes", "no")[i % 4 == 0], f"house, number {i}"
        numbers = ("NA" if i % 17 == 0 else f"{area:.1f}"), ("" if i in (3, 77) else f"{price:.2f}")
        cells.append([str(i), numbers[0], town, built, heated, note, numbers[1]])
    return cells


def write(path: str, cells: list[list[str]], header: str = HEADER, delimiter: str = ",") -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(header.split(","))
        writer.writerows(cells)
    return Path(path)


def table_run(data: object, *options: object, out: str = "run") -> Any:
    """Train on the table's price, and return what a run prints."""
    given = {str(option) for option in options}
    small = [part for i in range(0, len(SMALL), 2) if SMALL[i] not in given for part in SMALL[i : i + 2]]
    target = () if "--target" in given else ("--target", "price")
    outcome = xpnet("train", data, *target, *small, "--quiet", "--json", "--out", out, *options)
    assert outcome.code == 0, outcome.err
    return outcome


def model(out: str = "run"):
    return load_model(f"{out}/model.safetensors")


def predictions(data: object, *options: object, out: str = "run") -> list[dict[str, str]]:
    outcome = xpnet("predict", f"{out}/model.safetensors", data, *options)
    assert (outcome.code, outcome.err) == (0, "")
    return list(csv.DictReader(io.StringIO(outcome.out)))


def prices(table: list[dict[str, str]]) -> np.ndarray:
    return np.asarray([float(row["prediction"]) for row in table])


# From CSV to predictions


def test_from_csv_to_predictions():
    path = write("houses.csv", rows())
    outcome = table_run(path)
    for note in ("'Unnamed: 0' (row numbers)", "'note' (a value unique to each row)", "left out: 2 rows"):
        assert note in outcome.err  # also with --quiet
    assert "2 without a target in column 'price'" in outcome.err
    summary = json.loads(outcome.out)
    assert summary["task"] == "regression"
    assert model().feature_names == ("area", "town", "built", "heated")
    assert (model().network.parametrization, model().network.input_scale) == ("ntk", True)
    scores = json.loads(xpnet("evaluate", "run/model.safetensors", path, "--json").out)
    assert scores["samples"] == N - 2
    table = predictions(path, "--keep", "all")
    assert list(table[0]) == [*HEADER.split(","), "prediction"]
    assert [row["note"] for row in table] == [row[5] for row in rows()]
    assert [row["price"] for row in table] == [row[6] for row in rows()]
    known = np.asarray([row["price"] != "" for row in table])
    true = np.asarray([float(row["price"]) for row in table if row["price"]])
    r2 = 1 - np.sum((prices(table)[known] - true) ** 2) / np.sum((true - true.mean()) ** 2)
    assert scores["r2"] == pytest.approx(r2, abs=1e-5)


def test_every_form_of_the_file_gives_the_same_predictions(monkeypatch):
    path = write("houses.csv", rows())
    table_run(path)
    expected = predictions(path)
    Path("houses.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    names = HEADER.split(",")
    columns = dict(zip(names, zip(*rows(), strict=True), strict=True))
    typed: dict[str, Any] = {name: list(column) for name, column in columns.items()}
    typed["area"] = [None if text == "NA" else float(text) for text in columns["area"]]
    typed["price"] = [float(text) if text else None for text in columns["price"]]
    typed["built"] = pa.array(columns["built"]).cast(pa.date32())
    typed["heated"] = [text == "yes" for text in columns["heated"]]
    pq.write_table(pa.table(typed), "houses.parquet")
    Path("folder").mkdir()
    write("folder/a.csv", rows()[:60])
    write("folder/b.csv", rows()[60:])
    for form in ("houses.csv.gz", "houses.parquet", "folder"):
        assert predictions(form) == expected, form
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    assert predictions("-") == expected


@pytest.mark.parametrize("form", ["houses.csv.gz", "houses.parquet", "-"])
def test_training_on_every_form_of_the_file(form, monkeypatch):
    path = write("houses.csv", rows())
    table_run(path)
    if form == "-":
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    elif form.endswith(".gz"):
        Path(form).write_bytes(gzip.compress(path.read_bytes()))
    else:
        columns = dict(zip(HEADER.split(","), map(list, zip(*rows(), strict=True)), strict=True))
        columns["area"] = [None if text == "NA" else text for text in columns["area"]]
        columns["price"] = [text or None for text in columns["price"]]
        pq.write_table(pa.table(columns), form)
    table_run(form, out="other")
    assert model("other").feature_names == model().feature_names
    np.testing.assert_array_equal(model("other").vector, model().vector)


def test_training_in_pieces():
    path = write("houses.csv", rows())
    table_run(path, "--memory-limit", "100GB", out="whole")  # it fits
    Path("folder").mkdir()
    write("folder/a.csv", rows()[:60])
    write("folder/b.csv", rows()[60:])
    outcome = table_run("folder", out="folder-run")
    assert "left out: 2 rows" in outcome.err
    in_pieces, whole = model("folder-run"), model("whole")
    assert in_pieces.feature_names == whole.feature_names
    # Other rows are trained on, so that categories may be in another order.
    assert sorted(in_pieces.encoding.feature_names) == sorted(whole.encoding.feature_names)
    scores = json.loads(xpnet("evaluate", "folder-run/model.safetensors", "folder", "--json").out)
    assert scores["samples"] == N - 2
    assert np.isfinite(scores["loss"])


def test_a_limit_of_memory_that_the_table_exceeds(monkeypatch):
    monkeypatch.setattr("xpnet.cli.memory_limit.MemoryLimit.fits", lambda self, n_bytes: False)
    path = write("houses.csv", rows())
    table_run(path, "--memory-limit", "100GB")
    table = predictions(path)
    assert len(table) == N
    assert np.isfinite(prices(table)).all()
    for option in ("weight", "group", "time"):
        message = refused_after_notes(
            "train", path, "--target", "price", "--memory-limit", "2GB", f"--{option}", "area"
        )
        assert f"--{option}: expected none for a table that is read in pieces; received 'area'" in message


def refused_after_notes(*arguments: object) -> str:
    """Return the last line of a command that is refused; notes on the columns may stand before it."""
    before = listing(Path())
    code, out, err = xpnet(*arguments)
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert listing(Path()) == before
    return err.splitlines()[-1]


def test_predictions_in_pieces_equal_those_at_once(monkeypatch):
    path = write("houses.csv", rows())
    table_run(path)
    at_once = predictions(path, "--keep", "note")
    read = []
    sizes, block = TableFile.block_sizes, TableFile.read_block
    monkeypatch.setattr(TableFile, "block_sizes", lambda self: np.array([40, 1, 60, N - 101]))

    def cut(self, number, columns=None):
        read.append(number)
        whole = pa.concat_tables([block(self, each, columns) for each in range(len(sizes(self)))])
        first = [0, 40, 41, 101][number]
        return whole.slice(first, [40, 1, 60, N - 101][number])

    monkeypatch.setattr(TableFile, "read_block", cut)
    in_pieces = predictions(path, "--keep", "note")
    assert [row["note"] for row in in_pieces] == [row["note"] for row in at_once]
    np.testing.assert_allclose(prices(in_pieces), prices(at_once), rtol=1e-7)  # float32 products of other shapes
    assert read == [0, 1, 2, 3]


# Options of tables


def test_columns_as_they_are_chosen():
    cells = [
        [str(i % 5), str(i % 7), f"{i % 12 + 1:02d}/{i % 9 + 1:02d}/2020", f"{i % 3}", f"{i * 0.37:.2f}"]
        for i in range(N)
    ]
    write("d.csv", cells, "code,size,day,extra,y")
    table_run("d.csv", "--target", "y", out="as-found")
    found = model("as-found").encoding.feature_names
    assert "code" in found
    table_run("d.csv", "--target", "y", "--categorical", "code", "--drop", "extra,day", out="chosen")
    chosen = model("chosen")
    assert chosen.feature_names == ("code", "size")
    assert "code=0" in chosen.encoding.feature_names
    config = tomllib.loads(Path("chosen/config.toml").read_text())
    assert (config["categorical"], config["drop"]) == (["code"], ["extra,day"])
    assert xpnet("train", "--config", "chosen/config.toml", "--out", "again", "--quiet").code == 0
    assert Path("again/config.toml").read_bytes() == Path("chosen/config.toml").read_bytes()
    assert Path("again/model.safetensors").read_bytes() == Path("chosen/model.safetensors").read_bytes()


def test_a_column_of_digits_is_taken_for_numbers_or_a_date():
    cells = [[f"2020-{i % 12 + 1:02d}-0{i % 9 + 1}", f"{i % 41:03d}", str(i % 2)] for i in range(N)]
    write("d.csv", cells, "day,code,y")
    table_run("d.csv", "--target", "y", "--numeric", "code", "--date", "day")
    names = model().encoding.feature_names
    assert "code" in names
    assert "day: days" in names
    table_run("d.csv", "--target", "y", "--numeric", "code", "--drop", "day", out="dropped")
    assert model("dropped").encoding.feature_names == ("code",)


def test_how_a_file_is_read_as_it_is_told():
    cells = [[f"{i % 9},5", f"{'k.A.' if i % 6 == 0 else i % 4}", "äö"[i % 2]] for i in range(N)]
    path = Path("d.csv")
    path.write_bytes("\n".join(";".join(row) for row in cells).encode("cp1252"))
    told = ("--delimiter", ";", "--decimal", ",", "--encoding", "cp1252", "--no-header", "--missing", "k.A.")
    table_run(path, "--target", "3", *told)
    assert model().feature_names == ("1", "2")
    assert model().classes.tolist() == ["ä", "ö"]
    config = tomllib.loads(Path("run/config.toml").read_text())
    assert [config[key] for key in ("delimiter", "decimal", "encoding", "header", "missing")] == [
        ";", ",", "cp1252", False, ["k.A."],
    ]  # fmt: skip
    assert xpnet("train", "--config", "run/config.toml", "--out", "again", "--quiet").code == 0
    assert Path("again/model.safetensors").read_bytes() == Path("run/model.safetensors").read_bytes()
    assert len(predictions(path, *told)) == N


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--delimiter", ";;"], ["--delimiter", "one character", "';;'"]),
        (["--decimal", "'"], ["--decimal"]),
        (["--encoding", "utf-99"], ["--encoding", "utf-99"]),
        (["--categorical", "twon"], ["categorical", "twon", "town"]),
        (["--numeric", "town"], ["town", "number"]),
        (["--date", "area"], ["area", "date"]),
        (["--drop", "nothing"], ["drop", "nothing"]),
        (["--drop", "area,town,built,heated,note,Unnamed: 0"], ["no features"]),
        (["--weight", "nothing"], ["--weight", "nothing", "area, town"]),
        (["--weight", "town"], ["--weight", "numbers", "'town'", "Köln"]),
        (["--group", "nothing"], ["--group", "nothing"]),
        (["--time", "town"], ["--time", "number", "'town'"]),
        (["--time", "nothing"], ["--time", "nothing"]),
        (["--target", "cost"], ["no target", "'cost'", "price"]),
        (["--task", "multilabel"], ["--task", "multilabel"]),
        (["--lr-factors", "biases"], ["--lr-factors", "biases=0.1", "'biases'"]),
        (["--lr-factors", "biasses=2"], ["biasses", "biases"]),
        (["--parametrization", "other"], ["--parametrization", "ntk"]),
        (["--ensemble", "0"], ["--ensemble", "at least 1", "received 0"]),
        (["--ensemble", "2", "--checkpoint-every", "1"], ["--ensemble", "--checkpoint-every", "received 2"]),
        (["--preset", "tabluar"], ["tabluar", "Did you mean 'tabular'?"]),
    ],
    ids=lambda value: " ".join(value) if value and value[0].startswith("--") else "",
)
def test_options_of_tables_that_cannot_be(options, words):
    write("houses.csv", rows())
    target = [] if "--target" in options else ["--target", "price"]
    message = refused_after_notes("train", "houses.csv", *target, *SMALL, *options)
    assert all(word in message for word in words), message
    assert message.startswith("xpnet: ")


def test_weights():
    cells = [[str(i % 13), str(i % 10 + (i % 2) * 50), str(i % 2)] for i in range(N)]
    write("d.csv", cells, "a,w,y")
    job = job_of("d.csv", "--weight", "w")
    assert job.model.feature_names == ("a",)
    assert len(job.data.weights) == len(job.parts["train"][1])
    y = job.parts["train"][1]
    assert (job.data.weights[y == 1] >= 50).all()
    assert (job.data.weights[y == 0] < 50).all()
    np.testing.assert_array_equal(job.arguments()["sample_weight"], job.data.weights)
    cells[4][1] = "-1"
    write("d.csv", cells, "a,w,y")
    assert "column 'w': expected weights of at least 0" in refused_after_notes("train", "d.csv", "--weight", "w")


@pytest.mark.parametrize("option", ["group", "time"])
def test_parts_without_leaks(option):
    cells = [[str(i), f"p{i % 30}", f"2020-01-{i % 28 + 1:02d}", str(i % 2)] for i in range(N)]
    write("d.csv", cells, "a,patient,day,y")
    job = job_of("d.csv", "--numeric", "a", f"--{option}", {"group": "patient", "time": "day"}[option])
    number = {name: [int(value) for value in x.column("a").to_pylist()] for name, (x, _) in job.parts.items()}
    key = {"group": lambda i: i % 30, "time": lambda i: i % 28}[option]
    keys = {name: {key(i) for i in rows} for name, rows in number.items()}
    assert sum(map(len, number.values())) == N
    if option == "group":
        assert not keys["train"] & keys["test"]
        assert not keys["train"] & keys["validation"]
        assert "patient" not in job.model.feature_names
    else:
        assert max(keys["train"]) <= min(keys["validation"]) <= max(keys["validation"]) <= min(keys["test"])


def test_named_data_do_not_know_the_options_of_tables():
    for option in (["--weight", "a"], ["--group", "a"], ["--time", "a"], ["--categorical", "a"], ["--delimiter", ";"]):
        message = refused("train", "iris", *option)
        assert f"{option[0]}: expected none" in message, message


# Another file to predict


def test_files_with_other_columns():
    path = write("houses.csv", rows())
    table_run(path)
    expected = prices(predictions(path))
    names = HEADER.split(",")
    order = [4, 6, 2, 1, 3]
    write("turned.csv", [[row[i] for i in order] for row in rows()], ",".join(names[i] for i in order))
    np.testing.assert_array_equal(prices(predictions("turned.csv")), expected)
    write("extra.csv", [["x", *row] for row in rows()], f"more,{HEADER}")
    np.testing.assert_array_equal(prices(predictions("extra.csv")), expected)
    write("fewer.csv", [[row[1], row[3], row[6]] for row in rows()], "area,built,price")
    for command in ("predict", "evaluate"):
        message = refused(command, "run/model.safetensors", "fewer.csv")
        assert all(word in message for word in ("fewer.csv", "town", "heated", "area, town, built, heated")), message


def test_files_with_another_delimiter_decimal_sign_and_types():
    path = write("houses.csv", rows())
    table_run(path)
    expected = prices(predictions(path))
    european = [[row[0], row[1].replace(".", ","), *row[2:6], row[6].replace(".", ",")] for row in rows()]
    write("european.csv", european, delimiter=";")
    np.testing.assert_array_equal(prices(predictions("european.csv")), expected)
    scores = [json.loads(xpnet("evaluate", "run/model.safetensors", p, "--json").out) for p in (path, "european.csv")]
    assert scores[0] == scores[1]
    new = rows()
    for row in new:
        row[2] = "Paris"  # a town that was not there in training
        row[1] = "large"  # no number
    write("new.csv", new)
    outcome = xpnet("predict", "run/model.safetensors", "new.csv")
    assert outcome.code == 2 or len(outcome.out.splitlines()) == N + 1


def test_columns_to_keep():
    path = write("houses.csv", rows())
    table_run(path)
    assert list(predictions(path, "--keep", "town", "--keep", "Unnamed: 0")[0]) == ["town", "Unnamed: 0", "prediction"]
    message = refused("predict", "run/model.safetensors", path, "--keep", "twon")
    assert "--keep: expected columns among Unnamed: 0, area, town, " in message
    assert "or all; received 'twon'" in message
    assert refused("predict", "run/model.safetensors", path, "--keep", "twon", "--out", "p.csv")
    write("p.csv", [[*row, "1"] for row in rows()], f"{HEADER},prediction")
    assert "--keep: expected columns with names unlike those of the predictions; received prediction" in refused(
        "predict", "run/model.safetensors", "p.csv", "--keep", "all"
    )
    xpnet("train", "iris", *SMALL, "--quiet", "--out", "iris")
    assert "--keep: expected none" in refused("predict", "iris/model.safetensors", "iris", "--keep", "all")


def test_probabilities_are_there_unless_they_are_unwanted():
    cells = [[str(i % 10), str(i // 10), "yes" if i % 10 > 4 else "no"] for i in range(N)]
    write("d.csv", cells, "a,b,y")
    table_run("d.csv", "--target", "y")
    assert list(predictions("d.csv")[0]) == ["prediction", "probability_no", "probability_yes"]
    assert list(predictions("d.csv", "--no-probabilities")[0]) == ["prediction"]


# Labels keep their text


@pytest.mark.parametrize(
    "labels",
    [("007", "7"), ("001", "002"), ("10000000000000000000", "10000000000000000001"), ("2020-01-01", "2020-01-02")],
)
def test_labels_keep_their_text(labels):
    write("d.csv", [[str(i % 11), labels[i % 2]] for i in range(60)], "a,target")
    table_run("d.csv", "--target", "target", "--task", "classification")
    assert model().classes.tolist() == sorted(labels)
    assert {row["prediction"] for row in predictions("d.csv")} <= set(labels)


def test_a_header_of_numbers():
    cells = [[f"{i % 7}.5", f"{i % 11}.25", f"{i % 13}.5", f"{i % 7 + 100 * (i % 11)}.5"] for i in range(60)]
    write("years.csv", cells, "2019,2020,2021,target")
    table_run("years.csv", "--target", "target")
    expected = prices(predictions("years.csv"))
    write("new.csv", [[row[2], row[1], row[0]] for row in cells], "2021,2020,2019")
    np.testing.assert_array_equal(prices(predictions("new.csv")), expected)


# Resume


CHECKPOINTS = ("--checkpoint-every", 1)


def test_a_resumed_run_of_a_table_comes_to_the_same(monkeypatch):
    path = write("houses.csv", rows())
    table_run(path, "--epochs", 6, *CHECKPOINTS, out="whole")
    stop = StopAt(3)
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "on_steps", lambda self, epoch, done: stop.on_steps(epoch, done))
        options = ("--target", "price", "--hidden", 8, "--epochs", 6, "--device", "cpu", *CHECKPOINTS)
        assert xpnet("train", path, *options, "--out", "run", "--quiet").code == 130
    assert len(records("run")) < 6
    outcome = xpnet("resume", "run", "--quiet")
    assert outcome.code == 0, outcome.err
    assert "'note' (a value unique to each row)" in outcome.err
    assert without_timings("run") == without_timings("whole")
    assert Path("run/model.safetensors").read_bytes() == Path("whole/model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda cells: [["x", *row[1:]] if i == 0 else row for i, row in enumerate(cells)], "'Unnamed: 0'"),
        (lambda cells: [[*row[:2], "Rome", *row[3:]] if i == 9 else row for i, row in enumerate(cells)], "'town'"),
        (lambda cells: cells[:-1], "149 rows in place of 150"),
        (lambda cells: cells[::-1], "another order"),
    ],
    ids=["a column that is left out", "a town", "a row fewer", "order"],
)
def test_a_run_of_a_table_on_changed_data(change, words):
    path = write("houses.csv", rows())
    table_run(path, *CHECKPOINTS)
    write("houses.csv", change(rows()))
    message = refused_after_notes("resume", "run", "--epochs", 9)
    assert words in message, message
    assert "Restore the file" in message


def test_a_run_of_an_earlier_version_goes_on_as_plain():
    path = write_csv("d.csv", "a,b,y", *(f"{i % 9},{i % 4},{i % 2}" for i in range(120)))
    table_run(path, "--target", "y", "--preset", "plain", "--epochs", 4, *CHECKPOINTS, out="whole")
    table_run(path, "--target", "y", "--preset", "plain", "--epochs", 2, *CHECKPOINTS)
    config = Path("run/config.toml")
    lines = config.read_text().splitlines(keepends=True)
    config.write_text("".join(line for line in lines if not line.startswith(("preset", "ensemble"))))
    assert xpnet("resume", "run", "--epochs", 4, "--quiet").code == 0
    assert without_timings("run") == without_timings("whole")
    np.testing.assert_array_equal(model("run").vector, model("whole").vector)


# Ensembles


def test_an_ensemble():
    path = write("houses.csv", rows())
    table_run(path, "--ensemble", 3)
    assert len(model().members) == 3
    assert sorted(file.name for file in Path("run").glob("metrics*")) == [
        "metrics-2.jsonl", "metrics-3.jsonl", "metrics.jsonl",
    ]  # fmt: skip
    assert len(Path("run/metrics-2.jsonl").read_text().splitlines()) == 3
    singles = []
    for seed in (0, 1):
        table_run(path, "--seed", seed, out=f"seed{seed}")
        singles.append(model(f"seed{seed}").vector)
    np.testing.assert_array_equal(model().vector[0], singles[0])
    assert not np.array_equal(model().vector[1], model().vector[0])
    members = [prices(predictions(path, out="run"))]
    assert np.isfinite(members).all()
    assert not np.array_equal(members[0], prices(predictions(path, out="seed0")))
    assert tomllib.loads(Path("run/config.toml").read_text())["ensemble"] == 3
    summaries = [json.loads(Path(run, "summary.json").read_text()) for run in ("run", "seed0")]
    assert summaries[0]["kept_epoch"] is None  # each network has its own
    assert summaries[1]["kept_epoch"] >= 1


def test_an_ensemble_that_is_interrupted(monkeypatch):
    class Stopped(Interrupt):
        left = 5  # within the second member: each has three epochs of one piece

        def on_steps(self, epoch, done):
            type(self).left -= 1
            self.received = None if self.left else signal.SIGINT
            super().on_steps(epoch, done)

    path = write("houses.csv", rows())
    monkeypatch.setattr(sys.modules["xpnet.cli.run"], "Interrupt", Stopped)
    code, _, err = xpnet("train", path, "--target", "price", *SMALL, "--ensemble", 3, "--quiet", "--out", "run")
    assert code == 130, err
    assert len(model().members) == 1  # those that are complete
    table_run(path, out="single")
    np.testing.assert_array_equal(model().vector, model("single").vector)


def test_a_model_of_an_estimator_knows_the_name_of_its_target_from_a_series():
    path = write("houses.csv", rows())
    frame = pd.read_csv(path).dropna(subset="price")
    reg = TabularRegressor(hidden_layer_sizes=(4,), max_iter=1)
    save_model("model.safetensors", reg.fit(frame.drop(columns="price"), frame["price"]).model_)
    assert xpnet("evaluate", "model.safetensors", path).code == 0
    save_model("model.safetensors", reg.fit(frame.drop(columns="price"), frame["price"].to_numpy()).model_)
    code, _, err = xpnet("evaluate", "model.safetensors", path)
    assert (code, err.count("\n")) == (2, 1)
    assert "expected the target" in err
    assert xpnet("predict", "model.safetensors", path).code == 0
