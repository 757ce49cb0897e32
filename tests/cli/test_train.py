"""``xpnet train``: what a run leaves, what it prints, and the data that it takes."""

from __future__ import annotations

import json
import re
import signal
import struct
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest

from tests.command_line import (
    NO_BETTER,
    Outcome,
    house_csv,
    idx_folder,
    labels_npz,
    records,
    refused,
    species_csv,
    train,
    without_timings,
    write_csv,
    xpnet,
)
from tests.runs import job_of
from tests.traced import traced
from xpnet.cli import main
from xpnet.cli.job import prepare
from xpnet.cli.options import TrainOptions
from xpnet.cli.run_summary import describe_failure
from xpnet.model.model import Model
from xpnet.model.model_file import load_model
from xpnet.plot import classification
from xpnet.training.callbacks import Interrupt
from xpnet.training.progress import figure

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, Outcome]:
    """One run on iris, three epochs, with all that it leaves and prints."""
    out = tmp_path_factory.mktemp("runs") / "iris"
    return out, train("iris", "--epochs", 3, "--json", "--out", out)


# What a run leaves


def test_images_stay_bytes_and_train_to_the_same_numbers(folder):
    rng = np.random.default_rng(1)
    np.savez("images.npz", X=rng.integers(0, 256, (60, 9)).astype(np.uint8), y=rng.integers(0, 3, 60))
    job = job_of("images.npz", "--epochs", "3", "--hidden", "8", "--device", "cpu")
    arguments = job.arguments()
    assert arguments["x"].values.dtype == arguments["validation"][0].values.dtype == np.uint8
    floats = [job.model.features(job.parts[name][0]) for name in ("train", "validation")]
    runs = [
        job.trainer.fit(**arguments),
        job.trainer.fit(**arguments | {"x": floats[0], "validation": (floats[1], arguments["validation"][1])}),
    ]
    np.testing.assert_array_equal(*(each.params.vector for each in runs))
    assert runs[0].history[-1].validation == runs[1].history[-1].validation


def test_the_folder(run):
    out, _ = run
    assert sorted(path.name for path in out.iterdir() if path.name != ".lock") == [
        "config.toml", "confusion.png", "curves.png", "metrics.jsonl", "model.safetensors",
        "summary.json",
    ]  # fmt: skip


def test_the_model_predicts_what_the_run_reported(run):
    out, outcome = run
    summary = json.loads(outcome.out)
    model = load_model(out / "model.safetensors")
    parts = prepare("iris", TrainOptions(hidden="8", device="cpu")).parts
    assert list(parts) == ["train", "validation", "test"]
    for name, (x, y) in parts.items():
        assert np.mean(model.predict(x) == y) == pytest.approx(summary[name]["accuracy"], abs=1e-12)
        assert model.evaluate(x, y) == summary[name]


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ([], 3),
        (["--early-stopping", "loss:patience=2", "--lr", "0.5", "--epochs", "12"], 3),
        (["--early-stopping", "accuracy:patience=3", "--lr", "0.2", "--epochs", "12"], 3),
        (["--early-stopping", "training_loss:patience=1", "--lr", "0.5", "--epochs", "12"], 3),
        (["--test-fraction", "0"], 2),  # the confusion matrix is that of the validation part
        (["--test-fraction", "0", "--val-fraction", "0"], 1),
    ],
)
def test_no_part_is_evaluated_twice_and_all_scores_are_those_of_the_model(monkeypatch, arguments, asked):
    calls, assess = [], Model.assess
    drawn, draw = [], classification.draw_confusion
    options = ["--device", "cpu", *arguments]
    with monkeypatch.context() as patched:
        patched.setattr(Model, "assess", lambda *given, **kw: calls.append(len(given[1])) or assess(*given, **kw))
        patched.setattr(
            "xpnet.cli.run_pictures.draw_confusion",
            lambda *given, part: drawn.append((*given, part)) or draw(*given, part=part),
        )
        patched.setattr(Model, "predict", None)  # for the picture there are predictions already
        summary = json.loads(train("iris", *options, "--json", "--out", "out").out)
    assert len(calls) == asked
    model, parts = load_model("out/model.safetensors"), job_of("iris", "--hidden", "8", *options).parts
    last = None
    for name in ("train", "validation", "test"):
        assert (summary[name] is None) == (name not in parts)
        if name in parts:
            x, y = parts[name]
            assert summary[name] == pytest.approx(model.evaluate(x, y), rel=1e-12)
            last = {"train": "training"}.get(name, name), model.predict(x), y
    ((true, predicted, _, _, part),) = drawn
    assert part == f"{last[0]} part"
    np.testing.assert_array_equal(predicted, last[1])
    np.testing.assert_array_equal(true, last[2])


