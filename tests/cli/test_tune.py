"""``xpnet tune``: which options its trials have, which of them wins, and the run that follows."""

from __future__ import annotations

import itertools
import json
import math
import os
import shlex
import signal
import tomllib
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.command_line import Outcome, house_csv, listing, refused, species_csv, without_timings, xpnet
from tests.runs import job_of
from xpnet.cli import trials
from xpnet.cli.options import TrainOptions
from xpnet.cli.trials import Trial, best_of, draw_options, open_space
from xpnet.errors import DivergenceError, InvalidParameterError
from xpnet.training.callbacks import Interrupt
from xpnet.training.progress import figure
from xpnet.training.recipes import PLAIN, TABULAR, Recipe

pytestmark = pytest.mark.usefixtures("folder")

CLASSES = TABULAR["classification"]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpnet.cli.run_pictures.draw_pictures", lambda *_: [])  # they are slow


def tune(*arguments: object) -> Outcome:
    """Tune on iris with a few short trials, or whatever the arguments say."""
    data = [] if arguments and not str(arguments[0]).startswith("--") else ["iris"]
    outcome = xpnet("tune", *data, *arguments, "--epochs", 2, "--no-report")
    assert outcome.code == 0, outcome.err
    return outcome


def records(run: str = "run") -> list[dict]:
    return [json.loads(line) for line in Path(run, "trials.jsonl").read_text().splitlines()]


def summary(run: str = "run") -> dict:
    return json.loads(Path(run, "summary.json").read_text())


def scored(monkeypatch: pytest.MonkeyPatch, *scores: float | type[BaseException], metric: str = "accuracy") -> list:
    """Let trials have these scores without training, or raise; return the options that they had."""
    left, tried = iter(scores), []

    def attempt(data: object, job: object, options: TrainOptions, interrupt: object) -> tuple[dict, list]:
        tried.append(options)
        if not isinstance(score := next(left), float):
            raise DivergenceError("the loss is nan", None) if score is DivergenceError else score
        return {"loss": 0.5, metric: score}, []

    monkeypatch.setattr(trials, "_try", attempt)
    return tried


# The options of the trials


def drawn(options: TrainOptions, n: int, recipe: Recipe = CLASSES, n_samples: int = 5000) -> list[TrainOptions]:
    return list(draw_options(options, open_space(options, recipe, n_samples), n))


def test_the_first_trial_has_the_options_that_are_given() -> None:
    given = TrainOptions(epochs=3, seed=5)
    trials = drawn(given, 12)
    assert trials[0] == given
    assert len({*trials}) == 12
    for options in trials[1:]:
        chosen = {name: getattr(options, name) for name in CLASSES.search_space}
        assert None not in chosen.values()
        assert replace(options, **dict.fromkeys(chosen)) == given


def test_the_seed_decides_and_more_trials_begin_alike() -> None:
    six = drawn(TrainOptions(), 6)
    assert drawn(TrainOptions(), 12)[:6] == six
    other = drawn(TrainOptions(seed=2**40), 6)
    assert [replace(options, seed=0) for options in other[1:]] != six[1:]


def test_options_that_are_given_stay() -> None:
    given = TrainOptions(dropout=0.0, hidden="9", input_scale=False, label_smoothing=0.0, activation=("tanh",))
    trials = drawn(given, 10)
    assert {(each.dropout, each.hidden, each.input_scale, each.activation) for each in trials} == {
        (0.0, "9", False, ("tanh",))
    }
    assert len({each.lr for each in trials}) == 10


def test_a_small_space_ends_the_search() -> None:
    fixed = TrainOptions(hidden="9", dropout=0.0, lr=0.1, l2=0.0)
    sizes = {each.batch_size for each in drawn(fixed, 20, PLAIN["regression"])}
    assert sizes == {None, 16, 32, 64, 128}


