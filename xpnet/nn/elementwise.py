"""Elementwise functions that the standard lacks: the normal distribution function, and a clip that never waits."""

from __future__ import annotations

import math

from xpnet.backend.array import Array, Namespace

__all__ = ["FAR", "clip", "normal_cdf"]

FAR = 40.0  # sigmoid and the normal distribution are flat in every dtype long before


def clip(xp: Namespace, z: Array, low: float, high: float) -> Array:
    """Return z limited to [low, high]. A library's own ``clip`` may index by a mask, which waits for the device."""
    return xp.minimum(xp.maximum(z, low), high)


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


def normal_cdf(xp: Namespace, z: Array) -> Array:
    """Return the standard normal distribution function, ``(1 + erf(z / sqrt 2)) / 2``; the standard has no erf."""
    x = clip(xp, z, -FAR, FAR) / math.sqrt(2)
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