def test_the_metrics_have_one_line_an_epoch(run):
    out, outcome = run
    lines = records(out)
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    summary = json.loads(outcome.out)
    kept = lines[summary["kept_epoch"] - 1]["validation"]
    assert kept == pytest.approx({name: summary["validation"][name] for name in ("loss", "accuracy")})
    assert lines[0]["loss"] > lines[-1]["loss"]
    assert all(line["samples_per_second"] > 0 for line in lines)


@pytest.mark.parametrize(
    "options",
    [
        ["iris", "--seed", 3, "--dropout", 0.3, "--schedule", "cosine", "--epochs", 3],
        ["house.csv", "--target", "price", "--batch-size", "all", "--early-stopping", "r2:patience=1", "--epochs", 30],
        ["digits", "--preset", "digits-15", "--epochs", 1],
        ["species.csv", "--target", "species", "--activation", "tanh", "--activation", "relu", "--hidden", "4,3"],
    ],
    ids=lambda options: options[0],
)
def test_the_configuration_repeats_the_run_exactly(folder, monkeypatch, options):
    house_csv(), species_csv()
    train(*options, "--device", "cpu", "--quiet", "--out", "first")
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)  # the paths in it are absolute
    assert xpnet("train", "--config", folder / "first/config.toml", "--quiet", "--out", "again").code == 0
    first, again = folder / "first", elsewhere / "again"
    assert (
        load_model(again / "model.safetensors").vector.tobytes()
        == load_model(first / "model.safetensors").vector.tobytes()
    )
    assert without_timings(again) == without_timings(first)
    assert (again / "config.toml").read_bytes() == (first / "config.toml").read_bytes()


def test_the_configuration_holds_only_options_of_the_command(run):
    config = tomllib.loads((run[0] / "config.toml").read_text())
    assert config["data"] == "iris"
    assert config["epochs"] == 3
    assert config["preset"] == "plain"
    assert not {"out", "quiet", "json", "config"} & config.keys()


@pytest.mark.parametrize(("name", "least"), [("curves.png", 600), ("confusion.png", 300)])
def test_the_pictures(run, name, least):
    png = (run[0] / name).read_bytes()
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    assert width >= least
    assert height >= 300
    assert png.endswith(b"IEND\xaeB`\x82")


@pytest.mark.parametrize("labels", [("$a", "b$^$"), ("猫", "犬"), ("[bold]x", "y" * 80)])
def test_class_names_are_drawn_as_they_are(labels):
    path = species_csv()
    text = path.read_text().replace("adelie", labels[0]).replace("gentoo", labels[1])
    path.write_text(text, encoding="utf-8")
    train(path, "--target", "species", "--out", "run")
    assert (Path("run") / "confusion.png").stat().st_size > 5000


def test_default_folder_and_several_runs_in_one_second(folder, monkeypatch):
    strftime = time.strftime
    monkeypatch.setattr("time.strftime", lambda form, *at: strftime(form, *at or (time.gmtime(0),)))
    house = house_csv("my house.csv")
    for _ in range(3):
        train(house, "--target", "price", "--quiet", "--epochs", 1)
    names = sorted(path.name for path in (folder / "runs").iterdir() if not path.is_symlink())
    assert names == [f"my-house-19700101-000000{end}" for end in ("", "-2", "-3")]


def test_a_folder_that_holds_a_run_is_refused():
    train("--out", "run", "--quiet")
    before = {path: path.read_bytes() for path in Path("run").iterdir()}
    outcome = xpnet("train", "iris", "--out", "run")
    assert outcome.code == 2
    assert outcome.err == "xpnet: --out: expected a folder without a run; received run. Choose another.\n"
    assert {path: path.read_bytes() for path in Path("run").iterdir()} == before


# What it prints


