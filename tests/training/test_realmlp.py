"""The parts of RealMLP-TD-S (Holzmüller, Grinsztajn, Steinwart, 2024, arXiv:2407.04491), against a plain form of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from tests.runs import StopAt
from xpnet.backend import Backend
from xpnet.data.streams.source import ArraySource
from xpnet.errors import XpnetWarning
from xpnet.nn.network import Network, Parameters
from xpnet.training import step_chunks
from xpnet.training.checkpoint_file import load_state, save_state
from xpnet.training.schedules import Schedule
from xpnet.training.trainer import Run, Trainer

N, N_IN, K, BATCH, EPOCHS = 70, 5, 3, 16, 3  # 4 whole batches; 6 samples are left out of each epoch
RATE, BETA_1, BETA_2, EPSILON = 0.04, 0.9, 0.95, 1e-8
FACTORS = {"biases": 0.1, "input_scale": 6.0}
_rng = np.random.default_rng(7)
X = _rng.standard_normal((N, N_IN)).astype("float32").astype("float64")
CLASSES = _rng.integers(0, K, N)
VALUES = X @ _rng.standard_normal((N_IN, 1)) + X[:, :1] * X[:, 1:2]
FORM = {
    "parametrization": "ntk",
    "input_scale": True,
    "initializer": ("normal", "normal", "normal", "zeros"),
}
NETWORKS = {
    "classes": Network((N_IN, 12, 12, 12, K), "selu", label_smoothing=0.1, **FORM),
    "numbers": Network((N_IN, 12, 12, 12, 1), "mish", loss="squared_error", **FORM),
}
TARGETS = {"classes": CLASSES, "numbers": VALUES}


def train(case: str, device: Any = "cpu", dtype: str = "float64", **options: Any) -> Run:
    trainer = Trainer(
        NETWORKS[case], f"adam:beta_2={BETA_2}", RATE, "coslog4", batch_size=BATCH, epochs=EPOCHS, seed=4, dtype=dtype,
        learning_rate_factors=FACTORS, drop_last=True, device=device,
    )  # fmt: skip
    state = options.pop("state", None)
    validation = options.pop("validation", None)
    return replace(trainer, **options).fit(X, TARGETS[case], validation=validation, state=state)


@cache
def trained(case: str, dtype: str = "float64") -> Run:
    return train(case, dtype=dtype)


# The plain form: one loop over steps, and nothing shared with the package but the initial weights and the orders.


def selu(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    alpha, scale = 1.6732632423543772, 1.0507009873554805
    return scale * np.where(z > 0, z, alpha * np.expm1(z)), scale * np.where(z > 0, 1, alpha * np.exp(z))


def mish(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    t = np.tanh(np.log1p(np.exp(z)))
    return z * t, t + z * (1 - t**2) / (1 + np.exp(-z))


def error_of(case: str, output: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the gradient of the mean loss with respect to the last layer's output."""
    if case == "numbers":
        return (output - y) / len(y)
    e = np.exp(output - output.max(axis=1, keepdims=True))
    return (e / e.sum(axis=1, keepdims=True) - (0.9 * np.eye(K)[y] + 0.1 / K)) / len(y)


