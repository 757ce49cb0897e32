"""``xpnet bench``: tables, files and errors."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator

import pytest
from rich.console import Console

from tests.command_line import refused, xpnet
from xpnet.backend.costs import Costs
from xpnet.bench import results, sweep
from xpnet.bench.report import costs_table, memory_table, run_table
from xpnet.bench.runs import RUNS, busy, epochs, fit, long, predict, small, start
from xpnet.bench.runs.results import Column, RunResults, RunRow, as_ratio
from xpnet.bench.workloads import get_workloads
from xpnet.cli import bench, tables
from xpnet.markdown import TextTable

pytestmark = pytest.mark.usefixtures("folder")


def run(*arguments):
    outcome = xpnet("bench", *arguments)
    assert outcome.code == 0, outcome.err
    return outcome


@pytest.mark.subprocess
@pytest.mark.slow
def test_quick_run_from_end_to_end(folder):
    out = run(
        "tiny", "--quick", "--device", "cpu", "--device", "cupy:gpu:99", "--peers", "sklearn", "--out", "first"
    ).out
    lines = out.splitlines()
    assert "64-15-10 sigmoid" in lines[0]
    (ours,) = (line for line in lines if line.lstrip().startswith("numpy:cpu"))
    (peers,) = (line for line in lines if line.lstrip().startswith("peer sklearn:cpu"))
    assert "1.00x" in ours
    assert "validation" in ours
    assert ours.split()[-1] == peers.split()[-1]  # the loss
    assert any(line.startswith("  cupy:gpu:99: ") for line in lines)
    assert "DIFFERS" not in out
    assert "\x1b" not in out
    assert sorted(path.name for path in folder.joinpath("first").iterdir()) in (
        ["bench.json", "bench.md", "bench.png"],
        ["bench.json", "bench.md"],
    )
    values = json.loads((folder / "first" / "bench.json").read_text())
    row, missing, _ = values["rungs"][0]["rows"]
    assert len(row["seconds"]) == 3
    assert row["figures"]["speed_up"] == 1
    assert len(row["floor"]) == 3  # the keys of the file stay as they were
    assert row["first"] > 0
    assert row["copied"] > 0
    assert 0 < row["outside"] < 1
    assert row["peak"] >= 0
    assert missing["reason"]
    assert missing["loss"] is None
    assert values["machine"]["versions"]["numpy"]
    assert "| numpy:cpu |" in (folder / "first" / "bench.md").read_text()

    # `compare` reads the file.
    loaded = results.load(folder / "first" / "bench.json")
    assert loaded[0].rows[0].seconds == tuple(row["seconds"])
    assert loaded[0].rows[0].matmul_bound == tuple(row["floor"])
    assert loaded[0].rows[0].overhead == row["outside"]
    assert loaded[0].rows[0].time_to_first_step == row["first"]
    assert loaded[0].rows[0].bandwidth_bound == row["copied"]
    compared = run("compare", "first/bench.json", "first/bench.json").out
    assert "1.000" in compared
    assert "no clear difference" in compared


def test_a_run_whose_loss_disagrees_exits_with_1(monkeypatch):
    monkeypatch.setattr(results, "agrees", lambda *_: False)
    monkeypatch.setattr(results, "peak_bytes", lambda *_: None)
    code, out, _ = xpnet("bench", "tiny", "--quick", "--rounds", 1)
    assert code == 1
    assert "DIFFERS" in out


def test_threads_hold_while_it_runs(monkeypatch):
    from threadpoolctl import threadpool_info, threadpool_limits

    seen = []

    def measure(workload, found, settings):
        seen.append({pool["num_threads"] for pool in threadpool_info()})
        return results.WorkloadResults(workload, ())

    monkeypatch.setattr(bench, "measure", measure)
    # A library that is loaded now and starts as many threads as it likes.
    monkeypatch.setattr(bench, "resolve", lambda *_: threadpool_limits(2) and [])
    run("tiny", "--threads", 1)
    assert seen == [{1}]


def test_rounds_and_quick(monkeypatch):
    seen = []
    monkeypatch.setattr(
        bench,
        "measure",
        lambda workload, _, s: seen.append((workload, s.rounds)) or results.WorkloadResults(workload, ()),
    )
    run("tiny")
    run("tiny", "--quick")
    run("tiny", "--quick", "--rounds", 5)
    assert [(workload.steps, rounds) for workload, rounds in seen] == [(180, 9), (20, 3), (20, 5)]
    seen.clear()
    run()
    assert [workload.name for workload, _ in seen] == ["tiny", "digits", "mnist-small", "mnist-large", "wide"]


def test_memory(monkeypatch, folder):
    monkeypatch.setattr(
        bench, "peak_bytes", lambda workload, implementation: None if implementation.kind == "gpu" else 2**20
    )
    out = run("tiny", "digits", "--memory", "--out", "m").out
    assert "1.0 MiB" in out
    rows = json.loads((folder / "m" / "bench.json").read_text())["memory"]
    assert [row["rung"] for row in rows] == ["tiny", "digits"]
    assert rows[0]["measured"] == 2**20
    assert f"{2**20 / rows[0]['expected']:.2f}" in out


@pytest.mark.slow
@pytest.mark.parametrize("axis", ["batch-size", "width"])
def test_sweep(monkeypatch, folder, axis):
    change, values = sweep.SWEEPS[axis]
    monkeypatch.setitem(sweep.SWEEPS, axis, (change, values[:2]))
    out = run(
        "digits", "--sweep", axis, "--quick", "--rounds", 1, "--device", "cpu", "--peers", "sklearn", "--out", "s"
    ).out
    assert f"samples/s by {axis}" in out
    assert "peer sklearn:cpu is faster than" in out or "peer sklearn:cpu does not overtake numpy:cpu" in out
    (found,) = json.loads((folder / "s" / "bench.json").read_text())["sweeps"]
    assert found["values"] == list(values[:2])
    assert len(found["speeds"]["numpy:cpu"]) == 2


@pytest.mark.parametrize("ending", ["json", "md", "png"])
def test_nothing_that_is_there_is_overwritten(ending, folder):
    (folder / "old").mkdir()
    (folder / "old" / f"bench.{ending}").write_text("{}")
    assert "--out" in refused("bench", "tiny", "--out", "old")


def fake_run(monkeypatch, name, *, agrees=True):
    """Let a run return one row, and return the requests that it gets."""
    requests = []

    def measure(request):
        requests.append(request)
        row = RunRow("tiny", "numpy:cpu", (1.0, 2.0), {"growth": 1.5}, agrees)
        return RunResults(
            name, "a title", "workload", "per step", (Column("growth", "x", as_ratio, "m"),), (row,), ("r",)
        )

    monkeypatch.setitem(RUNS, name, RUNS[name]._replace(measure=measure))
    return requests


def test_runs_by_name(monkeypatch, folder):
    long, busy = fake_run(monkeypatch, "long"), fake_run(monkeypatch, "busy")
    out = run(
        "long", "mnist-small", "busy", "--device", "cpu", "--device", "strict:cpu", "--peers", "sklearn", "--out", "o"
    ).out
    assert "long: a title" in out
    assert "busy: a title" in out
    assert "DIFFERS" not in out
    for (request,), rounds in ((long, 1), (busy, 5)):
        assert request.cases == ("mnist-small",)
        assert [each.name for each in request.found] == ["numpy:cpu", "strict:cpu", "peer sklearn:cpu"]
        assert (request.rounds, request.quick, request.data_dir) == (rounds, False, None)
    values = json.loads((folder / "o" / "bench.json").read_text())
    assert [each["run"] for each in values["runs"]] == ["long", "busy"]
    assert values["runs"][0]["rows"][0]["figures"] == {"growth": 1.5}
    assert values["machine"]["caches"] is not None
    text = (folder / "o" / "bench.md").read_text()
    assert "| tiny | numpy:cpu | 1.50 s | 1.25 s to 1.75 s | 1.50 |" in text
    assert "- x: m" in text
    compared = run("compare", "o/bench.json", "o/bench.json").out
    assert "busy: tiny" in compared
    assert "no clear difference" in compared
    assert "relative to A" in compared


def test_options_of_runs(monkeypatch):
    requests = fake_run(monkeypatch, "long")
    run("long", "--quick", "--data-dir", "images")
    run("long", "--rounds", 7)
    assert [(each.rounds, each.quick, each.cases) for each in requests] == [(1, True, ()), (7, False, ())]
    assert requests[0].data_dir.name == "images"
    assert [each.name for each in requests[0].found] == ["numpy:cpu"]
    fake_run(monkeypatch, "start")
    run("start")


def test_a_run_that_disagrees_exits_with_1(monkeypatch):
    fake_run(monkeypatch, "epochs", agrees=False)
    code, out, _ = xpnet("bench", "epochs")
    assert code == 1
    assert "DIFFERS" in out


def test_threads_hold_while_a_run_is_made(monkeypatch):
    from threadpoolctl import threadpool_info, threadpool_limits

    seen = []
    entry = RUNS["epochs"]._replace(
        resolve=lambda *_: threadpool_limits(2) and [],
        measure=lambda request: (
            seen.append({pool["num_threads"] for pool in threadpool_info()}) or RunResults("epochs", "", "", "", (), ())
        ),
    )
    monkeypatch.setitem(RUNS, "epochs", entry)
    run("epochs", "--threads", 1)
    assert seen == [{1}]


def test_the_help_lists_the_runs():
    shown = " ".join(run("--help").out.split())
    assert all(f"{name}: {entry.summary}" in shown for name, entry in RUNS.items())
    compare = " ".join(run("compare", "--help").out.split())
    assert not any(entry.summary in compare for entry in RUNS.values())
    assert all("--debug with any command shows the traceback" in text for text in (shown, compare))


def test_what_is_named_twice_is_run_once(monkeypatch):
    requests = fake_run(monkeypatch, "epochs")
    run("epochs", "tiny", "digits", "epochs", "tiny")
    (request,) = requests
    assert request.cases == ("tiny", "digits")


def test_an_interrupt_leaves_the_runs_before(monkeypatch, folder):
    def interrupt(request):
        raise KeyboardInterrupt

    fake_run(monkeypatch, "long")
    monkeypatch.setitem(RUNS, "busy", RUNS["busy"]._replace(measure=interrupt))
    code, out, _ = xpnet("bench", "long", "busy", "--out", "o")
    assert code == 130
    assert "long: a title" in out
    values = json.loads((folder / "o" / "bench.json").read_text())
    assert [each["run"] for each in values["runs"]] == ["long"]
    assert "busy" not in (folder / "o" / "bench.md").read_text()


def shown(table: TextTable, width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a table as a terminal of this width shows it."""
    console = Console(width=width, file=io.StringIO())
    monkeypatch.setattr(tables, "make_console", lambda **_: console)
    tables.show(table)
    return console.file.getvalue()


