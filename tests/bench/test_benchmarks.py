"""The scripts in benchmarks/: their computations, and that all libraries train the same. No test depends on a time."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """Import a script with its folder first in the path, as Python does when it runs it."""
    if not FOLDER.is_dir():
        pytest.skip("no benchmarks beside the tests")
    monkeypatch.syspath_prepend(str(FOLDER))

    def load(name: str) -> ModuleType:
        for each in (name, "writing", "table_list", "table_parts", "fuzz_files", "fuzz_commands"):
            request.addfinalizer(lambda each=each: sys.modules.pop(each, None))
        return importlib.import_module(name)

    return load


def task(module: ModuleType, accuracy: float = 2.0, rule: tuple[str, float] = ("adam", 0.01)) -> Any:
    """Return a task of 700 samples, so that the last batch is short, in three separable classes of ten."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((900, 8)).astype(np.float32)
    y = np.argmax(x[:, :3] + 0.3 * rng.standard_normal((900, 3)), axis=1)
    return module.Task(module.Settings((30,), 128, *rule), x[:700], y[:700], x[700:], y[700:], 3, accuracy)


@pytest.mark.parametrize("rule", [("adam", 0.01), ("momentum", 0.1)])
def test_the_libraries_do_the_same_work(script: Any, monkeypatch: pytest.MonkeyPatch, rule: tuple[str, float]) -> None:
    module = script("time_to_accuracy")
    monkeypatch.setattr(module, "MOST_EPOCHS", 4)
    given = task(module, rule=rule)
    ours = module.train_xpnet(given)
    assert len(ours.accuracies) == len(ours.seconds) == 4
    assert ours.accuracies[-1] > 0.6  # of three classes
    theirs = module.train_sklearn(given)
    np.testing.assert_allclose(theirs.accuracies, ours.accuracies, atol=0.011)  # its Adam adds epsilon at another place
    pytest.importorskip("torch")
    theirs = module.train_torch(given)
    np.testing.assert_allclose(theirs.accuracies, ours.accuracies, atol=0.006)  # one sample in 200, by rounding


def test_the_clock_stops_at_the_first_epoch_that_is_good_enough(script: Any) -> None:
    module = script("time_to_accuracy")
    clock = module.train_xpnet(task(module, 0.5))
    assert clock.reached
    assert all(accuracy < 0.5 for accuracy in clock.accuracies[:-1])
    assert len(clock.accuracies) < module.MOST_EPOCHS