def test_json_is_one_object(run):
    out, outcome = run
    assert outcome.out.count("\n") == 1
    summary = json.loads(outcome.out)
    assert summary.keys() == {
        "task", "device", "precision", "epochs", "seconds", "samples_per_second", "model", "stopped", "threads",
        "train", "validation", "test", "baseline", "metric", "kept_epoch", "peak_memory",
    }  # fmt: skip
    assert summary["task"] == "classification"
    assert summary["device"].endswith(("cpu", "gpu"))
    assert summary["epochs"] == 3
    assert summary["seconds"] > 0
    assert summary["samples_per_second"] == pytest.approx(105 * 3 / summary["seconds"])
    assert summary["model"] == str(out / "model.safetensors")
    for part in ("train", "validation", "test"):
        assert summary[part].keys() == {"loss", "accuracy", "balanced_accuracy", "f1", "auc"}
        assert 0 <= summary[part]["accuracy"] <= 1


def test_json_has_null_for_a_part_that_is_not_there():
    house_csv()
    outcome = train("house.csv", "--target", "price", "--val-fraction", 0, "--test-fraction", 0, "--json", "--quiet")
    summary = json.loads(outcome.out)
    assert summary["validation"] is None
    assert summary["test"] is None
    assert summary["train"].keys() == {"loss", "r2", "rmse", "mae"}
    assert outcome.err == ""


def summary_of(run):
    return json.loads(Path(run, "summary.json").read_text())


@pytest.mark.parametrize(("data", "metric"), [("digits", "accuracy"), ("diabetes", "r2")])
def test_the_best_epoch_is_kept_and_named(data, metric):
    options = (data, "--hidden", "32", "--epochs", 25, "--lr", 0.03, "--device", "cpu")
    said = train(*options, "--out", "run").out
    scores = [record["validation"][metric] for record in records("run")]
    best = max(scores)
    epoch = len(scores) - scores[::-1].index(best)  # the latest of several
    assert epoch < len(scores)
    label = {"r2": "R2"}.get(metric, metric)
    assert f"kept epoch {epoch} of 25, the best, validation {label} {figure(best)}\n" in said
    summary = summary_of("run")
    assert (summary["kept_epoch"], summary["metric"]) == (epoch, metric)
    assert summary["validation"][metric] == pytest.approx(best, rel=1e-6)
    said = train(*options, "--keep-last", "--out", "last").out
    assert f"kept epoch 25 of 25, the last, validation {label} {figure(scores[-1])}\n" in said
    assert summary_of("last")["validation"][metric] == pytest.approx(scores[-1], rel=1e-6)


def test_the_metric_chooses_the_epoch_and_is_in_the_units_of_the_target():
    outcome = train("diabetes", "--epochs", 30, "--lr", 0.02, "--metric", "mae", "--device", "cpu", "--out", "run")
    errors = [record["validation"]["mae"] for record in records("run")]
    epoch, summary = len(errors) - errors[::-1].index(min(errors)), summary_of("run")
    assert (summary["kept_epoch"], summary["metric"]) == (epoch, "mae")
    assert summary["validation"]["mae"] == pytest.approx(min(errors), rel=1e-5)
    assert 30 < summary["validation"]["mae"] < 80  # the target reaches from 25 to 346
    assert f"MAE {figure(errors[0])}" in outcome.err.splitlines()[0]


def test_the_epoch_is_named_with_the_score_that_chose_it():
    said = train("--epochs", 5, "--early-stopping", "loss:patience=3", "--metric", "f1", "--out", "run").out
    losses = [record["validation"]["loss"] for record in records("run")]
    assert f"the best, validation loss {figure(min(losses))}\n" in said


@pytest.mark.parametrize(
    ("given", "same_as"),
    [
        (["--early-stopping", "patience=2"], ["--early-stopping", "accuracy:patience=2"]),
        (["--early-stopping", "patience=2", "--metric", "auc"], ["--early-stopping", "auc:patience=2"]),
        (["--early-stopping", "none"], ["--keep-last"]),
    ],
)
def test_settings_of_early_stopping_alone(given, same_as):
    options = ("--epochs", 30, "--lr", 0.1, "--device", "cpu", "--quiet")
    train(*options, *given, "--out", "given")
    train(*options, *same_as, "--out", "same")
    assert len(records("given")) == len(records("same"))
    np.testing.assert_array_equal(*(load_model(f"{run}/model.safetensors").vector for run in ("given", "same")))


