"""Every activation: its values, its derivative, its limits, its slopes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special

from xpnet.errors import InvalidParameterError, UnknownNameError
from xpnet.nn.activations import ACTIVATIONS, get_activation
from xpnet.nn.backprop import objective_and_gradient
from xpnet.nn.network import Network

SQRT_2_OVER_PI = np.sqrt(2 / np.pi)


def _leaky(slope: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda z: np.where(z > 0, z, slope * z)


# The textbook formulas, of a float64 z of moderate size.
FORMULAS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identity": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": lambda z: (np.exp(z) - np.exp(-z)) / (np.exp(z) + np.exp(-z)),
    "relu": lambda z: np.where(z > 0, z, 0),
    "leaky_relu": _leaky(0.01),
    "leaky_relu:slope=0.1": _leaky(0.1),
    "prelu": _leaky(0.25),
    "prelu:slope=0.5": _leaky(0.5),
    "rrelu": _leaky((1 / 8 + 1 / 3) / 2),
    "rrelu:lower=0.1,upper=0.3": _leaky(0.2),
    "elu": lambda z: np.where(z > 0, z, np.exp(z) - 1),
    "elu:alpha=0.5": lambda z: np.where(z > 0, z, 0.5 * (np.exp(z) - 1)),
    "selu": lambda z: 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * (np.exp(z) - 1)),
    "softplus": lambda z: np.log(1 + np.exp(z)),
    "gelu": lambda z: z * special.ndtr(z),
    "gelu_tanh": lambda z: 0.5 * z * (1 + np.tanh(SQRT_2_OVER_PI * (z + 0.044715 * z**3))),
    "silu": lambda z: z / (1 + np.exp(-z)),
    "mish": lambda z: z * np.tanh(np.log(1 + np.exp(z))),
}

# Limits of f(z) / z and of f'(z) for z far to the left and to the right; f(z) itself goes to 0 where not said.
SATURATED = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}


def _backward(xp: Any, name: str, z: Any, grad: Any) -> Any:
    f = get_activation(name)
    return f.backward(xp, grad, f.function(xp, z, f.slope) if f.from_output else z, f.slope)


def test_the_table_of_formulas_is_complete() -> None:
    assert {name.partition(":")[0] for name in FORMULAS} == set(ACTIVATIONS)


@pytest.mark.parametrize("name", FORMULAS)
def test_values(name: str, xp: Any, put: Any, close: Any, dtype: str) -> None:
    z = np.linspace(-6, 6, 241).astype(dtype).astype("float64")
    f = get_activation(name)
    close(f.function(xp, put(z), f.slope), FORMULAS[name](z))


@pytest.mark.parametrize("name", FORMULAS)
def test_derivatives_are_those_of_the_formulas(name: str, xp: Any, put: Any, close: Any, dtype: str) -> None:
    z = np.linspace(-6, 6, 240).astype(dtype).astype("float64")  # 0, where some have a kink, is not among them
    grad = np.cos(np.arange(240)).astype(dtype).astype("float64")
    step = 1e-5
    expected = grad * (FORMULAS[name](z + step) - FORMULAS[name](z - step)) / (2 * step)
    close(_backward(xp, name, put(z), put(grad)), expected, terms=4 if dtype == "float32" else 100_000)


@pytest.mark.needs("torch")
@pytest.mark.parametrize("name", FORMULAS)
def test_agrees_with_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    f = get_activation(name)
    theirs = {
        "identity": lambda z: z,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "leaky_relu": lambda z: functional.leaky_relu(z, f.slope),
        "prelu": lambda z: functional.prelu(z, torch.tensor([f.slope], dtype=z.dtype)),
        "rrelu": lambda z: functional.rrelu(z, *(f.slope_range or ()), training=False),
        "elu": lambda z: functional.elu(z, alpha=0.5 if "alpha" in name else 1.0),
        "softplus": lambda z: functional.softplus(z, threshold=50),
        "gelu_tanh": lambda z: functional.gelu(z, approximate="tanh"),
    }
    bare = name.partition(":")[0]
    z = torch.linspace(-30, 30, 601, dtype=torch.float64, requires_grad=True)
    reference = theirs.get(bare) or getattr(functional, bare)
    expected = reference(z)
    (derivatives,) = torch.autograd.grad(expected.sum(), z)
    host = z.detach().numpy()
    off_kink = host != 0
    np.testing.assert_allclose(f.function(np, host, f.slope), expected.detach().numpy(), rtol=2e-15, atol=1e-14)
    ours = _backward(np, name, host, np.ones_like(host))
    np.testing.assert_allclose(ours[off_kink], derivatives.numpy()[off_kink], rtol=2e-15, atol=1e-13)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_far_out_nothing_overflows(name: str, xp: Any, put: Any, backend: Any) -> None:
    z = put([-1e4, -1e3, -100.0, -1e-30, -0.0, 0.0, 1e-30, 100.0, 1e3, 1e4])
    f = get_activation(name)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        a = backend.to_numpy(f.function(xp, z, f.slope))
        derivatives = backend.to_numpy(_backward(xp, name, z, xp.ones_like(z)))
    assert np.isfinite(a).all()
    assert np.isfinite(derivatives).all()
    steep = 1.0507009873554805 if name == "selu" else 1.0
    if name in SATURATED:
        np.testing.assert_array_equal(a[[0, -1]], SATURATED[name])
        np.testing.assert_array_equal(derivatives[[0, -1]], 0)
    else:
        np.testing.assert_allclose(a[-1], 1e4 * steep, rtol=1e-6)
        np.testing.assert_allclose(derivatives[-1], steep, rtol=1e-6)
        left = {"identity": 1.0, "leaky_relu": 0.01, "prelu": 0.25, "rrelu": 11 / 48}.get(name, 0.0)
        floor = {"elu": -1.0, "selu": -1.7580993408473766}.get(name, -1e4 * left)
        np.testing.assert_allclose(a[0], floor, rtol=1e-6, atol=1e-30)
        np.testing.assert_allclose(derivatives[0], left, rtol=1e-6, atol=1e-30)
    at_zero = {"sigmoid": 0.5, "softplus": np.log(2)}.get(name, 0.0)
    np.testing.assert_allclose(a[3:7], at_zero, rtol=1e-6, atol=1e-29)


def test_gelu_is_exact_to_the_last_digits() -> None:
    z = np.linspace(-45, 45, 90_001)
    f = get_activation("gelu")
    assert np.max(np.abs(f.function(np, z, None) - z * special.ndtr(z)) / np.maximum(1, np.abs(z))) < 1e-15
    density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    assert np.max(np.abs(f.backward(np, np.ones_like(z), z, None) - special.ndtr(z) - z * density)) < 1e-15


@pytest.mark.parametrize(
    ("name", "z", "expected"),
    [
        ("softplus", -15.0, np.log1p(np.exp(-15.0))),
        ("softplus", -40.0, np.exp(-40.0)),
        ("elu", -(2.0**-30), np.expm1(-(2.0**-30))),
        ("elu", -0.125, np.expm1(-0.125)),
        ("gelu", -5.0, -5.0 * special.ndtr(-5.0)),
        ("gelu", -8.0, -8.0 * special.ndtr(-8.0)),
    ],
)
def test_small_values_keep_their_digits(
    name: str, z: float, expected: float, xp: Any, put: Any, backend: Any, dtype: str
) -> None:
    f = get_activation(name)
    a = backend.to_numpy(f.function(xp, put([z]), f.slope))
    # The exponential of -z^2 / 2 turns a rounding of z into z^2 roundings of the result.
    np.testing.assert_allclose(a, expected, rtol=500 * np.finfo(dtype).eps)


def test_the_two_forms_of_gelu_are_different_functions() -> None:
    z = np.linspace(-4, 4, 81)
    difference = np.abs(
        get_activation("gelu").function(np, z, None) - get_activation("gelu_tanh").function(np, z, None)
    )
    assert 1e-4 < difference.max() < 1e-3


# One unit of prelu with z = W x = -2 and slope 0.25 has the output -0.5; the residual is -0.5 - 1.5.
@pytest.mark.parametrize(("x", "slope_gradient"), [(-2.0, -2.0 * -2.0), (2.0, 0.0)])
def test_prelu_learns_its_slope(x: float, slope_gradient: float, xp: Any, put: Any, close: Any) -> None:
    network = Network([1, 1], output="prelu", loss="squared_error")
    batch = put([[x]]), put([[1.5]])
    _, gradient = objective_and_gradient(network, xp, put([1.0, 0.0, 0.25]), batch)
    close(gradient[2:], [slope_gradient])


@pytest.mark.parametrize(("name", "lower", "upper"), [("rrelu", 1 / 8, 1 / 3), ("rrelu:lower=0.2,upper=0.6", 0.2, 0.6)])
def test_rrelu_draws_its_slopes_in_training_only(
    name: str, lower: float, upper: float, xp: Any, put: Any, backend: Any
) -> None:
    units = 400
    network = Network([1, units], output=name, loss="squared_error")
    # With z = -1 everywhere and targets 0, the gradient of each weight is its unit's slope squared.
    vector, batch = put([1.0] * units + [0.0] * units), (put([[-1.0]]), put([[0.0] * units]))

    def slopes(counter: int | None) -> np.ndarray:
        key = None if counter is None else put([7, counter])
        _, gradient = objective_and_gradient(network, xp, vector, batch, key)
        return np.sqrt(backend.to_numpy(gradient)[:units])

    drawn = slopes(0)
    assert lower <= drawn.min() < lower + 0.05 * (upper - lower)
    assert upper - 0.05 * (upper - lower) < drawn.max() <= upper + 1e-6
    assert drawn.mean() == pytest.approx((lower + upper) / 2, abs=4 * (upper - lower) / np.sqrt(12 * units))
    assert np.mean(np.isclose(drawn, slopes(1))) < 0.05
    np.testing.assert_array_equal(drawn, slopes(0))
    mean = (lower + upper) / 2
    np.testing.assert_allclose(slopes(None), mean, rtol=1e-5)
    layers = network.pack([(put([[1.0] * units]), put([0.0] * units))])
    np.testing.assert_allclose(backend.to_numpy(network.predict(layers, batch[0])), -mean, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("leaky_rel", "unknown activation: expected one of .*; received 'leaky_rel'. Did you mean 'leaky_relu'"),
        ("relu:slope=1", "unknown option of activation relu: expected none"),
        ("elu:slope=1", "unknown option of activation elu: expected one of alpha; received 'slope'"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        get_activation(name)


def test_options_are_numbers() -> None:
    with pytest.raises(InvalidParameterError, match="expected a finite number; received 'steep'"):
        get_activation("leaky_relu:slope=steep")


def test_an_elu_that_rises_to_the_left_is_refused() -> None:
    # Its output's sign would no longer tell the input's.
    with pytest.raises(InvalidParameterError, match="alpha: expected a finite number of at least 0; received '-1'"):
        get_activation("elu:alpha=-1")
