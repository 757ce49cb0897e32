"""Activation functions, each with its backward pass directly below it: the incoming gradient times the derivative.

Where possible, a derivative is a function of the output (sigmoid: ``a (1 - a)``), so that the forward pass need not
keep the input. Every formula is stable for large ``|z|``: it takes no exponential of a positive number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from xpnet.backend.steps import Array
from xpnet.constraints import real
from xpnet.specs import from_spec

__all__ = ["ACTIVATIONS", "IDENTITY", "Activation", "clip", "get_activation", "sigmoid", "softplus"]


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

    function: Callable[[Any, Array, Array | None], Array]
    backward: Callable[[Any, Array, Array, Array | None], Array]
    from_output: bool = False
    initializer: str = "he_normal"
    slope: float | None = None
    slope_gradient: Callable[[Any, Array, Array], Array] | None = None
    slope_range: tuple[float, float] | None = None

    @property
    def learned(self) -> bool:
        """The slope is a parameter."""
        return self.slope_gradient is not None


def _identity(xp: Any, z: Array, _: Array | None) -> Array:
    return z


def _identity_backward(xp: Any, grad: Array, a: Array, _: Array | None) -> Array:
    return grad


def sigmoid(xp: Any, z: Array, _: Array | None = None) -> Array:
    """Return the logistic function, computed by tanh, which cannot overflow."""
    return 0.5 * xp.tanh(0.5 * z) + 0.5


def _sigmoid_backward(xp: Any, grad: Array, a: Array, _: Array | None) -> Array:
    return grad * a * (1 - a)


def _tanh(xp: Any, z: Array, _: Array | None) -> Array:
    return xp.tanh(z)


def _tanh_backward(xp: Any, grad: Array, a: Array, _: Array | None) -> Array:
    return grad * (1 - a * a)


def _relu(xp: Any, z: Array, _: Array | None) -> Array:
    return xp.maximum(z, 0.0)


def _relu_backward(xp: Any, grad: Array, a: Array, _: Array | None) -> Array:
    return grad * xp.astype(a > 0, a.dtype)


def _rectifier(xp: Any, z: Array, slope: Array | None) -> Array:
    return xp.maximum(z, 0.0) + slope * xp.minimum(z, 0.0)


def _rectifier_backward(xp: Any, grad: Array, z: Array, slope: Array | None) -> Array:
    positive = xp.astype(z > 0, z.dtype)
    return grad * (positive + slope * (1 - positive))


def _rectifier_slope_gradient(xp: Any, grad: Array, z: Array) -> Array:
    return xp.sum(grad * xp.minimum(z, 0.0), axis=0)


def softplus(xp: Any, z: Array, _: Array | None = None) -> Array:
    """Return ``log(1 + exp(z))``."""
    return xp.maximum(z, 0.0) + xp.log1p(xp.exp(-xp.abs(z)))


def _softplus_backward(xp: Any, grad: Array, z: Array, _: Array | None) -> Array:
    return grad * sigmoid(xp, z)


def _silu(xp: Any, z: Array, _: Array | None) -> Array:
    return z * sigmoid(xp, z)


def _silu_backward(xp: Any, grad: Array, z: Array, _: Array | None) -> Array:
    s = sigmoid(xp, z)
    return grad * s * (1 + z * (1 - s))


def _mish(xp: Any, z: Array, _: Array | None) -> Array:
    return z * xp.tanh(softplus(xp, z))


def _mish_backward(xp: Any, grad: Array, z: Array, _: Array | None) -> Array:
    t = xp.tanh(softplus(xp, z))
    return grad * (t + z * (1 - t * t) * sigmoid(xp, z))


def _gelu(xp: Any, z: Array, _: Array | None) -> Array:
    return z * _normal_cdf(xp, z)


def _gelu_backward(xp: Any, grad: Array, z: Array, _: Array | None) -> Array:
    z = clip(xp, z, -_FAR, _FAR)  # beyond, the density is zero and z * z might overflow
    return grad * (_normal_cdf(xp, z) + z * xp.exp(-0.5 * z * z) / math.sqrt(2 * math.pi))


def _gelu_tanh(xp: Any, z: Array, _: Array | None) -> Array:
    return z * sigmoid(xp, _gelu_inner(xp, z))


def _gelu_tanh_backward(xp: Any, grad: Array, z: Array, _: Array | None) -> Array:
    s = sigmoid(xp, _gelu_inner(xp, z))
    z = clip(xp, z, -_FAR, _FAR)
    return grad * (s + z * s * (1 - s) * 2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * z * z))


def clip(xp: Any, z: Array, low: float, high: float) -> Array:
    """Return z limited to [low, high]. A library's own ``clip`` may index by a mask, which waits for the device."""
    return xp.minimum(xp.maximum(z, low), high)