def test_early_stopping_may_keep_the_last_epoch():
    options = ("diabetes", "--epochs", 60, "--lr", 0.03, "--early-stopping", "patience=3", "--device", "cpu")
    train(*options, "--out", "best")
    train(*options, "--keep-last", "--out", "last")
    summaries = [summary_of(run) for run in ("best", "last")]
    assert summaries[0]["epochs"] == summaries[1]["epochs"] < 60
    assert [each["kept_epoch"] for each in summaries] == [summaries[0]["epochs"] - 3, summaries[0]["epochs"]]


def test_a_metric_of_another_task_is_refused():
    expected = "xpnet: --metric: expected one of r2, rmse, mae for regression; received 'auc'.\n"
    assert refused("train", "diabetes", "--metric", "auc") == expected
    assert "unknown metric: expected one of" in refused("train", "iris", "--metric", "acuracy")


def test_a_metric_needs_a_validation_part():
    without = ("train", "iris", "--val-fraction", 0, "--metric", "auc")
    assert refused(*without) == "xpnet: --metric: expected a validation part; received none.\n"


@pytest.mark.parametrize(
    ("data", "name", "by_hand"),
    [
        ("iris", "majority class", lambda before, y: {"accuracy": np.mean(y == np.bincount(before).argmax())}),
        (
            "diabetes",
            "mean",
            lambda before, y: {
                "rmse": np.sqrt(np.mean((y - before.mean()) ** 2)),
                "mae": np.abs(y - before.mean()).mean(),
            },
        ),
    ],
)
def test_the_trivial_baseline_is_beside_the_scores(data, name, by_hand):
    said = train(data, "--out", "run", "--epochs", 30, "--lr", 0.01).out
    baseline = summary_of("run")["baseline"]
    assert (baseline["name"], baseline["part"]) == (name, "test")
    parts = prepare(data, TrainOptions()).parts
    for metric, value in by_hand(parts["train"][1], parts["test"][1]).items():
        assert baseline[metric] == pytest.approx(value)
        assert figure(value) in next(line for line in said.splitlines() if line.strip().startswith(name))


def test_a_run_that_learned_nothing_says_so(capsys):
    for options in ([], ["--quiet"], ["--json"]):
        assert main(["train", "digits", "--lr", "100", "--epochs", "1", "--no-report", *options]) == 0
        line = capsys.readouterr().err.splitlines()[-1]
        assert re.fullmatch(
            r"xpnet: the test accuracy 0\.\d+ is no better than 0\.\d+, that of the majority class alone\. "
            r"Try a smaller --lr, more --epochs, or other columns\.",
            line,
        )
    assert main(["train", "digits", "--no-report", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


RMSE = {"task": "regression", "metric": "rmse", "baseline": 3.0}
BALANCED = {"metric": "balanced_accuracy", "baseline": 0.5}


def summary_with(task="classification", metric="accuracy", baseline=0.9, **scores):
    baseline = {"name": "it", "part": "test", metric: baseline}
    return {"task": task, "metric": metric, "baseline": baseline, "test": scores}


@pytest.mark.parametrize(
    ("summary", "said"),
    [
        (summary_with(accuracy=0.91, auc=0.5), None),
        (summary_with(accuracy=0.9, auc=0.5), "0.9000 is no better than 0.9000, that of the it alone. Try a"),
        (summary_with(accuracy=0.85, auc=0.8), "Its AUC is 0.8000, so it can tell the classes apart: try"),
        (summary_with(**BALANCED, balanced_accuracy=0.5, auc=0.8), "0.5000, that of the it alone. Try"),
        (summary_with(**RMSE, rmse=3.5), "the test RMSE 3.5000 is no better than 3.0000"),
        (summary_with(**RMSE, rmse=2.5), None),
        (summary_with(accuracy=float("nan"), auc=0.5), None),
        ({**summary_with(), "metric": "auc", "test": {"auc": 0.49}}, "the test AUC 0.4900 is no better than 0.5000"),
        ({**summary_with(accuracy=0.1), "baseline": None}, None),
    ],
)  # fmt: skip
def test_what_is_said_of_a_run_that_is_no_better_than_the_baseline(summary, said):
    line = describe_failure(summary)
    assert line == "" if said is None else said in line


def test_balanced_classes_choose_the_epoch_by_the_balanced_accuracy():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 1))
    np.savez("rare.npz", X=x, y=(x[:, 0] + rng.normal(size=600) > 2).astype(int))
    train("rare.npz", "--class-weight", "balanced", "--out", "run")
    assert summary_of("run")["metric"] == "balanced_accuracy"
    assert "balanced_accuracy" in records("run")[0]["validation"]
    train("rare.npz", "--class-weight", "balanced", "--metric", "accuracy", "--out", "other")
    assert summary_of("other")["metric"] == "accuracy"


