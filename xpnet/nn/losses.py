"""Losses, each with its gradient directly below it, and the output functions.

The network sums a loss over the outputs of a sample, and takes the mean (or the sum) over the batch. A loss with an
output function of its own (softmax, sigmoid, exp) is computed from the logits, which is stable for large ones; its
gradient is with respect to the logits. Any other loss is computed from the network's output; the backward pass of the
output activation follows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from array_api_compat import device

from xpnet.backend.array import Array, Namespace
from xpnet.constraints import real
from xpnet.data.targets import Task
from xpnet.errors import InvalidParameterError, UnknownNameError, shown
from xpnet.nn.activations import ACTIVATION_SYNONYMS, ACTIVATIONS, sigmoid, softplus
from xpnet.nn.elementwise import clip
from xpnet.specs import from_spec

__all__ = [
    "BINARY",
    "COUNTS",
    "LOSSES",
    "LOSS_SYNONYMS",
    "OUTPUTS",
    "PROBABILITIES",
    "VALUES",
    "Loss",
    "Output",
    "Targets",
    "check_output",
    "fitting_losses",
    "get_loss",
    "hardmax",
    "one_hot",
    "outputs_by_loss",
]


class Targets(NamedTuple):
    """Valid range of a loss's targets.

    The shape is (n_out,) for each sample; class indices are converted to one-hot rows first.

    Attributes
    ----------
    lowest, highest : float
        Range of each target.
    sum_to_one : bool
        The targets of a sample are the probabilities of the classes.
    """

    lowest: float = -math.inf
    highest: float = math.inf
    sum_to_one: bool = False

    @property
    def are_binary(self) -> bool:
        """Each target is 0 or 1, so one output is enough for two classes."""
        return (self.lowest, self.highest) == (0, 1) and not self.sum_to_one

    @property
    def may_be_scaled(self) -> bool:
        """The loss takes any number, so targets may be shifted and scaled."""
        return (self.lowest, self.highest) == (-math.inf, math.inf)


PROBABILITIES = Targets(0, 1, sum_to_one=True)
BINARY = Targets(0, 1)
COUNTS = Targets(0)
VALUES = Targets()


class Loss(NamedTuple):
    """A loss, its gradient, and everything else that is known about it.

    Attributes
    ----------
    value_and_gradient : (xp, z, t) -> (value, gradient)
        From logits or outputs and targets, both (batch, n_out), to (batch,) and (batch, n_out).
    targets : Targets
    tasks : tuple of str
        Tasks that the loss fits; the first is the one that it is made for.
    output : str or None
        The output function that the loss applies to the logits, in `OUTPUTS`; None where the output function may be any
        elementwise activation.
    metric : str
        Default metric, ``"accuracy"`` or ``"r2"``. If the targets are class indices, the metric is always accuracy.
    """

    value_and_gradient: Callable[[Namespace, Array, Array], tuple[Array, Array]]
    targets: Targets = VALUES
    tasks: tuple[Task, ...] = ("regression", "classification", "multilabel")
    output: str | None = None
    metric: str = "r2"


def _squared_error(xp: Namespace, a: Array, t: Array) -> tuple[Array, Array]:
    """Return ``1/2 sum (a - t)^2`` and ``a - t``."""
    residual = a - t
    return 0.5 * xp.sum(residual * residual, axis=1), residual


def _huber(delta: float = 1.0) -> Loss:
    """Quadratic within `delta`, linear beyond: Huber (1964), Ann. Math. Statist. 35, 73-101."""

    def value_and_gradient(xp: Namespace, a: Array, t: Array) -> tuple[Array, Array]:
        residual = a - t
        clipped = clip(xp, residual, -delta, delta)
        return xp.sum(clipped * (residual - 0.5 * clipped), axis=1), clipped

    return Loss(value_and_gradient)


def _cross_entropy(xp: Namespace, z: Array, t: Array) -> tuple[Array, Array]:
    """Return ``-sum t log softmax(z)``, in the log-sum-exp form, and ``softmax(z) - t``.

    Bishop, *Pattern Recognition and Machine Learning* (2006), eq. 4.108 and 4.109; each row of `t` sums to one.
    """
    z = z - xp.max(z, axis=1, keepdims=True)
    a = xp.exp(z)
    total = xp.sum(a, axis=1, keepdims=True)
    value = xp.log(total[:, 0]) - xp.sum(t * z, axis=1)
    a /= total
    a -= t
    return value, a


def _binary_cross_entropy(xp: Namespace, z: Array, t: Array) -> tuple[Array, Array]:
    """Return ``-sum t log s(z) + (1 - t) log(1 - s(z))``, written as ``softplus(z) - t z``, and ``s(z) - t``."""
    return xp.sum(softplus(xp, z) - t * z, axis=1), sigmoid(xp, z) - t


def _poisson(xp: Namespace, z: Array, t: Array) -> tuple[Array, Array]:
    """Return half the Poisson deviance, ``sum exp(z) - t + t log(t / exp(z))``, and ``exp(z) - t``."""
    mean = _exp(xp, z)
    t_log_t = t * xp.log(xp.maximum(t, xp.finfo(t.dtype).smallest_normal))  # 0 log 0 = 0
    return xp.sum(mean - t + t_log_t - t * z, axis=1), mean - t


LOSSES: dict[str, Callable[..., Loss]] = {
    "squared_error": lambda: Loss(_squared_error),
    "cross_entropy": lambda: Loss(_cross_entropy, PROBABILITIES, ("classification",), "softmax"),
    "binary_cross_entropy": lambda: Loss(
        _binary_cross_entropy, BINARY, ("multilabel", "classification"), "sigmoid", "accuracy"
    ),
    "poisson": lambda: Loss(_poisson, COUNTS, output="exp"),
    "huber": _huber,
}

# What others call them, for hints in errors; see `UnknownNameError.among`.
LOSS_SYNONYMS = {
    **dict.fromkeys(("mse", "mse_loss", "mean_squared_error", "rmse", "l2"), "squared_error"),
    **dict.fromkeys(
        ("mae", "l1", "l1_loss", "absolute_error", "mean_absolute_error"),
        "huber:delta=0.1 There is no absolute error; with a small delta this comes near it.",
    ),
    "smooth_l1": "huber",
    **dict.fromkeys(
        ("ce", "nll", "nll_loss", "log_loss", "logloss", "softmax", "softmax_cross_entropy"), "cross_entropy"
    ),
    **dict.fromkeys(("categorical_crossentropy", "sparse_categorical_crossentropy"), "cross_entropy"),
    **dict.fromkeys(("bce", "bce_with_logits", "logistic", "binary_crossentropy"), "binary_cross_entropy"),
    "poisson_nll": "poisson",
}


def get_loss(spec: str) -> Loss:
    """Return the loss of a spec: ``"huber:delta=2"``."""
    loss: Loss = from_spec("loss", spec, LOSSES, {"delta": real(0, closed=False)}, LOSS_SYNONYMS)
    return loss


def fitting_losses(task: Task) -> list[str]:
    """Return the names of the losses that fit a task, those that are made for it first; the first is its default."""
    tasks = {name: factory().tasks for name, factory in LOSSES.items()}
    return sorted((name for name in tasks if task in tasks[name]), key=lambda name: tasks[name].index(task) > 0)


class Output(NamedTuple):
    """An output function.

    Attributes
    ----------
    function : (xp, z) -> a
        From logits to outputs, both (batch, n_out).
    probabilities : bool
        The outputs are probabilities.
    initializer : str
        Default initializer of the output layer, in `xpnet.nn.initializers.INITIALIZERS`.
    """

    function: Callable[[Namespace, Array], Array]
    probabilities: bool = False
    initializer: str = "glorot_uniform"


def _softmax(xp: Namespace, z: Array) -> Array:
    a = xp.exp(z - xp.max(z, axis=1, keepdims=True))
    return a / xp.sum(a, axis=1, keepdims=True)


def _exp(xp: Namespace, z: Array) -> Array:
    """Return ``exp(z)``, limited to finite numbers to avoid overflow when training diverges."""
    return xp.exp(xp.minimum(z, math.log(xp.finfo(z.dtype).max) - 1))


def hardmax(xp: Namespace, a: Array) -> Array:
    """Return one-hot rows, (batch, n_out), of the largest entry of each row; the first where several are equal."""
    return one_hot(xp, xp.argmax(a, axis=1), a.shape[1], a.dtype)


def one_hot(xp: Namespace, indices: Array, n_out: int, dtype: Any) -> Array:
    """Return one-hot rows, (batch, n_out), of class indices, (batch,); with one output, the index itself, 0 or 1."""
    if n_out == 1:
        return xp.astype(indices[:, None], dtype)
    classes = xp.arange(n_out, dtype=indices.dtype, device=device(indices))
    return xp.astype(indices[:, None] == classes[None, :], dtype)


# A loss names the output function that it needs for training; hardmax gives decisions.
OUTPUTS: dict[str, Output] = {
    "softmax": Output(_softmax, probabilities=True),
    "sigmoid": Output(sigmoid, probabilities=True),
    "exp": Output(_exp),
    "hardmax": Output(hardmax),
}


def outputs_by_loss() -> str:
    """Return in words which output function each loss demands.

    Examples
    --------
    >>> outputs_by_loss().split(", ")[0]
    'softmax for cross_entropy'
    """
    by_output: dict[str, list[str]] = {}
    for name, factory in sorted(LOSSES.items(), key=lambda item: item[1]().output is None):
        by_output.setdefault(factory().output or "any activation", []).append(name)
    return ", ".join(f"{output} for {', '.join(losses)}" for output, losses in by_output.items())


def check_output(loss: str, output: str, n_out: int) -> None:
    """Check that an output function and a number of outputs fit a loss.

    Raises
    ------
    InvalidParameterError
    """
    chosen = get_loss(loss)
    name = output.partition(":")[0]
    if name not in {*ACTIVATIONS, *OUTPUTS}:
        known = {*ACTIVATIONS, *filter(None, (factory().output for factory in LOSSES.values()))}
        error = UnknownNameError.among("output", name, known, ACTIVATION_SYNONYMS)
        raise UnknownNameError(f"{error} Each loss has its own: {outputs_by_loss()}.")
    if chosen.output and output != chosen.output:
        raise InvalidParameterError(
            f"output: expected {shown(chosen.output)}, which the loss {shown(loss)} demands; received {shown(output)}."
        )
    if not chosen.output and output in OUTPUTS and output not in ACTIVATIONS:
        raise InvalidParameterError(
            f"output: expected an elementwise activation for the loss {shown(loss)}; received {shown(output)}."
        )
    if chosen.targets.sum_to_one and n_out < 2:
        raise InvalidParameterError(
            f"layer_sizes: expected at least 2 outputs for the loss {shown(loss)}; received {n_out}. For two classes "
            "in one output use binary_cross_entropy."
        )
