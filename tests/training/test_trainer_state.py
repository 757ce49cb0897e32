"""The state of a run: going on from it, early stopping, and what a run that diverges leaves."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from array_api_compat import is_array_api_obj

from tests.runs import StopAt
from xpnet.backend import Backend, get_backend, map_arrays
from xpnet.errors import DivergenceError, InvalidParameterError
from xpnet.nn.network import Network
from xpnet.training import step_chunks
from xpnet.training.callbacks import Callback, StopTraining
from xpnet.training.evaluation import evaluate
from xpnet.training.history import EpochRecord
from xpnet.training.trainer import Run, RunState, Trainer

N, N_IN, K, EPOCHS = 23, 4, 3, 4
CALLS = 3  # an epoch: two full steps, two more, and the short one
_rng = np.random.default_rng(8)
X = _rng.standard_normal((N, N_IN)).astype("float32").astype("float64")
Y = _rng.integers(0, K, N)
HELD_OUT = (X[:9] + 0.5, Y[:9])
DROPPED = Network([N_IN, 12, 8, K], activation=("prelu", "rrelu"), dropout=0.25)
OPTIONS: dict[str, Any] = {
    "adam, dropout": {"optimizer": "adam", "schedule": "cosine", "early_stopping": "loss:patience=50"},
    "adaptive": {"optimizer": "nesterov", "schedule": "adaptive:patience=1", "early_stopping": "accuracy"},
    "adamw": {"optimizer": "adamw", "schedule": "warmup:epochs=3", "clip_norm": 0.5},
    "step by step": {
        "schedule": "coslog4",
        "learning_rate_factors": {"biases": 0.1, "slopes": 3},
        "early_stopping": "accuracy:patience=inf,latest=1",
    },
}


@pytest.fixture(autouse=True)
def _short_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_chunks, "_STEPS_PER_CHUNK", 2)


def fit(case: str, device: Any = "cpu", dtype: str = "float32", state: RunState | None = None, **options: Any) -> Run:
    trainer = Trainer(
        DROPPED, batch_size=5, epochs=EPOCHS, seed=5, device=device, dtype=dtype, learning_rate=0.02, **OPTIONS[case]
    )
    return replace(trainer, **options).fit(X, Y, validation=HELD_OUT, state=state)


@cache
def uninterrupted(case: str, dtype: str = "float32") -> Run:
    return fit(case, dtype=dtype)


def facts(history: Sequence[EpochRecord]) -> list[Any]:
    return [(record.epoch, record.loss, record.validation, record.learning_rate) for record in history]


# Going on.


@pytest.mark.parametrize("case", OPTIONS)
@pytest.mark.parametrize("call", range(1, 2 * CALLS + 2))
def test_a_stopped_run_goes_on_to_the_same_bits(case: str, call: int) -> None:
    first = fit(case, callbacks=[StopAt(call)])
    assert first.stopped == "interrupted"
    assert (first.state.epoch, first.state.position) == ((call - 1) // CALLS, (2, 4, 5)[(call - 1) % CALLS])
    saved = pickle.loads(pickle.dumps(first.state))
    rest = fit(case, state=saved)
    expected = uninterrupted(case)
    np.testing.assert_array_equal(rest.params.vector, expected.params.vector)
    np.testing.assert_array_equal(rest.state.params, expected.state.params)
    assert facts(rest.history) == facts(expected.history)  # those before the stop too
    assert rest.state.stopping == expected.state.stopping


@pytest.mark.parametrize("call", [1, CALLS + 2])
def test_on_every_backend_too(call: int, backend: Backend, dtype: str) -> None:
    case = "adam, dropout"
    rest = fit(case, backend, dtype, fit(case, backend, dtype, callbacks=[StopAt(call)]).state)
    expected = fit(case, backend, dtype)
    np.testing.assert_array_equal(backend.to_numpy(rest.params.vector), backend.to_numpy(expected.params.vector))


def test_a_run_may_go_on_elsewhere(backend: Backend, dtype: str) -> None:
    case, host = "adam, dropout", get_backend("cpu")
    state = fit(case, host, dtype, callbacks=[StopAt(2)]).state
    elsewhere = map_arrays(lambda a: backend.asarray(host.to_numpy(a)) if is_array_api_obj(a) else a, state)
    rest = fit(case, backend, dtype, elsewhere)
    allowed = {"float64": 1e-10, "float32": 1e-4}[dtype]
    np.testing.assert_allclose(
        backend.to_numpy(rest.params.vector), uninterrupted(case, dtype).params.vector, rtol=allowed, atol=allowed
    )


def test_from_the_initial_state() -> None:
    trainer = Trainer(DROPPED, batch_size=5, epochs=2, device="jax:cpu", dtype="float64")
    pytest.importorskip("jax")
    state = trainer.initial_state(get_backend("jax:cpu"))
    assert state.params.dtype == state.total.dtype == state.step.optimizer.slots[0].dtype == "float64"
    run = trainer.fit(X, Y, state=state)
    np.testing.assert_array_equal(np.asarray(run.params.vector), np.asarray(trainer.fit(X, Y).params.vector))


def test_stopped_after_an_epoch() -> None:
    class Stop(Callback):
        def on_epoch(self, record: EpochRecord, run: Run) -> None:
            raise StopTraining

    first = fit("adamw", callbacks=[Stop()])
    assert (first.state.epoch, first.state.position, len(first.history)) == (1, 0, 1)
    np.testing.assert_array_equal(fit("adamw", state=first.state).params.vector, uninterrupted("adamw").params.vector)


def test_more_epochs() -> None:
    # A schedule that does not depend on the number of epochs.
    first = fit("adaptive", epochs=2)
    rest = fit("adaptive", state=first.state)
    np.testing.assert_array_equal(rest.params.vector, uninterrupted("adaptive").params.vector)
    assert [record.epoch for record in rest.history] == [1, 2, 3, 4]
    nothing_left = fit("adaptive", state=rest.state)
    assert (facts(nothing_left.history), nothing_left.stopped) == (facts(rest.history), "epochs")


# Early stopping.

VALUES = Network([N_IN, 16, 2], loss="squared_error")
TARGETS = X @ _rng.standard_normal((N_IN, 2)) + _rng.standard_normal((N, 2))
EARLY = {
    "loss": (Network([N_IN, 32, K]), Y),
    "accuracy": (Network([N_IN, 32, K]), Y),
    "r2": (VALUES, TARGETS),
}


@pytest.mark.parametrize("dtype", ["float32"], indirect=True)
@pytest.mark.parametrize("metric", EARLY)
def test_the_best_weights_are_restored(metric: str, backend: Backend, dtype: str) -> None:
    network, y = EARLY[metric]
    trainer = Trainer(network, learning_rate=0.03, batch_size=4, epochs=200, device=backend, dtype=dtype)
    trainer = replace(trainer, early_stopping=f"{metric}:patience=6")
    run = trainer.fit(X[:14], y[:14], validation=(X[14:], y[14:]))
    sign = -1 if metric == "loss" else 1
    values = [sign * record.validation[metric] for record in run.history]
    best = int(np.argmax(values))
    assert run.stopped == "early stopping"
    assert len(run.history) == best + 1 + 6
    placed = [backend.asarray(a[14:].astype("int32" if a is Y else dtype)) for a in (X, y)]
    assert evaluate(network, run.params, *placed, backend) == pytest.approx(run.history[best].validation, rel=1e-6)
    assert not np.array_equal(backend.to_numpy(run.params.vector), backend.to_numpy(run.state.params))
    assert (run.state.stopping.best, run.state.stopping.stale) == (values[best], 6)

    # A run that has stopped early has stopped, also when it is resumed.
    again = trainer.fit(X[:14], y[:14], validation=(X[14:], y[14:]), state=run.state)
    assert (again.stopped, again.history) == ("early stopping", run.history)


def test_the_best_weights_are_those_of_the_shorter_run() -> None:
    network, y = EARLY["loss"]
    options: dict[str, Any] = {"learning_rate": 0.03, "batch_size": 4}
    parts: dict[str, Any] = {"x": X[:14], "y": y[:14], "validation": (X[14:], y[14:])}
    run = Trainer(network, epochs=200, early_stopping="loss:patience=6", **options).fit(**parts)
    shorter = Trainer(network, epochs=len(run.history) - 6, **options).fit(**parts)
    # In float32; the shorter run is too short to be recorded, so its sums are rounded otherwise.
    np.testing.assert_allclose(run.params.vector, shorter.params.vector, rtol=1e-4, atol=1e-6)


def test_stopped_by_hand_the_best_weights_are_restored_too() -> None:
    run = fit("adam, dropout", learning_rate=0.3, epochs=9, callbacks=[StopAt(8 * CALLS + 1)])
    values = [record.validation["loss"] for record in run.history]
    assert np.argmin(values) < len(values) - 1
    assert evaluate(DROPPED, run.params, HELD_OUT[0].astype("float32"), HELD_OUT[1], get_backend("cpu"))["loss"] == min(
        values
    )


# Divergence.


def test_a_run_that_diverges_leaves_the_last_good_epoch(backend: Backend, dtype: str) -> None:
    # The first epoch at an ordinary rate, the second at one that overflows.
    factor = {"float32": 1e30, "float64": 1e300}[dtype]
    options: dict[str, Any] = {"batch_size": 1, "device": backend, "dtype": dtype, "learning_rate": 0.01}
    trainer = Trainer(VALUES, "sgd", schedule=f"step:every=1,factor={factor}", epochs=3, **options)
    message = "diverged in epoch 2: .* Try a smaller learning rate"
    # array-api-strict computes with NumPy, which warns of an overflow; the NumPy backend itself is silent.
    with pytest.raises(DivergenceError, match=message) as caught:
        trainer.fit(X, TARGETS)
    run = caught.value.run
    assert (run.stopped, len(run.history)) == ("diverged", 1)
    vector = backend.to_numpy(run.params.vector)
    assert np.isfinite(vector).all()
    good = backend.to_numpy(Trainer(VALUES, "sgd", epochs=1, **options).fit(X, TARGETS).params.vector)
    # A run of three epochs may be compiled where one of one epoch is not, and its sums are then rounded otherwise.
    np.testing.assert_allclose(vector, good, rtol=1e3 * np.finfo(dtype).eps)


def test_diverged_at_once() -> None:
    with pytest.raises(DivergenceError, match="in epoch 1") as caught:
        Trainer(VALUES, "sgd", 1e30, batch_size=5, epochs=3).fit(X, TARGETS)
    np.testing.assert_array_equal(caught.value.run.params.vector, VALUES.init(dtype="float32").vector)
    assert caught.value.run.history == ()


def test_a_loss_that_is_infinite_with_parameters_that_are_not() -> None:
    with pytest.raises(DivergenceError, match="received a loss of inf") as caught:
        Trainer(VALUES, "sgd", 1e-30, batch_size=5, epochs=3).fit(X, 1e25 * TARGETS)
    assert np.isfinite(caught.value.run.state.params).all()


def test_diverged_after_the_best_epoch() -> None:
    trainer = Trainer(VALUES, "sgd", 0.05, "step:every=3,factor=1e30", batch_size=5, epochs=9, early_stopping="loss")
    with pytest.raises(DivergenceError, match="in epoch 4") as caught:
        trainer.fit(X, TARGETS, validation=(X[:5], TARGETS[:5]))
    run = caught.value.run
    np.testing.assert_array_equal(run.params.vector, run.state.best)


# States that are not this run's.


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (Network([N_IN, 9, K]), {}, "expected parameters of shape"),
        (Network([N_IN, 8, K]), {"optimizer": "sgd"}, "expected an optimizer state with 0 slots; received 2"),
        (Network([N_IN, 8, K]), {"optimizer": "momentum"}, "expected an optimizer state with 1 slots; received 2"),
    ],
)
def test_a_state_of_another_network_or_optimizer_is_refused(
    network: Network, options: dict[str, Any], message: str
) -> None:
    state = Trainer(Network([N_IN, 8, K]), epochs=1).fit(X, Y).state
    with pytest.raises(InvalidParameterError, match=f"^state: {message}"):
        Trainer(network, epochs=2, **options).fit(X, Y, state=state)


def test_a_state_comes_from_any_device_and_dtype(backend: Backend, dtype: str) -> None:
    network = Network([N_IN, 8, K])
    state = Trainer(network, epochs=1, dtype="float32").fit(X, Y).state
    run = Trainer(network, epochs=2, dtype=dtype, device=backend).fit(X, Y, state=state)
    assert backend.to_numpy(run.params.vector).dtype == dtype
    expected = Trainer(network, epochs=2, dtype="float32").fit(X, Y).params.vector
    np.testing.assert_allclose(backend.to_numpy(run.params.vector), expected, rtol=1e-3, atol=1e-4)


def test_a_run_says_how_it_went() -> None:
    run = Trainer(Network([N_IN, 5, K]), epochs=2).fit(X, Y, validation=HELD_OUT)
    assert repr(run).startswith("<Run of 4 -> 5 -> 3, 43 parameters; 2 epochs, stopped='epochs'; loss ")
    assert ", validation accuracy " in repr(run)
    assert len(repr(run)) < 200


@pytest.mark.parametrize("optimizer", ["adam", "momentum"])
def test_a_state_that_cannot_be_written_is_copied(optimizer: str) -> None:
    """A state from a memory map, or from a library whose arrays cannot be written."""
    trainer = Trainer(Network([N_IN, 5, K]), optimizer, epochs=2)

    def copied(value: Any) -> Any:
        return value.copy() if isinstance(value, np.ndarray) else value

    def frozen(value: Any) -> Any:
        value = copied(value)
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
        return value

    start = trainer.fit(X, Y).state
    expected = replace(trainer, epochs=4).fit(X, Y, state=map_arrays(copied, start))
    actual = replace(trainer, epochs=4).fit(X, Y, state=map_arrays(frozen, start))
    np.testing.assert_array_equal(actual.params.vector, expected.params.vector)
