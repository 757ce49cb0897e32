"""Initial weights: their moments, the defaults, the same bits everywhere, and why they must not be equal."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from xpnet.errors import InvalidParameterError, UnknownNameError
from xpnet.nn.activations import ACTIVATIONS
from xpnet.nn.initializers import INITIALIZERS, get_initializer
from xpnet.nn.losses import OUTPUTS
from xpnet.nn.network import Network, Parameters

FAN_IN, FAN_OUT = 300, 200

# Standard deviation, and the largest magnitude where there is one.
MOMENTS = {
    "normal": (1.0, None),
    "glorot_uniform": (np.sqrt(2 / 500), np.sqrt(6 / 500)),
    "glorot_normal": (np.sqrt(2 / 500), None),
    "he_uniform": (np.sqrt(2 / 300), np.sqrt(6 / 300)),
    "he_normal": (np.sqrt(2 / 300), None),
    "lecun_normal": (np.sqrt(1 / 300), None),
    "zeros": (0.0, 0.0),
}


def test_the_table_of_moments_is_complete() -> None:
    assert set(MOMENTS) == set(INITIALIZERS)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_moments_and_limits(name: str) -> None:
    deviation, limit = MOMENTS[name]
    W = get_initializer(name).weights(np.random.default_rng(0), FAN_IN, FAN_OUT)
    assert W.shape == (FAN_IN, FAN_OUT)
    assert W.dtype == np.float64
    n = W.size
    assert abs(W.mean()) <= 4 * deviation / np.sqrt(n)
    # The variance of the sample variance is at most 2 sigma^4 / n.
    assert abs(W.var() - deviation**2) <= 4 * deviation**2 * np.sqrt(2 / n)
    if limit is not None:
        assert np.abs(W).max() <= limit
        assert np.abs(W).max() >= 0.999 * limit
    elif name != "zeros":
        share_beyond_two_deviations = np.mean(np.abs(W) > 2 * deviation)
        assert share_beyond_two_deviations == pytest.approx(0.0455, abs=0.004)


def test_unknown_name() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown initializer: .* received 'he'"):
        get_initializer("he")


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("relu", "he_normal"),
        ("leaky_relu:slope=0.1", "he_normal"),
        ("prelu", "he_normal"),
        ("gelu", "he_normal"),
        ("tanh", "glorot_uniform"),
        ("sigmoid", "glorot_uniform"),
        ("identity", "glorot_uniform"),
        ("selu", "lecun_normal"),
    ],
)
def test_the_default_suits_the_activation(activation: str, expected: str) -> None:
    network = Network([2, 3, 2], activation, activation, "squared_error")
    assert network.initializers == (expected, expected)


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy", "poisson"])
def test_the_default_suits_the_output_that_a_loss_needs(loss: str) -> None:
    assert Network([2, 3, 2], "selu", loss=loss).initializers == ("lecun_normal", "glorot_uniform")


def test_a_given_initializer_is_for_every_layer() -> None:
    assert Network([2, 3, 2], "selu", initializer="normal").initializers == ("normal", "normal")


def test_one_for_each_layer() -> None:
    network = Network([4, 5, 6, 3], "selu", initializer=["normal", "lecun_normal", "zeros"])
    assert network.initializers == ("normal", "lecun_normal", "zeros") == network.initializer
    assert Network(**json.loads(json.dumps(network.to_dict()))) == network
    (W1, b1), (_, b2), (W3, b3) = network.init(0)
    assert W1.std() > 0.6
    assert (b1 != 0).all()
    assert not np.any(b2)
    assert not np.any(W3)
    assert not np.any(b3)


@pytest.mark.parametrize(
    ("initializer", "message"),
    [
        (["normal", "zeros"], "initializer: expected one value, or one for each of the 3 layers, the last included; r"),
        (["normal", "zeros", "one"], "unknown initializer"),
    ],
)
def test_a_wrong_number_of_initializers(initializer: list[str], message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        Network([4, 5, 6, 3], initializer=initializer)


def test_every_default_is_known() -> None:
    defaults = {make().initializer for make in ACTIVATIONS.values()} | {each.initializer for each in OUTPUTS.values()}
    assert defaults <= set(INITIALIZERS)


def test_each_layer_is_drawn_for_its_own_activation() -> None:
    network = Network([FAN_IN, FAN_OUT, 400, 10], ("relu", "selu"))
    deviations = [W.std() for W, _ in network.init(0)]
    expected = [np.sqrt(2 / FAN_IN), np.sqrt(1 / FAN_OUT), np.sqrt(2 / 410)]
    np.testing.assert_allclose(deviations, expected, rtol=0.05)


@pytest.mark.parametrize("name", [*INITIALIZERS, None])
def test_the_same_bits_on_every_backend(name: str | None, backend: Any, dtype: str) -> None:
    network = Network([5, 7, 6, 3], ("prelu", "selu"), initializer=name)
    vector = network.init(11, backend, dtype).vector
    actual = backend.to_numpy(vector)
    assert actual.dtype == dtype
    np.testing.assert_array_equal(actual, network.init(11).vector.astype(dtype))


def test_the_seed_decides() -> None:
    network = Network([5, 7, 3])
    np.testing.assert_array_equal(network.init(1).vector, network.init(1).vector)
    assert (network.init(1).vector != network.init(2).vector).mean() > 0.8


@pytest.mark.parametrize("name", INITIALIZERS)
def test_biases_start_at_zero_except_with_normal(name: str) -> None:
    for _, b in Network([5, 7, 3], initializer=name).init(0):
        assert (b != 0).all() if name == "normal" else (b == 0).all()


def test_learned_slopes_start_at_the_option() -> None:
    first, second, last = Network([5, 7, 4, 3], ("prelu:slope=0.1", "relu")).init(0).slopes
    np.testing.assert_array_equal(first, np.full(7, 0.1))
    assert second is None
    assert last is None


# Why initial weights are drawn at random. Hidden units with equal weights get equal gradients, so they stay copies of
# one another whatever the data says, and a hidden layer of any width can do no more than a single unit. XOR needs two.

XOR = np.asarray([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.asarray([0, 1, 1, 0])


def _trained(network: Network, params: Parameters, steps: int = 1000) -> tuple[Parameters, float]:
    for _ in range(steps):
        loss, grads = network.loss_and_grads(params, *XOR)
        params = Parameters(params.vector - 1.0 * grads.vector, network)
    return params, float(loss)


def _spread_of_hidden_units(params: Parameters) -> float:
    """Return the largest difference between the incoming weights of a hidden unit and those of the first."""
    W = params[0][0]
    return float(np.max(np.abs(W - W[:, :1])))


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_equal_weights_never_break_symmetry(value: float) -> None:
    network = Network([2, 6, 2], "tanh", initializer="zeros")
    start = network.init(0)
    assert (start.vector == 0).all()
    params, loss = _trained(network, Parameters(start.vector + value, network))
    assert _spread_of_hidden_units(params) < 1e-12  # six units, one function
    assert loss > 0.3  # one function is not enough


def test_random_weights_break_symmetry() -> None:
    network = Network([2, 6, 2], "tanh", initializer="normal")
    params, loss = _trained(network, network.init(0))
    assert _spread_of_hidden_units(params) > 1
    assert loss < 0.01
