"""The specification of a network: its shape, its functions and its objective, without parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from xpnet.constraints import check_constraints, integer, one_of, real
from xpnet.errors import InvalidParameterError
from xpnet.nn.activations import ACTIVATIONS, Activation, get_activation
from xpnet.nn.initializers import get_initializer
from xpnet.nn.losses import OUTPUTS, Loss, get_loss

__all__ = ["Specification"]

_CONSTRAINTS = {
    "layer_sizes": integer(1),
    "dropout": real(0, 1),
    "l2": real(0),
    "l1": real(0),
    "label_smoothing": real(0, 1),
    "reduction": one_of("mean", "sum"),
    "penalty_reduction": one_of("none", "mean"),
}


@dataclass(frozen=True)
class Specification:
    """What `Network` documents: the fields, held to their constraints, and what follows from them."""

    layer_sizes: Sequence[int]
    activation: str | Sequence[str] = "relu"
    output: str | None = None
    loss: str = "cross_entropy"
    initializer: str | None = None
    dropout: float | Sequence[float] = 0.0
    l2: float = 0.0
    l1: float = 0.0
    label_smoothing: float = 0.0
    reduction: str = "mean"
    penalty_reduction: str = "none"

    def __post_init__(self) -> None:
        set_ = object.__setattr__  # the way of a frozen dataclass to normalise its fields
        set_(self, "layer_sizes", tuple(self.layer_sizes))
        if len(self.layer_sizes) < 2:
            raise InvalidParameterError(
                f"layer_sizes: expected the sizes of input, hidden layers and output; received {self.layer_sizes}."
            )
        hidden = self.n_layers - 1
        for name in ("activation", "dropout"):
            value = getattr(self, name)
            if isinstance(value, Iterable) and not isinstance(value, str):
                value = tuple(value)
                if len(value) != hidden:
                    raise InvalidParameterError(
                        f"{name}: expected one value, or one for each of the {hidden} hidden layers; "
                        f"received {len(value)}: {list(value)}."
                    )
            set_(self, name, value)
        check_constraints(self, _CONSTRAINTS)
        for name in _CONSTRAINTS:
            set_(self, name, _plain(getattr(self, name)))
        demanded = self.loss_function.output
        set_(self, "output", self.output or demanded or "identity")
        if demanded and self.output != demanded:
            raise InvalidParameterError(
                f"output: expected {demanded!r}, which the loss {self.loss!r} demands; received {self.output!r}."
            )
        if not demanded and self.output in OUTPUTS and self.output not in ACTIVATIONS:
            raise InvalidParameterError(
                f"output: expected an elementwise activation for the loss {self.loss!r}; received {self.output!r}."
            )
        if demanded == "softmax" and self.layer_sizes[-1] < 2:
            raise InvalidParameterError(
                f"layer_sizes: expected at least 2 outputs for the loss {self.loss!r}; received "
                f"{self.layer_sizes[-1]}. For two classes in one output use binary_cross_entropy."
            )
        if self.initializer:
            get_initializer(self.initializer)
        _ = self.functions

    @property
    def n_layers(self) -> int:
        """Number of layers with weights."""
        return len(self.layer_sizes) - 1

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Name of each layer's activation; the last is the output's, or identity where the loss takes logits."""
        hidden = self.n_layers - 1
        names = (self.activation,) * hidden if isinstance(self.activation, str) else tuple(self.activation)
        return (*names, "identity" if self.loss_function.output else str(self.output))

    @cached_property
    def functions(self) -> tuple[Activation, ...]:
        """Each layer's activation."""
        return tuple(get_activation(name) for name in self.names)

    @cached_property
    def loss_function(self) -> Loss:
        """The loss."""
        return get_loss(self.loss)

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the pieces of the parameter vector, in their order."""
        weights = tuple(zip(self.layer_sizes[:-1], self.layer_sizes[1:], strict=True))
        biases = tuple((n,) for n in self.layer_sizes[1:])
        slopes = tuple(b for f, b in zip(self.functions, biases, strict=True) if f.learned)
        return (*weights, *biases, *slopes)

    @cached_property
    def n_weights(self) -> int:
        """Number of weights; they come first in the parameter vector, so penalties see a slice of it."""
        return sum(math.prod(shape) for shape in self.shapes[: self.n_layers])

    @property
    def n_parameters(self) -> int:
        """Number of all parameters: weights, biases and learned slopes."""
        return sum(math.prod(shape) for shape in self.shapes)

    @cached_property
    def keep_probabilities(self) -> tuple[float, ...]:
        """One minus the dropout of each layer's output; the last is never dropped."""
        hidden = self.n_layers - 1
        dropout = (self.dropout,) * hidden if isinstance(self.dropout, int | float) else self.dropout
        return (*(1.0 - p for p in dropout), 1.0)

    @property
    def is_random(self) -> bool:
        """Training draws random numbers: for dropout, or for slopes."""
        return any(keep < 1 for keep in self.keep_probabilities) or any(f.slope_range for f in self.functions)

    def to_dict(self) -> dict[str, Any]:
        """Return the specification as plain values: ``Network(**d)`` gives an equal network."""
        return asdict(self)


def _plain(value: Any) -> Any:
    """Return Python's own number for NumPy's, so that a specification is equal to itself after a round trip by JSON."""
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value
