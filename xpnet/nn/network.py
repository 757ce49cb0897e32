"""The network: its specification, its forward pass, and the objective that it is trained on, with the gradient."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import Any

from array_api_compat import device as device_of

from xpnet.backend import Array, Backend, Namespace, get_backend, namespace_of, without_float_warnings
from xpnet.constraints import as_tuple, boolean, check_constraints, integer, one_of, optional, plain_value, real, text
from xpnet.errors import InvalidParameterError, shown, shown_settings
from xpnet.nn.activations import Activation, get_activation
from xpnet.nn.backprop import forward, objective_and_gradient
from xpnet.nn.initializers import get_initializer
from xpnet.nn.layer_table import layers_html
from xpnet.nn.losses import OUTPUTS, Loss, check_output, get_loss, one_hot
from xpnet.nn.parameters import PARAMETRIZATIONS, Parameters, Segment, draw, pack, segments

__all__ = ["Network", "Parameters"]

_MOST_PARAMETERS = 1 << 59  # beyond, no array can be asked for
_CONSTRAINTS = {
    "layer_sizes": integer(1),
    "activation": text(),
    "initializer": optional(text()),
    **dict.fromkeys(("dropout", "label_smoothing"), real(0, 1)),
    **dict.fromkeys(("l2", "l1"), real(0)),
    "reduction": one_of("mean", "sum"),
    "penalty_reduction": one_of("none", "mean"),
    "parametrization": one_of(*PARAMETRIZATIONS),
    "input_scale": boolean(),
}


@dataclass(frozen=True)
class Network:
    """A multilayer perceptron and the objective that it is trained on: a full specification, without parameters.

    Parameters
    ----------
    layer_sizes : sequence of int
        Units of the input, of each hidden layer and of the output; ``(n_in, n_out)`` has no hidden layer.
    activation : str or sequence of str
        Activation of the hidden layers, one for all or one for each, in `xpnet.nn.activations.ACTIVATIONS`.
    output : str or None
        Output function: the one that the loss needs (``"softmax"`` for cross_entropy, ``"sigmoid"`` for
        binary_cross_entropy, ``"exp"`` for poisson) or, for squared_error and huber, any elementwise activation.
        None takes the one that the loss needs, else ``"identity"``.
    loss : str
        In `xpnet.nn.losses.LOSSES`.
    initializer : str, sequence of str or None
        In `xpnet.nn.initializers.INITIALIZERS`, one for all layers or one for each, the last included. None takes the
        default of each layer's activation. ``"normal"`` draws the biases too; with the others they start at zero.
    dropout : float or sequence of float
        Probability that a hidden unit is dropped in training, one for all hidden layers or one for each.
    l2, l1 : float
        Penalties ``l2/2 sum W^2`` and ``l1 sum |W|`` over weights, not biases, added to the objective.
    label_smoothing : float
        Share of a one-hot target that is spread evenly over the classes.
    reduction : {"mean", "sum"}
        Over the batch; the mean is weighted by the sample weights.
    penalty_reduction : {"none", "mean"}
        ``"mean"`` divides the penalties by the batch's size, or its weight, as scikit-learn does. Their effect then
        depends on the batch size.
    parametrization : {"standard", "ntk"}
        A layer computes ``a W + b``, or ``a W / sqrt(fan_in) + b`` (neural tangent kernel) with "normal" weights.
    input_scale : bool
        Whether each input is multiplied by a learned factor, which is 1 at the start and takes no penalty.
    output_range : ((n_out,), (n_out,)) of float, or None
        Lowest and highest value of each output; predictions and scores are clipped to it, training is not.

    Examples
    --------
    >>> import numpy as np, xpnet
    >>> network = xpnet.Network([2, 3, 2], activation="tanh")
    >>> params = network.init(seed=0)
    >>> [W.shape for W, b in params]
    [(2, 3), (3, 2)]
    >>> loss, grads = network.loss_and_grads(params, np.zeros((4, 2)), np.asarray([0, 1, 1, 0]))
    >>> round(float(loss), 3)
    0.693
    """

    layer_sizes: Sequence[int]
    activation: str | Sequence[str] = "relu"
    output: str | None = None
    loss: str = "cross_entropy"
    initializer: str | Sequence[str] | None = None
    dropout: float | Sequence[float] = 0.0
    l2: float = 0.0
    l1: float = 0.0
    label_smoothing: float = 0.0
    reduction: str = "mean"
    penalty_reduction: str = "none"
    parametrization: str = "standard"
    input_scale: bool = False
    output_range: Sequence[Sequence[float]] | None = None

    def __post_init__(self) -> None:
        set_ = object.__setattr__  # how a frozen dataclass normalises its fields
        set_(self, "layer_sizes", as_tuple(self.layer_sizes))
        if len(self.layer_sizes) < 2:
            raise InvalidParameterError(
                f"layer_sizes: expected sizes of input, hidden layers and output; received {shown(self.layer_sizes)}."
            )
        hidden = self.n_layers - 1
        for name, count in {"activation": hidden, "dropout": hidden, "initializer": self.n_layers}.items():
            value = getattr(self, name)
            if isinstance(value, Iterable) and not isinstance(value, str):
                value = tuple(value)
                if len(value) != count:
                    which = "hidden layers" if count == hidden else "layers, the last included"
                    raise InvalidParameterError(
                        f"{name}: expected one value, or one for each of the {count} {which}; "
                        f"received {len(value)}: {shown(list(value))}."
                    )
            set_(self, name, value)
        check_constraints(self, _CONSTRAINTS)
        for name in _CONSTRAINTS:
            set_(self, name, plain_value(getattr(self, name)))
        own = self.loss_function.output
        set_(self, "output", self.output or own or "identity")
        check_output(self.loss, str(self.output), self.layer_sizes[-1])
        for name in self.initializers:
            get_initializer(name)
        if self.output_range is not None:
            low, high = (tuple(map(float, limit)) for limit in self.output_range)
            ordered = all(a <= b for a, b in zip(low, high, strict=False))
            if not len(low) == len(high) == self.layer_sizes[-1] or not ordered:
                raise InvalidParameterError(f"output_range: expected low <= high, one a unit; received {low}, {high}.")
            set_(self, "output_range", (low, high))
        if self.n_parameters > _MOST_PARAMETERS:
            raise InvalidParameterError(f"layer_sizes: expected fewer parameters; received {shown(self.layer_sizes)}.")

    @property
    def n_layers(self) -> int:
        """Number of layers with weights."""
        return len(self.layer_sizes) - 1

    @cached_property
    def activation_names(self) -> tuple[str, ...]:
        """Name of each layer's activation; the last is the output function, or identity if the loss takes logits."""
        names = (self.activation,) * (self.n_layers - 1) if isinstance(self.activation, str) else tuple(self.activation)
        return (*names, "identity" if self.loss_function.output else str(self.output))

    @cached_property
    def activations(self) -> tuple[Activation, ...]:
        """Each layer's activation."""
        return tuple(get_activation(name) for name in self.activation_names)

    @cached_property
    def loss_function(self) -> Loss:
        """The loss."""
        return get_loss(self.loss)

    @property
    def gives_probabilities(self) -> bool:
        """The outputs are probabilities of classes or labels."""
        return self.output in OUTPUTS and OUTPUTS[self.output].probabilities

    @cached_property
    def initializers(self) -> tuple[str, ...]:
        """Name of each layer's initializer."""
        if given := self.initializer:
            return (given,) * self.n_layers if isinstance(given, str) else tuple(given)
        own = self.loss_function.output
        last = OUTPUTS[own].initializer if own else self.activations[-1].initializer
        return (*(activation.initializer for activation in self.activations[:-1]), last)

    @cached_property
    def gains(self) -> tuple[float, ...]:
        """Factor on the product ``a W`` of each layer, which follows from the parametrization."""
        return tuple(PARAMETRIZATIONS[self.parametrization](fan_in) for fan_in in self.layer_sizes[:-1])

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """Parts of the parameter vector; see `xpnet.nn.parameters.segments`."""
        return segments(self)

    @cached_property
    def n_weights(self) -> int:
        """Number of weights; they come first in the parameter vector, so that penalties take a slice of it."""
        return sum(segment.size for segment in self.segments[: self.n_layers])

    @property
    def n_parameters(self) -> int:
        """Number of parameters of all kinds."""
        return sum(segment.size for segment in self.segments)

    @cached_property
    def keep_probabilities(self) -> tuple[float, ...]:
        """One minus the dropout of each layer's output; the last layer's output is never dropped."""
        dropout = (self.dropout,) * (self.n_layers - 1) if isinstance(self.dropout, int | float) else self.dropout
        return (*(1.0 - p for p in dropout), 1.0)

    @property
    def is_random(self) -> bool:
        """Training draws random numbers, for dropout or for slopes."""
        return min(self.keep_probabilities) < 1 or any(activation.slope_range for activation in self.activations)

    __repr__ = shown_settings
    _repr_html_ = layers_html

    def __reduce__(self) -> tuple[Any, ...]:  # without the functions that follow from the fields
        return partial(Network, **self.to_dict()), ()

    def to_dict(self) -> dict[str, Any]:
        """Return the specification as plain values: ``Network(**d)`` gives an equal network."""
        return asdict(self)

    # Parameters and targets.

    def init(self, seed: int = 0, device: str | Backend = "cpu", dtype: str = "float64") -> Parameters:
        """Draw the initial parameters on a device; a seed gives the same bits on every backend."""
        backend = get_backend(device)
        with backend.scope(dtype):
            return Parameters(backend.asarray(draw(self, seed, dtype)), self)

    def pack(self, layers: Sequence[tuple[Array, Array]]) -> Parameters:
        """Return one ``(W, b)`` a layer as `Parameters`; see `xpnet.nn.parameters.pack`."""
        return pack(self, layers)

    def targets(self, xp: Namespace, y: Array, dtype: Any, *, smooth: bool = True) -> Array:
        """Return targets as the loss takes them, (batch, n_out), from class indices, (batch,), or values."""
        n_out = self.layer_sizes[-1]
        if not xp.isdtype(y.dtype, "integral") or y.ndim > 1:
            t = xp.astype(y, dtype, copy=False)
            t = t if t.ndim > 1 else t[:, None]
            if t.shape[1] != n_out:
                raise InvalidParameterError(f"y: expected {n_out} targets a sample; received {tuple(y.shape)}.")
            return t
        t = one_hot(xp, y, n_out, dtype)
        if self.label_smoothing and smooth:
            t *= 1 - self.label_smoothing
            t += self.label_smoothing / max(n_out, 2)
        return t

    # Forward and backward.

    @without_float_warnings
    def forward(self, params: Sequence[tuple[Array, Array]], x: Array) -> Array:
        """Return the logits or, where the loss has no output function of its own, the output: (batch, n_out)."""
        params = self.pack(params)
        return forward(self, namespace_of(params[0][0]), params, x)

    def predict(self, params: Sequence[tuple[Array, Array]], x: Array, *, output: str | None = None) -> Array:
        """Return the output: probabilities, rates or values, (batch, n_out).

        Parameters
        ----------
        params : Parameters, or a sequence of (W, b)
        x : (batch, n_in)
        output : str, optional
            Output function in place of the loss's own: ``"hardmax"`` gives each sample's class as a one-hot row.
        """
        return self.outputs(self.forward(params, x), output)

    def outputs(self, a: Array, output: str | None = None) -> Array:
        """Return the output of the result of `forward`, both (batch, n_out); `output` as for `predict`."""
        xp = namespace_of(a)
        name = output or self.loss_function.output
        a = OUTPUTS[name].function(xp, a) if name else a
        if self.output_range is None:
            return a
        low, high = (xp.asarray(limit, dtype=a.dtype, device=device_of(a)) for limit in self.output_range)
        return xp.minimum(xp.maximum(a, low), high)

    @without_float_warnings
    def loss_and_grads(
        self, params: Sequence[tuple[Array, Array]], x: Array, y: Array, sample_weight: Array | None = None
    ) -> tuple[Array, Parameters]:
        """Return the objective of a batch and its gradient with respect to every parameter, without random numbers.

        The values of the targets are not checked. JAX's arrays in float64 need ``jax.enable_x64``, or the backend's
        `scope`.

        Parameters
        ----------
        params : Parameters, or a sequence of (W, b)
        x : (batch, n_in)
        y : (batch,) int or (batch, n_out)
            Class indices, or targets.
        sample_weight : (batch,), optional

        Returns
        -------
        loss : scalar array
        grads : Parameters
        """
        params = self.pack(params)
        xp = namespace_of(params.vector)
        x = xp.astype(x, params.vector.dtype, copy=False)
        batch: tuple[Array, ...] = (x, y)
        if sample_weight is not None:
            batch = (x, y, xp.astype(sample_weight, params.vector.dtype, copy=False))
        loss, gradient = objective_and_gradient(self, xp, params.vector, batch)
        return loss, Parameters(gradient, self)
