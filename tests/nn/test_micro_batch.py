"""A step by micro-batches is the step of the whole batch, to rounding; where memory is short it is named."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

import xpnet.memory
import xpnet.nn.step
import xpnet.training.loop
from tests.command_line import refused
from tests.conftest import tolerance
from xpnet.backend import get_backend
from xpnet.errors import InvalidParameterError, OutOfMemoryError
from xpnet.nn.backprop import objective_and_gradient
from xpnet.nn.network import Network
from xpnet.training.callbacks import Callback
from xpnet.training.trainer import Trainer

N = 11
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, 5))
CLASSES = RNG.integers(0, 3, N)
VALUES = RNG.random((N, 3))
WEIGHT = RNG.random(N) + 0.1
WEIGHT[2:6] = 0  # a whole micro-batch of 3 that weighs nothing

TARGETS = {
    "cross_entropy": CLASSES,
    "binary_cross_entropy": VALUES,
    "squared_error": VALUES,
    "huber": 3 * VALUES,
    "poisson": 5 * VALUES,
}


@pytest.mark.parametrize("micro_batch", [1, 3, 10, 11, 50])
@pytest.mark.parametrize("loss", TARGETS)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("penalty_reduction", ["none", "mean"])
def test_gradients_of_micro_batches_sum_to_the_whole(
    loss: str, reduction: str, penalty_reduction: str, micro_batch: int
) -> None:
    network = Network(
        [5, 7, 4, 3], activation=["rrelu", "tanh"], loss=loss, reduction=reduction, penalty_reduction=penalty_reduction,
        dropout=0.4, l2=0.1, l1=0.02,
    )  # fmt: skip
    vector = network.init(0).vector
    key = np.asarray([12345, 3], dtype=np.int32)
    for weight in ((), (WEIGHT,), (np.zeros(N),)):
        batch = (X, TARGETS[loss], *weight)
        value, gradient = objective_and_gradient(network, np, vector, batch, key)
        got = objective_and_gradient(network, np, vector, batch, key, micro_batch)
        np.testing.assert_allclose(got[0], value, rtol=1e-13)
        np.testing.assert_allclose(got[1], gradient, rtol=1e-12, atol=1e-14)


def test_every_backend_trains_by_micro_batches_to_the_same(backend: Any, dtype: str) -> None:
    options: dict[str, Any] = {"batch_size": 5, "epochs": 2, "clip_norm": 0.5, "dtype": dtype, "device": backend}
    network = Network([5, 6, 3], dropout=0.3, l2=0.01)
    one, two = (Trainer(network, micro_batch=size, **options).fit(X, CLASSES) for size in (None, 2))
    vectors = [backend.to_numpy(run.params.vector) for run in (one, two)]
    np.testing.assert_allclose(vectors[1], vectors[0], atol=tolerance(dtype, 50))
    assert two.history[-1].loss == pytest.approx(one.history[-1].loss, rel=tolerance(dtype, 50))


def _peak(micro_batch: int | None) -> int:
    x = np.zeros((4096, 4), np.float32)
    trainer = Trainer(Network([4, 256, 256, 2]), batch_size=4096, epochs=70, micro_batch=micro_batch)

    class Start(Callback):
        def on_start(self, n_steps: int, epochs: int) -> None:
            tracemalloc.start()

        def on_epoch(self, record: Any, run: Any) -> None:
            raise xpnet.StopTraining

    trainer = Trainer(**{**vars(trainer), "callbacks": [Start()]})
    try:
        trainer.fit(x, np.zeros(4096, dtype=int))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_micro_batches_take_less_memory() -> None:
    assert _peak(256) < _peak(None) / 3


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying")])
@pytest.mark.parametrize(("held", "fitting"), [(None, 8), (8, 4), (2, 1)])
def test_a_step_that_does_not_fit_names_what_would(
    error: Exception, held: int | None, fitting: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(type(get_backend("cpu")), "compile", lambda *_: too_large)
    with pytest.raises(OutOfMemoryError, match=rf"Use micro_batch={fitting} .*same result") as caught:
        Trainer(Network([5, 100, 3]), batch_size=None, micro_batch=held).fit(X, CLASSES)
    assert caught.value.__cause__ is error


def test_other_errors_of_the_library_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("cannot reshape")

    monkeypatch.setattr(type(get_backend("cpu")), "compile", lambda *_: fails)
    with pytest.raises(RuntimeError, match=r"^cannot reshape$"):
        Trainer(Network([5, 3])).fit(X, CLASSES)


def test_data_that_do_not_fit_name_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr("xpnet.training.batches.to_samples", fails)
    with pytest.raises(OutOfMemoryError, match=r"Stream the data \(--memory-limit, or xpnet.open_source\)"):
        Trainer(Network([5, 3])).fit(X, CLASSES)


def test_a_batch_too_large_for_the_machine_is_one_line(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    message = refused("train", "iris", "--hidden", "2000000000", "--device", "cpu")
    assert message.count("out of memory") == 1


@pytest.mark.parametrize("micro_batch", [0, -1, 1.5, "8"])
def test_what_is_no_micro_batch(micro_batch: Any) -> None:
    with pytest.raises(InvalidParameterError, match=r"^micro_batch: expected"):
        Trainer(Network([5, 3]), micro_batch=micro_batch)
