"""Activation functions, each with its backward pass directly below it: the incoming gradient times the derivative.

Where possible, a derivative is a function of the output (sigmoid: ``a (1 - a)``), so that the forward pass need not
keep the input. Every formula is stable for large ``|z|``: it takes no exponential of a large positive number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from xpnet.backend.array import Array, Namespace
from xpnet.constraints import real
from xpnet.nn.elementwise import FAR, clip, normal_cdf
from xpnet.specs import from_spec

__all__ = [
    "ACTIVATIONS",
    "ACTIVATION_SYNONYMS",
    "IDENTITY",
    "Activation",
    "Slope",
    "get_activation",
    "sigmoid",
    "softplus",
]

Slope = Any  # float, (n_out,) or (batch, n_out) array; None for an activation without a slope


class Activation(NamedTuple):
    """An elementwise function, its derivative, and everything else that is known about it.

    Attributes
    ----------
    function : (xp, z, slope) -> a
    backward : (xp, grad, saved, slope) -> grad * da/dz
        `saved` is the output `a` if `from_output` is set, else the input `z`.
    from_output : bool
    initializer : str
        Default initializer of the layer in front of it, in `xpnet.nn.initializers.INITIALIZERS`.
    slope : float or None
        Slope for negative input, for the functions that have one; the initial value if the slope is learned.
    slope_gradient : (xp, grad, z) -> (n_out,), or None
        Gradient with respect to a learned slope, one for each unit; None if the slope is not learned.
    slope_range : (float, float) or None
        In training, the slope is drawn uniformly from this range for every element; at prediction it is `slope`.
    """

    function: Callable[[Namespace, Array, Slope], Array]
    backward: Callable[[Namespace, Array, Array, Slope], Array]
    from_output: bool = False
    initializer: str = "he_normal"
    slope: float | None = None
    slope_gradient: Callable[[Namespace, Array, Array], Array] | None = None
    slope_range: tuple[float, float] | None = None

    @property
    def learned(self) -> bool:
        """The slope is a parameter."""
        return self.slope_gradient is not None


def _identity(xp: Namespace, z: Array, _: Slope) -> Array:
    return z


def _identity_backward(xp: Namespace, grad: Array, a: Array, _: Slope) -> Array:
    return grad


def sigmoid(xp: Namespace, z: Array, _: Slope = None) -> Array:
    """Return the logistic function, computed by tanh, which cannot overflow."""
    return 0.5 * xp.tanh(0.5 * z) + 0.5


def _sigmoid_backward(xp: Namespace, grad: Array, a: Array, _: Slope) -> Array:
    return grad * a * (1 - a)


def _tanh(xp: Namespace, z: Array, _: Slope) -> Array:
    return xp.tanh(z)


def _tanh_backward(xp: Namespace, grad: Array, a: Array, _: Slope) -> Array:
    return grad * (1 - a * a)


def _relu(xp: Namespace, z: Array, _: Slope) -> Array:
    return xp.maximum(z, 0.0)


def _relu_backward(xp: Namespace, grad: Array, a: Array, _: Slope) -> Array:
    return grad * xp.astype(a > 0, a.dtype)


def _rectifier(xp: Namespace, z: Array, slope: Slope) -> Array:
    return xp.maximum(z, 0.0) + slope * xp.minimum(z, 0.0)


def _rectifier_backward(xp: Namespace, grad: Array, z: Array, slope: Slope) -> Array:
    positive = xp.astype(z > 0, z.dtype)
    return grad * (positive + slope * (1 - positive))


def _rectifier_slope_gradient(xp: Namespace, grad: Array, z: Array) -> Array:
    return xp.sum(grad * xp.minimum(z, 0.0), axis=0)


def softplus(xp: Namespace, z: Array, _: Slope = None) -> Array:
    """Return ``log(1 + exp(z))``."""
    return xp.maximum(z, 0.0) + xp.log1p(xp.exp(-xp.abs(z)))


def _softplus_backward(xp: Namespace, grad: Array, z: Array, _: Slope) -> Array:
    return grad * sigmoid(xp, z)


def _silu(xp: Namespace, z: Array, _: Slope) -> Array:
    return z * sigmoid(xp, z)


def _silu_backward(xp: Namespace, grad: Array, z: Array, _: Slope) -> Array:
    s = sigmoid(xp, z)
    return grad * s * (1 + z * (1 - s))


# With w = e^z and n = w (w + 2), tanh(log(1 + w)) is n / (n + 2), and its derivative 4 w (w + 1) / (n + 2)^2. One
# exponential is several times as fast as those of softplus, tanh and sigmoid.


def _mish(xp: Namespace, z: Array, _: Slope) -> Array:
    w = xp.exp(xp.minimum(z, FAR))
    n = w * (w + 2)
    return z * (n / (n + 2))


def _mish_backward(xp: Namespace, grad: Array, z: Array, _: Slope) -> Array:
    z = xp.minimum(z, FAR)
    w = xp.exp(z)
    n = w * (w + 2)
    r = 1 / (n + 2)
    return grad * (r * (n + 4 * z * (w * (w + 1)) * r))


def _gelu(xp: Namespace, z: Array, _: Slope) -> Array:
    return z * normal_cdf(xp, z)


def _gelu_backward(xp: Namespace, grad: Array, z: Array, _: Slope) -> Array:
    z = clip(xp, z, -FAR, FAR)  # beyond, the density is zero and z * z might overflow
    return grad * (normal_cdf(xp, z) + z * xp.exp(-0.5 * z * z) / math.sqrt(2 * math.pi))


def _gelu_tanh(xp: Namespace, z: Array, _: Slope) -> Array:
    return z * sigmoid(xp, _gelu_inner(xp, z))


def _gelu_tanh_backward(xp: Namespace, grad: Array, z: Array, _: Slope) -> Array:
    s = sigmoid(xp, _gelu_inner(xp, z))
    z = clip(xp, z, -FAR, FAR)
    return grad * (s + z * s * (1 - s) * 2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * z * z))


def _gelu_inner(xp: Namespace, z: Array) -> Array:
    """Return ``2 sqrt(2 / pi) (z + 0.044715 z^3)``: GELU's tanh form is z times the sigmoid of it."""
    z = clip(xp, z, -FAR, FAR)
    return 2 * math.sqrt(2 / math.pi) * (z + 0.044715 * z * z * z)


