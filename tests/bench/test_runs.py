"""The runs of `xpnet bench` as users have them: what they do, and what is in their rows. No test depends on a time."""

from __future__ import annotations

import importlib
import json
import math
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from xpnet.bench import caches, predictors
from xpnet.bench.implementations import Implementation, Unavailable, peer, resolve, xpnet_on
from xpnet.bench.predictors import Predictor, resolve_predictors
from xpnet.bench.report import run_comparison_table, run_meanings, run_table
from xpnet.bench.runs import RUNS, busy, epochs, fit, images, long, predict, small, start, whole
from xpnet.bench.runs.images import N_CLASSES, zero_rich_images
from xpnet.bench.runs.request import Request
from xpnet.bench.runs.results import Column, RunResults, RunRow, as_ratio, as_time, load_runs
from xpnet.bench.timing import take_turns
from xpnet.bench.workloads import WORKLOADS, Workload, make_data, orders
from xpnet.errors import DataError, XpnetError

SMALL = Workload("small", (6, 5, 4), "sigmoid", 3, "sgd", 0.1, 4)
GONE = Unavailable("gone", "it went")


@pytest.fixture(autouse=True)
def _no_rests(monkeypatch):
    monkeypatch.setattr("xpnet.bench.timing._REST", 0.0)


def quick(found, *cases, rounds=1):
    return Request(cases, found, rounds, quick=True)


def rows_of(results, name):
    return [row for row in results.rows if row.name == name]


# Whole runs


def test_a_fit_has_the_loss_of_the_short_runs():
    data, order = make_data(SMALL), orders(SMALL, 0, 2)
    expected = xpnet_on("cpu").start(data)(order, 0)
    for found in (xpnet_on("cpu"), peer("sklearn"), peer("estimator")):
        assert whole.whole_run(found, data).loss(order, 0) == pytest.approx(expected, rel=1e-5)


def test_the_step_of_a_fit_is_timed_after_its_first_epoch(monkeypatch):
    class Clock:
        now = 0.0

        def perf_counter(self):
            return self.now

    clock = Clock()

    class Trainer:
        def __init__(self, network, *, epochs, callbacks, **settings):
            assert settings["batch_size"] == SMALL.batch
            self.epochs, self.callbacks = epochs, callbacks

        def fit(self, x, y):
            for epoch in range(self.epochs):
                clock.now += 4.0 if epoch else 10.0
                for callback in self.callbacks:
                    callback.on_epoch(None, None)
            clock.now += 1.0  # what a run does after its last epoch

    monkeypatch.setattr(whole, "time", clock)
    monkeypatch.setattr(whole, "Trainer", Trainer)
    assert whole.whole_run(xpnet_on("cpu"), make_data(SMALL)).step(2, 0) == (2 * 4.0 + 1.0) / 2 / SMALL.steps


def test_a_peer_shuffles_in_each_epoch_and_reads_the_loss():
    given = []

    def start(data):
        return lambda order, seed: given.append(order) or 0.0

    data = make_data(SMALL)
    run = whole.whole_run(Implementation("peer", "cpu", start), data)
    run.step(3, 0)
    run.step(1, 1)
    assert [order.shape for order in given] == [(1, SMALL.steps, SMALL.batch)] * 4
    assert all(sorted(order.ravel()) == list(range(SMALL.n_samples)) for order in given)
    assert len({tuple(order.ravel()) for order in given}) == 4
    given.clear()
    whole.whole_run(Implementation("peer", "cpu", start, estimator=object), data).step(3, 0)
    assert [order.shape for order in given] == [(3, SMALL.steps, SMALL.batch)]  # one fit, which draws the orders


def test_full_workloads():
    assert {name: workload.full().n_samples for name, workload in WORKLOADS.items()} == {
        "tiny": 1800, "digits": 1800, "mnist-small": 59_968, "mnist-large": 59_904, "wide": 8192
    }  # fmt: skip
    assert SMALL.full() == SMALL


