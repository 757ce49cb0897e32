"""Backpropagation against central differences, for every activation and every loss."""

from __future__ import annotations

import array_api_strict
import numpy as np
import pytest

from xpnet.nn import activations, losses
from xpnet.nn.activations import ACTIVATIONS, Activation
from xpnet.nn.gradcheck import GradientCheck, check_gradients, gradcheck_table, relative_error
from xpnet.nn.losses import LOSSES, Loss
from xpnet.nn.network import Network
from xpnet.nn.parameters import KINDS

LIMIT = 1e-6


@pytest.fixture(scope="module")
def table() -> dict[tuple[str, str], float]:
    return {(row.activation, row.loss): row.relative_error for row in gradcheck_table()}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_with_every_loss(table: dict[tuple[str, str], float], activation: str, loss: str) -> None:
    assert 0 < table[activation, loss] < LIMIT


@pytest.mark.parametrize("loss", [name for name, make in LOSSES.items() if make().output is None])
@pytest.mark.parametrize("output", ACTIVATIONS)
def test_every_output_function_that_a_loss_leaves_free(output: str, loss: str) -> None:
    assert 0 < check_gradients(Network([3, 4, 2], "tanh", output, loss), seed=1).relative_error < LIMIT


@pytest.mark.parametrize(
    "network",
    [
        Network([4, 3]),
        Network([4, 1], loss="binary_cross_entropy"),
        Network([4, 5, 3], l2=0.3, l1=0.2),
        Network([4, 5, 3], label_smoothing=0.2),
        Network([4, 5, 3], reduction="sum", dropout=0.5),
        Network([4, 6, 5, 4, 3], ("prelu", "gelu", "leaky_relu:slope=0.3"), loss="huber:delta=0.5"),
        Network([4, 6, 5, 3], ("selu", "prelu"), parametrization="ntk"),
        Network([4, 6, 5, 3], "mish", input_scale=True, l2=0.3, l1=0.2, dropout=0.5),
        Network([4, 3], parametrization="ntk", input_scale=True, l2=0.1, penalty_reduction="mean"),
        Network([4, 6, 5, 1], "mish", loss="squared_error", parametrization="ntk", input_scale=True),
    ],
    ids=lambda network: f"{network.layer_sizes}-{network.loss}",
)
def test_the_whole_objective(network: Network) -> None:
    check = check_gradients(network)
    assert len(check.layers) == network.n_layers
    assert max(check.layers) < LIMIT


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_parameter_is_checked(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    network = Network([3, 4, 2], "prelu", loss="squared_error", input_scale=True, parametrization="ntk")
    right = Network.loss_and_grads
    wrong_at = sum(s.size for s in network.segments[: [s.kind for s in network.segments].index(kind)])

    def wrong(self, params, x, y, sample_weight=None):
        loss, grads = right(self, params, x, y, sample_weight)
        grads.vector[wrong_at] += 1.0
        return loss, grads

    assert check_gradients(network).relative_error < LIMIT
    monkeypatch.setattr(Network, "loss_and_grads", wrong)
    first = ", ".join("0" for _ in next(s.shape for s in network.segments if s.kind == kind))
    assert check_gradients(network).worst.name == f"layer 0 {kind}[{first}]"


def _wrong(backward: activations.Activation, factor: float = 1.01) -> Activation:
    return backward._replace(backward=lambda xp, grad, saved, slope: factor * backward.backward(xp, grad, saved, slope))


@pytest.mark.parametrize("name", ["tanh", "gelu", "prelu"])
def test_a_wrong_derivative_is_caught_in_the_layers_below_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    right = ACTIVATIONS[name]()
    monkeypatch.setitem(ACTIVATIONS, name, lambda: _wrong(right))
    check = check_gradients(Network([3, 4, 2], name, loss="squared_error"))
    assert check.layers[0] > 1e-3
    assert check.layers[1] < LIMIT
    assert check.worst.name.startswith("layer 0 ")
    assert check.worst.analytic == pytest.approx(1.01 * check.worst.numeric, rel=1e-4)


def test_a_wrong_loss_gradient_is_caught_in_every_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(xp, z, t):  # the gradient forgets the target's scale
        value, gradient = losses._squared_error(xp, z, t)
        return value, gradient + 0.01 * t

    monkeypatch.setitem(LOSSES, "squared_error", lambda: Loss(wrong))
    check = check_gradients(Network([3, 4, 2], "tanh", loss="squared_error"))
    assert min(check.layers) > 1e-4


def test_a_wrong_slope_gradient_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network([3, 4, 2], "prelu", loss="squared_error")
    right = Network.loss_and_grads

    def wrong(self, params, x, y, sample_weight=None):
        loss, grads = right(self, params, x, y, sample_weight)
        grads.vector[-1] *= 1.5
        return loss, grads

    monkeypatch.setattr(Network, "loss_and_grads", wrong)
    check = check_gradients(network)
    assert check.relative_error > 1e-5
    assert check.worst.name == "layer 0 slopes[3]"


def test_own_parameters_and_data_are_taken_and_not_written() -> None:
    network = Network([2, 1], loss="squared_error")
    layers = [(np.asarray([[1.0], [2.0]]), np.asarray([3.0]))]
    x, y = np.asarray([[1.0, -1.0]]), np.asarray([[4.0]])
    for array in (*layers[0], x, y):
        array.flags.writeable = False
    check = check_gradients(network, layers, x, y)  # the residual is 1 - 2 + 3 - 4
    assert check.relative_error < LIMIT
    assert abs(check.worst.analytic) == pytest.approx(2)


def test_arrays_of_another_library_are_checked_on_the_host() -> None:
    network = Network([2, 3, 2])
    layers = [tuple(array_api_strict.asarray(array) for array in pair) for pair in network.init(3)]
    x = array_api_strict.asarray(np.asarray([[0.3, -1.0], [2.0, 0.4]]))
    y = array_api_strict.asarray(np.asarray([1, 0]))
    assert check_gradients(network, layers, x, y) == check_gradients(
        network, network.init(3), np.asarray(x), np.asarray(y)
    )


def test_only_so_many_entries_of_a_large_array_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    right = Network.loss_and_grads
    monkeypatch.setattr(Network, "loss_and_grads", lambda *args: calls.append(1) or right(*args))
    assert check_gradients(Network([50, 40]), entries=10).relative_error < LIMIT
    assert len(calls) == 1 + 2 * (10 + 10)


def test_the_seed_decides() -> None:
    network = Network([3, 4, 2], "tanh")
    assert check_gradients(network, seed=1) == check_gradients(network, seed=1)
    assert check_gradients(network, seed=1) != check_gradients(network, seed=2)
    assert isinstance(check_gradients(network), GradientCheck)


def test_relative_error_of_nothing_is_zero() -> None:
    assert relative_error(np.zeros(2), np.zeros(2)) == 0
    assert relative_error(np.asarray([1.0]), np.asarray([3.0])) == 0.5
