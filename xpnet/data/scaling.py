"""Scaling of features and targets; it is fitted on the training part and saved with the model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, cast, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray

from xpnet.data.row_sample import RowSample, sample_limit
from xpnet.errors import DataError, InvalidParameterError, UnknownNameError, shown

__all__ = ["Moments", "Scaler", "ScalerKind", "add_for_scaler", "fit_scaler", "row_blocks", "scaler_from_moments"]

Array: TypeAlias = NDArray[Any]
ScalerKind: TypeAlias = Literal["none", "standard", "minmax", "robust", "divide"]

_BLOCK_VALUES = 1 << 20  # values processed at a time: 8 MiB in float64
_CACHED_VALUES = 1 << 17  # for elementwise work: 1 MiB, which stays in the cache


@dataclass(frozen=True, eq=False)
class Scaler:
    """Scale each column: ``x_scaled = (x - shift) / scale``, clipped smoothly if the kind is "robust".

    The smooth clip is that of Holzmüller, Grinsztajn, Steinwart (2024), arXiv:2407.04491, section 3:
    ``x / sqrt(1 + (x / 3)**2)``, which leaves small values nearly as they are and stays within -3 and 3.

    Attributes
    ----------
    kind : {"none", "standard", "minmax", "robust", "divide"}
    shift, scale : ndarray of float64, shape (n_features,)
    """

    bound: ClassVar[float] = 3.0  # of the smooth clip

    kind: ScalerKind
    shift: Array
    scale: Array

    @property
    def is_linear(self) -> bool:
        """Whether the scaling is a linear function of each feature, without a clip."""
        return self.kind != "robust"

    def transform(self, x: Array, dtype: DTypeLike, *, first_row: int = 0) -> Array:
        """Return a scaled copy of `x` in `dtype`.

        The arithmetic is in float64, so that values with a large offset keep their digits. It processes a block of
        rows at a time, so that a large uint8 array is never copied to float64 as a whole.

        Parameters
        ----------
        x : ndarray, shape (n_samples, n_features)
        dtype : dtype
            A floating-point type.
        first_row : int
            The row of the whole data with which `x` begins, for messages.

        Raises
        ------
        DataError
            `x` has another number of features, or a scaled value is too large for `dtype`.
        """
        self._check_width(x)
        scaled = np.empty(x.shape, dtype=dtype)
        for rows in row_blocks(x, _CACHED_VALUES):
            with np.errstate(over="ignore", invalid="ignore"):
                if self.kind == "none":
                    scaled[rows] = x[rows]
                else:
                    scaled[rows] = self.scaled(x[rows])
            finite = np.isfinite(scaled[rows])
            if not finite.all():
                row, column = (int(i) for i in np.argwhere(~finite)[0])
                raise DataError(
                    f"scaling: expected values that {scaled.dtype} can hold; received {x[rows][row, column]} in column "
                    f"{column + 1}, row {first_row + rows.start + row + 1}; use a wider type or remove the row"
                )
        return scaled

    def scaled(self, x: Array) -> Array:
        """Return a scaled copy of `x` in float64, which is as large as float64 allows; see `transform`."""
        exact = np.subtract(x, self.shift, dtype=np.float64)
        np.divide(exact, self.scale, out=exact)
        return exact if self.is_linear else _smooth_clip(exact)

    def inverse(self, x: Array) -> Array:
        """Return ``x * scale + shift`` in float64, where the smooth clip of "robust" is undone first.

        Parameters
        ----------
        x : ndarray, shape (n_samples, n_features)

        Raises
        ------
        DataError
            `x` has another number of features.
        """
        self._check_width(x)
        exact = np.asarray(x, dtype=np.float64)
        if not self.is_linear:
            exact = exact / np.sqrt(1 - (exact / Scaler.bound) ** 2)
        return exact * self.scale + self.shift

    def _check_width(self, x: Array) -> None:
        if x.ndim != 2 or x.shape[1] != self.scale.size:
            raise DataError(f"scaling: expected shape (n_samples, {self.scale.size}); received {x.shape}")


def _smooth_clip(x: Array) -> Array:
    return x / np.hypot(1, x / Scaler.bound)


class Moments:
    """Mean, sum of squared deviations and range of each column, computed block by block in one pass, or a row sample.

    The sums of squares of two blocks, each about its own mean, are combined as in Chan, Golub, LeVeque (1983), The
    American Statistician 37, 242-247, eq. 2.1.

    Attributes
    ----------
    n : int
        Number of rows that `add` has included.
    mean, squares, low, high : ndarray of float64, shape (n_columns,)
        `squares` is the sum of squared deviations from the mean.
    sample : RowSample
        The rows that `add_sample` has included.
    """

    def __init__(self, n_columns: int) -> None:
        self.n = 0
        self.mean, self.squares = np.zeros(n_columns), np.zeros(n_columns)
        self.low, self.high = np.full(n_columns, np.inf), np.full(n_columns, -np.inf)
        self.sample = RowSample(sample_limit(n_columns), np.concatenate)

    def add(self, x: Array) -> None:
        """Include the rows of an array.

        Parameters
        ----------
        x : ndarray, shape (n_rows, n_columns)
        """
        for rows in row_blocks(x):
            self.add_range(x[rows])
            block = x[rows].astype(np.float64)
            n = self.n + len(block)
            with np.errstate(over="ignore", invalid="ignore"):
                mean = block.mean(axis=0)
                block -= mean
                difference = mean - self.mean
                self.squares += np.square(block, out=block).sum(axis=0) + difference**2 * (self.n * len(block) / n)
                self.mean += difference * (len(block) / n)
            self.n = n

    def add_range(self, x: Array) -> None:
        """Include the rows of an array in the range only, which is much faster.

        Parameters
        ----------
        x : ndarray, shape (n_rows, n_columns)
        """
        self.low, self.high = np.minimum(self.low, x.min(axis=0)), np.maximum(self.high, x.max(axis=0))

    def add_sample(self, x: Array) -> None:
        """Include the rows of an array in the sample only.

        Parameters
        ----------
        x : ndarray, shape (n_rows, n_columns)
        """
        self.sample.add(x)

    @property
    def is_constant(self) -> Array:
        """Whether each column has one value only. The range tells it, because a rounded mean leaves small squares."""
        return np.asarray((self.low == self.high) | (self.squares == 0))


def fit_scaler(spec: str, x: Array) -> Scaler:
    """Fit a scaling to the columns of an array; a constant column is shifted but not scaled.

    Parameters
    ----------
    spec : str
        ``"none"``; ``"standard"``: to mean 0 and standard deviation 1; ``"minmax"``: to the range [0, 1];
        ``"robust"``: by median and interquartile range, with a smooth clip; ``"divide:16"``: divide by a positive
        constant.
    x : ndarray, shape (n_samples, n_features)
        For ``"robust"``, NaN counts as missing.

    Raises
    ------
    InvalidParameterError
        `spec` is none of these.
    DataError
        `x` is not a matrix or has no samples, or its values are too large to scale.

    Examples
    --------
    >>> scaler = fit_scaler("minmax", np.array([[0.0, 7.0], [4.0, 7.0]]))
    >>> scaler.transform(np.array([[1.0, 7.0]]), "float32").tolist()
    [[0.25, 0.0]]
    """
    _parse(spec)
    if x.ndim != 2 or len(x) == 0:
        raise DataError(f"scaling: expected samples of shape (n_samples, n_features); received {x.shape}")
    moments = Moments(x.shape[1])
    add_for_scaler(spec, moments, x)
    return scaler_from_moments(spec, moments)


def add_for_scaler(spec: str, moments: Moments, x: Array) -> None:
    """Include the rows of an array in the moments that a scaling needs; see `fit_scaler`."""
    kind, _ = _parse(spec)
    if kind == "standard":
        moments.add(x)
    elif kind == "minmax":
        moments.add_range(x)
    elif kind == "robust":
        moments.add_sample(x)


def scaler_from_moments(spec: str, moments: Moments) -> Scaler:
    """Return the scaling of the rows that `add_for_scaler` has included; see `fit_scaler`."""
    kind, constant = _parse(spec)
    shift, scale = np.zeros_like(moments.mean), np.full_like(moments.mean, constant)
    with np.errstate(over="ignore", invalid="ignore"):
        if kind == "standard":
            shift, scale = moments.mean.copy(), np.sqrt(moments.squares / moments.n)
            scale[moments.is_constant | (scale == 0)] = 1.0
        elif kind == "minmax":
            shift = moments.low
            scale = np.where(moments.high > shift, moments.high - shift, 1.0)
        elif kind == "robust":
            shift, scale = _robust(moments.sample.rows())
    usable = np.isfinite(shift) & np.isfinite(scale)
    if not usable.all():
        column = int(np.argmin(usable)) + 1
        raise DataError(
            f"scaling: column {column} is too large: expected values whose range and squares float64 can hold; rescale "
            "the column or leave it out"
        )
    return Scaler(kind, shift, scale)


def _robust(x: Array) -> tuple[Array, Array]:
    """Return median and robust scale of each column, without its NaN.

    The scale is the interquartile range, half the range if that is 0, and 1 for a constant column. Holzmüller,
    Grinsztajn, Steinwart (2024), arXiv:2407.04491, section 3, multiply by its inverse.
    """
    ordered = np.sort(np.asarray(x, dtype=np.float64), axis=0)  # NaN comes last
    last = np.maximum((~np.isnan(ordered)).sum(axis=0) - 1, 0)
    low, q25, median, q75, high = (_at_rank(ordered, fraction * last) for fraction in (0, 0.25, 0.5, 0.75, 1))
    scale = np.where(q75 > q25, q75 - q25, (high - low) / 2)
    empty = np.isnan(median)
    return np.where(empty, 0.0, median), np.where(empty | (scale == 0), 1.0, scale)


def _at_rank(ordered: Array, rank: Array) -> Array:
    """Return the value of each sorted column at a rank, interpolated between neighbours."""
    below = np.floor(rank).astype(np.int64)
    columns = np.arange(ordered.shape[1])
    low, high = ordered[below, columns], ordered[np.ceil(rank).astype(np.int64), columns]
    return low + (high - low) * (rank - below)


def _parse(spec: str) -> tuple[ScalerKind, float]:
    """Return the kind and, for ``"divide"``, the constant, else 1."""
    kind, colon, argument = spec.partition(":")
    kinds = get_args(ScalerKind)
    if kind not in kinds or bool(colon) != (kind == "divide"):
        raise UnknownNameError.among("scaling", spec, [*(name for name in kinds if name != "divide"), "divide:NUMBER"])
    return cast(ScalerKind, kind), _divisor(spec, argument) if colon else 1.0


def _divisor(spec: str, argument: str) -> float:
    try:
        constant = float(argument)
    except ValueError:
        constant = math.nan
    if not 0 < constant < math.inf:
        raise InvalidParameterError(f"scaling: expected 'divide:' and a positive number; received {shown(spec):.60}")
    return constant


def row_blocks(x: Array, values: int = _BLOCK_VALUES) -> Iterator[slice]:
    """Yield slices over the rows of `x`, each a block of at most `values` values, or a single row."""
    step = max(1, values // max(1, math.prod(x.shape[1:])))
    for start in range(0, len(x), step):
        yield slice(start, min(start + step, len(x)))
