"""``--cv``: the folds of a run, what they say and leave, and that they do not touch the run."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from tests.command_line import house_csv, refused, species_csv, train, without_timings, write_csv, xpnet
from tests.runs import job_of
from xpnet.cli import cross_validation
from xpnet.cli.options import TrainOptions
from xpnet.cli.ranks import check_shareable
from xpnet.data.scaling import Scaler
from xpnet.errors import DivergenceError, InvalidParameterError
from xpnet.training.metrics import fitting_metrics
from xpnet.training.progress import figure

pytestmark = pytest.mark.usefixtures("folder")


def summary(run: str = "run") -> dict:
    return json.loads(Path(run, "summary.json").read_text())


def folds_of(*arguments: str) -> list[cross_validation.JobData]:
    job = job_of(*arguments)
    folds = int(arguments[arguments.index("--cv") + 1])
    seed = int(arguments[arguments.index("--seed") + 1]) if "--seed" in arguments else 0
    return list(cross_validation._folds(job.data, TrainOptions(cv=folds, seed=seed)))


# What is printed and left


def test_the_scores_of_each_fold_and_their_mean_and_deviation() -> None:
    outcome = train("iris", "--cv", "3", "--out", "run")
    scores = summary()["cv"]
    assert [set(fold) for fold in scores["folds"]] == [{"loss", *fitting_metrics("classification")}] * 3
    accuracies = [fold["accuracy"] for fold in scores["folds"]]
    assert scores["mean"]["accuracy"] == pytest.approx(np.mean(accuracies))
    assert scores["std"]["accuracy"] == pytest.approx(np.std(accuracies))
    assert np.std(accuracies) > 0
    said = re.findall(r"xpnet: fold (\d)/3: .*accuracy ([\d.]+), balanced", outcome.err)
    assert said == [(str(i), figure(accuracy)) for i, accuracy in enumerate(accuracies, start=1)]
    assert f"3-fold mean {figure(scores['mean']['accuracy'])}" in re.sub(r"(mean) +[\d.]+ +", r"\1 ", outcome.out)
    assert json.loads(Path("run/cv.json").read_text()) == scores
    assert tomllib.loads(Path("run/config.toml").read_text())["cv"] == 3
    assert summary()["command"] == "xpnet train iris --hidden 8 --epochs 2 --preset plain --cv 3"


def test_json_has_the_scores_and_quiet_says_nothing() -> None:
    assert json.loads(train("iris", "--cv", "2", "--json", "--out", "run").out)["cv"] == summary()["cv"]
    assert train("iris", "--cv", "2", "--epochs", "20", "--quiet", "--out", "quiet") == (0, "", "")


@pytest.mark.parametrize("data", ["iris", "house.csv"])
def test_the_run_is_that_without_folds(data: str) -> None:
    house_csv()
    options = ["--target", "price", "--preset", "tabular"] if data != "iris" else []
    train(data, *options, "--dropout", "0.3", "--out", "without")
    train(data, *options, "--dropout", "0.3", "--cv", "3", "--out", "with")
    assert Path("with/model.safetensors").read_bytes() == Path("without/model.safetensors").read_bytes()
    assert without_timings("with") == without_timings("without")
    assert summary("with")["test"] == summary("without")["test"]


def test_the_same_seed_gives_the_same_folds() -> None:
    for run, seed in (("first", 3), ("again", 3), ("other", 4)):
        train("iris", "--cv", "3", "--seed", seed, "--out", run)
    assert summary("first")["cv"] == summary("again")["cv"] != summary("other")["cv"]


def test_a_resumed_run_keeps_the_scores_and_trains_no_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    train("iris", "--cv", "2", "--epochs", "20", "--checkpoint-every", "1", "--out", "run")
    scores = summary()["cv"]
    Path("run/summary.json").unlink()
    monkeypatch.setattr("xpnet.cli.train.cross_validate", lambda *_: pytest.fail("trained a fold"))
    assert xpnet("resume", "run", "--epochs", 21, "--quiet") == (0, "", "")
    assert summary()["epochs"] == 21
    assert summary()["cv"] == scores


# Which rows


def test_folds_and_the_test_part_are_disjoint() -> None:
    write_csv("t.csv", "x,target", *(f"{i},{'ab'[i % 2]}" for i in range(60)))
    test = map(int, job_of("t.csv", "--seed", "0").parts["test"][0]["x"].to_pylist())
    folds = folds_of("t.csv", "--cv", "4")
    rows = [{name: [*map(int, part[0]["x"].to_pylist())] for name, part in fold.parts.items()} for fold in folds]
    for fold in rows:
        assert list(fold) == ["train", "validation", "test"]
        assert not {*fold["train"], *fold["validation"]} & {*fold["test"]}
    held_out = [row for fold in rows for row in fold["test"]]
    assert sorted([*held_out, *test]) == list(range(60))


def test_classes_are_in_proportion_in_each_part_of_a_fold() -> None:
    classes = np.random.default_rng(0).permutation(np.repeat(["a", "b"], (150, 50)))
    write_csv("t.csv", "x,target", *(f"{i}.5,{label}" for i, label in enumerate(classes)))
    for fold in folds_of("t.csv", "--cv", "4"):
        for _, y in fold.parts.values():
            assert np.mean(y == "b") == pytest.approx(0.25, abs=1 / len(y))


@pytest.mark.parametrize("data", ["t.csv", "t.npz"])
def test_nothing_of_the_rows_that_are_held_out_is_known_in_a_fold(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = np.arange(60.0)[:, None] ** 2, np.arange(60.0)
    np.savez("t.npz", X=x, y=y)
    write_csv("t.csv", "x,target", *(f"{a[0]},{b}" for a, b in zip(x, y, strict=True)))
    seen = []
    make = cross_validation.make_job

    def spy(*arguments: object) -> object:
        seen.append(make(*arguments))
        return seen[-1]

    monkeypatch.setattr(cross_validation, "make_job", spy)
    train(data, "--cv", "3", "--task", "regression", "--scale", "standard", "--out", "run")
    assert len(seen) == 3
    for job in seen:
        values, targets = (np.asarray(job.parts["train"][i]).reshape(-1) for i in (0, 1))
        if isinstance(job.model.scaler, Scaler):
            assert job.model.scaler.shift == pytest.approx(values.mean())
        else:
            encoded = job.model.features(job.parts["train"][0])
            assert encoded.mean() == pytest.approx(0, abs=1e-6)
            assert encoded.std() == pytest.approx(1, abs=1e-5)
        assert job.model.target_scaler.shift == pytest.approx(targets.mean())


def test_groups_times_and_weights_go_with_their_rows() -> None:
    rows = (f"{i}.25,{i // 4},{i // 2},{1 + i % 3},{'ab'[i % 2]}" for i in range(60))
    write_csv("t.csv", "x,g,t,w,target", *rows)
    for fold in folds_of("t.csv", "--group", "g", "--weight", "w", "--cv", "3"):
        parts = {name: np.asarray(part[0]["x"]).astype(float) // 1 for name, part in fold.parts.items()}
        groups = [{*(rows // 4)} for rows in parts.values()]
        assert sum(map(len, groups)) == len(set.union(*groups))
        assert fold.weights.tolist() == (1 + parts["train"] % 3).tolist()
    for fold in folds_of("t.csv", "--time", "t", "--cv", "3"):
        parts = {name: np.asarray(part[0]["x"]).astype(float) // 1 for name, part in fold.parts.items()}
        assert parts["train"].max() < parts["validation"].min() <= parts["validation"].max() < parts["test"].min()


def test_without_a_validation_part() -> None:
    train("iris", "--cv", "2", "--val-fraction", "0", "--out", "run")
    assert len(summary()["cv"]["folds"]) == 2
    assert summary()["validation"] is None


# What is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["iris", "--cv", "1"], "--cv: expected at least 2 folds; received 1"),
        (["iris", "--cv", "200"], "--cv: expected from 2 folds to 120, the number of rows; received 200"),
        (["iris", "--cv", "3", "--ensemble", "2"], "--cv: expected none with an ensemble; received 3"),
        (["tables", "--cv", "3", "--target", "species"], "--cv: expected none for data that are read in pieces"),
    ],
)
def test_what_does_not_go_with_folds(arguments: list[str], message: str) -> None:
    Path("tables").mkdir()
    species_csv("tables/1.csv")
    species_csv("tables/2.csv")
    assert message in refused("train", *arguments)


def test_ranks_are_refused() -> None:
    with pytest.raises(InvalidParameterError, match="cv: expected none for ranks; received 3"):
        check_shareable("iris", TrainOptions(cv=3))


def test_a_fold_that_diverges_ends_the_command_before_the_run() -> None:
    house_csv()
    code, _, err = xpnet("train", "house.csv", "--target", "price", "--cv", 2, "--lr", 1e30, "--optimizer", "sgd")
    assert code == 3
    assert "fold 1 of 2: " in err
    assert not Path("runs").exists()


def test_the_divergence_of_a_fold_keeps_its_run() -> None:
    house_csv()
    arguments = ["house.csv", "--target", "price", "--lr", "1e30", "--optimizer", "sgd"]
    with pytest.raises(DivergenceError) as caught:
        cross_validation.cross_validate(
            "house.csv", job_of(*arguments), TrainOptions(target="price", lr=1e30, optimizer="sgd", cv=2)
        )
    assert caught.value.run.stopped == "diverged"
