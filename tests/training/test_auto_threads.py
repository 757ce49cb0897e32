"""The number of BLAS threads in a run: the faster one, where it cannot change results, and restored afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from xpnet.nn.network import Network
from xpnet.training import blas_threads
from xpnet.training.blas_threads import BlasThreads
from xpnet.training.trainer import Trainer


class Machine:
    """A controller of a library with `most` threads, and a clock on which a product takes `costs[threads]` seconds."""

    def __init__(self, most: int, costs: dict[int, float]) -> None:
        self.num_threads, self.costs, self.now = most, costs, 0.0
        self.most, self.lib_controllers = most, [self]
        self.asked = 0

    def select(self, **_: Any) -> Machine:
        self.asked += 1
        return self

    def limit(self, *, limits: int) -> Machine:
        self.num_threads = limits
        return self

    def restore_original_limits(self) -> None:
        self.num_threads = self.most

    def matmul(self, *_: Any) -> None:
        self.now += self.costs[self.num_threads]

    def perf_counter(self) -> float:
        return self.now


def machine(monkeypatch: pytest.MonkeyPatch, most: int, costs: dict[int, float]) -> Machine:
    made = Machine(most, costs)
    monkeypatch.setattr(blas_threads, "ThreadpoolController", lambda: made)
    monkeypatch.setattr(blas_threads.np, "matmul", made.matmul)
    monkeypatch.setattr(blas_threads.time, "perf_counter", made.perf_counter)
    return made


@pytest.mark.parametrize(("costs", "chosen"), [({1: 2e-3, 4: 1e-3}, 4), ({1: 1e-3, 4: 2e-2}, 1)])
def test_the_faster_number_is_chosen_and_the_old_one_restored(
    monkeypatch: pytest.MonkeyPatch, costs: dict[int, float], chosen: int
) -> None:
    made = machine(monkeypatch, 4, costs)
    threads = BlasThreads(Network([20, 256, 256, 3]), 256, "float32")
    threads.on_start(1, 1)
    assert made.num_threads == chosen
    assert made.now < 0.2
    threads.on_end()
    assert made.num_threads == 4


def test_the_choice_follows_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    made = machine(monkeypatch, 2, {1: 2e-3, 2: 1e-3})
    threads = BlasThreads(Network([20, 256, 256, 3]), 256, "float32")
    threads.on_start(1, 1)
    made.costs[2] = 5e-2  # another process takes the second processor
    threads.on_epoch(None, None)  # type: ignore[arg-type]
    assert made.num_threads == 2
    made.now += 11
    threads.on_epoch(None, None)  # type: ignore[arg-type]
    assert made.num_threads == 1


@pytest.mark.parametrize(
    ("sizes", "batch"), [((20, 64, 3), 32), ((784, 128, 10), 64), ((20, 512, 512, 3), 256), ((20, 256, 256, 3), 1000)]
)
def test_other_products_are_left_alone(monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, ...], batch: int) -> None:
    made = machine(monkeypatch, 4, {1: 1e-3, 4: 1e-2})
    threads = BlasThreads(Network(sizes), batch, "float32")
    threads.on_start(1, 1)
    assert (made.num_threads, made.now, made.asked) == (4, 0, 0)


def test_a_run_leaves_the_threads_as_they_were() -> None:
    before = [each["num_threads"] for each in threadpool_info()]
    x = np.random.default_rng(0).normal(size=(300, 5))
    Trainer(Network([5, 256, 256, 2]), batch_size=256, epochs=2).fit(x, (x[:, 0] > 0).astype(int))
    assert [each["num_threads"] for each in threadpool_info()] == before