def run_tables() -> Iterator[TextTable]:
    """Yield a table of each run, with names and figures as long as they come."""
    for module in (epochs, long, busy, small, fit, predict, start):
        figures = {column.key: 12345.678 for column in module.COLUMNS}
        names = ("peer torch-compile:cpu", "eager:numpy:cpu")
        rows = tuple(RunRow("mnist-large", name, (1.234, 2.345), figures, name != names[1]) for name in names)
        yield run_table(RunResults(module.__name__, "a title", "workload", "per step", module.COLUMNS, rows))


def step_tables() -> Iterator[TextTable]:
    """Yield the tables of steps, sweeps, memory and costs."""
    names = ("numpy:cpu", "numba:cpu", "peer sklearn:cpu", "peer torch-compile:cpu")
    cells = ("12,345.6", "12,345.6 to 23,456.7", "1,234,567", "1,234", "103%", "1,234.5 us", "12.34x", "12,345.6 ms")
    titles = (
        "device", "us per step", "quartiles", "samples/s", "GFLOP/s", "matmul share", "traffic",
        "speed-up over numpy:cpu", "first step", "peak memory", "overhead", "loss",
    )  # fmt: skip
    rows = [(name, *cells, "1,234.5 MiB", "12.3% (4.5% validation)", "2.30259 DIFFERS") for name in names]
    yield TextTable("a title", titles, [*rows, ("gone:gpu", "no such device")])
    speed = "1,505,778 (1,432,746 to 1,894,666)"
    yield TextTable("samples/s by batch-size", ("batch-size", *names), [("65,536", speed, speed, speed, speed)])
    workload = get_workloads(("mnist-large",))[0]
    yield memory_table([(workload, name, 10**9, 10**9) for name in names])
    yield costs_table(dict.fromkeys(("cpu", "gpu"), Costs(12.3, 1e-3, 1e-3, 1e13, 1e12)))
    compared = ("12,345.6", "12,345.6", "1.234", "1.234 to 2.345", "no clear difference")
    titles = ("workload", "device", "A, us", "B, us", "B / A", "quartiles", "")
    yield TextTable("time of B", titles, [("mnist-large", name, *compared) for name in names])
    differences = ("1", "1.2e-16", "1.2e-16", "1.2e-16", "FAILED")
    titles = ("device", "epoch", "loss curve", "parameters", "predictions", "")
    yield TextTable("digits", titles, [(name, *differences) for name in names])
    yield TextTable("one epoch each", ("run", *names), [("binary_cross_entropy", *["1.2e-16 FAILED"] * 4)])


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("table", [*run_tables(), *step_tables()], ids=lambda table: "-".join(table.columns[:4]))
def test_a_narrow_terminal_gets_whole_words(table: TextTable, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(table, width, monkeypatch)
    assert max(map(len, text.splitlines())) <= width
    left_out = table.columns.index("quartiles") if "quartiles" in table.columns else None
    for i, title in enumerate(table.columns):
        cells = [row[i] for row in table.rows if len(row) == len(table.columns)] if i != left_out else []
        for word in (*(title.split() if i != left_out else ()), *cells):
            assert re.search(rf"(?<!\S){re.escape(word)}(?!\S)", text), (word, text)


def test_a_narrow_terminal_is_not_shown_quartiles(monkeypatch: pytest.MonkeyPatch) -> None:
    table = next(run_tables())
    assert "quartiles" in shown(table, 240, monkeypatch)
    assert "1.51 s to 2.07 s" in shown(table, 240, monkeypatch)
    assert "quartiles" not in shown(table, 80, monkeypatch)
    assert "2.07" not in shown(table, 80, monkeypatch)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("lon",), "Did you mean 'long'"),
        (("iris",), "iris"),
        (("epochs", "iris"), "xpnet: the run epochs: expected one of tiny"),
        (("small", "tiny"), "small: expected one of digits, iris; received 'tiny'"),
        (("fit", "digits"), "fit: expected no workload"),
        (("start", "--device", "cpu"), "--device: must be omitted with start"),
        (("start", "--peers", "jax"), "--peers: must be omitted with start"),
        (("small", "--peers", "jax"), "--peers: expected one of sklearn, estimator with small"),
        (("epochs", "--peers", "onnxruntime"), "onnxruntime"),
        (("predict", "--peers", "torch-compile"), "onnxruntime"),
        (("long", "--memory"), "--memory"),
        (("long", "--sweep", "width"), "--sweep"),
        (("busy", "--data-dir", "x"), "--data-dir: expected the run long"),
        (("--data-dir", "x"), "--data-dir"),
        (("long", "--data-dir", "x"), "x"),
        (("epochs", "--rounds", "0"), "--rounds"),
        (("epochs", "--device", "gpuu"), "gpuu"),
        (("tinny",), "Did you mean 'tiny'"),
        (("tiny", "--device", "gpuu"), "gpuu"),
        (("tiny", "--peers", "keras"), "keras"),
        (("tiny", "--peers", "onnxruntime"), "onnxruntime"),
        (("tiny", "--sweep", "depth"), "depth"),
        (("tiny", "--rounds", "0"), "--rounds"),
        (("tiny", "--rounds", "1.5"), "--rounds"),
        (("tiny", "--threads", "0"), "--threads"),
        (("tiny", "--threads", "100000"), "--threads"),
        (("tiny", "--memory", "--sweep", "width"), "--memory"),
        (("compare", "nothing.json", "nothing.json"), "nothing.json"),
        (("compare", "nothing.json"), "b"),
    ],
)
def test_bad_options_are_one_line(arguments, said):
    assert said.lower() in refused("bench", *arguments).lower()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 2, "rungs": []}', '{"version": 1, "rungs": [{}]}', "\xff"]
)
def test_a_file_that_holds_no_results_is_refused(folder, text):
    (folder / "x.json").write_bytes(text.encode("latin-1"))
    assert "x.json" in refused("bench", "compare", "x.json", "x.json")
