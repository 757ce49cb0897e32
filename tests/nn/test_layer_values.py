"""The values of the layers, against the gradient of the training step and against central differences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.models import CASES, X, make
from xpnet.nn.layer_values import layer_outputs, layer_values, unit_gradients
from xpnet.nn.network import Network


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("n", [1, 5])
def test_the_gradients_are_those_of_the_network(name: str, n: int) -> None:
    model = make(name, "float64")
    network = replace(model.network, l2=0.0, l1=0.0)
    x, y = model.features(X[:n]), model.targets(CASES[name].y[:n])
    loss, grads = network.loss_and_grads(model.params, x, y)
    value, layers = layer_values(network, model.params, x, y)
    assert value == pytest.approx(float(loss), rel=1e-12)
    for layer, (W, b) in zip(layers, grads, strict=True):
        np.testing.assert_allclose(np.asarray(layer.grad_W), W, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(np.asarray(layer.grad_b), b, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(np.sum(np.asarray(layer.delta), axis=0), b, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(np.asarray(layers[-1].out), network.predict(model.params, x), rtol=1e-12)


def shifted(network: Network, params: Any, x: np.ndarray, y: np.ndarray, layer: int, unit: int, h: float) -> float:
    """Return the loss with the input z of a unit shifted: z is linear in the bias."""
    layers = [(W, b.copy()) for W, b in params]
    layers[layer][1][unit] += h
    return float(network.loss_and_grads(network.pack(layers), x, y)[0])


@pytest.mark.parametrize("name", ["text", "values", "labels"])
def test_delta_is_the_derivative_of_the_loss_by_z(name: str) -> None:
    model = make(name, "float64")
    network = replace(model.network, l2=0.0, l1=0.0)
    x, y = model.features(X[:1]), model.targets(CASES[name].y[:1])
    _, layers = layer_values(network, model.params, x, y)
    for i, layer in enumerate(layers):
        for unit, delta in enumerate(np.asarray(layer.delta)[0]):
            low, high = (shifted(network, model.params, x, y, i, unit, h) for h in (-1e-5, 1e-5))
            assert delta == pytest.approx((high - low) / 2e-5, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("name", ["text", "slopes", "input scale", "values"])
def test_z_and_the_outputs_follow_the_formulas(name: str) -> None:
    model = make(name, "float64")
    network, params = model.network, model.params
    x = model.features(X[:4])
    loss, layers = layer_values(network, params, x)
    assert loss is None
    assert layers[0].delta is None
    scale = 1 if params.input_scale is None else params.input_scale
    np.testing.assert_allclose(np.asarray(layers[0].z), network.gains[0] * (x * scale) @ params[0][0] + params[0][1])
    for below, layer, (W, b), gain in zip(layers[:-1], layers[1:], params[1:], network.gains[1:], strict=True):
        np.testing.assert_array_equal(np.asarray(layer.a), np.asarray(below.out))
        np.testing.assert_allclose(np.asarray(layer.z), gain * np.asarray(layer.a) @ W + b)
    outputs = layer_outputs(network, params, x)
    assert [each.shape[1] for each in outputs] == list(network.layer_sizes)
    np.testing.assert_allclose(np.asarray(outputs[-1]), network.predict(params, x))


@pytest.mark.parametrize("name", ["slopes", "input scale"])
@pytest.mark.parametrize("layer", [1, 2, 3])
def test_the_gradient_of_a_unit_is_that_of_central_differences(name: str, layer: int) -> None:
    model = make(name, "float64")
    network, params = model.network, model.params
    x = model.features(X[:2])
    units = [network.layer_sizes[layer] - 1, 0]
    gradients = np.asarray(unit_gradients(network, params, x, layer, units))
    assert gradients.shape == (2, 2, 4)
    for feature in range(4):
        step = 1e-6 * np.eye(4)[feature]
        low, high = (np.asarray(layer_values(network, params, x + h)[1][layer - 1].z) for h in (-step, step))
        np.testing.assert_allclose(gradients[:, :, feature], ((high - low) / 2e-6)[:, units].T, rtol=1e-6, atol=1e-8)
