"""The network: forward and backward in matrix form over a mini-batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from array_api_compat import array_namespace

from xpnet.backend import Array, Backend, get_backend
from xpnet.backend.steps import REFERENCE, Kernels
from xpnet.errors import InvalidParameterError
from xpnet.nn.counter_rng import uniform_bits, uniform_floats
from xpnet.nn.losses import OUTPUTS, one_hot
from xpnet.nn.parameters import Parameters, draw, pack
from xpnet.nn.specification import Specification

__all__ = ["Network", "Parameters"]


class Network(Specification):
    """A multilayer perceptron and the objective it is trained on: the whole specification, without the parameters.

    Parameters
    ----------
    layer_sizes : sequence of int
        Units of the input, of each hidden layer and of the output; ``(n_in, n_out)`` has no hidden layer.
    activation : str or sequence of str
        Activation of the hidden layers, one for all or one for each, in `xpnet.nn.activations.ACTIVATIONS`.
    output : str or None
        Output function: what the loss demands (``"softmax"`` for cross_entropy, ``"sigmoid"`` for
        binary_cross_entropy, ``"exp"`` for poisson) or, for squared_error and huber, any elementwise activation.
        None takes what the loss demands, else ``"identity"``.
    loss : str
        In `xpnet.nn.losses.LOSSES`.
    initializer : str or None
        In `xpnet.nn.initializers.INITIALIZERS`; None takes the one that suits each layer's activation.
        ``"normal"`` draws the biases too; with the others they start at zero.
    dropout : float or sequence of float
        Probability that a hidden unit is dropped in training, one for all hidden layers or one for each.
    l2, l1 : float
        Penalties ``l2/2 sum W^2`` and ``l1 sum |W|`` over weights, not biases, added to the objective.
    label_smoothing : float
        Share of a one-hot target's mass that is spread evenly over the classes.
    reduction : {"mean", "sum"}
        Over the batch; the mean is weighted by the sample weights.
    penalty_reduction : {"none", "mean"}
        With ``"mean"`` the penalties are divided by the batch's size, or its weight, as scikit-learn has them: what
        they weigh then depends on the batch size.

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

    def init(self, seed: int = 0, device: str | Backend = "cpu", dtype: str = "float64") -> Parameters:
        """Draw the initial parameters on a device; a seed gives the same bits on every backend."""
        backend = get_backend(device)
        with backend.scope(dtype):
            return Parameters(backend.asarray(draw(self, seed, dtype)), self)

    def pack(self, layers: Sequence[tuple[Array, Array]]) -> Parameters:
        """Return one ``(W, b)`` a layer as `Parameters`; see `xpnet.nn.parameters.pack`."""
        return pack(self, layers)

    def targets(self, xp: Any, y: Array, dtype: Any, *, smooth: bool = True) -> Array:
        """Return targets as the loss takes them, (batch, n_out), from class indices (batch,) or values."""
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

    def forward(self, params: Sequence[tuple[Array, Array]], x: Array, kernels: Kernels = REFERENCE) -> Array:
        """Return the logits or, where the loss does not own the output function, the output: (batch, n_out)."""
        params = self.pack(params)
        xp = array_namespace(params[0][0])
        a = x
        for (W, b), f, slope in zip(params, self.functions, params.slopes, strict=True):
            _, a = kernels.dense(xp, f, a, W, b, f.slope if slope is None else slope)
        return a

    def predict(
        self,
        params: Sequence[tuple[Array, Array]],
        x: Array,
        *,
        output: str | None = None,
        kernels: Kernels = REFERENCE,
    ) -> Array:
        """Return the output: probabilities, rates or values, (batch, n_out).

        Parameters
        ----------
        params : Parameters, or a sequence of (W, b)
        x : (batch, n_in)
        output : str, optional
            Another output function than the loss demands: ``"hardmax"`` gives each sample's class as a one-hot row.
        kernels : Kernels
        """
        a = self.forward(params, x, kernels)
        name = output or self.loss_function.output
        return OUTPUTS[name](array_namespace(a), a) if name else a

    def loss_and_grads(
        self, params: Sequence[tuple[Array, Array]], x: Array, y: Array, sample_weight: Array | None = None
    ) -> tuple[Array, Parameters]:
        """Objective of a batch and its gradient with respect to every parameter; nothing is dropped or drawn.

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
        xp = array_namespace(params.vector)
        x = xp.astype(x, params.vector.dtype, copy=False)
        batch: tuple[Array, ...] = (x, y)
        if sample_weight is not None:
            batch = (x, y, xp.astype(sample_weight, params.vector.dtype, copy=False))
        loss, gradient = self.value_and_gradient(xp, REFERENCE, params.vector, batch)
        return loss, Parameters(gradient, self)

    def value_and_gradient(
        self,
        xp: Any,
        kernels: Kernels,
        vector: Array,
        batch: tuple[Array, ...],
        key: Array | None = None,
        micro_batch: int | None = None,
    ) -> tuple[Array, Array]:
        """Objective and its gradient over the parameter vector, by backpropagation.

        Parameters
        ----------
        vector : (n_parameters,)
        batch : (x, y) or (x, y, sample_weight)
        key : (2,) int32 or None
            Seed and counter of the generator for dropout and random slopes; None leaves both out.
        micro_batch : int, optional
            Samples taken at once: the gradients of pieces of so many are summed, each with the mean's divisor of the
            whole batch and its samples' own dropout masks, so that the result is that of the whole to rounding.

        Returns
        -------
        value : scalar array
        gradient : (n_parameters,)
        """
        n = batch[0].shape[0]
        size = min(micro_batch or n, n)
        share = _reciprocal(xp, xp.sum(batch[2])) if len(batch) > 2 else 1 / n
        value, gradient = self._backpropagate(xp, kernels, vector, batch, key, slice(0, size), share)
        for first in range(size, n, size):
            rows = slice(first, min(first + size, n))
            more, slope = self._backpropagate(xp, kernels, vector, batch, key, rows, share)
            value, gradient = value + more, gradient + slope
        if not (self.l2 or self.l1):
            return value, gradient
        penalty, slope = self.penalty(xp, vector)
        if self.penalty_reduction == "mean":
            penalty, slope = penalty * share, slope * share
        return value + penalty, gradient + slope

    def _backpropagate(
        self,
        xp: Any,
        kernels: Kernels,
        vector: Array,
        batch: tuple[Array, ...],
        key: Array | None,
        rows: slice,
        share: Array | float,
    ) -> tuple[Array, Array]:
        """Return what some rows of a batch add to the objective without penalties, and to its gradient.

        The last layer's delta is the loss's fused gradient, then ``delta_l = (delta_{l+1} W_{l+1}^T) * f'(z_l)``,
        ``grad W_l = a_{l-1}^T delta_l``: Rumelhart, Hinton, Williams (1986), Nature 323, 533-536.
        """
        if rows.stop - rows.start < batch[0].shape[0]:
            batch = tuple(array[rows, ...] for array in batch)
        x, y, *weight = batch
        params = Parameters(vector, self)
        a = x
        trace = []
        for i, ((W, b), f) in enumerate(zip(params, self.functions, strict=True)):
            slope = self._slope(xp, params, i, rows, key)
            saved, out = kernels.dense(xp, f, a, W, b, slope)
            mask = self._dropout_mask(xp, i, out, rows, key)
            trace.append((a, saved, slope, mask))
            a = out if mask is None else out * mask

        t = self.targets(xp, y, vector.dtype)
        value, grad = self.loss_function.value_and_gradient(xp, kernels, a, t)
        if weight:
            value = value * weight[0]
            grad = grad * weight[0][:, None]
        value = xp.sum(value)
        if self.reduction == "mean":
            value = value * share
            grad = grad * share

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
                grad = xp.matmul(delta, W.T)

        pieces = [xp.reshape(g, (-1,)) for g in reversed(grads_W)]
        return value, xp.concat([*pieces, *reversed(grads_b), *reversed(grads_slope)])

    def penalty(self, xp: Any, vector: Array) -> tuple[Array, Array]:
        """``l2/2 sum W^2 + l1 sum |W|`` over the weights, and its gradient over the parameter vector."""
        weights, rest = vector[: self.n_weights], vector[self.n_weights :]
        value = 0.5 * self.l2 * xp.sum(weights * weights) + self.l1 * xp.sum(xp.abs(weights))
        return value, xp.concat([self.l2 * weights + self.l1 * xp.sign(weights), xp.zeros_like(rest)])

    def _slope(self, xp: Any, params: Parameters, i: int, rows: slice, key: Array | None) -> Array | float | None:
        f = self.functions[i]
        if f.slope_range is None or key is None:
            return f.slope if params.slopes[i] is None else params.slopes[i]
        lower, upper = f.slope_range
        units = self.layer_sizes[i + 1]
        bits = uniform_bits(xp, key, 2 * i + 1, (rows.stop - rows.start, units), rows.start * units)
        return lower + (upper - lower) * uniform_floats(xp, bits, params.vector.dtype)

    def _dropout_mask(self, xp: Any, i: int, out: Array, rows: slice, key: Array | None) -> Array | None:
        """Return 0 for a dropped unit, 1/keep for another: Srivastava et al. (2014), JMLR 15, 1929-1958, inverted."""
        keep = self.keep_probabilities[i]
        if keep == 1 or key is None:
            return None
        bits = uniform_bits(xp, key, 2 * i, tuple(out.shape), rows.start * out.shape[1])
        return xp.astype(bits < min(round(keep * 2**32), 2**32 - 1) - 2**31, out.dtype) * (1 / keep)


def _reciprocal(xp: Any, total: Array) -> Array:
    """Return ``1 / total``, and 0 for a batch of nothing but zero weights, which has no gradient."""
    return xp.astype(total > 0, total.dtype) / xp.maximum(total, xp.finfo(total.dtype).smallest_normal)
