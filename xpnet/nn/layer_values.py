"""What the layers of a network compute for some samples: the values of the forward and of the backward pass.

A training step keeps none of them; this is for pictures and for looking closely.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from xpnet.backend.array import Array, namespace_of
from xpnet.nn.activations import Slope, get_activation
from xpnet.nn.backprop import dense, dense_backward
from xpnet.nn.network import Network
from xpnet.nn.parameters import Parameters

__all__ = ["LayerValues", "layer_outputs", "layer_values", "unit_gradients"]


class LayerValues(NamedTuple):
    """The values of one layer, ``z = a W + b`` and ``f(z)``, for a batch whose loss is L.

    Attributes
    ----------
    a : (batch, n_in)
        Input of the layer.
    z : (batch, n_out)
    out : (batch, n_out)
        Output: ``f(z)``. For the last layer that of the network, such as probabilities.
    grad : (batch, n_out) or None
        ``dL/df(z)``, which comes from the layer above or from the loss. This and what follows is None without targets.
    delta : (batch, n_out) or None
        ``dL/dz``.
    grad_W : (n_in, n_out) or None
        ``dL/dW``.
    grad_b : (n_out,) or None
        ``dL/db``.
    """

    a: Array
    z: Array
    out: Array
    grad: Any = None
    delta: Any = None
    grad_W: Any = None  # noqa: N815 - as in the formulas
    grad_b: Any = None


def layer_values(
    network: Network, params: Parameters, x: Array, y: Array | None = None
) -> tuple[float | None, list[LayerValues]]:
    """Return the loss of a batch and the values of each layer, without dropout and without penalties.

    Parameters
    ----------
    network : Network
    params : Parameters
    x : (batch, n_in)
    y : (batch,) int or (batch, n_out), optional
        Class indices, or targets.

    Examples
    --------
    >>> import numpy as np
    >>> network = Network((2, 2), loss="squared_error")
    >>> params = network.pack([(np.asarray([[1.0, 2.0], [3.0, 4.0]]), np.zeros(2))])
    >>> loss, [layer] = layer_values(network, params, np.asarray([[1.0, 1.0]]), np.asarray([[3.0, 4.0]]))
    >>> loss, layer.z, layer.delta
    (2.5, array([[4., 6.]]), array([[1., 2.]]))
    >>> layer.grad_W
    array([[1., 2.],
           [1., 2.]])
    """
    xp = namespace_of(params.vector)
    layers, saved_values, a = [], [], x
    for i, (W, b) in enumerate(params.scaled_layers()):
        _, z = dense(xp, get_activation("identity"), a, W, b, None, network.gains[i])
        saved, out = dense(xp, network.activations[i], a, W, b, _slope(network, params, i), network.gains[i])
        layers.append(LayerValues(a, z, out))
        saved_values.append(saved)
        a = out
    layers[-1] = layers[-1]._replace(out=network.outputs(a))
    if y is None:
        return None, layers
    value, grad = network.loss_function.value_and_gradient(xp, a, network.targets(xp, y, a.dtype))
    scale = 1 / x.shape[0] if network.reduction == "mean" else 1.0
    grad = grad * scale
    weights = params.scaled_layers()
    for i in reversed(range(network.n_layers)):
        layer, gain = layers[i], network.gains[i]
        slope = _slope(network, params, i)
        delta, grad_W, grad_b = dense_backward(xp, network.activations[i], layer.a, saved_values[i], slope, grad, gain)
        below = xp.matmul(delta, weights[i][0].T)
        if i == 0 and params.input_scale is not None:
            grad_W = params.input_scale[:, None] * grad_W
        layers[i] = layer._replace(grad=grad, delta=delta / gain, grad_W=grad_W, grad_b=grad_b)
        grad = below
    return float(xp.sum(value) * scale), layers


def layer_outputs(network: Network, params: Parameters, x: Array) -> list[Array]:
    """Return the input, and the output of each layer, all (batch, n)."""
    _, layers = layer_values(network, params, x)
    return [x, *(layer.out for layer in layers)]


def unit_gradients(network: Network, params: Parameters, x: Array, layer: int, units: Sequence[int]) -> Array:
    """Return the gradient of the input z of some units with respect to the network's input.

    Parameters
    ----------
    x : (batch, n_in)
    layer : int
        Counted from 1.
    units : (n_units,)
        Indices in this layer.

    Returns
    -------
    (n_units, batch, n_in) array
    """
    xp, weights = namespace_of(params.vector), params.scaled_layers()
    saved_values, a = [], x
    for i in range(layer - 1):
        saved, a = dense(xp, network.activations[i], a, *weights[i], _slope(network, params, i), network.gains[i])
        saved_values.append(saved)
    gradients = []
    for unit in units:
        grad = weights[layer - 1][0][:, unit] * network.gains[layer - 1] + 0 * x[:, :1]
        for i in reversed(range(layer - 1)):
            slope = _slope(network, params, i)
            delta = network.activations[i].backward(xp, grad, saved_values[i], slope)
            grad = xp.matmul(delta, weights[i][0].T) * network.gains[i]
        gradients.append(grad)
    return xp.stack(gradients)


def _slope(network: Network, params: Parameters, i: int) -> Slope:
    """Return the slope of a layer's activation: the learned one, or that of the activation."""
    learned = params.slopes[i]
    return network.activations[i].slope if learned is None else learned
