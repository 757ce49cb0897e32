"""The composite operations of one training step, as reference code in the array API standard.

A backend may return ``REFERENCE._replace(...)`` with a faster one; a test runs every override against its reference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

__all__ = ["REFERENCE", "Array", "Kernels", "RunSteps", "Step", "run_steps"]

Array = Any

# (params, state, batch, xp=the backend's) -> (params, state, loss); params and state are consumed, the batch is not
# written.
Step = Callable[..., tuple[Array, Any, Array]]
# (params, state, data, order) -> (params, state, losses): a step for each row of order.
RunSteps = Callable[[Array, Any, tuple[Array, ...], Array], tuple[Array, Any, Array]]


class _Activation(Protocol):
    @property
    def function(self) -> Callable[..., Array]: ...
    @property
    def backward(self) -> Callable[..., Array]: ...
    @property
    def from_output(self) -> bool: ...


def dense(xp: Any, f: _Activation, x: Array, W: Array, b: Array, slope: Array | None) -> tuple[Array, Array]:
    """Affine map and activation, ``f(x W + b)``.

    Parameters
    ----------
    x : (batch, n_in)
    W : (n_in, n_out)
    b : (n_out,)
    slope : scalar, (n_out,), (batch, n_out) or None
        The activation's slope, where it has one.

    Returns
    -------
    saved, a : (batch, n_out)
        What `f`'s backward pass is written in (its input or its output), and the output.
    """
    z = xp.matmul(x, W)
    z += b
    a = f.function(xp, z, slope)
    return (a if f.from_output else z), a


def dense_backward(
    xp: Any, f: _Activation, x: Array, saved: Array, slope: Array | None, grad: Array
) -> tuple[Array, Array, Array]:
    """Backward of `dense`: from the gradient with respect to its output, (batch, n_out), to those of its parameters.

    Returns
    -------
    delta : (batch, n_out)
        Gradient with respect to the affine map's result.
    grad_W : (n_in, n_out)
    grad_b : (n_out,)
    """
    delta = f.backward(xp, grad, saved, slope)
    return delta, xp.matmul(x.T, delta), xp.sum(delta, axis=0)


def softmax_cross_entropy(xp: Any, z: Array, t: Array) -> tuple[Array, Array]:
    """Cross-entropy of softmax in the log-sum-exp form, and its gradient with respect to the logits.

    Parameters
    ----------
    z : (batch, n_out)
        Logits.
    t : (batch, n_out)
        Target probabilities; each row sums to one.

    Returns
    -------
    value : (batch,)
    grad : (batch, n_out)
        ``softmax(z) - t``: Bishop, *Pattern Recognition and Machine Learning* (2006), eq. 4.109.
    """
    z = z - xp.max(z, axis=1, keepdims=True)
    a = xp.exp(z)
    total = xp.sum(a, axis=1, keepdims=True)
    value = xp.log(total[:, 0]) - xp.sum(t * z, axis=1)
    a /= total
    a -= t
    return value, a


class Kernels(NamedTuple):
    """The operations that a backend may replace; the first argument of each is the namespace."""

    dense: Callable[..., tuple[Array, Array]]
    dense_backward: Callable[..., tuple[Array, Array, Array]]
    softmax_cross_entropy: Callable[[Any, Array, Array], tuple[Array, Array]]


REFERENCE = Kernels(dense, dense_backward, softmax_cross_entropy)


def run_steps(
    xp: Any, step: Step, params: Array, state: Any, data: tuple[Array, ...], order: Array
) -> tuple[Array, Any, Array]:
    """Gather a batch for each row of `order` and step: the plain loop.

    Parameters
    ----------
    data : tuple of arrays
        Inputs (n_samples, n_in), targets (n_samples, ...) and perhaps weights (n_samples,).
    order : (n_steps, batch)
        Indices of samples.

    Returns
    -------
    params, state
        After the last step; those passed in are consumed.
    losses : (n_steps,)
    """
    losses = []
    for i in range(order.shape[0]):
        row = order[i, :]
        batch = tuple(xp.take(array, row, axis=0) for array in data)
        params, state, loss = step(params, state, batch)
        losses.append(loss)
    return params, state, xp.stack(losses)
