"""Backpropagation: the objective of a batch and its gradient, in matrix form.

For a layer ``z = a W + b``, ``a' = f(z)`` and the loss L of the last layer, with ``delta = dL/dz``:

- ``delta`` of the last layer is the gradient that the loss gives, times ``f'(z)``;
- ``dL/dW = a^T delta`` and ``dL/db = sum delta`` over the batch;
- ``dL/da = delta W^T`` goes to the layer below, whose ``delta`` is that times its own ``f'(z)``.

With a gain g, ``z = g a W + b``, and ``g delta`` takes the place of ``delta`` in both products.

Rumelhart, Hinton, Williams (1986), Nature 323, 533-536; Bishop, *Pattern Recognition and Machine Learning* (2006),
section 5.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from xpnet.backend.array import Array, Namespace
from xpnet.nn.activations import Activation, Slope
from xpnet.nn.dropout import dropout_mask, random_slope
from xpnet.nn.parameters import Parameters

if TYPE_CHECKING:
    from xpnet.nn.network import Network

__all__ = ["BatchShare", "dense", "dense_backward", "forward", "objective_and_gradient", "penalty"]


def dense(
    xp: Namespace, activation: Activation, a: Array, W: Array, b: Array, slope: Slope, gain: float = 1.0
) -> tuple[Array, Array]:
    """Return a layer's output, ``f(gain a W + b)`` with the activation f.

    Parameters
    ----------
    a : (batch, n_in)
    W : (n_in, n_out)
    b : (n_out,)
    slope : float, (n_out,), (batch, n_out) or None
        Slope of the activation, if it has one.
    gain : float

    Returns
    -------
    saved, out : (batch, n_out)
        The input or the output of the activation, whichever its backward pass needs, and the output.
    """
    z = xp.matmul(a, W)
    if gain != 1:
        z *= gain
    z += b
    out = activation.function(xp, z, slope)
    return (out if activation.from_output else z), out


def forward(network: Network, xp: Namespace, params: Parameters, x: Array) -> Array:
    """Return the output of the last layer without its output function, (batch, n_out), for inputs (batch, n_in)."""
    a = x
    layers = zip(network.activations, params.scaled_layers(), params.slopes, network.gains, strict=True)
    for activation, (W, b), slope, gain in layers:
        _, a = dense(xp, activation, a, W, b, activation.slope if slope is None else slope, gain)
    return a


def dense_backward(
    xp: Namespace, activation: Activation, a: Array, saved: Array, slope: Slope, grad: Array, gain: float = 1.0
) -> tuple[Array, Array, Array]:
    """Return a layer's gradients from the gradient with respect to its output, `grad`, (batch, n_out).

    Returns
    -------
    delta : (batch, n_out)
        Gradient with respect to ``a W``.
    grad_W : (n_in, n_out)
    grad_b : (n_out,)
    """
    delta = activation.backward(xp, grad, saved, slope)
    if gain == 1:
        return delta, xp.matmul(a.T, delta), xp.sum(delta, axis=0)
    delta = delta * gain  # the only form of it that is kept in memory, so the sum takes the gain out again
    return delta, xp.matmul(a.T, delta), xp.sum(delta, axis=0) / gain


class BatchShare(NamedTuple):
    """The rows of a batch that one of several processes has, with what it needs to know about the whole batch.

    Attributes
    ----------
    x, y : (n, n_in), (n, ...)
    weight : (n,)
        The samples' weights, divided by what the mean over the whole batch divides by.
    first : (n,) int32
        The place of the first of these rows in the whole batch; they follow one another.
    penalty : (n,)
        What each row adds to the factor on the penalties, which is 1 or, if they are shared by the samples of a batch,
        1 / batch size (or 1 / sum of weights).
    """

    x: Array
    y: Array
    weight: Array
    first: Array
    penalty: Array


def objective_and_gradient(
    network: Network,
    xp: Namespace,
    vector: Array,
    batch: tuple[Array, ...],
    key: Array | None = None,
    micro_batch: int | None = None,
    *,
    is_share: bool = False,
) -> tuple[Array, Array]:
    """Return the objective of a batch, penalties included, and its gradient over the parameter vector.

    Parameters
    ----------
    vector : (n_parameters,)
    batch : (x, y), (x, y, sample_weight) or `BatchShare`
    key : (2,) int32 or None
        Seed and counter for dropout and random slopes; None leaves both out.
    micro_batch : int, optional
        Samples that are processed at once. The gradients of the micro-batches are summed. Each uses the divisor of the
        whole batch and the dropout masks of its own samples, so the result is that of the whole batch up to rounding.
    is_share : bool
        Whether the batch is a `BatchShare`. The sum of the results over the shares is the result of the whole batch, up
        to rounding.

    Returns
    -------
    value : scalar array
    gradient : (n_parameters,)
    """
    n = batch[0].shape[0]
    size = min(micro_batch or n, n)
    first_row: Array | int = 0
    scale: Array | float | None
    penalty_scale: Array | float
    if is_share:
        share = BatchShare(*batch)
        batch, first_row = batch[:3], share.first[0]
        scale, penalty_scale = None, xp.sum(share.penalty)
    else:
        scale = _reciprocal(xp, xp.sum(batch[2])) if len(batch) > 2 else 1 / n
        penalty_scale = scale if network.penalty_reduction == "mean" else 1.0
        scale = scale if network.reduction == "mean" else None
    value, gradient = _backpropagate(network, xp, vector, batch, key, slice(0, size), scale, first_row)
    for first in range(size, n, size):
        rows = slice(first, min(first + size, n))
        more_value, more_gradient = _backpropagate(network, xp, vector, batch, key, rows, scale, first_row + first)
        value, gradient = value + more_value, gradient + more_gradient
    if not (network.l2 or network.l1):
        return value, gradient
    penalty_value, penalty_gradient = penalty(network, xp, vector, penalty_scale)
    return value + penalty_value, gradient + penalty_gradient


def penalty(network: Network, xp: Namespace, vector: Array, scale: Array | float = 1.0) -> tuple[Array, Array]:
    """Return ``l2/2 sum W^2 + l1 sum |W|`` over the weights, and its gradient over the parameter vector.

    Parameters
    ----------
    scale : scalar array or float
        Factor on both.
    """
    weights, rest = vector[: network.n_weights], vector[network.n_weights :]
    l2, l1 = network.l2 * scale, network.l1 * scale
    value, gradient = 0.5 * l2 * xp.sum(weights * weights), l2 * weights
    if network.l1:  # rare, and it takes as long as the rest
        value, gradient = value + l1 * xp.sum(xp.abs(weights)), gradient + l1 * xp.sign(weights)
    return value, xp.concat([gradient, xp.zeros_like(rest)])


def _backpropagate(
    network: Network,
    xp: Namespace,
    vector: Array,
    batch: tuple[Array, ...],
    key: Array | None,
    rows: slice,
    scale: Array | float | None,
    first_row: Array | int,
) -> tuple[Array, Array]:
    """Return what some rows of a batch add to the objective and to its gradient, without the penalties.

    Parameters
    ----------
    scale : scalar array, float or None
        For a mean: 1 / batch size (or 1 / sum of sample weights).
    first_row : int or scalar int32 array
        The place of the first of the rows in the whole batch.
    """
    if rows.stop - rows.start < batch[0].shape[0]:
        batch = tuple(array[rows, ...] for array in batch)
    x, y, *sample_weight = batch
    params = Parameters(vector, network)

    # Forward: store each layer's input and what its backward pass needs.
    a = x
    layers = []
    weights = params.scaled_layers()
    for i, ((W, b), activation) in enumerate(zip(weights, network.activations, strict=True)):
        shape = (rows.stop - rows.start, network.layer_sizes[i + 1])
        slope: Slope = activation.slope if params.slopes[i] is None else params.slopes[i]
        if key is not None and activation.slope_range is not None:
            slope = random_slope(xp, key, i, activation.slope_range, shape, vector.dtype, first_row)
        saved, out = dense(xp, activation, a, W, b, slope, network.gains[i])
        mask = None
        if key is not None and (keep := network.keep_probabilities[i]) < 1:
            mask = dropout_mask(xp, key, i, keep, shape, vector.dtype, first_row)
        layers.append((a, saved, slope, mask))
        a = out if mask is None else out * mask

    value, grad = network.loss_function.value_and_gradient(xp, a, network.targets(xp, y, vector.dtype))
    if sample_weight:
        value = value * sample_weight[0]
        grad = grad * sample_weight[0][:, None]
    value = xp.sum(value)
    if scale is not None:
        value = value * scale
        grad = grad * scale

    # Backward.
    grads_W, grads_b, grads_slope = [], [], []
    for i in reversed(range(network.n_layers)):
        a, saved, slope, mask = layers[i]
        activation, W = network.activations[i], weights[i][0]
        if mask is not None:
            grad = grad * mask
        if activation.slope_gradient is not None:
            grads_slope.append(activation.slope_gradient(xp, grad, saved))
        delta, grad_W, grad_b = dense_backward(xp, activation, a, saved, slope, grad, network.gains[i])
        grads_W.append(grad_W)
        grads_b.append(grad_b)
        if i:
            grad = xp.matmul(delta, W.T)

    grads_scale = []
    if params.input_scale is not None:  # the first product was ``a (s[:, None] W)``
        grads_scale = [xp.sum(params[0][0] * grads_W[-1], axis=1)]
        grads_W[-1] = params.input_scale[:, None] * grads_W[-1]
    flat = [xp.reshape(grad_W, (-1,)) for grad_W in reversed(grads_W)]
    return value, xp.concat([*flat, *reversed(grads_b), *reversed(grads_slope), *grads_scale])


def _reciprocal(xp: Namespace, total: Array) -> Array:
    """Return ``1 / total``; 0 if all sample weights of the batch are zero, so that it has no gradient."""
    return xp.astype(total > 0, total.dtype) / xp.maximum(total, xp.finfo(total.dtype).smallest_normal)
