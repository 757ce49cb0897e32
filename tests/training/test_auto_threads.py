"""The number of threads of a run: by the work of a step, one on a busy machine, and restored afterwards."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_info, threadpool_limits

from xpnet.backend import get_backend
from xpnet.errors import DivergenceError, XpnetWarning
from xpnet.estimators import MLPClassifier
from xpnet.nn.network import Network
from xpnet.threads import THREAD_VARIABLES
from xpnet.training import auto_threads
from xpnet.training.auto_threads import AutoThreads
from xpnet.training.callbacks import Callback
from xpnet.training.trainer import Trainer

LARGE = Network([784, 512, 10])
BATCH = 256


class Machine:
    """BLAS with up to `most` threads, and clocks: a product or a step takes `costs[threads]` seconds.

    `busy` is the number of processors that other processes take from them.
    """

    def __init__(self, most: int, costs: dict[int, float]) -> None:
        self.processors, self.count, self.costs = most, most, costs
        self.busy, self.cpu, self.is_alone, self.now, self.products, self.steps = 0.0, 0.0, True, 0.0, 0, list[int]()

    def for_count(self, count: int) -> Machine:
        self.most = min(count, self.processors)
        return self

    def __enter__(self) -> Machine:
        self.count = self.most
        return self

    def __exit__(self, *_: object) -> None:
        self.count = 0

    def use(self, count: int) -> int:
        self.count = count
        return count

    def matmul(self, *_: Any) -> None:
        self.products += 1
        self.now += self.costs[self.count]

    def run_steps(self, params: Any, state: Any, data: Any, order: Any) -> Any:
        self.steps.append(len(order))
        seconds = len(order) * self.costs[self.count]
        self.now += seconds
        self.cpu += seconds * (self.count - self.busy)
        return params, state, order[:, 0].astype(float)


def machine(monkeypatch: pytest.MonkeyPatch, most: int, costs: dict[int, float]) -> Machine:
    made = Machine(most, costs)
    monkeypatch.setattr(auto_threads, "BlasThreads", made.for_count)
    monkeypatch.setattr("xpnet.training.auto_threads.time.perf_counter", lambda: made.now)
    monkeypatch.setattr("xpnet.training.auto_threads.time.process_time", lambda: made.cpu)
    return made


def threads_of(made: Machine, network: Network = LARGE, batch: int = BATCH, n_steps: int = 10_000) -> AutoThreads:
    xp = SimpleNamespace(matmul=made.matmul, concat=np.concatenate)
    return AutoThreads(network, SimpleNamespace(xp=xp, asarray=np.asarray), batch, n_steps, "float32")  # type: ignore


def run(threads: AutoThreads, made: Machine, n_steps: int) -> None:
    order: Any = np.arange(n_steps)[:, None]
    nothing: Any = None
    losses = threads.steps(made.run_steps)(nothing, nothing, (), order)[2]
    np.testing.assert_array_equal(np.asarray(losses), order[:, 0])  # each step once, in its order


@pytest.mark.parametrize(
    ("sizes", "batch", "count"),
    [
        ((64, 15, 10), 10, 1),
        ((64, 100, 10), 200, 1),
        ((784, 128, 64, 10), 64, 1),
        ((784, 512, 512, 10), 256, 24),
        ((1024, 4096, 4096, 1000), 1024, 64),
        ((784, 512, 512, 10), 1, 1),
    ],
)
def test_the_work_decides(monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, ...], batch: int, count: int) -> None:
    made = machine(monkeypatch, 64, dict.fromkeys(range(65), 1e-3))
    with threads_of(made, Network(sizes), batch) as threads:
        assert made.count == count
        run(threads, made, 300)
        assert (threads.fewest, made.products) == (count, 0)


def test_nothing_is_measured_where_the_threads_have_their_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    made = machine(monkeypatch, 4, {1: 2e-3, 4: 1e-3})
    with threads_of(made) as threads:
        run(threads, made, 30_000)
        assert (made.products, made.count, threads.fewest) == (0, 4, 4)


@pytest.mark.parametrize("cost", [1.2e-3, 0.5e-3])
def test_all_threads_are_kept_where_one_is_not_much_faster(monkeypatch: pytest.MonkeyPatch, cost: float) -> None:
    """The number of threads, and so the results, follow from the work, unless the machine is busy."""
    made = machine(monkeypatch, 2, {1: 1.0e-3, 2: cost})
    made.busy = 0.5
    with threads_of(made) as threads:
        run(threads, made, 100_000)
        assert threads.fewest == 2
        assert 0 < made.now - 100_000 * cost < 0.06 * made.now  # it measures ever less


@pytest.mark.parametrize("busy", [0.0, 0.5])
def test_one_thread_while_the_machine_is_busy(monkeypatch: pytest.MonkeyPatch, busy: float) -> None:
    made = machine(monkeypatch, 2, {1: 2e-3, 2: 1e-3})
    with threads_of(made) as threads:
        run(threads, made, 3000)
        made.costs[2], made.busy = 2e-2, busy
        began = made.now
        run(threads, made, 1000)
        assert made.count == threads.fewest == 1
        assert made.now - began < 1000 * 2e-3 + 1  # it took at most a second to notice
        made.costs[2], made.busy = 1e-3, 0.0
        run(threads, made, 4000)
        assert (made.count, threads.fewest) == (2, 1)


def test_a_machine_that_is_busy_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    made = machine(monkeypatch, 2, {1: 5e-3, 2: 0.5})
    with threads_of(made) as threads:
        run(threads, made, 100)
        assert made.count == 1
        assert made.steps[:3] == [1, 99]  # noticed in the first step
        assert made.now < 0.5 + 100 * 5e-3 + 5 * 0.5
    assert made.count == 0


def test_a_library_that_a_step_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    made = machine(monkeypatch, 4, {1: 2e-3, 4: 1e-3})
    for network, count in ((LARGE, 4), (Network([64, 15, 10]), 1)):
        with threads_of(made, network) as threads:
            threads.call(1, made.use, 99)
            assert made.count == count


def test_the_time_between_looks_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    made = machine(monkeypatch, 2, {1: 2e-3, 2: 1e-3})
    with threads_of(made, Network([1024, 4096, 1000]), 1024) as threads:
        run(threads, made, 5)
    assert made.steps == [1] * 5
    made.steps.clear()
    with threads_of(made, Network([200, 200, 10])) as threads:
        run(threads, made, 30)
    assert made.steps == [1, 2, 4, 8, 8, 7]


def test_runs_at_the_same_time_do_not_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    made = machine(monkeypatch, 2, {1: 1e-3, 2: 1e-2})
    made.is_alone, made.busy = False, 0.5
    with threads_of(made) as threads:
        run(threads, made, 2000)
    assert made.products == 0


def test_tiny_runs_and_other_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    made = machine(monkeypatch, 2, {2: 1e-3})
    with threads_of(made, Network([64, 15, 10]), 10, n_steps=20) as threads:
        assert threads.steps(made.run_steps) == made.run_steps
        assert threads.call(1, lambda value: value, 3) == 3
    assert (made.count, threads.fewest) == (2, None)
    strict = pytest.importorskip("array_api_strict")
    other: Any = SimpleNamespace(asarray=strict.asarray)
    with AutoThreads(LARGE, other, BATCH, 10_000, "float32") as threads:
        assert threads.fewest is None


def counts() -> list[int]:
    return [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]


class Seen(Callback):
    """Note the numbers of threads between steps."""

    def on_steps(self, epoch: int, done: int) -> None:
        self.counts = counts()


@pytest.mark.parametrize("device", ["cpu", pytest.param("numba:cpu", marks=pytest.mark.needs("numba"))])
def test_a_run_leaves_the_threads_as_they_were(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    get_backend(device)  # loads its libraries
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 64))
    trainer = Trainer(Network([64, 100, 2]), batch_size=200, epochs=20, device=device, callbacks=[seen := Seen()])
    with threadpool_limits(2, user_api="blas"):
        before = counts()
        run = trainer.fit(x, (x[:, 0] > 0).astype(int))
        assert set(seen.counts) == {1}
        assert run.threads == 1
        assert counts() == before
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            MLPClassifier((100,), solver="lbfgs", max_iter=30, tol=0, callbacks=[seen]).fit(x[:200], x[:200, 0] > 0)
        assert set(seen.counts) == {1}
        assert counts() == before


def test_the_same_results_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(640, 64))
    y = (x[:, 0] > 0).astype(int)
    results = []
    for per_thread in (auto_threads._PER_THREAD, 1):
        monkeypatch.setattr(auto_threads, "_PER_THREAD", per_thread)
        monkeypatch.setattr(auto_threads, "_SHORT_RUN", 0)
        trainer = Trainer(Network([64, 50, 2]), batch_size=32, epochs=3)
        results.append(trainer.fit(x, y))
    assert results[0].history[-1].loss == results[1].history[-1].loss
    np.testing.assert_array_equal(results[0].params.vector, results[1].params.vector)


def test_a_warning_of_the_loop_points_to_the_user_s_line() -> None:
    x = np.random.default_rng(0).normal(size=(100, 5)) * 1e15
    trainer = Trainer(Network([5, 20, 2]), "sgd", learning_rate=1e20, epochs=2, on_divergence="halve")
    with pytest.warns(XpnetWarning, match="half the learning rate") as caught, pytest.raises(DivergenceError):
        trainer.fit(x, (x[:, 0] > 0).astype(int))
    assert {each.filename for each in caught} == {__file__}