def test_quick_workloads():
    quick = {name: workload.quick() for name, workload in WORKLOADS.items()}
    assert {name: workload.steps for name, workload in quick.items()} == {
        "tiny": 20, "digits": 9, "mnist-small": 20, "mnist-large": 20, "wide": 2
    }  # fmt: skip
    assert all(workload.sizes == WORKLOADS[name].sizes for name, workload in quick.items() if name != "wide")
    assert quick["wide"].sizes == (1024, 512, 512, 1000)
    assert max(workload.flops * workload.steps for workload in quick.values()) < 2e10


def test_the_short_runs_of_quick_epochs_are_quick(monkeypatch):
    seen = []
    monkeypatch.setattr(epochs, "short_steps", lambda workload, found, *, quick: seen.append(workload) or [1.0])
    epochs.measure(quick(resolve(["cpu"], []), "tiny"))
    assert seen == [WORKLOADS["tiny"].quick()]


# Epochs


def test_epochs():
    found = [*resolve(["cpu"], ["sklearn", "eager:cpu"]), GONE]
    results = epochs.measure(quick(found, "tiny", rounds=3))
    names = ["numpy:cpu", "peer sklearn:cpu", "peer eager:numpy:cpu", "products alone", "gone"]
    assert [row.name for row in results.rows] == names
    ours, theirs, _, products, gone = results.rows
    assert results.agrees
    assert len(ours.seconds) == len(products.seconds) == 3
    assert ours.figures["to_first"] == ours.figures["of_numpy"] == 1
    assert theirs.figures["to_first"] == pytest.approx(theirs.time.median / ours.time.median)
    assert theirs.figures["of_numpy"] == pytest.approx(ours.time.median / theirs.time.median)
    assert theirs.figures["to_products"] == pytest.approx(theirs.time.median / products.time.median)
    assert all(row.figures["to_short"] > 0 for row in results.rows[:3])
    assert ours.figures["loss"] == pytest.approx(theirs.figures["loss"], rel=1e-5)
    assert gone.reason == "it went"
    assert "tiny: 200 samples, 52 kB" in results.remarks[0]


def test_an_implementation_that_trains_something_else_is_flagged():
    right = xpnet_on("cpu")

    def start(data):
        return right.start(data._replace(y=np.roll(data.y, 1)))

    results = epochs.measure(quick([right, right._replace(name="wrong", start=start, backend=None)], "tiny"))
    assert [row.agrees for row in results.rows] == [True, False, True]
    assert not results.agrees
    assert run_table(results).rows[1][-1].endswith(" DIFFERS")


# Long


def test_images_are_mostly_zero():
    x, y = zero_rich_images(3000)
    assert (x.dtype, y.dtype, x.shape) == ("float32", "int32", (3000, 784))
    assert 0.75 < np.mean(x == 0) < 0.9
    used = np.mean(x != 0, axis=0)
    assert 0.05 < np.mean(used == 0) < 0.5  # pixels that are never used, as at the edge of digits
    assert np.mean((used > 0) & (used < 0.01)) > 0.1  # and pixels that seldom are
    assert 0 <= x.min() < x.max() <= 1
    assert set(y) == set(range(N_CLASSES))
    for again, first in zip(zero_rich_images(3000), (x, y), strict=True):
        np.testing.assert_array_equal(again, first)


def test_images_of_a_folder(monkeypatch):
    class Images:
        x, y = np.asarray([[0, 255, 51]], np.uint8), np.asarray([3])

    monkeypatch.setattr(images, "load_dataset", lambda name, data_dir: Images if (name, data_dir) == given else None)
    given = ("fashion-mnist", Path("folder"))
    x, y = images.fashion_images(Path("folder"))
    assert (x.dtype, y.dtype) == ("float32", "int32")
    np.testing.assert_allclose(x, [[0, 1, 0.2]])
    x, _ = long._images(quick([])._replace(data_dir=Path("folder")))
    assert x.shape == (1, 3)


def test_tenths():
    # The first call, to step 10, compiles: 5 s. Then a step takes 1 s up to step 50 and 3 s from there.
    done, times = [10, 50, 110], [105.0, 145.0, 325.0]
    assert long.tenths(done, times, 100) == (1.0, 3.0)
    assert long.tenths([10, 20, 100], [0.0, 10.0, 170.0], 100) == (1.0, 2.0)


