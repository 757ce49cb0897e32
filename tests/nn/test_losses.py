"""Every loss: its value and its gradient, stability, targets, weights and reductions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special

from xpnet.errors import UnknownNameError
from xpnet.nn.losses import (
    BINARY,
    COUNTS,
    LOSSES,
    OUTPUTS,
    PROBABILITIES,
    VALUES,
    get_loss,
    hardmax,
    one_hot,
)
from xpnet.nn.network import Network

N, K = 6, 3
_rng = np.random.default_rng(5)
Z = _rng.standard_normal((N, K)).astype("float32").astype("float64") * 2
CLASSES = np.asarray([0, 2, 1, 1, 0, 2])
TARGETS = {
    PROBABILITIES: np.eye(K)[CLASSES],
    BINARY: np.asarray(_rng.integers(0, 2, (N, K)), dtype="float64"),
    COUNTS: np.asarray(_rng.poisson(2.0, (N, K)), dtype="float64"),
    VALUES: _rng.standard_normal((N, K)).astype("float32").astype("float64"),
}


def _huber(delta: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    def value(a: np.ndarray, t: np.ndarray) -> np.ndarray:
        r = np.abs(a - t)
        return np.where(r <= delta, 0.5 * r**2, delta * (r - 0.5 * delta)).sum(axis=1)

    return value


# The textbook formulas: of logits or outputs and targets, both (batch, n_out), to a loss for each sample.
FORMULAS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "squared_error": lambda a, t: 0.5 * ((a - t) ** 2).sum(axis=1),
    "cross_entropy": lambda z, t: -(t * np.log(np.exp(z) / np.exp(z).sum(axis=1, keepdims=True))).sum(axis=1),
    "binary_cross_entropy": lambda z, t: (
        -(t * np.log(special.expit(z)) + (1 - t) * np.log(1 - special.expit(z))).sum(axis=1)
    ),
    "poisson": lambda z, t: (np.exp(z) - t + special.xlogy(t, t / np.exp(z))).sum(axis=1),
    "huber": _huber(1.0),
    "huber:delta=0.5": _huber(0.5),
}


def _case(name: str) -> tuple[np.ndarray, np.ndarray]:
    return Z, TARGETS[get_loss(name).targets]


def test_the_table_of_formulas_is_complete() -> None:
    assert {name.partition(":")[0] for name in FORMULAS} == set(LOSSES)


@pytest.mark.parametrize("name", FORMULAS)
def test_values_and_gradients(name: str, xp: Any, put: Any, close: Any) -> None:
    z, t = _case(name)
    value, gradient = get_loss(name).value_and_gradient(xp, put(z), put(t))
    scale = 100 if name == "poisson" else 4  # the rates go up to exp(6)
    close(value, FORMULAS[name](z, t), terms=scale)
    step = 1e-5
    numeric = np.empty_like(z)
    for i, k in np.ndindex(z.shape):
        e = np.zeros_like(z)
        e[i, k] = step
        numeric[i, k] = ((FORMULAS[name](z + e, t) - FORMULAS[name](z - e, t)) / (2 * step))[i]
    close(gradient, numeric, terms=scale if gradient.dtype == xp.float32 else 1_000_000)


@pytest.mark.needs("torch")
@pytest.mark.parametrize("name", FORMULAS)
def test_agrees_with_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    delta = 0.5 if "delta" in name else 1.0
    theirs = {
        "squared_error": lambda z, t: 0.5 * functional.mse_loss(z, t, reduction="none").sum(1),
        "cross_entropy": lambda z, t: functional.cross_entropy(z, t, reduction="none"),
        "binary_cross_entropy": lambda z, t: functional.binary_cross_entropy_with_logits(z, t, reduction="none").sum(1),
        "poisson": lambda z, t: (
            functional.poisson_nll_loss(z, t, log_input=True, reduction="none") + torch.xlogy(t, t) - t
        ).sum(1),
        "huber": lambda z, t: functional.huber_loss(z, t, delta=delta, reduction="none").sum(1),
    }[name.partition(":")[0]]
    z, t = _case(name)
    value, gradient = get_loss(name).value_and_gradient(np, z, t)
    logits = torch.tensor(z, requires_grad=True)
    expected = theirs(logits, torch.tensor(t))
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-13, atol=1e-13)
    (expected_gradient,) = torch.autograd.grad(expected.sum(), logits)
    np.testing.assert_allclose(gradient, expected_gradient.numpy(), rtol=1e-13, atol=1e-13)


def test_poisson_is_half_the_deviance_of_scikit_learn() -> None:
    from sklearn.metrics import mean_poisson_deviance

    z, t = Z.ravel(), TARGETS[COUNTS].ravel()
    value, _ = get_loss("poisson").value_and_gradient(np, z[:, None], t[:, None])
    assert (t == 0).any()
    assert value.mean() == pytest.approx(0.5 * mean_poisson_deviance(t, np.exp(z)), rel=1e-13)


FAR = 1e4


@pytest.mark.parametrize(
    ("name", "z", "t", "value", "gradient"),
    [
        ("cross_entropy", [FAR, 0.0, -FAR], [1.0, 0.0, 0.0], 0.0, [0.0, 0.0, 0.0]),
        ("cross_entropy", [FAR, 0.0, -FAR], [0.0, 0.0, 1.0], 2 * FAR, [1.0, 0.0, -1.0]),
        ("cross_entropy", [FAR, FAR, -FAR], [1.0, 0.0, 0.0], np.log(2), [-0.5, 0.5, 0.0]),
        ("binary_cross_entropy", [FAR, -FAR], [1.0, 0.0], 0.0, [0.0, 0.0]),
        ("binary_cross_entropy", [FAR, -FAR], [0.0, 1.0], 2 * FAR, [1.0, -1.0]),
        ("squared_error", [FAR], [0.0], 0.5 * FAR**2, [FAR]),
        ("huber", [FAR, -FAR], [0.0, 0.0], 2 * FAR - 1, [1.0, -1.0]),
        ("poisson", [-FAR], [2.0], 2 * FAR - 2 + 2 * np.log(2), [-2.0]),
    ],
)
def test_large_logits(name: str, z: Any, t: Any, value: float, gradient: Any, xp: Any, put: Any, close: Any) -> None:
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        actual, found = get_loss(name).value_and_gradient(xp, put([z]), put([t]))
    close(actual, [value])
    close(found, [gradient])


def test_a_diverging_rate_stays_finite(xp: Any, put: Any, backend: Any) -> None:
    with np.errstate(over="raise", invalid="raise"):
        value, gradient = get_loss("poisson").value_and_gradient(xp, put([[FAR]]), put([[1.0]]))
        rate = OUTPUTS["exp"].function(xp, put([[FAR]]))
    for array in (value, gradient, rate):
        assert np.isfinite(backend.to_numpy(array)).all()
        assert (backend.to_numpy(array) > 1e30).all()


@pytest.mark.parametrize("name", OUTPUTS)
def test_output_functions(name: str, xp: Any, put: Any, close: Any) -> None:
    expected = {
        "softmax": special.softmax(Z, axis=1),
        "sigmoid": special.expit(Z),
        "exp": np.exp(Z),
        "hardmax": Z.max(axis=1, keepdims=True) == Z,
    }
    close(OUTPUTS[name].function(xp, put(Z)), expected[name], terms=10)


def test_softmax_of_large_logits(xp: Any, put: Any, close: Any) -> None:
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        close(
            OUTPUTS["softmax"].function(xp, put([[FAR, FAR, -FAR], [-FAR, -FAR, -FAR]])), [[0.5, 0.5, 0], [1 / 3] * 3]
        )


def test_hardmax_takes_the_first_of_equals(xp: Any, put: Any, close: Any) -> None:
    a = put([[0.1, 0.7, 0.2], [0.5, 0.0, 0.5], [0.0, 0.0, 0.0], [-3.0, -1.0, -1.0]])
    close(hardmax(xp, a), [[0, 1, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0]])


def test_one_hot(xp: Any, put: Any, close: Any, backend: Any) -> None:
    close(one_hot(xp, put(CLASSES), K, put(0.0).dtype), np.eye(K)[CLASSES])
    close(one_hot(xp, put([0, 1, 1]), 1, put(0.0).dtype), [[0.0], [1.0], [1.0]])


def test_unknown_name() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown loss: .* Did you mean 'cross_entropy'"):
        get_loss("cross_entrop")


# From here on the loss as the network takes it: a network without hidden layer, one unit to each input.


def _objective(put: Any, y: Any, weight: Any = None, z: np.ndarray = Z, **options: Any) -> tuple[Any, Any]:
    """Return loss and gradient by the biases of a network whose logits are `z`."""
    n_out = z.shape[1]
    network = Network([n_out, n_out], **options)
    layers = [(put(np.eye(n_out)), put(np.zeros(n_out)))]
    loss, grads = network.loss_and_grads(layers, put(z), put(y), None if weight is None else put(weight))
    return loss, grads[0][1]


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy", "squared_error"])
def test_class_indices_are_one_hot_rows(loss: str, put: Any, backend: Any) -> None:
    for by_index, by_row in zip(
        _objective(put, CLASSES, loss=loss), _objective(put, np.eye(K)[CLASSES], loss=loss), strict=True
    ):
        np.testing.assert_array_equal(backend.to_numpy(by_index), backend.to_numpy(by_row))


def test_one_output_of_binary_cross_entropy_takes_indices_or_numbers(put: Any, close: Any) -> None:
    y = np.asarray([0, 1, 1, 0, 1, 0])
    expected = FORMULAS["binary_cross_entropy"](Z[:, :1], y[:, None].astype(float)).mean()
    for targets in (y, y[:, None], y.astype(float), y[:, None].astype(float)):
        loss, _ = _objective(put, targets, z=Z[:, :1], loss="binary_cross_entropy")
        close(loss, expected)


def test_several_labels_a_sample(put: Any, close: Any) -> None:
    t = TARGETS[BINARY]
    assert (t.sum(axis=1) != 1).any()
    for targets in (t, t.astype(int)):
        loss, gradient = _objective(put, targets, loss="binary_cross_entropy")
        close(loss, FORMULAS["binary_cross_entropy"](Z, t).mean(), terms=4)
        close(gradient, (special.expit(Z) - t).mean(axis=0))


@pytest.mark.needs("torch")
@pytest.mark.parametrize("smoothing", [0.1, 0.6])
def test_label_smoothing_is_that_of_torch(smoothing: float, put: Any, close: Any) -> None:
    torch = pytest.importorskip("torch")
    logits = torch.tensor(Z, requires_grad=True)
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)
    with torch.enable_grad():
        expected = criterion(logits, torch.tensor(CLASSES))
        (theirs,) = torch.autograd.grad(expected, logits)
    loss, gradient = _objective(put, CLASSES, label_smoothing=smoothing)
    close(loss, expected.detach().numpy(), terms=4)
    close(gradient, theirs.numpy().sum(axis=0))


def test_label_smoothing_of_one_output_leans_to_a_half(put: Any, close: Any) -> None:
    y = np.asarray([0, 1, 1, 0, 1, 0])
    loss, _ = _objective(put, y, z=Z[:, :1], loss="binary_cross_entropy", label_smoothing=0.2)
    close(loss, FORMULAS["binary_cross_entropy"](Z[:, :1], np.where(y, 0.9, 0.1)[:, None]).mean())


WEIGHTS = np.asarray([2.0, 0.0, 1.0, 3.0, 1.0, 0.0])


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_weight_counts_a_sample_so_many_times(name: str, reduction: str, put: Any, close: Any, backend: Any) -> None:
    z, t = _case(name)
    weighted = _objective(put, t, WEIGHTS, z, loss=name, reduction=reduction)
    repeat = np.repeat(np.arange(N), WEIGHTS.astype(int))
    repeated = _objective(put, t[repeat], None, z[repeat], loss=name, reduction=reduction)
    for one, other in zip(weighted, repeated, strict=True):
        close(one, backend.to_numpy(other), terms=2000)
    total = FORMULAS[name](z, t) @ WEIGHTS
    close(weighted[0], total / WEIGHTS.sum() if reduction == "mean" else total, terms=2000)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_without_weight_has_no_loss_and_no_gradient(name: str, reduction: str, put: Any, close: Any) -> None:
    z, t = _case(name)
    with np.errstate(divide="raise", invalid="raise", over="raise"):
        loss, gradient = _objective(put, t, np.zeros(N), z, loss=name, reduction=reduction)
    close(loss, 0.0)
    close(gradient, np.zeros(K))


def test_the_sum_is_the_mean_times_the_batch(put: Any, close: Any, backend: Any) -> None:
    mean = _objective(put, CLASSES, reduction="mean")
    total = _objective(put, CLASSES, reduction="sum")
    for one, other in zip(mean, total, strict=True):
        close(other, N * backend.to_numpy(one), terms=4)
