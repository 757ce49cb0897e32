"""Losses, each beside its gradient with respect to what the network's last affine map gives, in fused form.

A loss sums over a sample's outputs; the network takes the mean (or the sum) over the batch. Where a loss owns the
output function (softmax, sigmoid, exp), it works from the logits and is stable for large ones; where it does not,
its gradient is with respect to the network's output, and the output activation's backward pass follows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from array_api_compat import device

from xpnet.backend.steps import Array
from xpnet.constraints import real
from xpnet.nn.activations import bounded, sigmoid, softplus
from xpnet.specs import lookup

__all__ = ["LOSSES", "OUTPUTS", "Loss", "get_loss", "hardmax", "one_hot"]


class Loss(NamedTuple):
    """A loss with its gradient.

    Attributes
    ----------
    value_and_gradient : (xp, kernels, z, t) -> (value, gradient)
        From logits or outputs and targets, both (batch, n_out), to (batch,) and (batch, n_out).
    output : str or None
        The output function that belongs to the logits, in `OUTPUTS`; None where any elementwise activation may stand.
    lowest, highest : float
        Range of the targets for which the loss is bounded from below.
    """

    value_and_gradient: Callable[[Any, Any, Array, Array], tuple[Array, Array]]
    output: str | None = None
    lowest: float = -math.inf
    highest: float = math.inf


def _squared_error(xp: Any, kernels: Any, a: Array, t: Array) -> tuple[Array, Array]:
    """``1/2 sum (a - t)^2`` and ``a - t``."""
    residual = a - t
    return 0.5 * xp.sum(residual * residual, axis=1), residual


def _huber(delta: float = 1.0) -> Loss:
    """Quadratic within `delta`, linear beyond: Huber (1964), Ann. Math. Statist. 35, 73-101."""

    def value_and_gradient(xp: Any, kernels: Any, a: Array, t: Array) -> tuple[Array, Array]:
        residual = a - t
        clipped = bounded(xp, residual, -delta, delta)
        return xp.sum(clipped * (residual - 0.5 * clipped), axis=1), clipped

    return Loss(value_and_gradient)


def _cross_entropy(xp: Any, kernels: Any, z: Array, t: Array) -> tuple[Array, Array]:
    """``-sum t log softmax(z)`` and ``softmax(z) - t``."""
    value, gradient = kernels.softmax_cross_entropy(xp, z, t)
    return value, gradient


def _binary_cross_entropy(xp: Any, kernels: Any, z: Array, t: Array) -> tuple[Array, Array]:
    """``-sum t log s(z) + (1 - t) log(1 - s(z))``, written as softplus(z) - t z, and ``s(z) - t``."""
    return xp.sum(softplus(xp, z) - t * z, axis=1), sigmoid(xp, z) - t


def _poisson(xp: Any, kernels: Any, z: Array, t: Array) -> tuple[Array, Array]:
    """Half the Poisson deviance, ``sum exp(z) - t + t log(t / exp(z))``, and ``exp(z) - t``."""
    rate = _exp(xp, z)
    t_log_t = t * xp.log(xp.maximum(t, xp.finfo(t.dtype).smallest_normal))  # 0 log 0 = 0
    return xp.sum(rate - t + t_log_t - t * z, axis=1), rate - t


LOSSES: dict[str, Callable[..., Loss]] = {
    "squared_error": lambda: Loss(_squared_error),
    "cross_entropy": lambda: Loss(_cross_entropy, "softmax", 0, 1),
    "binary_cross_entropy": lambda: Loss(_binary_cross_entropy, "sigmoid", 0, 1),
    "poisson": lambda: Loss(_poisson, "exp", 0),
    "huber": _huber,
}


def get_loss(name: str) -> Loss:
    """Return the loss of a name, with options after a colon: ``"huber:delta=2"``."""
    loss: Loss = lookup("loss", name, LOSSES, {"delta": real(0, closed=False)})
    return loss


def _softmax(xp: Any, z: Array) -> Array:
    a = xp.exp(z - xp.max(z, axis=1, keepdims=True))
    return a / xp.sum(a, axis=1, keepdims=True)


def _exp(xp: Any, z: Array) -> Array:
    """Exponential that stays finite: a diverging rate is reported by its size, not by an overflow."""
    return xp.exp(xp.minimum(z, math.log(xp.finfo(z.dtype).max) - 1))


def hardmax(xp: Any, a: Array) -> Array:
    """One-hot rows (batch, n_out) of each row's largest entry, the first where several are equal."""
    return one_hot(xp, xp.argmax(a, axis=1), a.shape[1], a.dtype)


def one_hot(xp: Any, labels: Array, n_out: int, dtype: Any) -> Array:
    """Rows (batch, n_out) from class indices (batch,); with one output, the index itself, 0 or 1."""
    if n_out == 1:
        return xp.astype(labels[:, None], dtype)
    classes = xp.arange(n_out, dtype=labels.dtype, device=device(labels))
    return xp.astype(labels[:, None] == classes[None, :], dtype)


# Output functions, from logits (batch, n_out); the loss demands one for training, hardmax is for decisions.
OUTPUTS: dict[str, Callable[[Any, Array], Array]] = {
    "softmax": _softmax,
    "sigmoid": sigmoid,
    "exp": _exp,
    "hardmax": hardmax,
}