def test_long(monkeypatch):
    found = resolve(["cpu"], ["sklearn", "eager:cpu"])
    results = long.measure(quick(found, "mnist-small"))
    rules = ["momentum", "adam", "rmsprop", "momentum, dropout"]
    assert [row.case for row in results.rows] == [f"mnist-small, {rule}" for rule in rules for _ in found]
    for row in rows_of(results, "numpy:cpu"):
        assert row.figures["growth"] == pytest.approx(row.time.median / row.figures["first"])
        assert (row.figures["to_short"] is None) == row.case.endswith("dropout")
    assert all("time of its epochs" in row.reason for row in rows_of(results, "peer sklearn:cpu"))
    assert [bool(row.seconds) for row in rows_of(results, "peer eager:numpy:cpu")] == [True, True, False, False]
    assert "% of the pixels are zero" in results.remarks[0]


def test_a_long_run_trains_what_it_says(monkeypatch):
    made = []

    class Trainer:
        def __init__(self, network, **settings):
            made.append((network.layer_sizes, network.dropout, settings["optimizer"], settings["epochs"]))
            self.clock = settings["callbacks"][0]

        def fit(self, x, y):
            assert len(x) == 640
            self.clock.on_start(10, 6)
            for epoch in range(1, 7):
                self.clock.on_steps(epoch, 5)
                self.clock.on_steps(epoch, 10)

    monkeypatch.setattr(long, "Trainer", Trainer)
    monkeypatch.setattr(long, "short_steps", lambda workload, found, quick: [1.0] * len(found))
    results = long.measure(quick([xpnet_on("cpu")]))
    assert [row.case for row in results.rows][3:] == ["mnist-small, momentum, dropout", "mnist-large, adam"]
    assert [optimizer for _, _, optimizer, _ in made] == ["momentum", "adam", "rmsprop", "momentum", "adam"]
    assert [bool(dropout) for _, dropout, _, _ in made] == [False] * 3 + [True, False]
    assert [n for *_, n in made] == [6] * 4 + [20]  # 60 steps, of which 10 and 3 make an epoch
    assert made[-1][0] == WORKLOADS["mnist-large"].sizes


# Busy


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.subprocess
@pytest.mark.parametrize("error", [None, KeyboardInterrupt, RuntimeError])
def test_the_other_process_is_always_ended(error):
    def interrupted():
        nonlocal pid
        with busy.occupied_core() as pid:
            assert is_running(pid)
            if error:
                raise error

    pid = 0
    with pytest.raises(error) if error else nullcontext():
        interrupted()
    assert not is_running(pid)