def _scaled_elu(alpha: float, scale: float, initializer: str = "he_normal") -> Activation:
    def function(xp: Namespace, z: Array, _: Slope) -> Array:
        return scale * (xp.maximum(z, 0.0) + alpha * xp.expm1(xp.minimum(z, 0.0)))

    def backward(xp: Namespace, grad: Array, a: Array, _: Slope) -> Array:
        positive = xp.astype(a > 0, a.dtype)
        return grad * (scale * positive + (1 - positive) * (a + scale * alpha))

    return Activation(function, backward, from_output=True, initializer=initializer)


def _elu(alpha: float = 1.0) -> Activation:
    """Exponential linear unit: Clevert, Unterthiner, Hochreiter (2016), arXiv:1511.07289."""
    return _scaled_elu(alpha, 1.0)


def _selu() -> Activation:
    """Scaled exponential linear unit: Klambauer et al. (2017), arXiv:1706.02515."""
    return _scaled_elu(alpha=1.6732632423543772, scale=1.0507009873554805, initializer="lecun_normal")


def _leaky_relu(slope: float = 0.01) -> Activation:
    """Leaky ReLU: Maas, Hannun, Ng (2013), Rectifier nonlinearities improve neural network acoustic models."""
    return Activation(_rectifier, _rectifier_backward, slope=slope)


def _prelu(slope: float = 0.25) -> Activation:
    """ReLU with a learned slope for each unit: He et al. (2015), arXiv:1502.01852."""
    return Activation(_rectifier, _rectifier_backward, slope=slope, slope_gradient=_rectifier_slope_gradient)


def _rrelu(lower: float = 1 / 8, upper: float = 1 / 3) -> Activation:
    """ReLU with a random slope in training, the mean one at prediction: Xu et al. (2015), arXiv:1505.00853."""
    return Activation(_rectifier, _rectifier_backward, slope=(lower + upper) / 2, slope_range=(lower, upper))


_GLOROT = "glorot_uniform"  # for functions that are linear around 0
IDENTITY = Activation(_identity, _identity_backward, from_output=True, initializer=_GLOROT)

ACTIVATIONS: dict[str, Callable[..., Activation]] = {
    "identity": lambda: IDENTITY,
    "sigmoid": lambda: Activation(sigmoid, _sigmoid_backward, from_output=True, initializer=_GLOROT),
    "tanh": lambda: Activation(_tanh, _tanh_backward, from_output=True, initializer=_GLOROT),
    "relu": lambda: Activation(_relu, _relu_backward, from_output=True),
    "leaky_relu": _leaky_relu,
    "prelu": _prelu,
    "rrelu": _rrelu,
    "elu": _elu,
    "selu": _selu,
    "softplus": lambda: Activation(softplus, _softplus_backward),
    "gelu": lambda: Activation(_gelu, _gelu_backward),  # Hendrycks, Gimpel (2016), arXiv:1606.08415
    "gelu_tanh": lambda: Activation(_gelu_tanh, _gelu_tanh_backward),
    "silu": lambda: Activation(_silu, _silu_backward),  # Elfwing, Uchibe, Doya (2018), arXiv:1702.03118
    "mish": lambda: Activation(_mish, _mish_backward),  # Misra (2019), arXiv:1908.08681
}

# What others call them, for hints in errors; see `UnknownNameError.among`.
ACTIVATION_SYNONYMS = {"linear": "identity", "none": "identity", "logistic": "sigmoid", "swish": "silu"}


def get_activation(spec: str) -> Activation:
    """Return the activation of a spec: ``"leaky_relu:slope=0.1"``."""
    activation: Activation = from_spec("activation", spec, ACTIVATIONS, {"alpha": real(0)}, ACTIVATION_SYNONYMS)
    return activation