def test_classes_that_cannot_be_learned_are_named():
    rows = [f"{i},{'big' if i % 2 else 'small'}" for i in range(60)]
    write_csv("labels.csv", "size,label", *rows, "61,Big")
    said = train("labels.csv", "--target", "label", "--out", "run", "--quiet").err
    assert re.search(r"xpnet: classes (with a single sample|without a sample in the training part.*): 'Big'\n", said)
    assert train("iris", "--out", "other", "--quiet").err == ""


def test_quiet_prints_nothing():
    assert train("--quiet", "--out", "run") == Outcome(0, "", "")
    assert (Path("run") / "model.safetensors").exists()


def test_one_line_an_epoch_where_stderr_is_no_terminal():
    outcome = train("--epochs", 3, "--out", "run")
    lines = outcome.err.splitlines()
    number = r"\d+\.\d{4}"
    for epoch, line in enumerate(lines, 1):
        assert re.fullmatch(
            rf"epoch {epoch}/3  loss {number}  validation loss {number}  accuracy {number}  [\d,]+ samples/s", line
        )
    assert len(lines) == 3
    assert "\x1b" not in outcome.err + outcome.out


def test_the_summary(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    train("--out", "first", "--json")
    outcome = xpnet("train", "--config", "first/config.toml", "--epochs", 1, "--out", "a[bold]b")
    assert "iris: classification, 4-8-3, 67 parameters" in outcome.out
    assert re.search(r"train +\d\.\d{4} +\d\.\d{4}", outcome.out)
    assert re.search(r"1 epoch in \d+\.\d s on numpy:cpu, [\d,]+ samples/s", outcome.out)
    for name in ("model.safetensors", "curves.png", "confusion.png"):
        assert f"  a[bold]b/{name}\n" in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 80


@pytest.mark.slow
def test_as_a_program(environment, tmp_path):
    command = [sys.executable, "-m", "xpnet", "train", "iris", "--epochs", "2", "--hidden", "8", "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    summary = json.loads(done.stdout)
    assert load_model(tmp_path / summary["model"]).classes.tolist() == [0, 1, 2]
    lines = [line[:9] for line in done.stderr.splitlines() if NO_BETTER not in line]
    assert lines == ["epoch 1/2", "epoch 2/2"]


# Data


def test_regression_is_told_from_the_target():
    house_csv()
    summary = json.loads(train("house.csv", "--target", "price", "--json", "--epochs", 150, "--lr", 0.05).out)
    assert summary["task"] == "regression"
    assert summary["test"]["r2"] > 0.9


@pytest.mark.parametrize(("task", "score"), [(None, "accuracy"), ("regression", "r2"), ("classification", "accuracy")])
def test_the_task_can_be_chosen(task, score):
    summary = json.loads(train("iris", *(["--task", task] if task else []), "--json").out)
    assert summary["task"] == (task or "classification")
    assert list(summary["train"])[:2] == ["loss", score]


def test_text_labels():
    species_csv()
    summary = json.loads(train("species.csv", "--target", "species", "--json", "--epochs", 60, "--lr", 0.03).out)
    assert load_model(summary["model"]).classes.tolist() == ["adelie", "gentoo"]
    assert summary["test"]["accuracy"] > 0.8


def test_several_labels_a_sample():
    labels_npz()
    summary = json.loads(train("labels.npz", "--json", "--epochs", 60, "--lr", 0.05).out)
    assert summary["task"] == "multilabel"
    assert summary["train"]["accuracy"] > 0.9
    assert not Path(summary["model"]).with_name("confusion.png").exists()


@pytest.mark.parametrize("zipped", [False, True])
def test_a_folder_of_images_with_a_test_part_of_its_own(zipped):
    idx_folder("images", zipped=zipped)
    summary = json.loads(train("images", "--json", "--epochs", 20, "--lr", 0.05).out)
    assert summary["test"]["accuracy"] == 1.0
    assert load_model(summary["model"]).scaler.kind == "divide"


@pytest.mark.parametrize(("size", "steps"), [("1", 105), ("all", 1), ("50", 3)])
def test_batch_size(monkeypatch, size, steps):
    seen = []
    monkeypatch.setattr("xpnet.training.progress.Progress.on_start", lambda self, n_steps, epochs: seen.append(n_steps))
    monkeypatch.setattr("xpnet.training.progress.Progress.on_epoch", lambda self, record, run: None)
    train("iris", "--batch-size", size, "--device", "cpu")
    assert seen == [steps]


def test_a_set_smaller_than_the_usual_batch():
    house_csv(n=12)
    summary = json.loads(train("house.csv", "--target", "price", "--json").out)
    assert summary["epochs"] == 2


@pytest.mark.parametrize("other", ["torch:cpu", "jax:cpu", "strict:cpu"])
def test_the_same_seed_gives_the_same_run_on_every_backend(other):
    pytest.importorskip({"strict:cpu": "array_api_strict"}.get(other, other.partition(":")[0]))
    options = ("iris", "--dtype", "float64", "--dropout", 0.2, "--seed", 5, "--json", "--quiet")
    numpy, another = (json.loads(train(*options, "--device", device).out) for device in ("cpu", other))
    assert numpy["device"] == "numpy:cpu"
    assert another["device"] == other
    for part in ("train", "validation", "test"):
        assert another[part] == pytest.approx(numpy[part], rel=1e-8)


def test_the_scores_of_an_interrupted_epoch_are_taken_anew(monkeypatch):
    class Stopped(Interrupt):
        left = 3  # within the second epoch: each has two pieces

        def on_steps(self, epoch, done):
            self.left -= 1
            self.received = None if self.left else signal.SIGINT
            super().on_steps(epoch, done)

    monkeypatch.setattr(sys.modules["xpnet.cli.run"], "Interrupt", Stopped)
    outcome = xpnet("train", "iris", "--hidden", "8", "--device", "cpu", "--lr", "0.05", "--json", "--out", "out")
    assert outcome.code == 130
    summary = json.loads(outcome.out)
    assert (summary["epochs"], summary["stopped"]) == (1, "interrupted")
    parts = job_of("iris", "--hidden", "8", "--device", "cpu").parts
    model = load_model("out/model.safetensors")
    assert summary["validation"] == model.evaluate(*parts["validation"])


@pytest.mark.parametrize("error", [ImportError("libopenjp2.so: cannot map"), MemoryError()])
def test_a_run_is_done_also_where_its_pictures_cannot_be_drawn(monkeypatch, error):
    def fail(*_: object) -> bytes:
        raise error

    monkeypatch.setattr("xpnet.cli.run_pictures.learning_curves", fail)
    outcome = train("iris", "--epochs", 1, "--json", "--quiet", "--out", "without")
    assert json.loads(outcome.out)["epochs"] == 1
    assert outcome.err == f"xpnet: no pictures were drawn: {str(error) or 'out of memory'}.\n"
    assert sorted(path.suffix for path in Path("without").iterdir() if path.name != ".lock") == [
        ".json", ".jsonl", ".safetensors", ".toml",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("offset", "target_offset", "scale", "words"),
    [
        (1e9, 0, "none", "features: the values of column 2, .* are one number in float32"),
        (2**60, 0, "standard", "features: the values of column 2, .* are one number in float64"),
        (0, 1e9, "none", "targets: the values of column 1, .* are one number in float32"),
        (1e9, 1e9, "standard", ""),
    ],
)
def test_numbers_that_become_one_number_are_said_once(offset, target_offset, scale, words):
    x = np.random.default_rng(0).integers(0, 30, (60, 2))
    y = x[:, 0] + 0.5 + target_offset
    x[:, 1] += int(offset)
    np.savez("x.npz", x=x, y=y)
    err = train("x.npz", "--scale", scale, "--epochs", 1, "--quiet", "--out", "out").err
    assert err.count("\n") == bool(words)
    assert re.search(words, err)


@pytest.mark.slow
def test_thousands_of_classes_take_little_memory():
    n = 6000
    np.savez("many.npz", x=np.random.default_rng(0).normal(size=(n, 2)), y=np.arange(n) % 3000)
    options = ("--task", "classification", "--hidden", 4, "--epochs", 1, "--quiet", "--device", "cpu")
    train("digits", *options, "--out", "first")  # imports
    with traced() as peak:
        train("many.npz", *options, "--test-fraction", 0.8, "--out", "out")
    assert (Path("out") / "confusion.png").stat().st_size > 5000
    assert peak() < 60e6  # the probabilities of the test part are 58 MB, a matrix of all classes 72 MB