@pytest.mark.subprocess
@pytest.mark.skipif(sys.platform == "win32", reason="a process there does not see that its parent ended")
def test_the_other_process_ends_with_the_one_that_started_it(environment):
    code = (
        "import os\nfrom xpnet.bench.runs.busy import occupied_core\n"
        "with occupied_core() as pid:\n    print(pid, flush=True)\n    os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    deadline = time.monotonic() + 20
    while is_running(int(done.stdout)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(int(done.stdout))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are listed in /proc")
def test_one_core_binds_all_threads_and_frees_them_again():
    def cores():
        return {task.name: os.sched_getaffinity(int(task.name)) for task in Path("/proc/self/task").glob("*")}

    before = cores()
    with busy.one_core():
        assert len(set.union(*cores().values())) == 1
    assert cores() == before


def test_busy(monkeypatch):
    entered = []

    def condition(name):
        def enter():
            entered.append(name)
            return nullcontext()

        return enter

    monkeypatch.setattr(busy, "_CONDITIONS", {name: condition(name) for name in busy._CONDITIONS})
    steps = {"busy": 6.0, "quiet": 2.0, "single": 3.0}
    monkeypatch.setattr(whole._Fit, "step", lambda *_: steps[entered[-1]] if entered else 1.0)
    monkeypatch.setattr(busy, "short_steps", lambda *_, quick: [1.5])
    results = busy.measure(quick([xpnet_on("cpu"), GONE], "tiny", rounds=2))
    row, gone = results.rows
    assert sorted(entered) == ["busy", "busy", "quiet", "quiet", "single", "single"]
    assert row.seconds == (6, 6)
    assert row.figures == {"quiet": 2, "single": 3, "to_single": 2, "to_quiet": 3, "to_short": 4}
    assert gone.reason == "it went"


# Small


def test_small():
    found = resolve(["cpu"], ["sklearn", "estimator"])
    results = small.measure(quick(found, "iris", rounds=2))
    ours, theirs, estimator = results.rows
    assert results.agrees
    assert len(ours.seconds) == 2
    assert 0 < ours.figures["outside"] < 1
    assert theirs.figures["outside"] is None
    assert ours.figures["per_step"] == pytest.approx(ours.time.median / (3 * 5))  # 3 epochs of 135 samples by 32
    assert theirs.figures["loss"] == pytest.approx(estimator.figures["loss"], rel=1e-4)
    assert "135 training samples" in results.remarks[0]
    assert small._epochs(Request((), (), 1)) == 200


def test_the_first_epoch_of_a_fit_counts_as_the_median(monkeypatch):
    def fit(backend, data, epochs, ends):
        for seconds in (50.0, 1.0, 2.0):  # compilation, and two epochs, the second in two runs of steps
            ends._in_steps.extend([seconds / 2] * 2)
            ends.on_epoch(None, None)

    monkeypatch.setattr(small, "_fit", fit)
    monkeypatch.setattr(small, "timed_backend", lambda backend, seconds: seconds)
    monkeypatch.setattr(small, "seconds", lambda call: call() or 20.0)
    assert small._outside(None, None, 3) == pytest.approx(1 - (2.0 + 1.0 + 2.0) / 20)


# Fit


def test_the_grid_of_fits():
    assert len(fit.SHAPES) == 12
    assert (min(s.n_features for s in fit.SHAPES), max(s.n_features for s in fit.SHAPES)) == (2, 784)
    assert (min(s.n_samples for s in fit.SHAPES), max(s.n_samples for s in fit.SHAPES)) == (150, 60_000)
    assert (min(s.n_hidden for s in fit.SHAPES), max(s.n_hidden for s in fit.SHAPES)) == (10, 512)
    counts = {(s, solver): fit._iterations(s, solver, quick=False) for s in fit.SHAPES for solver in fit.SOLVERS}
    assert min(counts.values()) >= 2
    assert counts[fit.SHAPES[0], "adam"] == 200  # the estimators' default


def test_fit(monkeypatch):
    monkeypatch.setattr(fit, "SHAPES", fit.SHAPES[:1])
    results = fit.measure(quick(resolve(["cpu"], [])))
    solvers = [*fit.SOLVERS, None]
    assert results.agrees
    for solver, ours, theirs in zip(solvers, results.rows[::2], results.rows[1::2], strict=True):
        assert ours.case == theirs.case
        assert ours.case.endswith(f", {solver}" if solver else "a row at a time")
        assert (ours.name, theirs.name) == ("numpy:cpu", "peer sklearn:cpu")
        assert ours.figures["speed_up"] == pytest.approx(theirs.time.median / ours.time.median)
        assert ours.figures["loss"] == pytest.approx(theirs.figures["loss"], abs=2e-3)
        assert ours.figures["iterations"] == (2 if solver else 5)


def test_an_estimator_that_learns_something_else_is_flagged(monkeypatch):
    losses = iter([1.0, 1.1] * 2)
    rows = list(fit._rows("case", quick(resolve(["cpu"], [])), lambda make: next(losses), 1))
    assert [row.agrees for row in rows] == [False, True]


# Predictions


def test_predict():
    found = [*resolve_predictors(["cpu"], ["sklearn", "estimator"]), GONE]
    results = predict.measure(quick(found, "digits"))
    assert [row.case for row in results.rows[:-1]] == ["digits, 1"] * 3 + ["digits, 20"] * 3
    assert results.agrees
    for row in results.rows[:-1]:
        assert row.figures["error"] < 1e-5
        assert row.figures["rows"] == pytest.approx(int(row.case.split()[-1]) / row.time.median)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(each, marks=pytest.mark.needs(needed))
        for each, needed in (("torch", "torch:cpu"), ("jax", "jax:cpu"))
    ],
)
@pytest.mark.parametrize("workload", ["tiny", "mnist-small"])
def test_every_predictor_has_our_probabilities(name, workload):
    check_predictor(name, workload)


