"""PyTorch's captured step, on the CPU by a double of the capture: what is replayed, what stays, what is left."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from xpnet.backend import Backend, get_backend
from xpnet.errors import XpnetWarning
from xpnet.nn.network import Network
from xpnet.training.trainer import Trainer

pytest.importorskip("torch")

from xpnet_backends.compiler.program_cache import ProgramCache
from xpnet_backends.cuda import torch_graph
from xpnet_backends.cuda.torch_graph import captured_runs

N, BATCH = 50, 8  # the last batch is short
_rng = np.random.default_rng(5)
X, Y = _rng.standard_normal((N, 6)), _rng.integers(0, 3, N)
NETWORK = Network([6, 8, 3], "prelu", dropout=0.2, l2=0.01)


class Capture:
    """As the real one: some steps to warm up, then one that is recorded; here it is run anew for each replay."""

    def __init__(self) -> None:
        self.captures = self.replays = 0

    def __call__(self, body: Callable[[], None]) -> Callable[[], None]:
        self.captures += 1
        for _ in range(torch_graph._WARM_UP):
            body()

        def replay() -> None:
            self.replays += 1
            body()

        return replay


def _captured(capture: Any) -> Backend:
    torch = get_backend("torch:cpu")

    class Double(type(torch)):  # type: ignore[misc]
        def compile(self, step: Any, n_steps: int = 1) -> Any:
            return captured_runs(step, self.xp, capture)

    return Double("cpu", 0)


def _fit(backend: Backend, **options: Any) -> Any:
    trainer = Trainer(NETWORK, batch_size=BATCH, device=backend, dtype="float64", **{"epochs": 3, **options})
    return trainer.fit(X, Y, validation=(X[:20], Y[:20]))


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adamw", "rmsprop"])
def test_a_captured_run_is_the_plain_one(optimizer: str) -> None:
    capture = Capture()
    options = {"optimizer": optimizer, "schedule": "step:every=1,factor=0.5", "clip_norm": 0.5}
    run, expected = _fit(_captured(capture), **options), _fit(get_backend("torch:cpu"), **options)
    assert [record.loss for record in run.history] == [record.loss for record in expected.history]
    assert [record.validation for record in run.history] == [record.validation for record in expected.history]
    assert (run.params.vector == expected.params.vector).all()
    assert capture.captures == 1
    assert capture.replays == 3 * (N // BATCH)  # the short batches are run as they are


def test_runs_of_other_lengths() -> None:
    backend, capture = get_backend("torch:cpu"), Capture()
    from xpnet.nn.optimizers import get_optimizer
    from xpnet.nn.step import init_state, make_step

    def start() -> tuple[Any, ...]:
        params = NETWORK.init(0, backend).vector
        state = init_state(NETWORK, get_optimizer("adam"), params, 0, backend)
        state.optimizer.learning_rate[...] = 0.01
        return params, state, make_step(NETWORK, get_optimizer("adam"), backend)

    data = backend.asarray(X), backend.asarray(Y.astype(np.int32))
    orders = [_rng.integers(0, N, (n, BATCH)).astype(np.int32) for n in (3, 1, 5, 2, 1)]
    with backend.scope("float64"):
        params, state, step = start()
        run = captured_runs(step, backend.xp, capture)
        expected_params, expected_state, plain_step = start()
        plain = backend.compile(plain_step)
        kept = []
        for order in map(backend.asarray, orders):
            params, state, losses = run(params, state, data, order)
            kept.append((losses, losses.clone()))
            expected_params, expected_state, expected = plain(expected_params, expected_state, data, order)
            assert (losses == expected).all()
        assert all((losses == copy).all() for losses, copy in kept)  # the next run does not write into them
        assert (params == expected_params).all()
        assert capture.captures == 1  # a longer run is done in parts
        assert capture.replays == 3 + 1 + 5 + 2 + 1

        # Other parameters of the same shape are copied to those of the capture.
        params, state, _ = start()
        params, state, losses = run(params, state, data, backend.asarray(orders[0]))
        expected_params, expected_state, _ = start()
        _, _, expected = plain(expected_params, expected_state, data, backend.asarray(orders[0]))
        assert (losses == expected).all()
        assert capture.captures == 1


def test_data_that_are_new_each_time_are_not_captured_for_ever() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    capture = Capture()
    trainer = Trainer(NETWORK, batch_size=BATCH, device=_captured(capture), dtype="float64", epochs=12)
    run = trainer.fit(sparse.csr_array(X), Y)
    expected = _fit(get_backend("torch:cpu"), epochs=12)
    assert capture.captures <= torch_graph._MOST_GRAPHS
    np.testing.assert_allclose(run.params.vector, expected.params.vector, rtol=1e-12)


def test_a_step_that_cannot_be_captured_is_run_as_it_is_and_said_once() -> None:
    def refuse(body: Callable[[], None]) -> Callable[[], None]:
        body()
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    with pytest.warns(XpnetWarning, match=r"uncompiled.* operation not permitted when stream is capturing\.$") as seen:
        run = _fit(_captured(refuse))
    assert len(seen) == 1
    expected = _fit(get_backend("torch:cpu"))
    assert (run.params.vector == expected.params.vector).all()


def test_only_gpus_and_long_runs_are_captured() -> None:
    cpu = get_backend("torch:cpu")
    assert not isinstance(cpu.compile(lambda *_: None, 10**6), ProgramCache)
    try:
        gpu = get_backend("torch:gpu")
    except Exception as exc:
        pytest.skip(str(exc))
    assert isinstance(gpu.compile(lambda *_: None, 10**6), ProgramCache)
    assert not isinstance(gpu.compile(lambda *_: None, 1), ProgramCache)


def test_on_a_gpu() -> None:
    try:
        gpu = get_backend("torch:gpu")
    except Exception as exc:
        pytest.skip(str(exc))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a capture that fails would say so
        run = _fit(gpu, epochs=15)
    expected = _fit(get_backend("cpu"), epochs=15)
    np.testing.assert_allclose(gpu.to_numpy(run.params.vector), expected.params.vector, rtol=1e-9, atol=1e-11)