def plain_form(case: str, orders: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return weights, biases and input scale after training on the given batches."""
    function, y = {"classes": selu, "numbers": mish}[case], TARGETS[case]
    start = NETWORKS[case].init(4)
    Ws, bs, s = [W.copy() for W, _ in start], [b.copy() for _, b in start], np.ones(N_IN)
    params = [*Ws, *bs, s]
    factors = [1.0] * 4 + [0.1] * 4 + [6.0]
    m, v = ([np.zeros_like(p) for p in params] for _ in range(2))
    for t, rows in enumerate(orders):
        inputs, derivatives = [X[rows] * s], []
        for W, b in zip(Ws[:-1], bs[:-1], strict=True):
            a, derivative = function(inputs[-1] @ W / math.sqrt(len(W)) + b)
            inputs.append(a)
            derivatives.append(derivative)
        delta = error_of(case, inputs[-1] @ Ws[-1] / math.sqrt(len(Ws[-1])) + bs[-1], y[rows])
        grads_W, grads_b = [], []
        for i in (3, 2, 1, 0):
            grads_W.insert(0, inputs[i].T @ delta / math.sqrt(len(Ws[i])))
            grads_b.insert(0, delta.sum(axis=0))
            delta = delta @ Ws[i].T / math.sqrt(len(Ws[i]))
            if i:
                delta = delta * derivatives[i - 1]
        rate = RATE * 0.5 * (1 - math.cos(2 * math.pi * math.log2(1 + 15 * t / len(orders))))
        for i, gradient in enumerate([*grads_W, *grads_b, (delta * X[rows]).sum(axis=0)]):
            m[i] = BETA_1 * m[i] + (1 - BETA_1) * gradient
            v[i] = BETA_2 * v[i] + (1 - BETA_2) * gradient**2
            m_hat, v_hat = m[i] / (1 - BETA_1 ** (t + 1)), v[i] / (1 - BETA_2 ** (t + 1))
            params[i] -= factors[i] * rate * m_hat / (np.sqrt(v_hat) + EPSILON)
    return params


@pytest.mark.parametrize("case", NETWORKS)
def test_training_is_that_of_the_plain_form(case: str) -> None:
    orders = []

    def noted(epoch: int, n: int) -> np.ndarray:
        order = np.random.default_rng(epoch).permutation(n)
        orders.extend(order[start : start + BATCH] for start in range(0, n - BATCH + 1, BATCH))
        return order

    run = train(case, shuffle=noted)
    assert len(orders) == EPOCHS * 4
    expected = plain_form(case, orders)
    layers = run.params
    for actual, reference in zip([*(W for W, _ in layers), *(b for _, b in layers)], expected[:-1], strict=True):
        np.testing.assert_allclose(actual, reference, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(layers.input_scale, expected[-1], rtol=1e-9)
    assert np.ptp(layers.input_scale) > 0.1


@pytest.mark.parametrize("case", NETWORKS)
def test_every_backend_trains_as_numpy_does(case: str, backend: Backend, dtype: str) -> None:
    run, expected = train(case, backend, dtype), trained(case, dtype)
    allowed = {"float64": 1e-10, "float32": 1e-4}[dtype]
    np.testing.assert_allclose(backend.to_numpy(run.params.vector), expected.params.vector, rtol=allowed, atol=allowed)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("epochs", [2, 40])  # run as it is, and compiled
def test_compiled_it_trains_the_same(dtype: str, epochs: int) -> None:
    pytest.importorskip("numba")
    runs = [train("numbers", device, dtype, epochs=epochs) for device in ("cpu", "numba:cpu")]
    allowed = {"float64": 1e-10, "float32": 1e-3}[dtype]
    numpy_run, numba_run = (run.params.vector for run in runs)
    np.testing.assert_allclose(numba_run, numpy_run, rtol=allowed, atol=allowed)


# Forward scaling.


def test_forward_scaling_is_a_scaled_start_and_a_scaled_rate() -> None:
    """Adam without epsilon does not see the scale of a gradient, so only the size of its steps changes."""
    n = 9
    x = np.random.default_rng(0).standard_normal((60, n))
    y = np.arange(60) % n
    ntk = Network((n, n, n, n), "tanh", parametrization="ntk", initializer="normal")
    standard = Network((n, n, n, n), "tanh")
    options = {"optimizer": "adam:epsilon=1e-60", "learning_rate": 0.01, "batch_size": 20, "epochs": 5}
    scaled = Trainer(ntk, dtype="float64", **options)
    plain = Trainer(standard, dtype="float64", learning_rate_factors={"weights": 1 / math.sqrt(n)}, **options)
    start = [(W / math.sqrt(n), b) for W, b in ntk.init(0)]
    first, second = scaled.fit(x, y), plain.fit(x, y, params=start)
    for (W, b), (expected_W, expected_b) in zip(first.params, second.params, strict=True):
        np.testing.assert_allclose(W / math.sqrt(n), expected_W, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(b, expected_b, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ntk.predict(first.params, x), standard.predict(second.params, x), rtol=1e-9)


def test_the_input_scale_is_a_factor_of_the_inputs(backend: Backend, dtype: str, put: Any, close: Any) -> None:
    scaled, plain = (Network((N_IN, 6, K), "tanh", input_scale=given) for given in (True, False))
    vector = scaled.init(1).vector
    np.testing.assert_array_equal(vector[-N_IN:], np.ones(N_IN))
    vector[-N_IN:] = [0.5, -2, 0, 1, 3]
    expected = plain.predict(plain.init(1), X * vector[-N_IN:])
    close(scaled.predict(Parameters(put(vector), scaled), put(X)), expected)


# Learning-rate factors.


@pytest.mark.parametrize("kind", ["weights", "biases", "slopes", "input_scale"])
def test_a_factor_is_for_one_kind_of_parameter(kind: str, backend: Backend, dtype: str, close: Any) -> None:
    network = Network((N_IN, 6, K), "prelu", input_scale=True, l2=0.1)
    trainer = Trainer(network, "sgd", 0.05, batch_size=None, epochs=1, device=backend, dtype=dtype)
    run = replace(trainer, learning_rate_factors={kind: 3.0}).fit(X, CLASSES)
    start = network.init(0).vector
    _, grads = network.loss_and_grads(network.init(0), X, CLASSES)
    rates = np.concatenate([np.full(s.size, 0.15 if s.kind == kind else 0.05) for s in network.segments])
    close(run.params.vector, start - rates * grads.vector, terms=N)


def test_without_factors_the_rate_is_one_number() -> None:
    assert train("classes", learning_rate_factors={"biases": 1.0}).state.step.rate_factors == ()
    (factors,) = train("classes").state.step.rate_factors
    assert sorted(set(factors.tolist())) == [0.1, 1.0, 6.0]


# Steps and their rates.


def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_chunks, "_STEPS_PER_CHUNK", 1)
    expected = trained("classes")
    for call in (1, 3, 6):
        state = train("classes", callbacks=[StopAt(call)]).state
        assert state.position == call % 4
        save_state(tmp_path / "s", NETWORKS["classes"], state)
        rest = train("classes", state=load_state(tmp_path / "s")[1])
        np.testing.assert_array_equal(rest.params.vector, expected.params.vector)
        assert [r.learning_rate for r in rest.history] == [r.learning_rate for r in expected.history]


def test_a_step_schedule_is_compiled_once_for_any_number_of_epochs() -> None:
    from xpnet.nn.step import _step

    before = _step.cache_info().misses
    for epochs in (1, 2, 5):
        train("numbers", epochs=epochs, clip_norm=123.0)
    assert _step.cache_info().misses == before + 1


def test_a_repeated_epoch_has_its_own_time_again() -> None:
    seen: list[float] = []

    def noted(xp: Any, t: Any) -> Any:
        seen.append(9 * float(t))
        return t * np.nan if seen.count(seen[-1]) == 1 and seen[-1] == 4 else t

    schedule = Schedule(lambda state, epoch, epochs: 1.0, step_factor=noted)
    trainer = Trainer(Network((N_IN, K)), "sgd", 0.1, schedule, batch_size=24, epochs=3, dtype="float64")
    with pytest.warns(XpnetWarning, match="half the learning rate"):
        replace(trainer, on_divergence="halve").fit(X, CLASSES)
    # The record of each epoch asks for its middle first.
    assert seen == pytest.approx([1.5, 0, 1, 2, 4.5, 3, 4, 5, 4.5, 3, 4, 5, 7.5, 6, 7, 8])


# Batches of one size.


@pytest.mark.parametrize("n", [16, 17, 31, 32, 70])
def test_a_short_last_batch_is_left_out(n: int) -> None:
    sizes: list[int] = []
    network = Network((N_IN, K))

    def order(epoch: int, total: int) -> np.ndarray:
        assert total == n
        return np.arange(total)

    trainer = Trainer(network, "sgd", 0.3, batch_size=16, epochs=1, shuffle=order, drop_last=True, dtype="float64")
    run = trainer.fit(X[:n], CLASSES[:n])
    params = network.init()
    for start in range(0, n - 15, 16):
        rows = slice(start, start + 16)
        loss, grads = network.loss_and_grads(params, X[rows], CLASSES[rows])
        params.vector[:] -= 0.3 * grads.vector
        sizes.append(float(loss))
    np.testing.assert_allclose(run.params.vector, params.vector, rtol=1e-12)
    assert run.history[0].loss == pytest.approx(np.mean(sizes), rel=1e-12)  # of the samples that were trained on
    whole = replace(trainer, drop_last=False).fit(X[:n], CLASSES[:n])
    assert np.array_equal(whole.params.vector, run.params.vector) == (n % 16 == 0)


def test_a_set_smaller_than_a_batch_is_one_batch() -> None:
    trainer = Trainer(Network((N_IN, K)), batch_size=None, epochs=1, drop_last=True)
    assert trainer.fit(X, CLASSES).state.step.optimizer.count == 1


def test_a_stream_leaves_it_out_too() -> None:
    trainer = Trainer(Network((N_IN, K)), batch_size=16, epochs=2, shuffle=False, drop_last=True)
    streamed, whole = trainer.fit(ArraySource(X, CLASSES)), trainer.fit(X, CLASSES)
    np.testing.assert_array_equal(streamed.params.vector, whole.params.vector)
    assert streamed.history[0].loss == whole.history[0].loss


def test_the_latest_of_equal_epochs_is_restored() -> None:
    scores = iter([0.5, 0.7, 0.7, 0.6] * 2)
    kept: list[np.ndarray] = []

    def score(params: Any) -> dict[str, float]:
        kept.append(params.vector.copy())
        return {"accuracy": next(scores)}

    for spec, best in (("accuracy:patience=inf", 1), ("accuracy:patience=inf,latest=1", 2)):
        kept.clear()
        run = train("classes", epochs=4, early_stopping=spec, validation=score)
        assert run.stopped == "epochs"
        np.testing.assert_array_equal(run.params.vector, kept[best])
