"""Scaling of features and targets: fitted on the training part, saved with the model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from xpnet.errors import DataError, InvalidParameterError, UnknownNameError

__all__ = ["Moments", "Scaler", "ScalerKind", "fit_scaler", "row_blocks", "scaler_from_moments"]

Array: TypeAlias = NDArray[Any]
ScalerKind: TypeAlias = Literal["none", "standard", "minmax", "divide"]

_BLOCK_VALUES = 1 << 20  # values worked on at a time: 8 MiB in float64
_CACHED_VALUES = 1 << 17  # where nothing is summed over the rows: 1 MiB, which stays in the cache


@dataclass(frozen=True, eq=False)
class Scaler:
    """``x_scaled = (x - shift) / scale``, column by column.

    Attributes
    ----------
    kind : {"none", "standard", "minmax", "divide"}
    shift, scale : ndarray of float64, shape (n_features,)
    """

    kind: ScalerKind
    shift: Array
    scale: Array

    def transform(self, x: Array, dtype: DTypeLike) -> Array:
        """Return the scaled copy of `x` in `dtype`.

        The arithmetic is float64, a block of rows at a time, so that neither large offsets lose digits nor a large
        uint8 array is ever held in float64.

        Parameters
        ----------
        x : ndarray, shape (n_samples, n_features)
        dtype : dtype
            A floating-point type.

        Raises
        ------
        DataError
            `x` has another number of features, or a value that `dtype` cannot hold.
        """
        self._check_width(x)
        scaled = np.empty(x.shape, dtype=dtype)
        for rows in row_blocks(x, _CACHED_VALUES):
            with np.errstate(over="ignore", invalid="ignore"):
                if self.kind == "none":
                    scaled[rows] = x[rows]
                else:
                    exact = np.subtract(x[rows], self.shift, dtype=np.float64)
                    scaled[rows] = np.divide(exact, self.scale, out=exact)
            finite = np.isfinite(scaled[rows])
            if not finite.all():
                row, column = (int(i) for i in np.argwhere(~finite)[0])
                raise DataError(
                    f"scaling: expected values that {scaled.dtype} can hold; received {x[rows][row, column]} in column "
                    f"{column + 1}, row {rows.start + row + 1}; use a wider type or remove the row"
                )
        return scaled

    def inverse(self, x: Array) -> Array:
        """Return ``x * scale + shift`` in float64.

        Parameters
        ----------
        x : ndarray, shape (n_samples, n_features)
        """
        self._check_width(x)
        return np.asarray(x, dtype=np.float64) * self.scale + self.shift

    def _check_width(self, x: Array) -> None:
        if x.ndim != 2 or x.shape[1] != self.scale.size:
            raise DataError(f"scaling: expected shape (n_samples, {self.scale.size}); received {x.shape}")


def fit_scaler(spec: str, x: Array) -> Scaler:
    """Fit the scaling that `spec` names; a constant column is only shifted.

    Parameters
    ----------
    spec : str
        ``"none"``; ``"standard"``: mean 0 and standard deviation 1; ``"minmax"``: to [0, 1]; ``"divide:16"``: by a
        positive constant.
    x : ndarray, shape (n_samples, n_features)

    Raises
    ------
    InvalidParameterError
        `spec` is none of these.
    DataError
        `x` is no matrix with samples, or its values are too large to scale.

    Examples
    --------
    >>> scaler = fit_scaler("minmax", np.array([[0.0, 7.0], [4.0, 7.0]]))
    >>> scaler.transform(np.array([[1.0, 7.0]]), "float32").tolist()
    [[0.25, 0.0]]
    """
    kind, constant = _parse(spec)
    if x.ndim != 2 or len(x) == 0:
        raise DataError(f"scaling: expected samples of shape (n_samples, n_features); received {x.shape}")
    with np.errstate(over="ignore", invalid="ignore"):
        shift, scale = _FITS[kind](x, constant)
    return _usable(kind, shift, scale)


def _parse(spec: str) -> tuple[ScalerKind, float]:
    kind, colon, argument = spec.partition(":")
    if kind not in _FITS or bool(colon) != (kind == "divide"):
        raise UnknownNameError.among("scaling", spec, [*(name for name in _FITS if name != "divide"), "divide:NUMBER"])
    return cast(ScalerKind, kind), _divisor(spec, argument) if colon else 1.0


def _usable(kind: ScalerKind, shift: Array, scale: Array) -> Scaler:
    usable = np.isfinite(shift) & np.isfinite(scale)
    if not usable.all():
        raise DataError(f"scaling: expected values of ordinary size; column {int(np.argmin(usable)) + 1} is too large")
    return Scaler(kind, shift, scale)


class Moments:
    """Mean, deviation and range of columns, from blocks of rows in one pass.

    The sums of squares of two parts, each about its own mean, make that of both: Chan, Golub, LeVeque (1983), The
    American Statistician 37, 242-247, eq. 2.1.

    Attributes
    ----------
    n : int
        Rows seen.
    mean, squares, low, high : (n_columns,) float64
        `squares` is the sum of squared deviations from the mean.
    """

    def __init__(self, n_columns: int) -> None:
        self.n = 0
        self.mean, self.squares = np.zeros(n_columns), np.zeros(n_columns)
        self.low, self.high = np.full(n_columns, np.inf), np.full(n_columns, -np.inf)

    def add(self, x: Array) -> None:
        """Take rows in, (n, n_columns)."""
        for rows in row_blocks(x):
            block = x[rows].astype(np.float64)
            n = self.n + len(block)
            self.low = np.minimum(self.low, block.min(axis=0))
            self.high = np.maximum(self.high, block.max(axis=0))
            with np.errstate(over="ignore", invalid="ignore"):
                mean = block.mean(axis=0)
                block -= mean
                difference = mean - self.mean
                self.squares += np.square(block, out=block).sum(axis=0) + difference**2 * (self.n * len(block) / n)
                self.mean += difference * (len(block) / n)
            self.n = n

    @property
    def is_constant(self) -> Array:
        """Whether a column has one value only, told by its range: rounding leaves it a tiny deviation."""
        return np.asarray((self.low == self.high) | (self.squares == 0))


def scaler_from_moments(spec: str, moments: Moments) -> Scaler:
    """Return the scaling that `fit_scaler` fits to the rows which `moments` has seen, to rounding."""
    kind, constant = _parse(spec)
    shift, scale = np.zeros_like(moments.mean), np.full_like(moments.mean, constant)
    with np.errstate(over="ignore", invalid="ignore"):
        if kind == "standard":
            shift, scale = moments.mean, np.where(moments.is_constant, 1.0, np.sqrt(moments.squares / moments.n))
        elif kind == "minmax":
            shift, scale = moments.low, np.where(moments.is_constant, 1.0, moments.high - moments.low)
    return _usable(kind, shift, scale)


def row_blocks(x: Array, values: int = _BLOCK_VALUES) -> Iterator[slice]:
    """Yield slices over the rows of `x`, each a block of at most so many values, or one row."""
    step = max(1, values // max(1, math.prod(x.shape[1:])))
    for start in range(0, len(x), step):
        yield slice(start, min(start + step, len(x)))


def _divisor(spec: str, argument: str) -> float:
    try:
        constant = float(argument)
    except ValueError:
        constant = math.nan
    if not 0 < constant < math.inf:
        raise InvalidParameterError(f"scaling: expected 'divide:' and a positive number; received {spec!r:.60}")
    return constant


def _fit_constant(x: Array, constant: float) -> tuple[Array, Array]:
    return np.zeros(x.shape[1]), np.full(x.shape[1], constant)


def _fit_standard(x: Array, _: float) -> tuple[Array, Array]:
    mean = x.mean(axis=0, dtype=np.float64)
    squares = np.zeros(x.shape[1])
    for rows in row_blocks(x):
        squares += np.square(np.subtract(x[rows], mean, dtype=np.float64)).sum(axis=0)
    scale = np.sqrt(squares / len(x))
    # The rounding of the mean leaves a constant column a tiny deviation, so it is told by its range.
    scale[(x.min(axis=0) == x.max(axis=0)) | (scale == 0)] = 1.0
    return mean, scale


def _fit_minmax(x: Array, _: float) -> tuple[Array, Array]:
    low, high = x.min(axis=0).astype(np.float64), x.max(axis=0).astype(np.float64)
    return low, np.where(high > low, high - low, 1.0)


_FITS: dict[str, Callable[[Array, float], tuple[Array, Array]]] = {
    "none": _fit_constant,
    "standard": _fit_standard,
    "minmax": _fit_minmax,
    "divide": _fit_constant,
}
