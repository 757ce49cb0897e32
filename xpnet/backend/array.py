"""The types of the array API standard, as far as this project uses it: an array and a namespace of any library."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
from array_api_compat import array_namespace

__all__ = ["NUMPY", "Array", "Namespace", "Rows", "namespace_of"]


class Rows(Protocol):
    """Anything with rows that can be taken as arrays: an array, or sparse data that become dense piece by piece."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        ...

    def __getitem__(self, key: Any, /) -> Array: ...


class Array(Rows, Protocol):
    """An array of any library. What only one library's arrays have is for its adapter alone."""

    @property
    def ndim(self) -> int:
        """Number of axes."""
        ...

    @property
    def dtype(self) -> Any:
        """The library's own dtype object."""
        ...

    @property
    def T(self) -> Array:  # noqa: N802
        """Transpose of a matrix."""
        ...

    def __bool__(self) -> bool: ...
    def __int__(self) -> int: ...
    def __float__(self) -> float: ...

    # The result of an operator is an array too. It is Any here, for a type checker would compare it with each of the
    # dozens of forms that NumPy declares for its own operators, which takes minutes.
    def __abs__(self) -> Any: ...
    def __neg__(self) -> Any: ...
    def __add__(self, other: Any, /) -> Any: ...
    def __radd__(self, other: Any, /) -> Any: ...
    def __sub__(self, other: Any, /) -> Any: ...
    def __rsub__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...
    def __rmul__(self, other: Any, /) -> Any: ...
    def __truediv__(self, other: Any, /) -> Any: ...
    def __rtruediv__(self, other: Any, /) -> Any: ...

    def __and__(self, other: Any, /) -> Any: ...
    def __xor__(self, other: Any, /) -> Any: ...
    def __rshift__(self, other: Any, /) -> Any: ...

    def __eq__(self, other: Any, /) -> Any: ...
    def __lt__(self, other: Any, /) -> Any: ...
    def __le__(self, other: Any, /) -> Any: ...
    def __gt__(self, other: Any, /) -> Any: ...
    def __ge__(self, other: Any, /) -> Any: ...


class _Elementwise(Protocol):
    def __call__(self, x: Any, /) -> Array: ...


class _Binary(Protocol):
    def __call__(self, x1: Any, x2: Any, /) -> Array: ...


class _Reduction(Protocol):
    def __call__(self, x: Any, /, *, axis: Any = ..., keepdims: bool = ...) -> Array: ...


class Namespace(Protocol):
    """A namespace that conforms to the standard, or a tracer in its place, with the functions that this project uses.

    See https://data-apis.org/array-api/latest/API_specification.
    """

    float32: Any
    float64: Any
    int32: Any
    int64: Any

    abs: _Elementwise
    cos: _Elementwise
    exp: _Elementwise
    expm1: _Elementwise
    isfinite: _Elementwise
    isnan: _Elementwise
    log: _Elementwise
    log1p: _Elementwise
    sign: _Elementwise
    sqrt: _Elementwise
    tanh: _Elementwise

    matmul: _Binary
    maximum: _Binary
    minimum: _Binary

    all: _Reduction
    any: _Reduction
    max: _Reduction
    min: _Reduction
    sum: _Reduction

    def arange(self, start: int, /, stop: int = ..., *, dtype: Any = ..., device: Any = ...) -> Array: ...  # noqa: D102
    def argmax(self, x: Array, /, *, axis: int) -> Array: ...  # noqa: D102
    def asarray(self, obj: Any, /, *, dtype: Any = ..., device: Any = ..., copy: bool = ...) -> Array: ...  # noqa: D102
    def astype(self, x: Array, dtype: Any, /, *, copy: bool = ...) -> Array: ...  # noqa: D102
    def concat(self, arrays: Any, /, *, axis: int = ...) -> Array: ...  # noqa: D102
    def finfo(self, dtype: Any, /) -> Any: ...  # noqa: D102
    def full_like(self, x: Array, /, fill_value: float) -> Array: ...  # noqa: D102
    def isdtype(self, dtype: Any, kind: str) -> bool: ...  # noqa: D102
    def reshape(self, x: Array, /, shape: tuple[int, ...]) -> Array: ...  # noqa: D102
    def stack(self, arrays: Any, /) -> Array: ...  # noqa: D102
    def take(self, x: Array, indices: Array, /, *, axis: int) -> Array: ...  # noqa: D102
    def where(self, condition: Array, x1: Any, x2: Any, /) -> Array: ...  # noqa: D102
    def zeros(self, shape: tuple[int, ...], *, dtype: Any, device: Any) -> Array: ...  # noqa: D102
    def zeros_like(self, x: Array, /) -> Array: ...  # noqa: D102
    def __array_namespace_info__(self) -> Any: ...


def _astype(x: Any, dtype: Any, /, *, copy: bool = True) -> Any:
    return x.astype(dtype, copy=copy)  # also of a scalar, which `numpy.astype` refuses


NUMPY: Any = SimpleNamespace(**{**vars(np), "astype": _astype})
"""NumPy's namespace, which follows the standard in all that xpnet uses; array_api_compat's imports all of NumPy."""


def namespace_of(*arrays: Any) -> Namespace:
    """Return the namespace of arrays of one library; array-api-compat's function, except for NumPy."""
    namespace: Any = NUMPY if arrays and all(isinstance(x, np.ndarray) for x in arrays) else array_namespace(*arrays)
    found: Namespace = namespace
    return found
