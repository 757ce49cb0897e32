"""Matrix products by cuBLAS, also on a CUDA stream that is being captured into a graph.

CuPy's own products refuse to be captured, although cuBLAS does not.
"""

from __future__ import annotations

import ctypes
import threading
from functools import cache, lru_cache
from typing import Any, NamedTuple

import cupy
import numpy as np
from cuda.pathfinder import load_nvidia_dynamic_lib  # type: ignore[import-untyped]

from xpnet_backends.compiler.ir import Buffer, Value, value_of

__all__ = ["Call", "Products", "call_of", "value_like"]

_WORKSPACE = 32 << 20  # bytes, as NVIDIA advises for Hopper; older GPUs need less
# Numbers that cuBLAS has for types of matrices and for the precisions of products.
_TYPES = {"float32": 0, "float64": 1}
_COMPUTE = {"float32": 68, "bf16": 75, "tf32": 77}
_COMPUTE_FLOAT64 = 70
_DEFAULT_ALGORITHM = -1


class Call(NamedTuple):
    """The arguments of cuBLAS for a product; cuBLAS reads matrices column by column.

    `swapped` means the product of the transposed matrices in the other order.
    """

    swapped: bool
    transposed: tuple[int, int]
    sizes: tuple[int, int, int]
    strides: tuple[int, int, int]


def call_of(a: Value, b: Value, out: Value) -> Call:
    """Return the call for ``out = a @ b``, of matrices whose rows or columns are contiguous."""
    swapped = _by_rows(out)
    if swapped:
        a, b, out = b.T, a.T, out.T
    (m, k), n = a.shape, b.shape[1]
    transposed = (int(_by_rows(a)), int(_by_rows(b)))
    first, second = (each.T if turn else each for each, turn in zip((a, b), transposed, strict=True))
    return Call(swapped, transposed, (m, n, k), (_stride(first), _stride(second), _stride(out)))


def _by_rows(matrix: Value) -> bool:
    return matrix.shape[1] == 1 or matrix.strides[1] == 1


def _stride(matrix: Value) -> int:
    """Return the distance between the columns of a matrix that lies column by column."""
    return max(matrix.shape[0], matrix.strides[1])


def value_like(array: Any) -> Value:
    """Return a value with the shape and the strides of an array."""
    buffer = Buffer(0, array.shape, np.dtype(array.dtype))
    return value_of(buffer, array.shape, [stride // array.itemsize for stride in array.strides])


@lru_cache(maxsize=1)
def _library() -> Any:
    return ctypes.CDLL(load_nvidia_dynamic_lib("cublas").abs_path)


@cache
def _handle(device: int, thread: int) -> ctypes.c_void_p:
    """Return the handle of a thread for a GPU; it is never destroyed, for that breaks captures in other threads."""
    handle = ctypes.c_void_p()
    _check(_library().cublasCreate_v2(ctypes.byref(handle)))
    return handle


def _check(status: int) -> None:
    if status:
        raise RuntimeError(f"cuBLAS: expected status 0; received {status}")


class Products:
    """Matrix products on the current GPU.

    Parameters
    ----------
    precision : {"float32", "tf32", "bf16"}
        The precision to which the factors of float32 products are rounded.
    stream : cupy.cuda.Stream, optional
        A stream that may be captured, which needs a workspace; None for the current one.
    """

    def __init__(self, precision: str, stream: Any = None) -> None:
        self._precision, self._stream = precision, stream
        self._workspace = None if stream is None else cupy.empty(_WORKSPACE, cupy.uint8)

    def matmul(self, a: Any, b: Any) -> Any:
        """Return ``a @ b`` of CuPy's matrices."""
        a, b = (each if value_like(each).is_dense else cupy.ascontiguousarray(each) for each in (a, b))
        out = cupy.empty((a.shape[0], b.shape[1]), a.dtype)
        self.multiply(call_of(*map(value_like, (a, b, out))), a.dtype, a.data.ptr, b.data.ptr, out.data.ptr)
        return out

    def multiply(self, call: Call, dtype: np.dtype, a: int, b: int, out: int, *, exact: bool = False) -> None:
        """Put a product of the matrices at these addresses on the stream; factors of an exact one are not rounded."""
        library, handle = _library(), _handle(cupy.cuda.Device().id, threading.get_ident())
        stream = cupy.cuda.get_current_stream() if self._stream is None else self._stream
        _check(library.cublasSetStream_v2(handle, ctypes.c_void_p(stream.ptr)))  # this takes the workspace away
        if self._workspace is not None:
            address = ctypes.c_void_p(self._workspace.data.ptr)
            _check(library.cublasSetWorkspace_v2(handle, address, ctypes.c_size_t(_WORKSPACE)))
        kind, number = _TYPES[str(dtype)], {"float32": ctypes.c_float, "float64": ctypes.c_double}[str(dtype)]
        compute = _COMPUTE["float32" if exact else self._precision] if dtype == np.float32 else _COMPUTE_FLOAT64
        left, right, result = (ctypes.c_void_p(address) for address in ((b, a, out) if call.swapped else (a, b, out)))
        first, second, third = call.strides
        one, zero = (ctypes.byref(number(value)) for value in (1, 0))
        _check(
            library.cublasGemmEx(
                handle, *call.transposed, *call.sizes, one, left, kind, first, right, kind, second,
                zero, result, kind, third, compute, _DEFAULT_ALGORITHM,
            )
        )  # fmt: skip