@pytest.mark.parametrize("workload", ["tiny", "mnist-small"])
def test_onnx_runtime_has_our_probabilities(workload):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    check_predictor("onnxruntime", workload)


def check_predictor(name, workload):
    ours, theirs = resolve_predictors(["cpu"], [name])
    if isinstance(theirs, Unavailable):
        pytest.skip(theirs.reason)
    x = np.random.default_rng(0).standard_normal((7, WORKLOADS[workload].sizes[0]), dtype=np.float32)
    expected = ours.start(WORKLOADS[workload])(x)
    np.testing.assert_allclose(theirs.start(WORKLOADS[workload])(x), expected, atol=1e-6)


def test_wrong_probabilities_are_flagged():
    (right,) = resolve_predictors(["cpu"], [])
    wrong = Predictor("wrong", lambda workload: lambda x: right.start(workload)(x)[:, ::-1])
    assert [row.agrees for row in predict.measure(quick([right, wrong], "tiny")).rows] == [True, False] * 2


def test_a_predictor_without_its_package_says_what_to_install(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'onnx'", name="onnx")

    monkeypatch.setattr(importlib, "import_module", missing)
    (row,) = predictors.resolve_predictors([], ["onnxruntime"])
    assert "pip install onnxruntime onnx" in row.reason


# Start


@pytest.mark.subprocess
def test_start(monkeypatch):
    report = "import sys, time; print('epoch 1/1  loss 1', file=sys.stderr, flush=True); time.sleep(0.2)"
    table = "assert open('table.csv').readline() == 'a,b,c,d,e,f,g,kind,target\\n'"
    monkeypatch.setattr(start, "COMMANDS", {"one": ("-c", table), "two": ("-c", report)})
    one, two = start.measure(Request((), (), 2)).rows
    assert (one.case, two.case) == ("one", "two")
    assert len(one.seconds) == 2
    assert one.figures["first"] is None
    assert 0 < two.figures["first"] < two.time.median - 0.1
    assert two.figures["cpu"] > 0 or not hasattr(os, "wait4")


@pytest.mark.subprocess
def test_a_command_that_fails_is_no_result(monkeypatch):
    monkeypatch.setattr(start, "COMMANDS", {"bad": ("-c", "raise SystemExit('no such thing')")})
    with pytest.raises(XpnetError, match=r"'bad' to succeed; received: no such thing"):
        start.measure(Request((), (), 1))


@pytest.mark.subprocess
def test_an_interrupt_ends_the_command_that_is_timed(monkeypatch):
    processes = []

    def interrupt(process):
        processes.append(process)
        raise KeyboardInterrupt

    monkeypatch.setattr(start, "COMMANDS", {"sleep": ("-c", "import os, time; os.close(2); time.sleep(60)")})
    monkeypatch.setattr(start, "_wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        start.measure(Request((), (), 1))
    (process,) = processes
    try:
        assert process.wait(10)
    finally:
        process.kill()


def test_the_commands_of_the_start_are_those_that_are_promised():
    assert {"xpnet --help", "import xpnet", "xpnet train digits --epochs 1 --quiet"} <= start.COMMANDS.keys()
    assert set(start._QUICK) <= start.COMMANDS.keys()


# Results


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2e-6, "2 us"), (123.4e-6, "123 us"), (0.0123, "12.3 ms"), (1.5, "1.50 s"), (1234, "1,234.00 s")],
)
def test_times_have_a_unit(seconds, text):
    assert as_time(seconds) == text


def results_of(*rows, quick=False):
    column = Column("ratio", "x first", as_ratio, "relative to the first")
    return RunResults("long", "a title", "workload", "per step", (column,), rows, ("a remark",), quick)


def test_the_table_of_a_run():
    results = results_of(
        RunRow("tiny", "a", (1.0, 3.0), {"ratio": 1.0}),
        RunRow("tiny", "b", (1.0,), agrees=False),
        RunRow("tiny", "c", reason="no"),
        RunRow("", "d", reason="gone"),
    )
    table = run_table(results)
    assert table.title == "long: a title"
    assert table.columns == ("workload", "device", "per step", "quartiles", "x first")
    assert table.rows[0] == ("tiny", "a", "2.00 s", "1.50 s to 2.50 s", "1.00")
    assert table.rows[1][-1] == "- DIFFERS"
    assert table.rows[2:] == [("tiny", "c", "no"), ("d", "gone")]
    assert run_meanings(results) == ["- a remark", "- x first: relative to the first"]
    commands = run_table(results_of(RunRow("ls", "", (1.0,))))
    assert commands.columns == ("workload", "per step", "quartiles", "x first")
    assert commands.rows == [("ls", "1.00 s", "1.00 s to 1.00 s", "-")]


