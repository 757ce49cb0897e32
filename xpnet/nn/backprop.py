"""Backpropagation: the objective of a batch and its gradient, in matrix form.

For a layer ``z = a W + b``, ``a' = f(z)`` and the loss L of the last layer, with ``delta = dL/dz``:

- ``delta`` of the last layer is the gradient that the loss gives, times ``f'(z)``;
- ``dL/dW = a^T delta`` and ``dL/db = sum delta`` over the batch;
- ``dL/da = delta W^T`` goes to the layer below, whose ``delta`` is that times its own ``f'(z)``.

Rumelhart, Hinton, Williams (1986), Nature 323, 533-536; Bishop, *Pattern Recognition and Machine Learning* (2006),
section 5.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xpnet.backend.array import Array, Namespace
from xpnet.nn.activations import Activation, Slope
from xpnet.nn.counter_rng import uniform_bits, uniform_floats
from xpnet.nn.parameters import Parameters

if TYPE_CHECKING:
    from xpnet.nn.network import Network

__all__ = ["dense", "dense_backward", "penalty", "value_and_gradient"]


def dense(xp: Namespace, f: Activation, a: Array, W: Array, b: Array, slope: Slope) -> tuple[Array, Array]:
    """Return a layer's output, ``f(a W + b)``.

    Parameters
    ----------
    a : (batch, n_in)
    W : (n_in, n_out)
    b : (n_out,)
    slope : float, (n_out,), (batch, n_out) or None
        Slope of the activation, if it has one.

    Returns
    -------
    saved, out : (batch, n_out)
        The input or the output of `f`, whichever its backward pass needs, and the output.
    """
    z = xp.matmul(a, W)
    z += b
    out = f.function(xp, z, slope)
    return (out if f.from_output else z), out


def dense_backward(
    xp: Namespace, f: Activation, a: Array, saved: Array, slope: Slope, grad: Array
) -> tuple[Array, Array, Array]:
    """Return a layer's gradients from the gradient with respect to its output, `grad`, (batch, n_out).

    Returns
    -------
    delta : (batch, n_out)
        Gradient with respect to ``a W + b``.
    grad_W : (n_in, n_out)
    grad_b : (n_out,)
    """
    delta = f.backward(xp, grad, saved, slope)
    return delta, xp.matmul(a.T, delta), xp.sum(delta, axis=0)


def value_and_gradient(
    network: Network,
    xp: Namespace,
    vector: Array,
    batch: tuple[Array, ...],
    key: Array | None = None,
    micro_batch: int | None = None,
) -> tuple[Array, Array]:
    """Return the objective of a batch, penalties included, and its gradient over the parameter vector.

    Parameters
    ----------
    vector : (n_parameters,)
    batch : (x, y) or (x, y, sample_weight)
    key : (2,) int32 or None
        Seed and counter for dropout and random slopes; None leaves both out.
    micro_batch : int, optional
        Samples that are processed at once. The gradients of the pieces are summed; each uses the divisor of the whole
        batch and the dropout masks of its own samples, so the result is that of the whole batch up to rounding.

    Returns
    -------
    value : scalar array
    gradient : (n_parameters,)
    """
    n = batch[0].shape[0]
    size = min(micro_batch or n, n)
    share = _reciprocal(xp, xp.sum(batch[2])) if len(batch) > 2 else 1 / n
    value, gradient = _backpropagate(network, xp, vector, batch, key, slice(0, size), share)
    for first in range(size, n, size):
        rows = slice(first, min(first + size, n))
        more_value, more_gradient = _backpropagate(network, xp, vector, batch, key, rows, share)
        value, gradient = value + more_value, gradient + more_gradient
    if not (network.l2 or network.l1):
        return value, gradient
    penalty_value, penalty_gradient = penalty(network, xp, vector)
    if network.penalty_reduction == "mean":
        penalty_value, penalty_gradient = penalty_value * share, penalty_gradient * share
    return value + penalty_value, gradient + penalty_gradient


def penalty(network: Network, xp: Namespace, vector: Array) -> tuple[Array, Array]:
    """Return ``l2/2 sum W^2 + l1 sum |W|`` over the weights, and its gradient over the parameter vector."""
    weights, rest = vector[: network.n_weights], vector[network.n_weights :]
    value = 0.5 * network.l2 * xp.sum(weights * weights) + network.l1 * xp.sum(xp.abs(weights))
    return value, xp.concat([network.l2 * weights + network.l1 * xp.sign(weights), xp.zeros_like(rest)])


def _backpropagate(
    network: Network,
    xp: Namespace,
    vector: Array,
    batch: tuple[Array, ...],
    key: Array | None,
    rows: slice,
    share: Array | float,
) -> tuple[Array, Array]:
    """Return what some rows of a batch add to the objective and to its gradient, without the penalties.

    Parameters
    ----------
    share : scalar array or float
        Factor of a sample in the mean over the batch.
    """
    if rows.stop - rows.start < batch[0].shape[0]:
        batch = tuple(array[rows, ...] for array in batch)
    x, y, *weight = batch
    params = Parameters(vector, network)

    # Forward: keep of each layer its input and what its backward pass needs.
    a = x
    layers = []
    for i, ((W, b), f) in enumerate(zip(params, network.functions, strict=True)):
        slope = _slope(network, xp, params, i, rows, key)
        saved, out = dense(xp, f, a, W, b, slope)
        mask = _dropout_mask(network, xp, i, out, rows, key)
        layers.append((a, saved, slope, mask))
        a = out if mask is None else out * mask

    value, grad = network.loss_function.value_and_gradient(xp, a, network.targets(xp, y, vector.dtype))
    if weight:
        value = value * weight[0]
        grad = grad * weight[0][:, None]
    value = xp.sum(value)
    if network.reduction == "mean":
        value = value * share
        grad = grad * share

    # Backward.
    grads_W, grads_b, grads_slope = [], [], []
    for i in reversed(range(network.n_layers)):
        a, saved, slope, mask = layers[i]
        f, W = network.functions[i], params[i][0]
        if mask is not None:
            grad = grad * mask
        if f.slope_gradient is not None:
            grads_slope.append(f.slope_gradient(xp, grad, saved))
        delta, grad_W, grad_b = dense_backward(xp, f, a, saved, slope, grad)
        grads_W.append(grad_W)
        grads_b.append(grad_b)
        if i:
            grad = xp.matmul(delta, W.T)

    flat = [xp.reshape(grad_W, (-1,)) for grad_W in reversed(grads_W)]
    return value, xp.concat([*flat, *reversed(grads_b), *reversed(grads_slope)])


def _slope(network: Network, xp: Namespace, params: Parameters, i: int, rows: slice, key: Array | None) -> Slope:
    """Return the slope of a layer's activation: fixed, learned, or drawn for each element."""
    f = network.functions[i]
    if f.slope_range is None or key is None:
        return f.slope if params.slopes[i] is None else params.slopes[i]
    lower, upper = f.slope_range
    units = network.layer_sizes[i + 1]
    bits = uniform_bits(xp, key, 2 * i + 1, (rows.stop - rows.start, units), rows.start * units)
    return lower + (upper - lower) * uniform_floats(xp, bits, params.vector.dtype)


def _dropout_mask(network: Network, xp: Namespace, i: int, out: Array, rows: slice, key: Array | None) -> Array | None:
    """Return 0 for a dropped unit and ``1 / keep`` for any other (inverted dropout).

    Srivastava et al. (2014), JMLR 15, 1929-1958.
    """
    keep = network.keep_probabilities[i]
    if keep == 1 or key is None:
        return None
    bits = uniform_bits(xp, key, 2 * i, tuple(out.shape), rows.start * out.shape[1])
    return xp.astype(bits < min(round(keep * 2**32), 2**32 - 1) - 2**31, out.dtype) * (1 / keep)


def _reciprocal(xp: Namespace, total: Array) -> Array:
    """Return ``1 / total``; 0 if all sample weights of the batch are zero, so that it has no gradient."""
    return xp.astype(total > 0, total.dtype) / xp.maximum(total, xp.finfo(total.dtype).smallest_normal)