def test_evaluation_is_not_on_the_clock(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = script("time_to_accuracy")
    now = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    clock = module.Clock(task(module))

    def slow(x: np.ndarray) -> np.ndarray:
        now[0] += 100
        return np.zeros((len(x), 10))

    for _ in range(3):
        now[0] += 2
        clock.lap(slow)
    assert clock.seconds == [2, 4, 6]


@pytest.mark.parametrize(
    ("accuracies", "expected"), [([0.5, 0.8, 0.7, 0.9], 2), ([0.8], 1), ([0.5, 0.7], None), ([], None)]
)
def test_epochs_to_an_accuracy(script: Any, accuracies: list[float], expected: int | None) -> None:
    assert script("batch_size").epochs_to(accuracies, 0.8) == expected


def test_the_learning_rate_grows_with_the_square_root_of_the_batch(script: Any) -> None:
    rate = script("batch_size").learning_rate
    assert rate(64) == pytest.approx(0.001)
    assert rate(256) == pytest.approx(2 * rate(64))
    assert rate(60_000) == 0.01


def test_the_power_of_a_growth(script: Any) -> None:
    exponent = script("scale").exponent
    assert exponent([1, 2, 4, 8, 16], [1, 1, 4, 16, 64]) == pytest.approx(2)  # the smaller half is overhead
    assert exponent([1, 4, 16, 64], [5, 1, 4, 16]) == pytest.approx(1)


def test_a_table_is_written(script: Any, tmp_path: Path) -> None:
    module = script("writing")
    table = module.TextTable("a title", ("a", "b"), [("1", "2")])
    module.show(table)
    module.write(tmp_path / "out", "name", [table], ["a remark"], {"x": 1}, lambda figure: figure.subplots())
    assert "| 1 | 2 |" in (tmp_path / "out" / "name.md").read_text()
    assert '"x": 1' in (tmp_path / "out" / "name.json").read_text()
    module.write(None, "name", [table], [], {})


def test_rows_are_cut_byte_for_byte(script: Any) -> None:
    module = script("table_parts")
    rows = [b'%d,"a ""quoted""\r\ncell; %d",%s\r\n' % (i, i, b"no" if i % 5 else b"yes") for i in range(50)]
    table = module.Table("t", "y", module.CLASSES, "", "t.csv", "")
    data = b"\xef\xbb\xbfi,text,y\r\n" + b"".join(rows)
    train, held = module.cut(data, table, 0.2, 0)
    parts = [module.records(part) for part in (train, held)]
    assert [part[0] for part in parts] == [b"\xef\xbb\xbfi,text,y\r\n"] * 2
    assert [len(part) - 1 for part in parts] == [40, 10]
    assert [sum(row.endswith(b"yes\r\n") for row in part) for part in parts] == [8, 2]  # a fifth of each class
    assert sorted([*parts[0][1:], *parts[1][1:]]) == sorted(rows)
    assert module.cut(data, table, 0.2, 0) == (train, held)
    assert module.cut(data, table, 0.2, 1) != (train, held)


def test_a_table_without_header_names_its_target_by_number(script: Any) -> None:
    module = script("table_parts")
    table = module.Table("t", "2", module.CLASSES, "", "t.csv", "", ";", header=False)
    train, held = module.cut(b"1;a\n2;b\n" * 10, table, 0.5, 0)
    assert held.count(b"a") == held.count(b"b") == train.count(b"a") == 5


def test_the_verdicts_compare_on_the_same_tables(script: Any) -> None:
    module = script("tables")
    fits = {"score": 0.5, "seconds": 2.0}
    scores = module.columns_of(
        {
            "a": {"xpnet": [{"score": 0.9}, {"score": 0.1}, {"score": 0.8}], "boosting": [{"score": 0.7}]},
            "b": {"xpnet": [{"score": 0.5}], "boosting": [{"score": 0.6}], "RealMLP_TD_S": [fits]},
            "c": {"xpnet": [{"score": 0.5}, {"error": "refused"}], "boosting": [fits], "RealMLP_TD_S": [fits]},
        },
        "score",
    )
    assert scores["a"]["xpnet"] == 0.8  # the median
    assert "xpnet" not in scores["c"]
    lines = [*module.verdicts(scores, {"b": {"xpnet": 1.0, "RealMLP_TD_S": 4.0}})]
    assert lines == [
        "- xpnet minus boosting: worst -0.1000 (b); above it on 1 of 2 tables",
        "- xpnet minus RealMLP_TD_S: mean +0.0000 over 1 tables",
        "- time of xpnet / time of RealMLP_TD_S: median 0.25, largest 0.25 (b)",
    ]


def test_peers_get_prepared_columns(script: Any) -> None:
    pd = pytest.importorskip("pandas")
    module = script("table_peers")
    n = 40
    train = pd.DataFrame({
        "rownames": range(3, 3 + n),
        "name": [f"row {i}" for i in range(n)],
        "one": ["same"] * n,
        "day": [f"2024/01/{i % 28 + 1:02d}" for i in range(n)],
        "text": ["a", "b", None, "a"] * (n // 4),
        "number": [1.0, None] * (n // 2),
    })  # fmt: skip
    test = train.tail(2).assign(text=["never seen", "b"], number=[2, 3])
    x, x_test = module.prepare(train, test)
    assert [*x.columns] == ["day day", "day day_of_week", "text", "number"]
    assert x_test["text"].tolist() == ["other values", "b"]
    assert x["text"].isna().sum() == n // 4
    assert x_test["number"].tolist() == [2.0, 3.0]


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_every_script_can_be_imported(script: Any, name: str) -> None:
    needs = {"fuzz": "resource", "table_peers": "pandas"}
    if name in needs:
        pytest.importorskip(needs[name])
    assert script(name).__doc__


@pytest.mark.slow
def test_loading_names_every_phase(script: Any, environment: dict[str, str]) -> None:
    child = script("loading").CHILD.replace('"fashion-mnist"', '"iris"')
    done = subprocess.run(
        [sys.executable, "-c", child, repr(time.time()), "{}"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    phases = list(json.loads(done.stdout))
    assert phases[:2] == ["start of the interpreter", "import numpy, sklearn"]
    assert phases[3:] == [
        "options",
        "reading and checking the files",
        "splitting, encoding, drawing weights",
        "scaling, checking, placing the data",
        "the first 3 steps",
    ]