_FAR = 40.0  # sigmoid and the normal distribution are flat in every dtype long before


def _gelu_inner(xp: Any, z: Array) -> Array:
    """Return ``2 sqrt(2 / pi) (z + 0.044715 z^3)``: GELU's tanh form is z times the sigmoid of it."""
    z = clip(xp, z, -_FAR, _FAR)
    return 2 * math.sqrt(2 / math.pi) * (z + 0.044715 * z * z * z)


# Coefficients of W. J. Cody, Rational Chebyshev approximations for the error function,
# Math. Comp. 23 (1969) 631-637: erf near zero, erfc in the middle, erfc far out.
_ERF_NEAR = (
    (
        1.85777706184603153e-1,
        3.16112374387056560e0,
        1.13864154151050156e2,
        3.77485237685302021e2,
        3.20937758913846947e3,
    ),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)
_ERFC_MIDDLE = (
    (
        2.15311535474403846e-8,
        5.64188496988670089e-1,
        8.88314979438837594e0,
        6.61191906371416295e1,
        2.98635138197400131e2,
        8.81952221241769090e2,
        1.71204761263407058e3,
        2.05107837782607147e3,
        1.23033935479799725e3,
    ),
    (
        1.0,
        1.57449261107098347e1,
        1.17693950891312499e2,
        5.37181101862009858e2,
        1.62138957456669019e3,
        3.29079923573345963e3,
        4.36261909014324716e3,
        3.43936767414372164e3,
        1.23033935480374942e3,
    ),
)
_ERFC_FAR = (
    (
        1.63153871373020978e-2,
        3.05326634961232344e-1,
        3.60344899949804439e-1,
        1.25781726111229246e-1,
        1.60837851487422766e-2,
        6.58749161529837803e-4,
    ),
    (
        1.0,
        2.56852019228982242e0,
        1.87295284992346725e0,
        5.27905102951428412e-1,
        6.05183413124413191e-2,
        2.33520497626869185e-3,
    ),
)


def _ratio(x: Array, coefficients: tuple[tuple[float, ...], tuple[float, ...]]) -> Array:
    """Return the ratio of two polynomials, by Horner's rule."""
    numerator, denominator = (x * 0 + c[0] for c in coefficients)
    for p, q in zip(coefficients[0][1:], coefficients[1][1:], strict=True):
        numerator = numerator * x + p
        denominator = denominator * x + q
    return numerator / denominator


def _normal_cdf(xp: Any, z: Array) -> Array:
    """Return the standard normal distribution function, ``(1 + erf(z / sqrt 2)) / 2``; the standard has no erf."""
    x = clip(xp, z, -_FAR, _FAR) / math.sqrt(2)
    y = xp.abs(x)
    # Each form is evaluated everywhere and chosen by where, so each gets an argument from its own range.
    near = xp.minimum(y, 0.46875)
    erf = near * _ratio(near * near, _ERF_NEAR)
    middle = clip(xp, y, 0.46875, 4.0)
    far = xp.maximum(y, 4.0)
    inverse_square = 1 / (far * far)
    tail = (1 / math.sqrt(math.pi) - inverse_square * _ratio(inverse_square, _ERFC_FAR)) / far
    erfc = xp.exp(-y * y) * xp.where(y <= 4.0, _ratio(middle, _ERFC_MIDDLE), tail)
    upper = xp.where(y <= 0.46875, 0.5 - 0.5 * erf, 0.5 * erfc)  # P(Z > |z|)
    return xp.where(x > 0, 1 - upper, upper)


def _scaled_elu(alpha: float, scale: float, initializer: str = "he_normal") -> Activation:
    def function(xp: Any, z: Array, _: Array | None) -> Array:
        return scale * (xp.maximum(z, 0.0) + alpha * xp.expm1(xp.minimum(z, 0.0)))

    def backward(xp: Any, grad: Array, a: Array, _: Array | None) -> Array:
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


def get_activation(spec: str) -> Activation:
    """Return the activation of a spec: ``"leaky_relu:slope=0.1"``."""
    activation: Activation = from_spec("activation", spec, ACTIVATIONS, {"alpha": real(0)})
    return activation
