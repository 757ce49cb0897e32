"""The parts of `xpnet bench`: workloads, implementations, step times, memory, sweeps. No test depends on a time."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest

from tests.command_line import xpnet
from xpnet.backend import get_backend
from xpnet.bench import implementations, matmul_bound, overhead, results, step_times, timing
from xpnet.bench.implementations import Implementation, Unavailable, peer, resolve, xpnet_on
from xpnet.bench.machine import machine
from xpnet.bench.peak_memory import expected_bytes, peak_bytes
from xpnet.bench.report import comparison_table, crossing_lines, markdown, workload_table
from xpnet.bench.results import Row, WorkloadResults, agrees
from xpnet.bench.sweep import SWEEPS, Sweep, crossing
from xpnet.bench.timing import interleave, ratio, spread
from xpnet.bench.workloads import WORKLOADS, Workload, get_workloads, make_data, orders
from xpnet.errors import BackendNotInstalledError, DeviceUnavailableError, InvalidParameterError, UnknownNameError
from xpnet.nn.network import Parameters
from xpnet.threads import limit_threads

SMALL = Workload("small", (6, 5, 4), "sigmoid", 3, "sgd", 0.1, 4)
FAST = step_times.Settings(rounds=2, min_seconds=0.0001)


# The workloads


def test_products_and_operations_of_a_step():
    workload = WORKLOADS["mnist-small"]
    assert workload.products == (
        (64, 784, 128), (64, 128, 64), (64, 64, 10),  # forward
        (784, 64, 128), (128, 64, 64), (64, 64, 10),  # the weights' gradients
        (64, 64, 128), (64, 10, 64),  # the inputs' gradients, not those of the data
    )  # fmt: skip
    weights = 784 * 128 + 128 * 64 + 64 * 10
    assert workload.flops == 2 * 64 * (3 * weights - 784 * 128)


def test_the_workloads_are_those_that_are_published():
    table = {
        name: ("-".join(map(str, workload.sizes)), workload.activation, workload.batch, workload.optimizer)
        for name, workload in WORKLOADS.items()
    }
    assert table == {
        "tiny": ("64-15-10", "sigmoid", 10, "sgd"),
        "digits": ("64-100-10", "relu", 200, "adam"),
        "mnist-small": ("784-128-64-10", "relu", 64, "momentum"),
        "mnist-large": ("784-512-512-10", "relu", 256, "adam"),
        "wide": ("1024-4096-4096-1000", "relu", 1024, "momentum"),
    }
    assert WORKLOADS["tiny"].learning_rate == 0.01
    assert [workload.name for workload in get_workloads(())] == list(WORKLOADS)
    assert get_workloads(("wide", "tiny")) == [WORKLOADS["wide"], WORKLOADS["tiny"]]
    with pytest.raises(UnknownNameError, match="tiny"):
        get_workloads(("tinny",))


@pytest.mark.parametrize(("optimizer", "slots"), [("sgd", 0), ("momentum", 1), ("adam", 2)])
def test_expected_bytes(optimizer, slots):
    n_parameters = 6 * 5 + 5 + 5 * 4 + 4
    floats = n_parameters * (2 + slots) + 3 * (6 + 5 + 4) + 12 * 6 + 12
    assert expected_bytes(SMALL._replace(optimizer=optimizer)) == 4 * floats


def test_work_is_the_same_each_time_and_has_every_class():
    a, b = make_data(SMALL), make_data(SMALL)
    assert (a.x.dtype, a.y.dtype, a.x.shape) == ("float32", "int32", (12, 6))
    np.testing.assert_array_equal(a.x, b.x)
    np.testing.assert_array_equal(a.y, b.y)
    assert set(a.y) == set(range(4))
    assert all(W.dtype == b.dtype == "float32" for W, b in a.layers())


def test_each_epoch_has_every_sample_once_in_another_order():
    order = orders(SMALL, 0, 3)
    assert order.shape == (3, 4, 3)
    assert all(sorted(epoch.ravel()) == list(range(12)) for epoch in order)
    assert len({tuple(epoch.ravel()) for epoch in order}) == 3
    np.testing.assert_array_equal(order, orders(SMALL, 0, 3))
    assert not np.array_equal(order, orders(SMALL, 1, 3))


# The lower bounds


@pytest.mark.parametrize("kind", ["numpy", "device"])
def test_the_bound_does_the_products_of_a_step(monkeypatch, kind):
    done, transposed = [], []
    backend = get_backend("cpu")
    real = np.matmul

    def matmul(a, b, out=None):
        done.append((*a.shape, b.shape[1]))
        transposed.append((not a.flags.c_contiguous, not b.flags.c_contiguous))
        assert a.dtype == b.dtype == "float32"
        return real(a, b, out=out)

    run = matmul_bound.numpy_products(SMALL) if kind == "numpy" else matmul_bound.device_products(SMALL, backend)
    monkeypatch.setattr(np if kind == "numpy" else backend.xp, "matmul", matmul)
    run(2)
    assert done == list(SMALL.products) * 2
    # x @ W twice, x.T @ delta twice, delta @ W.T once
    assert transposed[:5] == [(False, False)] * 2 + [(True, False)] * 2 + [(False, True)]


def test_the_traffic_of_a_step():
    n_parameters = 6 * 5 + 5 + 5 * 4 + 4
    batch = 3 * (6 + 1)
    assert SMALL.traffic(0) == 4 * (2 * n_parameters + batch)
    assert SMALL.traffic(2) == 4 * (6 * n_parameters + batch)


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_the_bandwidth_counts_what_is_read_and_written(monkeypatch, kind):
    class Clock:
        times = iter([0.0, 2.0, 10.0, 10.5, 20.0, 23.0])

        def perf_counter(self):
            return next(self.times)

    monkeypatch.setattr(matmul_bound, "time", Clock())
    monkeypatch.setattr(matmul_bound, "_COPIES", 3)
    monkeypatch.setattr(matmul_bound, "_COPIED", {"cpu": 1000, "gpu": 1000})
    backend = get_backend("strict:cpu:1") if kind == "gpu" else get_backend("cpu")
    assert matmul_bound.copy_bandwidth.__wrapped__(kind, backend) == 2 * 4 * 1000 / 0.5  # of the fastest copy


def test_a_peer_on_a_gpu_has_the_bound_of_the_device_there():
    cpu = xpnet_on("cpu")
    there = cpu._replace(name="a:gpu", kind="gpu")
    times = step_times.measure_step_times(SMALL, [cpu, there, there._replace(name="peer", backend=None)], FAST)
    assert times[2].matmul_bound == times[1].matmul_bound != times[0].matmul_bound
    lonely = step_times.measure_step_times(SMALL, [there._replace(name="peer", backend=None)], FAST)
    assert lonely[0].matmul_bound == ()


# Implementations: the same data, and so the same loss


IMPLEMENTATIONS = {
    **{name: name for name in ("numba:cpu", "torch:cpu", "jax:cpu", "cupy:gpu", "torch:gpu", "jax:gpu")},
    "peer eager:cpu": "numpy:cpu",
    "peer eager:gpu": "cupy:gpu",
    **{f"peer {each.name}:cpu": each.library for each in implementations.PEERS},
    **{f"peer {each.name}:gpu": f"{each.library}:gpu" for each in implementations.PEERS if each.library != "sklearn"},
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.needs(what)) for name, what in IMPLEMENTATIONS.items()]
)
@pytest.mark.parametrize("workload", ["tiny", "digits", "small momentum"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # from the modules of torch.compile
def test_every_implementation_has_our_loss(name, workload):
    (found,) = resolve([name], []) if "peer" not in name else resolve([], [name.removeprefix("peer ")])
    if isinstance(found, Unavailable):
        pytest.skip(found.reason)
    workload = WORKLOADS[workload] if workload in WORKLOADS else SMALL._replace(optimizer="momentum", activation="relu")
    data, order = make_data(workload), orders(workload, 0, 3)
    ours, theirs = xpnet_on("cpu").start(data), found.start(data)
    for seed, part in ((0, order), *([(7, orders(workload, 7, 2))] if workload.optimizer == "sgd" else [])):
        expected = ours(part, seed)
        assert theirs(part, seed) == pytest.approx(expected, rel=2e-5)
    assert expected != pytest.approx(xpnet_on("cpu").start(data)(order[:1], 0), rel=1e-3)  # the loss fell


def test_an_eager_peer_is_told_of_no_steps_to_come(monkeypatch):
    told = []
    monkeypatch.setattr(type(get_backend("cpu")), "compile", lambda self, step, n_steps: told.append(n_steps))
    for (found,) in (resolve([], ["eager:cpu"]), resolve(["cpu"], [])):
        found.start(make_data(SMALL))
    assert told[0] == 1 < 1000 < told[1]


def test_an_implementation_that_trains_something_else_is_flagged(monkeypatch):
    right = xpnet_on("cpu")
    workload = WORKLOADS["tiny"].quick()

    def start(data):
        return right.start(data._replace(workload=workload._replace(learning_rate=1.5 * workload.learning_rate)))

    for wrong in (start, lambda data: right.start(data._replace(y=np.roll(data.y, 1)))):
        found = [right, right._replace(name="wrong", start=wrong, backend=None), Unavailable("gone", "it went")]
        monkeypatch.setattr(results, "peak_bytes", lambda *_: 123)
        table = results.measure(workload, found, FAST)
        assert [row.agrees for row in table.rows] == [True, False, True]
        cells = workload_table(table).rows
        assert "DIFFERS" not in cells[0][-1]
        assert "DIFFERS" in cells[1][-1]
        assert cells[2] == ("gone", "it went")


@pytest.mark.parametrize(("loss", "same"), [(2.3, True), (2.3001, True), (2.31, False), (math.nan, False)])
def test_agreement(loss, same):
    assert agrees(loss, 2.3) is same


def test_agreement_where_products_have_fewer_bits():
    assert agrees(2.31, 2.3, "bf16")
    assert not agrees(2.33, 2.3, "bf16")


def test_what_is_missing_is_a_row_with_its_reason(monkeypatch):
    def gone(name):
        raise {"gpu": DeviceUnavailableError, "torch": BackendNotInstalledError}[name]("it went")

    monkeypatch.setattr(implementations, "get_backend", gone)
    assert resolve(["gpu", "torch"], []) == [Unavailable(name, "no device: it went") for name in ("gpu", "torch")]


def test_a_peer_without_its_package_says_what_to_install(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(implementations.importlib, "import_module", missing)
    (row,) = resolve([], ["torch"])
    assert isinstance(row, Unavailable)
    assert row.name == "peer torch"
    assert "pip install torch" in row.reason
    with pytest.raises(ModuleNotFoundError):  # any other missing module is a bug
        peer("jax")


@pytest.mark.parametrize("name", ["keras", "torch:tpu", "", "torch:cpu:0"])
def test_unknown_peers_are_refused(name):
    with pytest.raises(UnknownNameError):
        resolve([], [name])


def test_workloads_that_are_run_only_by_name():
    assert [workload.name for workload in get_workloads(())] == list(WORKLOADS)
    assert [workload.batch for workload in get_workloads(("narrow-1k", "narrow-64k"))] == [1024, 65536]
    with pytest.raises(UnknownNameError, match="narrow-64k"):
        get_workloads(("narrow",))


def test_peers_without_a_gpu_say_so():
    (row,) = resolve([], ["sklearn:gpu"])
    assert "CPU only" in row.reason


# Timing


def test_rounds_are_interleaved_and_each_begins_with_another(monkeypatch):
    calls, rests = [], []
    monkeypatch.setattr(timing.time, "sleep", lambda seconds: rests.append((len(calls), seconds)))
    taken = interleave([lambda turn, i=i: calls.append((turn, i)) for i in range(3)], 4)
    assert [i for _, i in calls] == [0, 1, 2, 1, 2, 0, 2, 0, 1, 0, 1, 2]
    assert [turn for turn, _ in calls] == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert [len(row) for row in taken] == [4, 4, 4]
    assert [before for before, _ in rests] == list(range(12))  # so that the threads of the last call sleep
    assert min(seconds for _, seconds in rests) >= 0.03


def test_spread_and_ratio():
    assert spread([1, 2, 3, 4, 100]) == (3, 2, 4)
    assert ratio([1, 2], [2, 4]) == spread([2, 4, 1, 2])
    assert ratio([1, 1, 1], [2, 2]) == (2, 2, 2)


def test_figures_of_a_row():
    row = Row("a", seconds=(0.001, 0.002, 0.003), matmul_bound=(0.001,))
    twice = Row("b", seconds=(0.001,), is_device=False)
    table = WorkloadResults(WORKLOADS["tiny"], (Row("gone", "it went"), twice, row))
    assert table.baseline is row  # neither a peer nor a row that did not run
    metrics = table.derived_metrics(row)
    assert metrics["microseconds"] == pytest.approx(2000)
    assert metrics["samples_per_second"] == pytest.approx(10 / 0.002)
    assert metrics["gflops"] == pytest.approx(WORKLOADS["tiny"].flops / 0.002 / 1e9)
    assert metrics["share_of_floor"] == pytest.approx(0.5)
    assert (metrics["speed_up"], table.derived_metrics(twice)["speed_up"]) == (1, 2)
    assert table.derived_metrics(twice)["share_of_floor"] is None
    assert table.derived_metrics(table.rows[0]) == {}


def test_step_times_are_complete():
    times = step_times.measure_step_times(SMALL, [xpnet_on("cpu"), peer("sklearn")], FAST)
    for each in times:
        assert len(each.seconds) == len(each.matmul_bound) == FAST.rounds
        assert all(second > 0 for second in each.seconds + each.matmul_bound)
        assert each.time_to_first_step >= 0
        assert each.epoch == pytest.approx(SMALL.steps * np.median(each.seconds))
    assert times[0].matmul_bound == times[1].matmul_bound


# The overhead of a fit


def test_the_clock_counts_the_steps_and_changes_nothing():
    backend, spent = get_backend("cpu"), []
    twin = overhead.timed_backend(backend, spent)
    assert twin.name == backend.name
    data, order = make_data(SMALL), orders(SMALL, 0, 2)
    runs = [Implementation("", "cpu", xpnet_on(each).start).start(data)(order, 0) for each in (backend, twin)]
    assert runs[0] == runs[1]
    assert len(spent) == 2
    assert min(spent) > 0


def test_what_is_slow_outside_the_steps_is_seen(monkeypatch):
    class Clock:
        now = 0.0

        def perf_counter(self):
            self.now += 0.001
            return self.now

    clock = Clock()

    def slow(network, parameters, x, y, backend):
        assert isinstance(parameters, Parameters)
        assert x.shape[0] == y.shape[0] == math.ceil(SMALL.n_samples / 9)
        clock.now += 0.05
        return {"loss": 0.0}

    monkeypatch.setattr(overhead, "time", clock)
    monkeypatch.setattr(overhead, "evaluate", slow)
    total, validation = overhead.measure_overhead(SMALL, get_backend("cpu"), 1.0, 1)
    assert 0.5 < validation < total < 1


# Memory


@pytest.mark.subprocess
@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="the peak is read from /proc")
def test_peak_memory_holds_at_least_the_data_and_grows_with_it():
    workload = Workload("data", (1000, 4, 3), "relu", 10, "sgd", 0.01, 1000)  # 40 MB of data
    peak = peak_bytes(workload, xpnet_on("cpu"))
    assert 0.95 * expected_bytes(workload) < peak < 1.15 * expected_bytes(workload)


@pytest.mark.subprocess
@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="the peak is read from /proc")
@pytest.mark.parametrize(
    "workload",
    [
        WORKLOADS["mnist-large"],  # mostly data
        Workload("parameters", (1000, 3000, 500, 10), "relu", 100, "momentum", 0.01, 2),
        Workload("activations", (100, 2000, 2000, 50), "sigmoid", 4000, "sgd", 0.01, 1),
    ],
    ids=lambda workload: workload.name,
)
def test_peak_memory_is_what_the_rule_says(workload):
    allowed = 1.5 if workload.name == "activations" else 1.15  # the backward pass needs two gradients of their size
    assert 0.95 < peak_bytes(workload, xpnet_on("cpu")) / expected_bytes(workload) < allowed


def test_memory_on_a_gpu_is_not_guessed():
    assert peak_bytes(SMALL, xpnet_on("cpu")._replace(kind="gpu")) is None


# Sweeps


@pytest.mark.parametrize(
    ("first", "other", "expected"),
    [
        ((1, 1, 1), (0.5, 2, 4), 2),  # half way, in logarithms, from 1 to 4
        ((1, 1, 1), (0.1, 0.2, 0.9), None),
        ((1, 1, 1), (2, 2, 2), 1),
        ((1, 1, 1), (2, 0.5, 2), 8),  # the last crossing counts
        ((1, 1, 1), (2, 2, 1), None),
        ((1, 1, 1), (0.5, 1, 2), 4),
    ],
)
def test_crossing(first, other, expected):
    found = crossing((1, 4, 16), first, other)
    assert found == (None if expected is None else pytest.approx(expected))


def test_swept_workloads():
    with_batch, batches = SWEEPS["batch-size"]
    with_width, widths = SWEEPS["width"]
    workload = WORKLOADS["mnist-large"]
    assert (batches[0], batches[-1], widths[0], widths[-1]) == (1, 65536, 16, 8192)
    assert with_batch(workload, 65536)[3:] == (65536, "adam", 0.001, 1)
    assert with_batch(workload, 1).n_samples >= 10
    assert with_width(workload, 16).sizes == (784, 16, 16, 10)
    assert with_width(workload, 16).steps == workload.steps
    assert with_width(workload, 8192).steps == 2  # each is a hundred GFLOP


def test_lines_of_a_sweep():
    def speeds(*medians):
        return tuple(spread([median]) for median in medians)

    found = Sweep("tiny", "batch-size", (1, 4), {"a": speeds(1, 1), "b": speeds(0.5, 2), "c": speeds(0.1, 0.1)})
    assert list(crossing_lines(found)) == [
        "b is faster than a from a batch size of about 2 on",
        "c does not overtake a",
    ]
    assert found.as_json()["crossings"][1] == {"from": "a", "to": "c", "at": None}


def test_a_lead_that_is_lost_again_is_no_crossing():
    assert crossing((1, 4, 16, 64), (1, 1, 1, 1), (0.5, 2, 0.5, 2)) == pytest.approx(32)


# Comparison of two files


def test_comparison():
    workload, other = WORKLOADS["tiny"], WORKLOADS["digits"]
    earlier = (Row("x", seconds=(1, 1)), Row("y", seconds=(1, 2)), Row("z", "gone"), Row("w", seconds=(2, 2)))
    later = (Row("x", seconds=(2, 2)), Row("y", seconds=(1, 2)), Row("z", seconds=(1,)), Row("w", seconds=(1,)))
    a = [WorkloadResults(workload, earlier)]
    b = [
        WorkloadResults(workload, later),
        WorkloadResults(other, (Row("x", seconds=(1,)),)),
    ]
    rows = comparison_table(a, b).rows
    assert rows[0][4:] == ("2.000", "2.000 to 2.000", "slower")
    assert rows[1][4:] == ("1.000", "0.875 to 1.250", "no clear difference")
    assert rows[2] == ("tiny", "z", "gone")
    assert rows[3][4:] == ("0.500", "0.500 to 0.500", "faster")
    assert rows[4] == ("digits", "x", "only in B")
    (changed,) = comparison_table([a[0]], [WorkloadResults(workload.quick(), a[0].rows[:1])]).rows
    assert "another workload" in changed[-1]


def test_published_results_can_be_read_and_compared():
    path = Path(__file__).parents[2] / "benchmarks" / "results" / "epyc-avx512-2" / "bench.json"
    if not path.exists():
        pytest.skip("no benchmarks beside the tests")
    published = results.load(path)
    assert [each.workload for each in published] == [WORKLOADS[each.workload.name] for each in published]
    rows = [row for each in published for row in each.rows if row.seconds]
    assert all(0 < row.matmul_share < 1 for row in rows if row.name == "numpy:cpu")
    assert any(row.overhead is not None for row in rows)
    assert all(row[4] == "1.000" for row in comparison_table(published, published).rows if len(row) > 3)


# The machine


def test_the_machine_is_described(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    about = machine()
    assert about["processor"]
    assert about["versions"]["numpy"] == np.__version__
    assert about["environment"]["OPENBLAS_CORETYPE"] == "Haswell"
    assert any(pool["user_api"] == "blas" for pool in about["threads"])
    table = workload_table(WorkloadResults(SMALL, (Row("gone", "it | went"),)))
    text = markdown("xpnet bench", about, [table], ["a remark"])
    assert "OPENBLAS_CORETYPE=Haswell" in text
    assert "| gone | it \\| went |" in text
    assert text.endswith("a remark\n")


def test_threads_are_limited_and_given_back():
    from threadpoolctl import threadpool_info

    def state():
        return [pool["num_threads"] for pool in threadpool_info()], os.environ.get("OMP_NUM_THREADS")

    before = state()
    with limit_threads(1):
        limits, variable = state()
        assert set(limits) == {1}
        assert variable == "1"
    assert state() == before
    for wrong in (0, -1, 10**6):
        with pytest.raises(InvalidParameterError, match="threads"), limit_threads(wrong):
            pass


def test_nothing_of_the_bench_is_imported_for_training(environment):
    import subprocess
    import sys

    assert xpnet("bench", "--help").code == 0  # it is there
    code = "import sys, xpnet; print([name for name in sys.modules if 'xpnet.bench' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "[]"