def test_runs_in_a_file(tmp_path):
    rows = RunRow("tiny", "a", (1.0, 2.0), {"ratio": None}), RunRow("tiny", "b", reason="gone")
    path = tmp_path / "bench.json"
    path.write_text(json.dumps({"runs": [results_of(*rows).as_json()]}))
    (found,) = load_runs(path)
    assert (found.run, found.rows, found.remarks, found.quick) == ("long", rows, ("a remark",), False)
    path.write_text("{}")
    assert load_runs(path) == []
    for wrong in ("[]", '{"runs": [{}]}', "x"):
        path.write_text(wrong)
        with pytest.raises(DataError, match=r"bench\.json"):
            load_runs(path)


def test_comparison_of_runs():
    earlier = results_of(RunRow("tiny", "x", (1.0, 1.0)), RunRow("tiny", "y", reason="gone"))
    later = results_of(RunRow("tiny", "x", (2.0,)), RunRow("tiny", "y", (1.0,)), RunRow("wide", "x", (1.0,)))
    rows = run_comparison_table([earlier], [later]).rows
    assert rows[0] == ("long: tiny", "x", "1.00 s", "2.00 s", "2.000", "2.000 to 2.000", "slower")
    assert rows[1:] == [("long: tiny", "y", "gone"), ("long: wide", "x", "only in B")]
    (row,) = run_comparison_table([earlier], [results_of(RunRow("tiny", "x", (1.0,)), quick=True)]).rows
    assert "--quick" in row[-1]


def test_every_run_says_what_it_is():
    assert list(RUNS) == ["epochs", "long", "busy", "small", "fit", "predict", "start"]
    for run in RUNS.values():
        assert run.summary
        assert run.rounds >= 1
    columns = [
        *epochs.COLUMNS,
        *long.COLUMNS,
        *busy.COLUMNS,
        *small.COLUMNS,
        *fit.COLUMNS,
        *predict.COLUMNS,
        *start.COLUMNS,
    ]
    assert all(column.meaning and column.title for column in columns)


def test_turns_return_what_the_calls_return():
    assert take_turns([lambda turn: turn, lambda turn: -turn], 3) == [[0, 1, 2], [0, -1, -2]]


# Caches


def test_where_data_fit(monkeypatch, tmp_path):
    for i, (kind, level, size) in enumerate(
        [("Instruction", 1, "32K"), ("Data", 1, "32K"), ("Unified", 2, "1024K"), ("Unified", 3, "32768K")]
    ):
        folder = tmp_path / f"index{i}"
        folder.mkdir()
        for name, value in (("type", kind), ("level", level), ("size", size)):
            (folder / name).write_text(f"{value}\n")
    monkeypatch.setattr(caches, "_CACHES", tmp_path)
    assert caches.cache_sizes() == {"L1": 2**15, "L2": 2**20, "L3": 2**25}
    assert caches.place(2**20) == "1 MB, in the L2 cache of 1 MB"
    assert caches.place(2**20 + 1) == "1 MB, in the L3 cache of 34 MB"
    assert caches.place(10**9) == "1.0 GB, in memory: the largest cache, L3, has 34 MB"
    assert caches.samples_place(SMALL) == "small: 12 samples, 0 kB, in the L1 cache of 33 kB"
    (tmp_path / "index2" / "size").unlink()
    (tmp_path / "index3" / "size").write_text("unknown\n")
    assert caches.cache_sizes() == {"L1": 2**15}
    monkeypatch.setattr(caches, "_CACHES", tmp_path / "none")
    assert "unknown" in caches.place(1)


def test_numbers_of_rows_are_finite():
    (row, _) = epochs.measure(quick(resolve(["cpu"], []), "tiny")).rows
    assert all(math.isfinite(value) for value in row.figures.values())
