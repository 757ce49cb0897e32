"""The trainer's mathematics: an epoch is the steps that one would do by hand, on every backend."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.utils.class_weight import compute_sample_weight

from tests.runs import StopAt
from xpnet.backend import Backend, backend_of
from xpnet.nn.network import Network, Parameters
from xpnet.seeds import Purpose, seed_sequence
from xpnet.training import step_chunks
from xpnet.training.batch_source import Order
from xpnet.training.callbacks import Callback, StopTraining
from xpnet.training.early_stopping import EarlyStopping
from xpnet.training.history import EpochRecord
from xpnet.training.loop import TrainingLoop
from xpnet.training.schedules import get_schedule
from xpnet.training.trainer import Run, Trainer

N, N_IN, K = 23, 4, 3  # 23 samples in batches of 5: the last one is short
_rng = np.random.default_rng(8)
X = _rng.standard_normal((N, N_IN)).astype("float32").astype("float64")
Y = _rng.integers(0, K, N)
HELD_OUT = (X[:9] + 0.5, Y[:9])
NETWORK = Network([N_IN, 6, K], activation="tanh")


def shuffled(epoch: int, n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed_sequence(seed, Purpose.SHUFFLE, epoch)).permutation(n)


def by_hand(batch_size: int, rates: Sequence[float], orders: Order = shuffled) -> np.ndarray:
    """Plain gradient descent in float64, an epoch a rate, written out."""
    params = NETWORK.init()
    for epoch, rate in enumerate(rates):
        order = orders(epoch, N)
        for start in range(0, N, batch_size):
            rows = order[start : start + batch_size]
            _, grads = NETWORK.loss_and_grads(params, X[rows], Y[rows])
            params.vector[:] -= rate * grads.vector
    return params.vector


@pytest.mark.parametrize("batch_size", [1, 5, None])
def test_epochs_are_steps_by_hand(batch_size: int | None, backend: Backend, dtype: str, close: Any) -> None:
    trainer = Trainer(
        NETWORK, "sgd", 0.3, "step:every=1,factor=0.5", batch_size=batch_size, epochs=2, device=backend, dtype=dtype
    )
    run = trainer.fit(X, Y)
    close(run.params.vector, by_hand(batch_size or N, [0.3, 0.15]), terms=N)
    assert [record.learning_rate for record in run.history] == [0.3, 0.15]
    assert (run.stopped, run.state.epoch, run.state.position) == ("epochs", 2, 0)


def test_given_weights_unshuffled_go_the_way_of_scikit_learn(backend: Backend, dtype: str, close: Any) -> None:
    peer = MLPClassifier(6, "tanh", solver="sgd", alpha=0, batch_size=5, learning_rate_init=0.1, momentum=0)
    peer.set_params(shuffle=False, warm_start=True, max_iter=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        peer.fit(X, Y)
        initial = [(W.copy(), b.copy()) for W, b in zip(peer.coefs_, peer.intercepts_, strict=True)]
        peer.set_params(max_iter=4).fit(X, Y)
    kept = [(W.copy(), b.copy()) for W, b in initial]
    trainer = Trainer(NETWORK, "sgd", 0.1, batch_size=5, epochs=4, shuffle=False, device=backend, dtype=dtype)
    run = trainer.fit(X, Y, params=initial)
    for (W, b), W_peer, b_peer in zip(run.params, peer.coefs_, peer.intercepts_, strict=True):
        close(W, W_peer, terms=N)
        close(b, b_peer, terms=N)
    for before, after in zip(kept, initial, strict=True):
        np.testing.assert_array_equal(before[0], after[0])  # what was given is copied
    assert [record.loss for record in run.history] == pytest.approx(peer.loss_curve_[-4:], rel=1e-5)


def test_given_weights_may_lie_elsewhere(put: Any, backend: Backend, dtype: str) -> None:
    params = NETWORK.init(5, backend, dtype)
    run = Trainer(NETWORK, "sgd", 1e-30, batch_size=5, epochs=1, device="cpu", dtype="float64").fit(X, Y, params=params)
    np.testing.assert_allclose(run.params.vector, backend.to_numpy(params.vector), rtol=1e-12, atol=1e-20)


def test_the_recorded_loss_is_the_mean_over_the_samples() -> None:
    run = Trainer(NETWORK, "sgd", 1e-12, batch_size=5, epochs=3, dtype="float64").fit(X, Y, validation=HELD_OUT)
    loss, _ = NETWORK.loss_and_grads(NETWORK.init(), X, Y)
    assert [record.loss for record in run.history] == pytest.approx([float(loss)] * 3, rel=1e-9)
    held_out_loss, _ = NETWORK.loss_and_grads(NETWORK.init(), *HELD_OUT)
    assert run.history[0].validation["loss"] == pytest.approx(float(held_out_loss), rel=1e-9)
    predicted = NETWORK.predict(run.params, HELD_OUT[0]).argmax(axis=1)
    assert run.history[0].validation["accuracy"] == np.mean(predicted == HELD_OUT[1])


def test_with_reduction_sum_the_rate_is_for_the_summed_gradient() -> None:
    mean = Trainer(NETWORK, "sgd", 0.5, batch_size=None, epochs=3, dtype="float64").fit(X, Y)
    summed_network = Network([N_IN, 6, K], activation="tanh", reduction="sum")
    summed = Trainer(summed_network, "sgd", 0.5 / N, batch_size=None, epochs=3, dtype="float64").fit(X, Y)
    np.testing.assert_allclose(summed.params.vector, mean.params.vector, rtol=1e-12)
    assert summed.history[2].loss == pytest.approx(mean.history[2].loss, rel=1e-12)


def test_an_adaptive_schedule_watches_the_validation_loss() -> None:
    network = Network([N_IN, 32, K])
    trainer = Trainer(network, learning_rate=0.02, schedule="adaptive:patience=2", batch_size=5, epochs=25)
    history = trainer.fit(X, Y, validation=HELD_OUT).history
    schedule = get_schedule(trainer.schedule)
    state, expected = schedule.initial, []
    for record in history:
        expected.append(0.02 * schedule.factor(state, 0, 0))
        state = schedule.observe(state, record)
    assert [record.learning_rate for record in history] == expected
    assert expected[-1] < 0.02
    assert trainer.fit(X, Y).history[-1].learning_rate == 0.02  # the training loss falls all the time


# What functions give.


def rolled(epoch: int, n: int) -> np.ndarray:
    return np.roll(np.arange(n)[::-1], epoch)


def test_a_function_gives_the_orders(backend: Backend, dtype: str, close: Any) -> None:
    trainer = Trainer(NETWORK, "sgd", 0.3, batch_size=5, epochs=3, shuffle=rolled, device=backend, dtype=dtype)
    close(trainer.fit(X, Y).params.vector, by_hand(5, [0.3] * 3, rolled), terms=N)


def test_a_resumed_run_asks_for_the_orders_that_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_chunks, "_STEPS_PER_CHUNK", 2)
    asked: list[tuple[int, int]] = []

    def order(epoch: int, n: int) -> np.ndarray:
        asked.append((epoch, n))
        return rolled(epoch, n)

    trainer = Trainer(NETWORK, batch_size=5, epochs=3, shuffle=order)
    expected = trainer.fit(X, Y)
    stopped = replace(trainer, callbacks=[StopAt(4)]).fit(X, Y)
    assert (stopped.state.epoch, stopped.state.position) == (1, 2)
    run = trainer.fit(X, Y, state=stopped.state)
    assert asked == [(0, N), (1, N), (2, N), (0, N), (1, N), (1, N), (2, N)]
    np.testing.assert_array_equal(run.params.vector, expected.params.vector)


def test_a_function_gives_the_scores(backend: Backend, dtype: str) -> None:
    seen: list[np.ndarray] = []

    def scores(params: Parameters) -> dict[str, float]:
        assert [tuple(W.shape) for W, _ in params] == [(N_IN, 6), (6, K)]
        seen.append(np.array(backend.to_numpy(params.vector)))
        return {"f1": len(seen) / 4, "loss": -1.0}

    run = Trainer(NETWORK, batch_size=5, epochs=3, device=backend, dtype=dtype).fit(X, Y, validation=scores)
    assert [record.validation for record in run.history] == [{"f1": k / 4, "loss": -1.0} for k in (1, 2, 3)]
    assert not np.array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[2], backend.to_numpy(run.params.vector))


@pytest.mark.parametrize("stopping", ["accuracy:patience=2", "loss:patience=2", EarlyStopping("f1", patience=2)])
def test_early_stopping_on_any_score_of_a_function(stopping: str | EarlyStopping) -> None:
    values = iter([0.1, 0.5, 0.4, 0.3, 0.9])

    def scores(params: Parameters) -> dict[str, float]:
        value = next(values)
        return {"f1": value, "accuracy": value, "loss": -value}

    trainer = Trainer(NETWORK, batch_size=5, epochs=5)
    run = replace(trainer, early_stopping=stopping).fit(X, Y, validation=scores)
    assert (run.stopped, len(run.history)) == ("early stopping", 4)
    np.testing.assert_array_equal(run.params.vector, replace(trainer, epochs=2).fit(X, Y).params.vector)


class Rates(Callback):
    def __init__(self, *rates: float) -> None:
        self.rates, self.asked = rates, []

    def learning_rate(self, epoch: int, rate: float) -> float:
        self.asked.append((epoch, rate))
        return self.rates[epoch - 1]


def test_early_stopping_on_the_training_loss(backend: Backend, dtype: str) -> None:
    # Three epochs go down, and from the fourth on the steps are far too long.
    trainer = Trainer(NETWORK, "sgd", batch_size=5, epochs=9, device=backend, dtype=dtype)
    trainer = replace(trainer, callbacks=[Rates(*[0.3] * 3, *[50.0] * 6)])
    run = replace(trainer, early_stopping="training_loss:patience=3,tolerance=0.001").fit(X, Y)
    losses = [record.loss for record in run.history]
    assert (run.stopped, len(losses), np.argmin(losses)) == ("early stopping", 6, 2)
    best = replace(trainer, epochs=3).fit(X, Y)
    np.testing.assert_array_equal(backend.to_numpy(run.params.vector), backend.to_numpy(best.params.vector))


def test_the_training_loss_must_fall_by_more_than_the_tolerance() -> None:
    trainer = Trainer(NETWORK, "sgd", 0.01, batch_size=None, epochs=9)
    run = replace(trainer, early_stopping="training_loss:patience=3,tolerance=0.5").fit(X, Y, validation=HELD_OUT)
    assert (run.stopped, len(run.history)) == ("early stopping", 4)
    np.testing.assert_array_equal(run.params.vector, run.state.params)  # it fell all the time
    assert replace(trainer, early_stopping="training_loss:patience=3").fit(X, Y).stopped == "epochs"


# The same everywhere.

DROPPED = Network([N_IN, 16, 8, K], activation=("relu", "rrelu"), dropout=0.25, l2=0.01)


def train_dropped(device: Any, dtype: str, **options: Any) -> Run:
    trainer = Trainer(DROPPED, "adam", 0.01, "cosine", 1.0, 5, epochs=2, dtype=dtype, device=device, seed=5, **options)
    return trainer.fit(X, Y, validation=HELD_OUT, sample_weight=np.arange(N) % 3 + 0.5)


@cache
def on_numpy(dtype: str) -> Run:
    return train_dropped("cpu", dtype)


def test_every_backend_trains_as_numpy_does(backend: Backend, dtype: str) -> None:
    run, expected = train_dropped(backend, dtype), on_numpy(dtype)
    allowed = {"float64": 1e-10, "float32": 1e-4}[dtype]
    np.testing.assert_allclose(backend.to_numpy(run.params.vector), expected.params.vector, rtol=allowed, atol=allowed)
    for record, other in zip(run.history, expected.history, strict=True):
        assert record.loss == pytest.approx(other.loss, rel=allowed)
        assert record.validation == pytest.approx(other.validation, rel=allowed)


def test_the_seed_decides() -> None:
    def vector(seed: int) -> bytes:
        return Trainer(NETWORK, epochs=2, batch_size=5, seed=seed).fit(X, Y).params.vector.tobytes()

    assert vector(3) == vector(3) != vector(4)


def test_training_takes_place_where_the_data_lie(backend: Backend, dtype: str, put: Any) -> None:
    x = put(X)
    assert backend_of(x).name == backend.name
    run = Trainer(NETWORK, epochs=1, batch_size=5, dtype=dtype).fit(x, put(Y), validation=(x, put(Y)))
    assert type(run.params.vector) is type(x)
    assert run.params.vector.dtype == x.dtype
    assert backend_of(run.params.vector).name == backend.name
    np.testing.assert_array_equal(backend.to_numpy(x), X)  # and they are as they were
    mixed = Trainer(NETWORK, epochs=1, batch_size=5, dtype=dtype).fit(x, Y, sample_weight=put(np.ones(N)))
    assert type(mixed.params.vector) is type(x)


def test_host_arrays_go_to_the_named_device(backend: Backend, dtype: str) -> None:
    run = Trainer(NETWORK, epochs=1, batch_size=5, dtype=dtype, device=backend.name).fit(X, Y)
    assert backend_of(run.params.vector).name == backend.name


@pytest.mark.parametrize("device", ["numpy:cpu", "torch:cpu", "jax:cpu"], indirect=True)
def test_the_users_arrays_are_never_written(backend: Backend, dtype: str) -> None:
    arrays = [X.astype(dtype), Y.astype("int32"), np.ones(N, dtype), *(a.copy() for a in HELD_OUT)]
    for array in arrays:
        array.flags.writeable = False
    before = [array.tobytes() for array in arrays]
    x, y, weight, *validation = arrays
    Trainer(DROPPED, epochs=1, batch_size=None, dtype=dtype, device=backend).fit(
        x, y, sample_weight=weight, validation=tuple(validation)
    )
    assert [array.tobytes() for array in arrays] == before


@pytest.mark.parametrize("device", ["torch:cpu"], indirect=True)
@pytest.mark.parametrize("dtype", ["float64"], indirect=True)
def test_any_layout_and_type_of_host_array(backend: Backend) -> None:
    trainer = Trainer(NETWORK, epochs=1, batch_size=5, device=backend, dtype="float64")
    expected = backend.to_numpy(trainer.fit(X, Y).params.vector)
    for x in (np.asfortranarray(X), X[::-1].copy()[::-1], X.astype(">f8"), X.tolist()):
        np.testing.assert_array_equal(backend.to_numpy(trainer.fit(x, Y).params.vector), expected)
    for y in (Y.astype("uint8"), Y.tolist(), np.repeat(Y, 2)[::2]):
        np.testing.assert_array_equal(backend.to_numpy(trainer.fit(X, y).params.vector), expected)


def test_pandas_data() -> None:
    pd = pytest.importorskip("pandas")
    trainer = Trainer(NETWORK, epochs=1, batch_size=5)
    run = trainer.fit(pd.DataFrame(X), pd.Series(Y), sample_weight=pd.Series(np.ones(N)))
    expected = trainer.fit(X, Y, sample_weight=np.ones(N))
    np.testing.assert_array_equal(run.params.vector, expected.params.vector)


@pytest.mark.parametrize("loss", ["squared_error", "huber", "poisson"])
def test_whole_numbers_are_values_where_one_output_is_no_probability(loss: str) -> None:
    network = Network([N_IN, 1], loss=loss)
    counts = 7 * Y
    run = Trainer(network, epochs=2, batch_size=5).fit(X, counts, validation=(X, counts))
    expected = Trainer(network, epochs=2, batch_size=5).fit(X, counts[:, None].astype("float32"))
    np.testing.assert_array_equal(run.params.vector, expected.params.vector)
    assert "r2" in run.history[0].validation


# Weights.


def fit_whole(x: np.ndarray, y: np.ndarray, **options: Any) -> np.ndarray:
    weight = options.pop("sample_weight", None)
    trainer = Trainer(NETWORK, "momentum", 0.1, batch_size=None, epochs=5, dtype="float64", **options)
    return trainer.fit(x, y, sample_weight=weight).params.vector


def test_a_sample_of_weight_two_is_the_sample_twice() -> None:
    times = np.arange(N) % 3
    weighted = fit_whole(X, Y, sample_weight=times)
    np.testing.assert_allclose(weighted, fit_whole(np.repeat(X, times, 0), np.repeat(Y, times)), rtol=1e-10)
    assert not np.allclose(weighted, fit_whole(X, Y))


def test_class_weights_are_weights_of_their_samples() -> None:
    table = {0: 2.0, 2: 0.5}
    weight = np.asarray([2.0, 1.0, 0.5])[Y]
    np.testing.assert_array_equal(fit_whole(X, Y, class_weight=table), fit_whole(X, Y, sample_weight=weight))
    balanced = fit_whole(X, Y, class_weight="balanced")
    expected = fit_whole(X, Y, sample_weight=compute_sample_weight("balanced", Y))
    np.testing.assert_allclose(balanced, expected, rtol=1e-12)
    both = fit_whole(X, Y, class_weight=table, sample_weight=np.arange(N))
    np.testing.assert_array_equal(both, fit_whole(X, Y, sample_weight=weight * np.arange(N)))


# Callbacks.


class Log(Callback):
    def __init__(self, name: str, log: list[Any]) -> None:
        self.name, self.log = name, log

    def on_start(self, n_steps: int, epochs: int) -> None:
        self.log.append((self.name, "start", n_steps, epochs))

    def on_steps(self, epoch: int, done: int) -> None:
        self.log.append((self.name, "steps", epoch, done))

    def on_epoch(self, record: EpochRecord, run: Run) -> None:
        self.log.append((self.name, "epoch", record.epoch))


def test_callbacks_are_called_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_chunks, "_STEPS_PER_CHUNK", 3)
    log: list[Any] = []
    Trainer(NETWORK, batch_size=5, epochs=2, callbacks=[Log("a", log), Log("b", log)]).fit(X, Y)
    events = [("start", 5, 2)]
    for epoch in (1, 2):
        events += [*(("steps", epoch, done) for done in (3, 4, 5)), ("epoch", epoch)]
    assert log == [(name, *event) for event in events for name in "ab"]


def test_callbacks_change_the_learning_rate(backend: Backend, dtype: str, close: Any) -> None:
    first, second = Rates(0.5, 0.1, 0.2), Rates(0.3, 0.4, 0.05)
    trainer = Trainer(NETWORK, "sgd", 0.8, "step:every=1,factor=0.5", batch_size=5, epochs=3, device=backend)
    run = replace(trainer, dtype=dtype, callbacks=[first, Callback(), second]).fit(X, Y)
    assert first.asked == [(1, 0.8), (2, 0.4), (3, 0.2)]
    assert second.asked == [(1, 0.5), (2, 0.1), (3, 0.2)]
    assert [record.learning_rate for record in run.history] == [0.3, 0.4, 0.05]
    close(run.params.vector, by_hand(5, [0.3, 0.4, 0.05]), terms=N)


class Keep(Callback):
    def __init__(self) -> None:
        self.seen: list[tuple[EpochRecord, Run, bytes]] = []

    def on_epoch(self, record: EpochRecord, run: Run) -> None:
        self.seen.append((record, run, run.params.vector.tobytes()))


def test_after_each_epoch_a_callback_sees_the_run_as_if_it_ended_there() -> None:
    keep = Keep()
    trainer = Trainer(NETWORK, batch_size=5, epochs=3)
    history = replace(trainer, callbacks=[keep]).fit(X, Y, validation=HELD_OUT).history
    assert len(keep.seen) == 3
    for epoch, (record, run, then) in enumerate(keep.seen, 1):
        assert run.stopped == "running"
        assert run.history[-1] is record
        assert run.history == history[:epoch]
        assert run.state.epoch == epoch
        assert run.params.vector.tobytes() == then  # no later step has changed it
        np.testing.assert_array_equal(run.params.vector, replace(trainer, epochs=epoch).fit(X, Y).params.vector)


def test_with_early_stopping_it_sees_the_best_epoch_so_far() -> None:
    keep, values = Keep(), iter([0.1, 0.5, 0.4])
    trainer = Trainer(NETWORK, batch_size=5, epochs=3, early_stopping=EarlyStopping("f1"), callbacks=[keep])
    trainer.fit(X, Y, validation=lambda params: {"f1": next(values)})
    first, second, third = (then for _, _, then in keep.seen)
    assert first != second == third


@pytest.mark.parametrize("where", ["on_start", "learning_rate", "on_steps", "on_epoch"])
def test_a_callback_may_stop_the_run_anywhere(where: str) -> None:
    def stop(*_: Any) -> None:
        raise StopTraining

    callback = Callback()
    setattr(callback, where, stop)
    run = Trainer(NETWORK, "sgd", 0.3, batch_size=5, epochs=9, dtype="float64", callbacks=[callback]).fit(X, Y)
    assert run.stopped == "interrupted"
    done = {"on_start": (0, 0), "learning_rate": (0, 0), "on_steps": (0, 4), "on_epoch": (1, 0)}[where]
    assert (run.state.epoch, run.state.position) == done
    assert len(run.history) == done[0]
    np.testing.assert_array_equal(run.params.vector, run.state.params)
    if where == "on_epoch":
        np.testing.assert_allclose(run.params.vector, by_hand(5, [0.3]), rtol=1e-12)


def test_what_a_stopped_run_gives_is_not_consumed_by_going_on() -> None:
    trainer = Trainer(NETWORK, batch_size=5, epochs=2)
    stopped = Trainer(NETWORK, batch_size=5, epochs=2, callbacks=[StopAt(1)]).fit(X, Y)
    before = stopped.params.vector.copy()
    trainer.fit(X, Y, state=stopped.state)
    np.testing.assert_array_equal(stopped.params.vector, before)


def test_nothing_leaves_the_device_within_an_epoch(
    backend: Backend, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_chunks, "_STEPS_PER_CHUNK", 1)
    calls: list[int] = []
    to_numpy = backend.to_numpy
    monkeypatch.setattr(backend, "to_numpy", lambda array: calls.append(1) or to_numpy(array))

    class Count(Callback):
        def __init__(self) -> None:
            self.seen: list[tuple[int, int]] = []

        def on_steps(self, epoch: int, done: int) -> None:
            self.seen.append((epoch, len(calls)))

    count = Count()
    Trainer(DROPPED, "adam", 0.01, "cosine", 1.0, 5, 2, device=backend, dtype=dtype, callbacks=[count]).fit(X, Y)
    first, second = ({n for epoch, n in count.seen if epoch == e} for e in (1, 2))
    assert len(count.seen) == 10
    assert len(first) == len(second) == 1
    assert min(second) - min(first) == 2  # at the end of an epoch: its loss, and whether all is finite


def test_no_more_than_one_copy_of_the_parameters_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    copies: list[weakref.ref[np.ndarray]] = []
    copy = TrainingLoop._copy

    def counting(*arguments: Any) -> np.ndarray:
        assert [ref for ref in copies if ref() is not None] == []
        copies.append(weakref.ref(array := copy(*arguments)))
        return array

    monkeypatch.setattr(TrainingLoop, "_copy", counting)
    x = np.random.default_rng(0).standard_normal((20, 3))
    Trainer(Network([3, 4, 2]), epochs=3).fit(x, np.arange(20) % 2, validation=(x, np.arange(20) % 2))
    assert len(copies) == 4
