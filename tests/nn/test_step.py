"""The training step: what it consumes, what it leaves on the device, and that every backend compiles the same one."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest

from xpnet.backend import get_backend
from xpnet.backend.steps import run_steps
from xpnet.nn.losses import get_loss
from xpnet.nn.network import Network
from xpnet.nn.optimizers import OPTIMIZERS, get_optimizer
from xpnet.nn.step import StepState, clip_by_norm, compile_steps, init_state, make_step

N, BATCH, N_IN, K = 60, 12, 6, 3
_rng = np.random.default_rng(4)
X = _rng.standard_normal((N, N_IN)).astype("float32").astype("float64")
CLASSES = _rng.integers(0, K, N)
WEIGHT = _rng.integers(0, 4, N).astype("float64")
ORDER = np.concatenate([_rng.permutation(N).reshape(-1, BATCH) for _ in range(2)])  # two epochs
TARGETS = {
    "softmax": CLASSES,
    "sigmoid": _rng.integers(0, 2, (N, K)).astype("float64"),
    "exp": _rng.poisson(1.5, (N, K)).astype("float64"),
    None: _rng.standard_normal((N, K)).astype("float32").astype("float64"),
}


class Case(NamedTuple):
    network: Network
    optimizer: str = "sgd"
    learning_rate: float = 0.05
    clip_norm: float | None = None
    weighted: bool = False


def _network(activation: Any, loss: str = "cross_entropy", **options: Any) -> Network:
    return Network([N_IN, 8, 7, K], activation, loss=loss, **options)


CASES = {
    "plain": Case(_network("tanh")),
    "dropout": Case(_network("relu", dropout=(0.2, 0.5)), "adam", 0.01),
    "slopes": Case(_network(("prelu", "rrelu"), "squared_error", dropout=0.3), "nesterov", 0.01),
    "poisson": Case(_network(("gelu", "mish"), "poisson", l2=0.01, l1=0.001), "adamw", 0.01, weighted=True),
    "labels": Case(
        _network(("silu", "selu"), "binary_cross_entropy", reduction="sum"), "rmsprop", 0.003, clip_norm=0.5
    ),
    "huber": Case(_network("softplus", "huber", dropout=0.1), "adagrad", 0.05, weighted=True),
    "linear": Case(Network([N_IN, K], label_smoothing=0.1), "momentum"),
}


def _data(case: Case, backend: Any, dtype: str) -> tuple[Any, ...]:
    y = TARGETS[get_loss(case.network.loss).output]
    arrays = [X.astype(dtype), y.astype("int32" if y.dtype.kind == "i" else dtype)]
    return tuple(backend.asarray(a) for a in [*arrays, *([WEIGHT.astype(dtype)] if case.weighted else [])])


def _start(case: Case, backend: Any, dtype: str, seed: int = 3) -> tuple[Any, Any, StepState]:
    optimizer = get_optimizer(case.optimizer)
    params = case.network.init(1, backend, dtype).vector
    state = init_state(case.network, optimizer, params, seed, backend)
    rate = backend.asarray(np.asarray(case.learning_rate, dtype=dtype))
    state = state._replace(optimizer=state.optimizer._replace(learning_rate=rate))
    return make_step(case.network, optimizer, backend, clip_norm=case.clip_norm), params, state


def _run(case: Case, backend: Any, dtype: str) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    step, params, state = _start(case, backend, dtype)
    order = backend.asarray(ORDER.astype("int32"))
    params, state, losses = backend.compile(step)(params, state, _data(case, backend, dtype), order)
    leaves = [*state.optimizer.slots, state.optimizer.count, state.key]
    return backend.to_numpy(params), backend.to_numpy(losses), [backend.to_numpy(leaf) for leaf in leaves]


@cache
def _on_numpy(name: str, dtype: str) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    return _run(CASES[name], get_backend("cpu"), dtype)


# float64 as the design promises; float32 after ten steps, which each amplify the rounding of the one before.
ALLOWED = {"float64": 1e-10, "float32": 1e-4}


@pytest.mark.parametrize("name", CASES)
def test_every_backend_trains_as_numpy_does(name: str, backend: Any, dtype: str) -> None:
    params, losses, leaves = _run(CASES[name], backend, dtype)
    assert params.dtype == losses.dtype == dtype
    assert losses.shape == (len(ORDER),)
    expected_params, expected_losses, expected_leaves = _on_numpy(name, dtype)
    allowed = ALLOWED[dtype]
    np.testing.assert_allclose(params, expected_params, rtol=allowed, atol=allowed)
    np.testing.assert_allclose(losses, expected_losses, rtol=allowed, atol=allowed)
    for leaf, expected in zip(leaves, expected_leaves, strict=True):
        assert leaf.dtype == expected.dtype
        np.testing.assert_allclose(leaf, expected, rtol=100 * allowed, atol=100 * allowed)


@pytest.mark.parametrize("name", CASES)
def test_a_run_is_its_steps_one_by_one(name: str) -> None:
    case, backend = CASES[name], get_backend("cpu")
    step, params, state = _start(case, backend, "float64")
    data = _data(case, backend, "float64")
    losses = []
    for row in ORDER:
        params, state, loss = step(params, state, tuple(array[row] for array in data))
        losses.append(loss)
    expected_params, expected_losses, expected_leaves = _on_numpy(name, "float64")
    np.testing.assert_array_equal(params, expected_params)
    np.testing.assert_array_equal(losses, expected_losses)
    for leaf, expected in zip([*state.optimizer.slots, state.optimizer.count, state.key], expected_leaves, strict=True):
        np.testing.assert_array_equal(leaf, expected)


def test_a_step_is_the_gradient_and_the_update() -> None:
    case, backend = CASES["plain"], get_backend("cpu")
    step, params, state = _start(case, backend, "float64")
    x, y = X[:BATCH], CLASSES[:BATCH]
    loss, grads = case.network.loss_and_grads(case.network.init(1), x, y)
    before = params.copy()
    after, _, actual = step(params, state, (x, y))
    assert actual == loss
    np.testing.assert_allclose(after, before - case.learning_rate * grads.vector, rtol=1e-14)


def test_training_lowers_the_loss() -> None:
    _, losses, _ = _on_numpy("plain", "float64")
    assert losses[-3:].mean() < losses[:3].mean()


# The donation contract.


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", CASES)
def test_data_and_order_are_never_written(name: str, optimizer: str) -> None:
    case, backend = CASES[name]._replace(optimizer=optimizer), get_backend("cpu")
    step, params, state = _start(case, backend, "float64")
    data, order = _data(case, backend, "float64"), ORDER.copy()
    for array in (*data, order):
        array.flags.writeable = False
    backend.compile(step)(params, state, data, order)
    step(params, state, data)  # the whole set as one batch, ungathered


@pytest.mark.parametrize("device", ["numpy:cpu", "torch:cpu", "torch:gpu", "cupy:gpu"], indirect=True)
@pytest.mark.parametrize("name", ["dropout", "slopes"])
def test_where_arrays_can_be_written_the_state_is_updated_in_place(name: str, backend: Any, dtype: str) -> None:
    case = CASES[name]
    step, params, state = _start(case, backend, dtype)
    data, order = _data(case, backend, dtype), backend.asarray(ORDER.astype("int32"))
    slots = state.optimizer.slots
    after, after_state, _ = run_steps(backend.xp, step, params, state, data, order)
    assert after is params
    assert all(new is old for new, old in zip(after_state.optimizer.slots, slots, strict=True))


@pytest.mark.parametrize("device", ["jax:cpu", "jax:gpu"], indirect=True)
def test_jax_gives_the_donated_buffers_back(backend: Any, dtype: str) -> None:
    case = CASES["dropout"]
    step, params, state = _start(case, backend, dtype)
    run, data, order = backend.compile(step), _data(case, backend, dtype), backend.asarray(ORDER.astype("int32"))
    after, after_state, _ = run(params, state, data, order)
    assert params.is_deleted()
    assert all(slot.is_deleted() for slot in state.optimizer.slots)
    assert not any(array.is_deleted() for array in (*data, order))
    again, _, losses = run(after, after_state, data, order)
    assert np.isfinite(backend.to_numpy(losses)).all()
    assert not again.is_deleted()


@pytest.mark.parametrize("device", ["jax:cpu", "jax:gpu"], indirect=True)
@pytest.mark.parametrize("dtype", ["float32"], indirect=True)
def test_jax_compiles_once_whatever_the_learning_rate(backend: Any, dtype: str) -> None:
    case, calls = CASES["plain"], []
    step, params, state = _start(case, backend, dtype)
    run = backend.compile(lambda *args: calls.append(1) or step(*args))
    data, order = _data(case, backend, dtype), backend.asarray(ORDER.astype("int32"))
    deltas = []
    for rate in (0.0, 0.1):
        before = backend.to_numpy(params).copy()
        optimizer = state.optimizer._replace(learning_rate=backend.asarray(np.asarray(rate, dtype=dtype)))
        params, state, _ = run(params, state._replace(optimizer=optimizer), data, order)
        deltas.append(np.abs(backend.to_numpy(params) - before).max())
        traces = len(calls)
    assert deltas[0] == 0 < deltas[1]
    assert len(calls) == traces <= 2


# What stays on the device.


def _forbidden(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("a value left the device within a run of steps")


@pytest.mark.parametrize("dtype", ["float32"], indirect=True)
@pytest.mark.parametrize("device", ["strict:cpu:1", "torch:cpu", "torch:gpu", "cupy:gpu"], indirect=True)
@pytest.mark.parametrize("name", CASES)
def test_nothing_is_brought_to_the_host_within_a_run(
    name: str, backend: Any, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    step, params, state = _start(case, backend, dtype)
    run, data, order = backend.compile(step), _data(case, backend, dtype), backend.asarray(ORDER.astype("int32"))
    cls = type(params)
    with monkeypatch.context() as patch:
        patch.setattr(backend, "to_numpy", _forbidden)
        for method in ("__float__", "__int__", "__bool__", "__index__", "item", "tolist", "cpu", "numpy", "get"):
            if hasattr(cls, method):
                patch.setattr(cls, method, _forbidden)
        with pytest.raises(AssertionError, match="left the device"):
            float(params[0])
        params, state, losses = run(params, state, data, order)
    assert type(losses) is cls
    assert losses.shape == (len(ORDER),)


def test_the_short_last_batch_takes_the_step_itself(backend: Any, dtype: str) -> None:
    case = CASES["plain"]
    step, params, state = _start(case, backend, dtype)
    batch = tuple(array[:5, ...] for array in _data(case, backend, dtype))
    expected, _ = case.network.loss_and_grads(case.network.init(1), X[:5], CLASSES[:5])
    _, _, loss = step(params, state, batch)
    assert loss.shape == ()
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


# State.


@pytest.mark.parametrize(("name", "steps"), [("dropout", len(ORDER)), ("slopes", len(ORDER)), ("plain", 0)])
def test_the_counter_advances_where_something_is_drawn(name: str, steps: int, backend: Any, dtype: str) -> None:
    _, _, leaves = _run(CASES[name], backend, dtype)
    assert leaves[-1][1] == steps
    assert leaves[-1].dtype == np.int32


def test_each_step_of_a_run_draws_anew() -> None:
    # With a rate of 0 and one batch all along, losses differ by their masks only.
    case, backend = CASES["dropout"]._replace(learning_rate=0.0), get_backend("cpu")
    step, params, state = _start(case, backend, "float64")
    order = np.tile(ORDER[:1], (6, 1))
    _, _, losses = backend.compile(step)(params, state, _data(case, backend, "float64"), order)
    assert len(set(losses.tolist())) == 6


def test_the_first_state(backend: Any, dtype: str) -> None:
    network = CASES["plain"].network
    params = network.init(0, backend, dtype).vector
    seeds = (0, 1, 7, 2**31 + 7, 2**40 + 7)
    keys = [init_state(network, get_optimizer("adam"), params, seed, backend).key for seed in seeds]
    state = init_state(network, get_optimizer("adam"), params, 7, backend)
    words = {tuple(backend.to_numpy(key).tolist()) for key in keys}
    assert len(words) == len(seeds)  # also of seeds that differ in high bits only
    assert {counter for _, counter in words} == {0}
    assert tuple(backend.to_numpy(state.key).tolist()) in words
    assert backend.to_numpy(state.optimizer.count) == 0
    assert len(state.optimizer.slots) == 2


# Clipping, and the place where gradients of several ranks will be summed.


@pytest.mark.parametrize(
    ("gradient", "largest", "expected"),
    [
        ([3.0, 4.0], 10.0, [3.0, 4.0]),
        ([3.0, 4.0], 5.0, [3.0, 4.0]),
        ([3.0, 4.0], 1.0, [0.6, 0.8]),
        ([-3.0, 4.0], 0.01, [-0.006, 0.008]),
        ([0.0, 0.0], 1.0, [0.0, 0.0]),
        ([3e25, 4e25], 1.0, [0.6, 0.8]),  # its squares overflow in float32
    ],
)
def test_clip_by_norm(gradient: Any, largest: float, expected: Any, xp: Any, put: Any, close: Any) -> None:
    close(clip_by_norm(xp, put(gradient), largest), expected)


def test_the_same_run_of_steps_is_compiled_once() -> None:
    pytest.importorskip("jax")
    network, backend = CASES["dropout"].network, get_backend("jax:cpu")
    compiled = compile_steps(network, "adam", backend, 1.0)
    assert compile_steps(Network(**network.to_dict()), "adam", get_backend("jax:cpu"), 1.0) is compiled
    assert compile_steps(network, "adam:beta_1=0.8", backend, 1.0) is not compiled


def _displacement(**options: Any) -> np.ndarray:
    backend = get_backend("cpu")
    network, optimizer = CASES["plain"].network, get_optimizer("sgd")
    params = network.init(1).vector
    state = init_state(network, optimizer, params, 0, backend)
    state.optimizer.learning_rate[...] = 1.0
    after, _, _ = make_step(network, optimizer, backend, **options)(params, state, (X, CLASSES))
    return after - network.init(1).vector


def test_a_clipped_step_is_shorter_but_goes_the_same_way() -> None:
    free, clipped = _displacement(), _displacement(clip_norm=0.1)
    assert np.linalg.norm(free) > 0.1
    assert np.linalg.norm(clipped) == pytest.approx(0.1, rel=1e-12)
    np.testing.assert_allclose(clipped / 0.1, free / np.linalg.norm(free), rtol=1e-9)
    np.testing.assert_allclose(_displacement(clip_norm=1e6), free, rtol=1e-12)
