"""``xpnet runs``."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import refused, train, write_csv, xpnet

pytestmark = pytest.mark.usefixtures("folder")

SCORES = {"loss": 0.5, "accuracy": 0.5, "balanced_accuracy": 0.5, "f1": 0.5}
SUMMARY = {"xpnet": "0.1.0", "task": "classification", "name": "iris", "epochs": 9, "kept_epoch": 7, "seconds": 1.25}


def run(folder_name: str, config: str = 'data = "iris"\nlr = 0.1\n', **summary: object) -> Path:
    """Write the two files of a run that are compared."""
    folder = Path("runs", folder_name)
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(config)
    (folder / "summary.json").write_text(json.dumps({**SUMMARY, **summary}))
    return folder


def part(**scores: object) -> dict[str, object]:
    return {**SCORES, **scores}


def listed(*arguments: object) -> list[dict[str, Any]]:
    code, out, err = xpnet("runs", *arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)["runs"]


def names(*arguments: object) -> list[str]:
    return [Path(row["run"]).name for row in listed(*arguments)]


@pytest.fixture(autouse=True)
def width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_runs_of_training() -> None:
    train("iris", "--quiet", "--lr", 0.01, "--hidden", "8,4")
    train("iris", "--quiet", "--epochs", 3, "--metric", "f1")
    train("diabetes", "--quiet")
    rows = listed()
    assert [row["name"] for row in rows] == ["diabetes", "iris", "iris"]
    for row in rows:
        folder = Path(row["run"])
        summary = json.loads((folder / "summary.json").read_text())
        for key in ("epochs", "kept_epoch", "seconds", "validation", "test", "task", "stopped"):
            assert row[key] == summary[key]
    assert rows[0]["differs"] == {}
    first, second = sorted((row["differs"] for row in rows[1:]), key=lambda options: options["epochs"])
    assert first == {"epochs": 2, "hidden": "8,4", "lr": 0.01}
    assert second == {"epochs": 3, "hidden": "8", "metric": "f1"}
    assert [row["metric"] for row in rows] == ["r2", "accuracy", "accuracy"]  # the runs chose by different ones
    out = xpnet("runs").out
    assert "latest" not in out
    assert "iris: classification; best accuracy of the validation part first" in out


def test_the_best_run_comes_first() -> None:
    for number, score in enumerate((0.7, 0.9, None, 0.8)):
        validation = part(accuracy=score) if score else None
        run(f"a{number}", validation=validation, test=part(accuracy=1 - (score or 0)))
    assert names() == ["a1", "a3", "a0", "a2"]  # a2, without a validation part, is not compared by its test score


def test_of_an_error_the_lowest_is_best() -> None:
    for number, score in enumerate((3.0, 1.0, 2.0)):
        run(f"a{number}", task="regression", metric="mae", validation={"loss": 1, "mae": score, "r2": 0})
    assert names() == ["a1", "a2", "a0"]
    assert "; best MAE of the validation part first" in xpnet("runs").out


def test_runs_on_other_data_or_for_another_task_are_apart() -> None:
    run("a", 'data = "/x/t.csv"\n', name="t", validation=part(accuracy=0.1))
    run("b", 'data = "/y/t.csv"\n', name="t", validation=part(accuracy=0.2))
    run("c", 'data = "/x/t.csv"\n', name="t", validation=part(accuracy=0.3))
    run("d", 'data = "/x/t.csv"\n', name="t", task="regression", validation={"loss": 1.0, "r2": 0.2})
    assert xpnet("runs").out.count("of the validation part first") == 3
    order = names()
    assert abs(order.index("a") - order.index("c")) == 1


def test_what_is_shown() -> None:
    run("one", 'data = "iris"\nlr = 0.1\nhidden = "8"\n', validation=part(), test=part(accuracy=0.25))
    run("two", 'data = "iris"\nlr = 0.1\nkeep-last = true\ncategorical = ["a", "b"]\n', kept_epoch=9)
    lines = [line.split() for line in xpnet("runs").out.splitlines()]
    assert ["run", "epochs", "s", "validation", "test", "differs", "in"] in lines
    assert ["one", "9", "(7)", "1.2", "0.5000", "0.2500", "hidden=8"] in lines
    assert ["two", "9", "1.2", "keep-last=true", "categorical=a,b"] in lines


def test_long_names_and_many_differences_fit_the_screen() -> None:
    for number in range(2):
        config = "".join(f"option-{i} = {i * number}\n" for i in range(1, 20))
        run(f"{'long-name-' * 8}{number}", f'data = "iris"\n{config}', validation=part(), test=part())
    run("x" * 32, validation=part())
    out = xpnet("runs").out
    assert max(map(len, out.splitlines())) <= 80
    assert "".join(out.split()).count("option-19=") == 3 - 1
    assert "option-19=19" in out
    width = next(line for line in out.splitlines() if "epochs" in line).index("epochs") - 2
    first = "".join(line[1:width].strip() for line in out.splitlines()[3:])
    assert first.count("long-name-") == 16
    assert "x" * 32 in first


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"config.toml": "[", "summary.json": "{}"}, "damaged: runs/bad/config.toml: expected TOML"),
        ({"config.toml": "", "summary.json": "{"}, "damaged: runs/bad/summary.json: expected the summary of a run"),
        ({"config.toml": "", "summary.json": "[" * 100_000}, "damaged: runs/bad/summary.json: expected the summary"),
        ({"config.toml": "epochs = 5", "metrics.jsonl": ""}, "running, or killed after epoch 0 of 5"),
        ({"config.toml": "", "metrics.jsonl": "{}\n"}, "damaged: runs/bad/metrics.jsonl: expected the metrics"),
        ({"config.toml": "epochs = 5", "model.safetensors": ""}, "stopped after epoch 0 of 5"),
        ({"model.safetensors": ""}, "stopped after epoch 0"),
        ({"config.toml": b"\xff\xfe"}, "damaged: runs/bad/config.toml: expected TOML"),
    ],
)
def test_a_bad_run_does_not_stop_the_list(files: dict[str, Any], words: str) -> None:
    run("good", validation=part())
    Path("runs/bad").mkdir()
    for name, content in files.items():
        Path("runs/bad", name).write_bytes(content if isinstance(content, bytes) else content.encode())
    good, bad = listed()
    assert (good["run"], good["problem"], bad["run"]) == ("runs/good", None, "runs/bad")
    assert bad["problem"].startswith(words)
    out = xpnet("runs").out
    assert "good" in out
    assert " ".join(words.split()[:3]) in out


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_a_pipe_is_not_waited_for() -> None:
    Path("runs/bad").mkdir(parents=True)
    os.mkfifo("runs/bad/config.toml")
    (row,) = listed()
    assert "a pipe, not a regular file" in row["problem"]


def test_values_of_other_types_do_no_harm() -> None:
    hostile = {"task": ["x"], "name": {"a": 1}, "epochs": "9", "kept_epoch": True, "seconds": None, "validation": [1],
               "test": {"accuracy": "high"}, "metric": []}  # fmt: skip
    run("bad", "data = 5\nlr = [[1], {a = 2}]\n", **hostile)
    run("worse", 'data = 5\nlr = "\\u001b[31m"\n', **hostile)
    run("good", validation=part())
    assert len(listed()) == 3
    outcome = xpnet("runs")
    assert outcome.code == 0
    assert "\x1b" not in outcome.out


def test_folders_that_are_named() -> None:
    a, b = run("a", validation=part()), run("b", validation=part())
    shutil.copytree("runs", "more")
    Path("more/notes").mkdir()
    Path("more/file").write_text("")
    assert names(a) == ["a"]
    assert names(a, b) == ["a", "b"]
    assert [row["run"] for row in listed("runs", "more")] == ["runs/a", "runs/b", "more/a", "more/b"]
    assert "more/b" in xpnet("runs", "runs", "more").out
    Path("runs/latest").symlink_to("b")
    assert names() == ["a", "b"]
    assert names("runs/latest") == ["b"]


def test_no_runs() -> None:
    assert "FOLDER: expected a folder with runs, or a run; received runs, which is none" in refused("runs")
    Path("empty").mkdir()
    assert xpnet("runs", "empty") == (0, "empty: no runs\n", "")
    assert listed("empty") == []
    write_csv("t.csv", "a", 1)
    assert "received t.csv" in refused("runs", "t.csv")
