"""The network: shapes, parameters, forward and backward in matrix form over a mini-batch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import array_api_compat
import numpy as np

from xpnet.activations import ACTIVATIONS, Activation, get_activation
from xpnet.backend import Array, Backend, get_backend
from xpnet.constraints import check_constraints, integer, one_of, real
from xpnet.errors import InvalidParameterError
from xpnet.generator import uniform_bits, uniform_floats
from xpnet.initializers import default_initializer, get_initializer
from xpnet.kernels import REFERENCE, Kernels
from xpnet.losses import OUTPUTS, Loss, get_loss, one_hot

__all__ = ["Network", "Parameters"]

_CONSTRAINTS = {
    "layer_sizes": integer(1),
    "dropout": real(0, 1),
    "l2": real(0),
    "l1": real(0),
    "label_smoothing": real(0, 1),
    "reduction": one_of("mean", "sum"),
}


class Parameters(Sequence[tuple[Array, Array]]):
    """One ``(W, b)`` a layer, cut from one flat vector, which is what the optimizers see.

    Attributes
    ----------
    vector : (n_parameters,)
        All weights, then all biases, then the learned slopes.
    slopes : tuple of (n_out,) arrays or None
        The learned slopes of each layer's activation, where it has them.
    """

    def __init__(self, vector: Array, network: Network) -> None:
        self.vector = vector
        pieces = []
        start = 0
        for shape in network.shapes:
            stop = start + math.prod(shape)
            piece = vector[start:stop]
            pieces.append(array_api_compat.array_namespace(vector).reshape(piece, shape) if len(shape) > 1 else piece)
            start = stop
        n = network.n_layers
        self._layers = tuple(zip(pieces[:n], pieces[n : 2 * n], strict=True))
        slopes = iter(pieces[2 * n :])
        self.slopes = tuple(next(slopes) if f.learned else None for f in network.functions)

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, i: Any) -> Any:
        return self._layers[i]

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        return iter(self._layers)


@dataclass(frozen=True)
class Network:
    """A multilayer perceptron and the objective it is trained on: the whole specification, without the parameters.

    Parameters
    ----------
    layer_sizes : sequence of int
        Units of the input, of each hidden layer and of the output; ``(n_in, n_out)`` has no hidden layer.
    activation : str or sequence of str
        Activation of the hidden layers, one for all or one for each, in `xpnet.activations.ACTIVATIONS`.
    output : str or None
        Output function: what the loss demands (``"softmax"`` for cross_entropy, ``"sigmoid"`` for
        binary_cross_entropy, ``"exp"`` for poisson) or, for squared_error and huber, any elementwise activation.
        None takes what the loss demands, else ``"identity"``.
    loss : str
        In `xpnet.losses.LOSSES`.
    initializer : str or None
        In `xpnet.initializers.INITIALIZERS`; None takes the one that suits each layer's activation.
        ``"normal"`` draws the biases too; with the others they start at zero.
    dropout : float or sequence of float
        Probability that a hidden unit is dropped in training, one for all hidden layers or one for each.
    l2, l1 : float
        Penalties ``l2/2 sum W^2`` and ``l1 sum |W|`` over weights, not biases, added to the objective.
    label_smoothing : float
        Share of a one-hot target's mass that is spread evenly over the classes.
    reduction : {"mean", "sum"}
        Over the batch; the mean is weighted by the sample weights.

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
    initializer: str | None = None
    dropout: float | Sequence[float] = 0.0
    l2: float = 0.0
    l1: float = 0.0
    label_smoothing: float = 0.0
    reduction: str = "mean"

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
            if not isinstance(value, str | float | int):
                value = tuple(value)
                if len(value) != hidden:
                    raise InvalidParameterError(
                        f"{name}: expected one value, or one for each of the {hidden} hidden layers; "
                        f"received {len(value)}: {list(value)}."
                    )
            set_(self, name, value)
        check_constraints(self, _CONSTRAINTS)
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

    @property
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

    def to_dict(self) -> dict[str, Any]:
        """Return the specification as plain values: ``Network(**d)`` gives an equal network."""
        return asdict(self)

    def init(self, seed: int = 0, device: str | Backend = "cpu", dtype: str = "float64") -> Parameters:
        """Draw the initial parameters; a seed gives the same bits on every backend.

        Returns
        -------

        Parameters
        ----------
            One ``(W, b)`` a layer, ``W.shape == (n_in, n_out)``, on the device.
        """
        rng = np.random.default_rng(seed)
        weights, biases, slopes = [], [], []
        for i, f in enumerate(self.functions):
            fan_in, fan_out = self.layer_sizes[i], self.layer_sizes[i + 1]
            # The output function matters here even where the loss has it fused in.
            name = str(self.output) if i == self.n_layers - 1 else self.names[i]
            chosen = self.initializer or default_initializer(name)
            weights.append(get_initializer(chosen)(rng, fan_in, fan_out).ravel())
            biases.append(rng.standard_normal(fan_out) if chosen == "normal" else np.zeros(fan_out))
            if f.learned:
                slopes.append(np.full(fan_out, f.slope))
        backend = get_backend(device)
        with backend.scope(dtype):
            return Parameters(backend.asarray(np.concatenate(weights + biases + slopes).astype(dtype)), self)

    def pack(self, layers: Sequence[tuple[Array, Array]]) -> Parameters:
        """Make `Parameters` from one ``(W, b)`` a layer; learned slopes start at their initial value.

        Raises
        ------
        InvalidParameterError
            The shapes are not the network's.
        """
        if isinstance(layers, Parameters):
            return layers
        shapes = [(tuple(W.shape), tuple(b.shape)) for W, b in layers]
        expected = [(self.shapes[i], self.shapes[self.n_layers + i]) for i in range(self.n_layers)]
        if shapes != expected:
            raise InvalidParameterError(f"parameters: expected the shapes {expected}; received {shapes}.")
        xp = array_api_compat.array_namespace(*(array for pair in layers for array in pair))
        pieces = [xp.reshape(W, (-1,)) for W, _ in layers] + [b for _, b in layers]
        pieces += [f.slope + 0 * b for f, (_, b) in zip(self.functions, layers, strict=True) if f.learned]
        return Parameters(xp.concat(pieces), self)

    def targets(self, xp: Any, y: Array, dtype: Any) -> Array:
        """Return targets as the loss takes them, (batch, n_out), from class indices (batch,) or values."""
        if not xp.isdtype(y.dtype, "integral") or y.ndim > 1:
            t = xp.astype(y, dtype, copy=False)
            return t if t.ndim > 1 else t[:, None]
        n_out = self.layer_sizes[-1]
        t = one_hot(xp, y, n_out, dtype)
        if self.label_smoothing:
            t *= 1 - self.label_smoothing
            t += self.label_smoothing / max(n_out, 2)
        return t

    def forward(self, params: Sequence[tuple[Array, Array]], x: Array) -> Array:
        """Return the logits or, where the loss does not own the output function, the output: (batch, n_out)."""
        params = self.pack(params)
        xp = array_api_compat.array_namespace(params.vector)
        a = x
        for (W, b), f, slope in zip(params, self.functions, params.slopes, strict=True):
            _, a = REFERENCE.dense(xp, f, a, W, b, f.slope if slope is None else slope)
        return a

    def predict(self, params: Sequence[tuple[Array, Array]], x: Array) -> Array:
        """Return the output: probabilities, rates or values, (batch, n_out)."""
        a = self.forward(params, x)
        demanded = self.loss_function.output
        return OUTPUTS[demanded](array_api_compat.array_namespace(a), a) if demanded else a

    def loss_and_grads(
        self, params: Sequence[tuple[Array, Array]], x: Array, y: Array, sample_weight: Array | None = None
    ) -> tuple[Array, Parameters]:
        """Objective of a batch and its gradient with respect to every parameter; nothing is dropped or drawn.

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
        xp = array_api_compat.array_namespace(params.vector)
        x = xp.astype(x, params.vector.dtype, copy=False)
        batch = (x, y) if sample_weight is None else (x, y, sample_weight)
        loss, gradient = self.value_and_gradient(xp, REFERENCE, params.vector, batch)
        return loss, Parameters(gradient, self)

    def value_and_gradient(
        self, xp: Any, kernels: Kernels, vector: Array, batch: tuple[Array, ...], key: Array | None = None
    ) -> tuple[Array, Array]:
        """Objective and its gradient over the parameter vector, by backpropagation.

        The last layer's delta is the loss's fused gradient, then ``delta_l = (delta_{l+1} W_{l+1}^T) * f'(z_l)``,
        ``grad W_l = a_{l-1}^T delta_l``: Rumelhart, Hinton, Williams (1986), Nature 323, 533-536.

        Parameters
        ----------
        vector : (n_parameters,)
        batch : (x, y) or (x, y, sample_weight)
        key : (2,) int32 or None
            Seed and counter of the generator for dropout and random slopes; None leaves both out.

        Returns
        -------
        value : scalar array
        gradient : (n_parameters,)
        """
        x, y, *weight = batch
        params = Parameters(vector, self)
        a = x
        trace = []
        for i, ((W, b), f) in enumerate(zip(params, self.functions, strict=True)):
            slope = self._slope(xp, params, i, x.shape[0], key)
            saved, out = kernels.dense(xp, f, a, W, b, slope)
            mask = self._dropout_mask(xp, i, out, key)
            trace.append((a, saved, slope, mask))
            a = out if mask is None else out * mask

        t = self.targets(xp, y, vector.dtype)
        value, grad = self.loss_function.value_and_gradient(xp, kernels, a, t)
        if weight:
            value = value * weight[0]
            grad = grad * weight[0][:, None]
        value = xp.sum(value)
        if self.reduction == "mean":
            # A batch of nothing but zero weights has no gradient; it must not divide by zero.
            total = xp.sum(weight[0]) if weight else x.shape[0]
            scale = 1 / xp.maximum(total, xp.finfo(vector.dtype).smallest_normal) if weight else 1 / total
            value = value * scale
            grad = grad * scale

        grads_W, grads_b, grads_slope = [], [], []
        for i in reversed(range(self.n_layers)):
            a, saved, slope, mask = trace[i]
            f, W = self.functions[i], params[i][0]
            if mask is not None:
                grad = grad * mask
            if f.learned:
                grads_slope.append(xp.sum(grad * xp.minimum(saved, 0.0), axis=0))
            delta, grad_W, grad_b = kernels.dense_backward(xp, f, a, saved, slope, grad)
            grads_W.append(grad_W)
            grads_b.append(grad_b)
            if i:
                grad = delta @ W.T

        pieces = [xp.reshape(g, (-1,)) for g in reversed(grads_W)]
        gradient = xp.concat([*pieces, *reversed(grads_b), *reversed(grads_slope)])
        return self._penalised(xp, vector, value, gradient)

    def _penalised(self, xp: Any, vector: Array, value: Array, gradient: Array) -> tuple[Array, Array]:
        if not (self.l2 or self.l1):
            return value, gradient
        n = self.n_weights
        weights, rest = vector[:n], xp.zeros_like(gradient[n:])
        value = value + 0.5 * self.l2 * xp.sum(weights * weights) + self.l1 * xp.sum(xp.abs(weights))
        return value, gradient + xp.concat([self.l2 * weights + self.l1 * xp.sign(weights), rest])

    def _slope(self, xp: Any, params: Parameters, i: int, batch: int, key: Array | None) -> Array | float | None:
        f = self.functions[i]
        if f.slope_range is None or key is None:
            return f.slope if params.slopes[i] is None else params.slopes[i]
        lower, upper = f.slope_range
        bits = uniform_bits(xp, key, 2 * i + 1, (batch, self.layer_sizes[i + 1]))
        return lower + (upper - lower) * uniform_floats(xp, bits, params.vector.dtype)

    def _dropout_mask(self, xp: Any, i: int, out: Array, key: Array | None) -> Array | None:
        """Return 0 for a dropped unit, 1/keep for another: Srivastava et al. (2014), JMLR 15, 1929-1958, inverted."""
        keep = self.keep_probabilities[i]
        if keep == 1 or key is None:
            return None
        bits = uniform_bits(xp, key, 2 * i, tuple(out.shape))
        return xp.astype(bits < min(round(keep * 2**32), 2**32 - 1) - 2**31, out.dtype) * (1 / keep)
