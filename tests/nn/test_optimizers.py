"""Every optimizer step by step against PyTorch's of the same name, on every backend."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

from xpnet.errors import InvalidParameterError, UnknownNameError
from xpnet.nn.optimizers import OPTIMIZERS, get_optimizer

STEPS = 30
N_WEIGHTS, N = 7, 10
_rng = np.random.default_rng(8)
START = _rng.standard_normal(N).astype("float32").astype("float64")
GRADIENTS = _rng.standard_normal((STEPS, N)).astype("float32").astype("float64")
GRADIENTS[3] = 0.0
GRADIENTS[10:15] *= 100.0
GRADIENTS[:, 4] *= 1e-3
LEARNING_RATES = [0.02 / (1 + 0.3 * k) if k % 2 else 0.05 for k in range(STEPS)]

# Ours, theirs, their arguments.
CASES = [
    ("sgd", "SGD", {}),
    ("momentum", "SGD", {"momentum": 0.9}),
    ("momentum:momentum=0.5", "SGD", {"momentum": 0.5}),
    ("momentum:momentum=0", "SGD", {}),
    ("nesterov", "SGD", {"momentum": 0.9, "nesterov": True}),
    ("nesterov:momentum=0.7", "SGD", {"momentum": 0.7, "nesterov": True}),
    ("adam", "Adam", {}),
    ("adam:beta_1=0.5,beta_2=0.9", "Adam", {"betas": (0.5, 0.9)}),
    ("adam:beta_1=0", "Adam", {"betas": (0.0, 0.999)}),
    ("adam:epsilon=0.01", "Adam", {"eps": 0.01}),
    ("adamw", "AdamW", {"weight_decay": 0.01}),
    ("adamw:weight_decay=0.3", "AdamW", {"weight_decay": 0.3}),
    ("adamw:weight_decay=0", "AdamW", {"weight_decay": 0.0}),
    ("adamw:beta_1=0.8,beta_2=0.95,epsilon=0.001", "AdamW", {"betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.01}),
    ("rmsprop", "RMSprop", {}),
    ("rmsprop:rho=0.9,epsilon=0.001", "RMSprop", {"alpha": 0.9, "eps": 1e-3}),
    ("adagrad", "Adagrad", {}),
    ("adagrad:initial_accumulator=0.1,epsilon=0.001", "Adagrad", {"initial_accumulator_value": 0.1, "eps": 1e-3}),
]

# The same with scikit-learn's.
SKLEARN_CASES = [
    ("momentum:momentum=0,classical=1", SGDOptimizer, {"momentum": 0.0, "nesterov": False}),
    ("momentum:momentum=0.5,classical=1", SGDOptimizer, {"momentum": 0.5, "nesterov": False}),
    ("momentum:classical=1", SGDOptimizer, {"momentum": 0.9, "nesterov": False}),
    ("momentum:momentum=1,classical=1", SGDOptimizer, {"momentum": 1.0, "nesterov": False}),
    ("nesterov:momentum=0,classical=1", SGDOptimizer, {"momentum": 0.0, "nesterov": True}),
    ("nesterov:momentum=0.5,classical=1", SGDOptimizer, {"momentum": 0.5, "nesterov": True}),
    ("nesterov:classical=1", SGDOptimizer, {"momentum": 0.9, "nesterov": True}),
    ("nesterov:momentum=1,classical=1", SGDOptimizer, {"momentum": 1.0, "nesterov": True}),
    ("adam:epsilon_hat=1e-8", AdamOptimizer, {}),
    ("adam:epsilon_hat=0.01", AdamOptimizer, {"epsilon": 0.01}),
    ("adam:beta_1=0.5,beta_2=0.9,epsilon_hat=0.001", AdamOptimizer, {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3}),
    ("adam:beta_1=0,epsilon_hat=1e-8", AdamOptimizer, {"beta_1": 0.0}),
]


@cache
def _reference(name: str) -> np.ndarray:
    """Return PyTorch's parameters after each step, (steps, n); weights and biases are groups of their own."""
    torch = pytest.importorskip("torch")
    cls, options = next((cls, options) for ours, cls, options in CASES if ours == name)
    weights, biases = (torch.tensor(part, requires_grad=True) for part in (START[:N_WEIGHTS], START[N_WEIGHTS:]))
    groups: list[dict[str, Any]] = [{"params": [weights]}, {"params": [biases]}]
    if "weight_decay" in options:
        groups[1]["weight_decay"] = 0.0
    optimizer = getattr(torch.optim, cls)(groups, lr=1.0, **options)
    trajectory = []
    for learning_rate, gradient in zip(LEARNING_RATES, GRADIENTS, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        weights.grad, biases.grad = torch.tensor(gradient[:N_WEIGHTS]), torch.tensor(gradient[N_WEIGHTS:])
        with torch.enable_grad():
            optimizer.step()
        trajectory.append(torch.cat([weights, biases]).detach().numpy().copy())
    return np.stack(trajectory)


@cache
def _sklearn_reference(name: str) -> np.ndarray:
    """Return scikit-learn's parameters after each step, (steps, n)."""
    cls, options = next((cls, options) for ours, cls, options in SKLEARN_CASES if ours == name)
    params = START.copy()
    optimizer = cls([params], **options)
    trajectory = []
    for learning_rate, gradient in zip(LEARNING_RATES, GRADIENTS, strict=True):
        optimizer.learning_rate = optimizer.learning_rate_init = learning_rate  # Adam derives the one from the other
        optimizer.update_params([params], [gradient])
        trajectory.append(params.copy())
    return np.stack(trajectory)


def test_the_cases_cover_every_optimizer() -> None:
    assert {name.partition(":")[0] for name, _, _ in CASES} == set(OPTIMIZERS)


@pytest.mark.needs("torch")
@pytest.mark.parametrize("name", [name for name, _, _ in CASES])
def test_every_step_is_pytorchs(name: str, xp: Any, put: Any, backend: Any, dtype: str) -> None:
    _assert_steps(name, _reference(name), xp, put, backend, dtype)


@pytest.mark.parametrize("name", [name for name, _, _ in SKLEARN_CASES])
def test_every_step_is_scikit_learns(name: str, xp: Any, put: Any, backend: Any, dtype: str) -> None:
    _assert_steps(name, _sklearn_reference(name), xp, put, backend, dtype)


def _assert_steps(name: str, reference: np.ndarray, xp: Any, put: Any, backend: Any, dtype: str) -> None:
    optimizer = get_optimizer(name)
    params = put(START)
    state = optimizer.init(xp, params, N_WEIGHTS)
    # One step in float32 multiplies the rounding of a sum of squares by the learning rate at most.
    allowed = 1e-12 if dtype == "float64" else 2e-5
    for k, (learning_rate, gradient) in enumerate(zip(LEARNING_RATES, GRADIENTS, strict=True)):
        state = state._replace(learning_rate=put(learning_rate))
        params, state = optimizer.update(xp, put(gradient), state, params)
        actual = backend.to_numpy(params)
        assert actual.dtype == dtype
        np.testing.assert_allclose(actual, reference[k], rtol=allowed, atol=allowed, err_msg=f"step {k}")
    assert int(backend.to_numpy(state.count)) == STEPS


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_has_the_parameters_dtype_and_device(name: str, xp: Any, put: Any, backend: Any) -> None:
    optimizer = get_optimizer(name)
    params = put(START)
    state = optimizer.init(xp, params, N_WEIGHTS)
    assert state.learning_rate.dtype == params.dtype
    assert state.count.dtype == xp.int32
    assert state.learning_rate.shape == state.count.shape == ()
    for _ in range(2):
        assert all(slot.shape == (N,) and slot.dtype == params.dtype for slot in state.slots)
        params, state = optimizer.update(xp, put(GRADIENTS[0]), state, params)
    assert type(optimizer.init(xp, params, N_WEIGHTS)) is type(state)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_numpy_updates_in_place(name: str) -> None:
    optimizer = get_optimizer(name)
    params = START.copy()
    state = optimizer.init(np, params, N_WEIGHTS)
    state.learning_rate[...] = 0.1
    gradient = GRADIENTS[0].copy()
    updated, after = optimizer.update(np, gradient, state, params)
    assert updated is params
    assert all(new is old for new, old in zip(after.slots, state.slots, strict=True))
    np.testing.assert_array_equal(gradient, GRADIENTS[0])
    assert not np.array_equal(params, START)


def test_adamw_decays_weights_only() -> None:
    optimizer = get_optimizer("adamw:weight_decay=0.5")
    params = START.copy()
    state = optimizer.init(np, params, N_WEIGHTS)
    state.learning_rate[...] = 0.1
    params, _ = optimizer.update(np, np.zeros(N), state, params)
    np.testing.assert_allclose(params[:N_WEIGHTS], (1 - 0.1 * 0.5) * START[:N_WEIGHTS], rtol=1e-15)
    np.testing.assert_array_equal(params[N_WEIGHTS:], START[N_WEIGHTS:])


def test_a_first_step_of_adam_is_the_learning_rate_in_float32_too(xp: Any, put: Any, close: Any) -> None:
    # 1 - beta_2^1 = 0.001 would lose four digits if it were computed as such.
    optimizer = get_optimizer("adam:epsilon=1e-30")
    params = put(np.zeros(3))
    state = optimizer.init(xp, params, 3)._replace(learning_rate=put(1.0))
    params, _ = optimizer.update(xp, put([1.0, -2.0, 1e-3]), state, params)
    close(params, [-1.0, 1.0, -1.0])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_default_learning_rate_trains(name: str) -> None:
    optimizer = get_optimizer(name)
    params = np.asarray([1.0, -1.0])
    state = optimizer.init(np, params, 2)
    state.learning_rate[...] = optimizer.learning_rate
    for _ in range(20):
        params, state = optimizer.update(np, params.copy(), state, params)  # the objective is 1/2 |params|^2
    assert 0 < np.linalg.norm(params) < np.sqrt(2) * 0.995


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("adams", UnknownNameError, "unknown optimizer: .* Did you mean 'adam'"),
        ("adam:beta=0.9", UnknownNameError, "option of optimizer adam: expected one of beta_1, beta_2, epsilon"),
        ("sgd:momentum=0.9", UnknownNameError, "option of optimizer sgd: expected none"),
        (
            "adam:beta_1=fast",
            InvalidParameterError,
            "expected a finite number of at least 0 and below 1; received 'fast'",
        ),
        ("momentum:classical=-1", InvalidParameterError, "classical: expected a finite number of at least 0"),
        ("adam:epsilon_hat=-1e-8", InvalidParameterError, "epsilon_hat: expected a finite number of at least 0"),
        ("adam:epsilon=nan", InvalidParameterError, "expected a finite number above 0; received 'nan'"),
    ],
)
def test_unknown_names_and_options(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        get_optimizer(name)