@pytest.mark.parametrize(("n_samples", "cv", "largest"), [(5000, None, 128), (700, None, 64), (700, 20, 16)])
def test_a_batch_is_a_small_part_of_the_samples(n_samples: int, cv: int | None, largest: int) -> None:
    trials = drawn(TrainOptions(cv=cv), 40, PLAIN["regression"], n_samples)
    assert max(each.batch_size for each in trials[1:]) == largest
    few = drawn(TrainOptions(cv=cv), 5, PLAIN["regression"], 100)
    assert {each.batch_size for each in few} == {None}


def test_nothing_to_choose() -> None:
    fixed = TrainOptions(hidden="9", dropout=0.0, lr=0.1, l2=0.0, batch_size=8)
    with pytest.raises(InvalidParameterError, match="received all of hidden, dropout, lr, l2, batch_size"):
        open_space(fixed, PLAIN["regression"], 5000)


def test_the_learning_rate_suits_the_optimizer_that_is_given() -> None:
    assert max(each.lr for each in drawn(TrainOptions(optimizer="rmsprop"), 9)[1:]) <= 0.01
    assert min(each.lr for each in drawn(TrainOptions(), 9)[1:]) >= 0.02


def test_what_is_drawn_goes_with_what_is_given() -> None:
    assert {each.hidden for each in drawn(TrainOptions(activation=("tanh", "relu", "selu")), 4)} == {None}
    assert {each.input_scale for each in drawn(TrainOptions(lr_factors="input_scale=2"), 9)} == {None}


# Which trial wins


@pytest.mark.parametrize(
    ("metric", "scores", "best"),
    [
        ("accuracy", [0.5, 0.9, 0.7], 2),
        ("accuracy", [0.5, 0.9, 0.9], 2),
        ("rmse", [3.0, 2.0, 2.5], 2),
        ("r2", [-3.0, -2.0, -2.5], 2),
        ("accuracy", [math.nan, 0.1, math.nan], 2),
        ("rmse", [None, 900.0, math.nan], 2),
        ("accuracy", [None, None], 1),
    ],
)
def test_the_best(metric: str, scores: list[float | None], best: int) -> None:
    done = [
        Trial(number, TrainOptions(), {} if score is None else {metric: score}, 1.0, [])
        for number, score in enumerate(scores, start=1)
    ]
    assert best_of(done, metric).number == best


