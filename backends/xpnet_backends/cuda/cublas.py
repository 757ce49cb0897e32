"""Matrix products on a CUDA stream that may be captured into a graph.

CuPy's own products refuse to be captured, though cuBLAS itself does not: these are the same calls of the same library,
with a handle and a workspace of their own, as cuBLAS asks of what is captured.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import cupy
import numpy as np
from cuda.pathfinder import load_nvidia_dynamic_lib  # type: ignore[import-untyped]

__all__ = ["Call", "Products", "call_of"]

_WORKSPACE = 32 << 20  # bytes, as NVIDIA asks for Hopper; older GPUs need less
# cuBLAS's numbers: the types of matrices, and what their products are computed in.
_TYPES = {"float32": 0, "float64": 1}
_COMPUTE = {"float32": 68, "bf16": 75, "tf32": 77}
_COMPUTE_FLOAT64 = 70
_DEFAULT_ALGORITHM = -1


class Call(NamedTuple):
    """The arguments of cuBLAS for a product, whose matrices lie column by column.

    `swapped` says that the product is taken of the transposed matrices in the other order.
    """

    swapped: bool
    transposed: tuple[int, int]
    sizes: tuple[int, int, int]
    strides: tuple[int, int, int]


def call_of(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Call:
    """Return the call for ``out = a @ b``, of matrices that lie by rows or by columns."""
    swapped = _lies_in_rows(out)
    if swapped:
        a, b, out = b.T, a.T, out.T
    (m, k), n = a.shape, b.shape[1]
    transposed = (int(_lies_in_rows(a)), int(_lies_in_rows(b)))
    strides = [_stride(each.T if turn else each) for each, turn in ((a, transposed[0]), (b, transposed[1]), (out, 0))]
    return Call(swapped, transposed, (m, n, k), (strides[0], strides[1], strides[2]))


def _lies_in_rows(matrix: np.ndarray) -> bool:
    return matrix.shape[1] == 1 or matrix.strides[1] == matrix.itemsize


def _stride(matrix: np.ndarray) -> int:
    """Return the distance of the columns of a matrix that lies by columns."""
    rows, columns = matrix.shape
    apart = matrix.strides[1] // matrix.itemsize if columns > 1 else rows
    return int(max(rows, apart))


class Products:
    """Matrix products on one stream of the current GPU.

    Parameters
    ----------
    stream : cupy.cuda.Stream
    precision : {"float32", "tf32", "bf16"}
        What the factors of float32 products are rounded to.
    """

    def __init__(self, stream: Any, precision: str) -> None:
        self._precision = precision
        self._library = ctypes.CDLL(load_nvidia_dynamic_lib("cublas").abs_path)
        self._handle = ctypes.c_void_p()
        self._check(self._library.cublasCreate_v2(ctypes.byref(self._handle)))
        self._check(self._library.cublasSetStream_v2(self._handle, ctypes.c_void_p(stream.ptr)))
        self._workspace = cupy.empty(_WORKSPACE, cupy.uint8)
        address = ctypes.c_void_p(self._workspace.data.ptr)
        self._check(self._library.cublasSetWorkspace_v2(self._handle, address, ctypes.c_size_t(_WORKSPACE)))

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.cublasDestroy_v2(self._handle)

    def multiply(self, call: Call, dtype: np.dtype, a: int, b: int, out: int, *, exact: bool = False) -> None:
        """Put a product of the matrices at these addresses on the stream; of an exact one no factor is rounded."""
        kind, number = _TYPES[str(dtype)], {"float32": ctypes.c_float, "float64": ctypes.c_double}[str(dtype)]
        compute = _COMPUTE["float32" if exact else self._precision] if dtype == np.float32 else _COMPUTE_FLOAT64
        left, right, result = (ctypes.c_void_p(address) for address in ((b, a, out) if call.swapped else (a, b, out)))
        first, second, third = call.strides
        one, zero = (ctypes.byref(number(value)) for value in (1, 0))
        self._check(
            self._library.cublasGemmEx(
                self._handle, *call.transposed, *call.sizes, one, left, kind, first, right, kind, second,
                zero, result, kind, third, compute, _DEFAULT_ALGORITHM,
            )
        )  # fmt: skip

    def _check(self, status: int) -> None:
        if status:
            raise RuntimeError(f"cuBLAS: expected status 0; received {status}")