def test_the_run_is_that_of_the_winner(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        scored(patch, 0.5, 0.9, 0.7)
        outcome = tune("--trials", 3, "--out", "run")
    words = records()[1]["options"]
    config = tomllib.loads(Path("run/config.toml").read_text())
    assert f"--lr {config['lr']} " in shlex.join(words)
    assert config["hidden"] == words[1]
    command = f"xpnet train iris {shlex.join(words)} --epochs 2"
    assert {*shlex.split(summary()["command"])} == {*shlex.split(command)}
    assert outcome.err.splitlines()[-1].endswith(
        f"trial 2 of 3 was the best. To repeat its run: {summary()['command']}"
    )
    again = [*shlex.split(summary()["command"])[1:], "--no-report", "--out", "again"]
    assert xpnet(*again).code == 0
    assert xpnet("train", "--config", "run/config.toml", "--no-report", "--out", "configured").code == 0
    for other in ("again", "configured"):
        assert Path(other, "model.safetensors").read_bytes() == Path("run/model.safetensors").read_bytes()


@pytest.mark.parametrize(("metric", "best"), [("rmse", 2), ("r2", 1)])
def test_the_metric_decides(metric: str, best: int, monkeypatch: pytest.MonkeyPatch) -> None:
    house_csv()
    scored(monkeypatch, 3.0, 2.0, 2.5, metric=metric)
    outcome = tune("house.csv", "--target", "price", "--metric", metric, "--trials", 3, "--out", "run")
    assert f"trial {best} of 3 was the best" in outcome.err
    assert f"(best {figure([3.0, 2.0][best - 1])} in trial {best})" in outcome.err
    assert tomllib.loads(Path("run/config.toml").read_text())["metric"] == metric


def test_trials_and_winner_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    species_csv()
    for run in ("first", "again"):
        tune("species.csv", "--target", "species", "--trials", 3, "--out", run)
    first, again = ([{**each, "seconds": 0} for each in records(run)] for run in ("first", "again"))
    assert first == again
    assert len({tuple(each["options"]) for each in first}) == 3
    assert without_timings("first") == without_timings("again")
    assert summary("first")["command"] == summary("again")["command"]


def test_a_trial_is_what_train_does_with_its_options() -> None:
    tune("--trials", 3, "--out", "run")
    for number, trial in enumerate(records()):
        assert xpnet("train", "iris", *trial["options"], "--epochs", 2, "--no-report", "--out", f"{number}").code == 0
        validation = summary(f"{number}")["validation"]
        assert {name: trial["scores"][name] for name in validation} == pytest.approx(validation)


def test_the_search_does_not_use_the_test_part(monkeypatch: pytest.MonkeyPatch) -> None:
    house_csv()
    job = job_of("house.csv", "--target", "price", "--epochs", "2")
    del job.parts["test"]
    assert len(trials.search("house.csv", job, TrainOptions(target="price", epochs=2, quiet=True), 2, Interrupt())) == 2


def test_with_folds_the_mean_decides() -> None:
    outcome = tune("--trials", 2, "--cv", 3, "--out", "run")
    best = max(records(), key=lambda each: each["scores"]["accuracy"])
    assert [len(each["folds"]) for each in records()] == [3, 3]
    mean = sum(fold["accuracy"] for fold in best["folds"]) / 3
    assert best["scores"]["accuracy"] == pytest.approx(mean) == pytest.approx(summary()["cv"]["mean"]["accuracy"])
    assert json.loads(Path("run/cv.json").read_text())["folds"] == best["folds"] == summary()["cv"]["folds"]
    assert "3-fold mean" in outcome.out
    assert "fold 1/3" not in outcome.err
    assert " --cv 3" in summary()["command"]
    assert tune("--trials", 2, "--cv", 3, "--val-fraction", 0, "--out", "no-validation").code == 0


# How a search goes on, and ends


def test_trials_that_diverge_are_the_worst(monkeypatch: pytest.MonkeyPatch) -> None:
    scored(monkeypatch, DivergenceError, 0.1, DivergenceError)
    outcome = tune("--trials", 3, "--out", "run")
    lines = outcome.err.splitlines()
    assert lines[0] == "xpnet: trial 1/3: diverged: the defaults"
    assert lines[1].startswith("xpnet: trial 2/3: accuracy 0.1000: --hidden ")
    assert lines[2].startswith("xpnet: trial 3/3: diverged (best 0.1000 in trial 2): --hidden ")
    assert [each["scores"] for each in records()] == [None, {"loss": 0.5, "accuracy": 0.1}, None]
    assert records()[1]["options"][1] == tomllib.loads(Path("run/config.toml").read_text())["hidden"]


def test_a_real_divergence() -> None:
    house_csv()
    arguments = ("--target", "price", "--preset", "plain", "--lr", 1e30, "--optimizer", "sgd", "--trials", 2)
    before = listing(Path())
    code, out, err = xpnet("tune", "house.csv", *arguments)
    assert (code, out) == (3, "")
    assert "all 2 trials diverged, the last with: " in err.splitlines()[-1]
    assert listing(Path()) == before


def test_the_time_limit_starts_no_other_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = scored(monkeypatch, 0.5, 0.6, 0.7, 0.8)
    clock = itertools.count(0, 10)
    monkeypatch.setattr(trials.time, "monotonic", lambda: next(clock))
    done = trials.search("iris", job_of("iris", "--epochs", "2"), TrainOptions(quiet=True), 4, Interrupt(), 40)
    assert len(tried) == len(done) == 2


def test_the_first_trial_has_no_time_limit() -> None:
    tune("--trials", 9, "--time-limit", "0.001s", "--out", "limited")
    assert len(records("limited")) == 1


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_goes_on_with_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = trials._try

    def interrupted(data, job, options, interrupt):
        if options.hidden is not None:  # not the first trial
            os.kill(os.getpid(), signal.SIGINT)
        return attempt(data, job, options, interrupt)

    monkeypatch.setattr(trials, "_try", interrupted)
    outcome = tune("--trials", 5, "--out", "run")
    assert "xpnet: stopped the search.\n" in outcome.err
    assert len(records()) == 1
    assert summary()["epochs"] == 2
    assert summary()["stopped"] == "epochs"


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_in_the_first_trial_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = trials._try

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return attempt(*arguments)

    monkeypatch.setattr(trials, "_try", interrupted)
    assert xpnet("tune", "iris", "--epochs", 2) == (130, "", "xpnet: stopped the search.\n")
    assert not Path("runs").exists()


def test_sigterm_names_the_best_trial_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    attempt, tried = trials._try, []

    def interrupted(*arguments):
        tried.append(1)
        if len(tried) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return attempt(*arguments)

    monkeypatch.setattr(trials, "_try", interrupted)
    code, out, err = xpnet("tune", "iris", "--epochs", 2)
    assert (code, out) == (128 + signal.SIGTERM, "")
    best = "trial 1 of 1 is the best so far. To train with it: xpnet train iris --epochs 2"
    assert err.splitlines()[-2:] == ["xpnet: stopped the search.", f"xpnet: {best}"]
    assert not Path("runs").exists()


def test_a_run_that_was_tuned_can_be_resumed() -> None:
    tune("--trials", 2, "--checkpoint-every", 1, "--out", "run")
    before = Path("run/trials.jsonl").read_bytes()
    assert xpnet("resume", "run", "--epochs", 3, "--quiet") == (0, "", "")
    assert summary()["epochs"] == 3
    assert Path("run/trials.jsonl").read_bytes() == before


@pytest.mark.parametrize("folds", [(), ("--cv", 2)])
def test_trials_are_compared_by_the_auc_also_of_many_samples(monkeypatch: pytest.MonkeyPatch, folds: tuple) -> None:
    monkeypatch.setattr("xpnet.model.evaluation._MOST_OUTPUTS", 0)
    tune("--metric", "auc", "--trials", 2, *folds, "--out", "run")
    assert all(record["scores"]["auc"] > 0 for record in records())
    assert summary()["validation"]["auc"] > 0


def test_quiet_and_json() -> None:
    assert tune("--trials", 2, "--quiet", "--out", "quiet") == (0, "", "")
    outcome = tune("--trials", 2, "--json", "--out", "json")
    assert json.loads(outcome.out)["test"] == summary("json")["test"]


# What is refused


def test_several_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpnet.cli.tune.ranks", lambda _: nullcontext(SimpleNamespace(size=2)))
    assert "xpnet tune: expected one process; received 2 ranks." in refused("tune", "iris")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["iris", "--trials", "0"], "--trials: expected at least 1; received 0"),
        (["iris", "--time-limit", "5"], "expected a time such as 90s, 10min or 2h; received '5'"),
        (["iris", "--time-limit", "0s"], "expected a time such as 90s, 10min or 2h; received '0s'"),
        (["iris", "--val-fraction", "0"], "--val-fraction: expected more than 0, to compare trials; received 0.0"),
        (
            ["tables", "--target", "species"],
            "expected data that fit into memory; received data that are",
        ),
        (["iris", "--cv", "3", "--ensemble", "2"], "--cv: expected none with an ensemble"),
        (["iris", "--epochs", "0"], "--epochs: expected"),
    ],
)
def test_what_cannot_be_tuned(arguments: list[str], message: str) -> None:
    Path("tables").mkdir()
    species_csv("tables/1.csv")
    assert message in refused("tune", *arguments)
