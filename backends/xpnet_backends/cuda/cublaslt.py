"""Matrix products by cuBLASLt, which does their epilogues and lets its caller choose the algorithm.

The numbers of attributes and epilogues, and what each demands, are those of
https://docs.nvidia.com/cuda/cublas/#cublasltmatmuldescattributes-t and of the header cublasLt.h.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from ctypes import c_float, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from functools import cache, partial
from typing import Any

import cupy
import numpy as np
from cuda.pathfinder import load_nvidia_dynamic_lib  # type: ignore[import-untyped]

from xpnet_backends.compiler.epilogues import Epilogue, Product
from xpnet_backends.compiler.ir import Value
from xpnet_backends.cuda.cublas import COMPUTE, Call, Products, call_of

__all__ = ["LtProducts"]

_FLOAT32 = 0
_NOT_SUPPORTED = 15
# Attributes of a product, with the types of their values
_TRANSPOSED, _EPILOGUE, _VECTOR, _MASK, _MASK_STRIDE = (3, 4), 7, 8, 11, 12
# Attributes of the preference
_MOST_WORKSPACE, _ALIGNMENTS = 1, (5, 6, 7, 8)
_LARGEST_ALIGNMENT = 256  # bytes
# Alignment in bytes of what an epilogue reads or writes beside the result. The preference does not tell it, and kernels
# fail where it is less: https://github.com/pytorch/pytorch/pull/194497
_ALIGNMENT = 16
_SPARE = 16  # bytes of the workspace that a product with an epilogue may need beyond what its algorithm states
_EPILOGUES = {
    Epilogue.NONE: 1,
    Epilogue.BIAS: 4,
    Epilogue.BIAS_RELU: 2 | 4,
    Epilogue.BIAS_RELU_MASK: 2 | 4 | 128,
    Epilogue.MASK: 8 | 128,
    Epilogue.MASK_SUMS: 8 | 16 | 128,
    Epilogue.SUMS: 256,  # of cuBLASLt's first factor, which is our second one
}
# Elements whose reading an epilogue spares, from which on it pays. On an H200, algorithms with epilogues take 1 to 7 us
# longer than those of plain cuBLAS, and a kernel on a matrix that is in the L2 cache takes 1.5 us.
_WORTH = 1 << 22
# Algorithms that are timed, and launches of each
_CANDIDATES, _LAUNCHES = 8, 10


class _Heuristic(ctypes.Structure):
    """``cublasLtMatmulHeuristicResult_t``: an algorithm, and what it needs."""

    _fields_ = (
        ("algorithm", c_uint64 * 8),
        ("workspace", c_size_t),
        ("status", c_int),
        ("waves", c_float),
        ("reserved", c_int * 4),
    )


_PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "cublasLtCreate": (c_void_p,),
    "cublasLtMatmulDescCreate": (c_void_p, c_int, c_int),
    "cublasLtMatrixLayoutCreate": (c_void_p, c_int, c_uint64, c_uint64, c_int64),
    "cublasLtMatmulPreferenceCreate": (c_void_p,),
    "cublasLtMatmulDescSetAttribute": (c_void_p, c_int, c_void_p, c_size_t),
    "cublasLtMatmulPreferenceSetAttribute": (c_void_p, c_int, c_void_p, c_size_t),
    "cublasLtMatmulDescDestroy": (c_void_p,),
    "cublasLtMatrixLayoutDestroy": (c_void_p,),
    "cublasLtMatmulPreferenceDestroy": (c_void_p,),
    "cublasLtMatmulAlgoGetHeuristic": (*(c_void_p,) * 7, c_int, c_void_p, c_void_p),
    "cublasLtMatmul": (*(c_void_p,) * 14, c_size_t, c_void_p),
}


@cache
def _library() -> Any:
    """Return cuBLASLt, or None where it is missing."""
    try:
        library = ctypes.CDLL(load_nvidia_dynamic_lib("cublasLt").abs_path)
    except RuntimeError:
        return None
    for name, types in _PROTOTYPES.items():
        getattr(library, name).argtypes = types
    return library


@cache
def _handle(device: int) -> c_void_p:
    """Return the handle for a GPU, which all threads share; it is never destroyed."""
    handle = c_void_p()
    _call("cublasLtCreate", ctypes.byref(handle))
    return handle


def _call(name: str, *arguments: Any) -> None:
    _check(name, getattr(_library(), name)(*arguments))


def _check(name: str, status: int) -> None:
    if status:
        raise RuntimeError(f"{name}: expected status 0; received {status}")


class _Descriptor:
    """An object of cuBLASLt's, which it keeps on the host."""

    def __init__(self, kind: str, *arguments: Any) -> None:
        self._kind, self._as_parameter_ = kind, c_void_p()
        _call(f"cublasLt{kind}Create", ctypes.byref(self._as_parameter_), *arguments)
        weakref.finalize(self, _call, f"cublasLt{kind}Destroy", self._as_parameter_).atexit = False

    def set(self, attribute: int, value: Any) -> None:
        """Set an attribute to a number of the type that it has in C."""
        _call(f"cublasLt{self._kind}SetAttribute", self, attribute, ctypes.byref(value), ctypes.sizeof(value))


def _fits(call: Call, epilogue: Epilogue) -> bool:
    """Tell whether a product may have an epilogue.

    It works along the columns of cuBLASLt's result, which are our rows if the factors are swapped. Sums of a transposed
    factor are not supported, nor are masks and sums of a product over a single element; the heuristic may not tell.
    """
    return call.swapped and call.sizes[2] > 1 and not (epilogue is Epilogue.SUMS and call.transposed[0])


class LtProducts:
    """Matrix products with epilogues, in float32 and on the current GPU.

    Parameters
    ----------
    products : Products
        What does the others, on a stream that may be captured; it gives the precision, the stream and the workspace.
    address : callable
        It returns the address of a value on the GPU.
    autotune : bool
        Whether several algorithms are timed and the fastest is taken, also for products without an epilogue. Otherwise
        cuBLASLt's heuristic chooses.
    """

    def __init__(self, products: Products, address: Callable[[Value], int], *, autotune: bool) -> None:
        self._compute, self._stream = COMPUTE[products.precision], products.stream
        self._workspace: Any = products.workspace
        self._address, self._autotune = address, autotune
        self._launches: dict[Product, Callable[[], None] | None] = {}

    def accepts(self, product: Product) -> bool:
        """Tell whether cuBLASLt does a product with its epilogue, and that is worth it."""
        spared = product.b if product.epilogue is Epilogue.SUMS else product.out
        return spared.size >= _WORTH and self.launch_of(product) is not None

    def launch_of(self, product: Product) -> Callable[[], None] | None:
        """Return a function that puts a product on the stream, or None if it is left to cuBLAS."""
        if product not in self._launches:
            launches = self._launches_of(product)
            self._launches[product] = self._fastest(launches) if len(launches) > 1 else next(iter(launches), None)
        return self._launches[product]

    def _launches_of(self, product: Product) -> list[Callable[[], None]]:
        """Return a launch for each algorithm that is to be tried, the most promising one first."""
        call = call_of(product.a, product.b, product.out)
        fits = _fits(call, product.epilogue) if product.epilogue is not Epilogue.NONE else self._autotune
        if not fits or product.exact or product.out.dtype != np.float32 or _library() is None:
            return []
        if any(each and self._address(each) % _ALIGNMENT for each in (product.vector, product.mask)):
            return []
        description = self._description(product, call.transposed)
        m, n, k = call.sizes
        first, second, third = (
            _Descriptor("MatrixLayout", _FLOAT32, *(shape[::-1] if turn else shape), stride)
            for shape, turn, stride in zip(((m, k), (k, n), (m, n)), (*call.transposed, 0), call.strides, strict=True)
        )
        a, b, out = map(self._address, product[:3])
        a, b = (b, a) if call.swapped else (a, b)
        algorithms = self._algorithms(description, (first, second, third), (a, b, out))
        one, zero = (ctypes.byref(c_float(value)) for value in (1, 0))
        operands = (one, a, first, b, second, zero, out, third, out, third)
        room = self._workspace.data.ptr, self._workspace.nbytes
        return [
            partial(_call, "cublasLtMatmul", self._handle, description, *operands, each, *room, self._stream.ptr)
            for each in algorithms
        ]

    def _description(self, product: Product, transposed: tuple[int, int]) -> _Descriptor:
        """Return the description of a product: its precision, its transposed factors and its epilogue."""
        description = _Descriptor("MatmulDesc", self._compute, _FLOAT32)
        for attribute, turn in zip(_TRANSPOSED, transposed, strict=True):
            description.set(attribute, c_int32(turn))
        description.set(_EPILOGUE, c_uint32(_EPILOGUES[product.epilogue]))
        if product.vector is not None:
            description.set(_VECTOR, c_void_p(self._address(product.vector)))
        if product.mask is not None:
            description.set(_MASK, c_void_p(self._address(product.mask)))
            description.set(_MASK_STRIDE, c_int64(product.mask.buffer.shape[1]))
        return description

    def _algorithms(
        self, description: _Descriptor, layouts: tuple[_Descriptor, ...], addresses: tuple[int, ...]
    ) -> list[Any]:
        """Return algorithms of the heuristic; it has none for products that this GPU or this cuBLASLt does not do."""
        preference = _Descriptor("MatmulPreference")
        preference.set(_MOST_WORKSPACE, c_uint64(self._workspace.nbytes - _SPARE))
        a, b, out = addresses
        for attribute, address in zip(_ALIGNMENTS, (a, b, out, out), strict=True):
            preference.set(attribute, c_uint32(min(address & -address, _LARGEST_ALIGNMENT)))
        asked = _CANDIDATES if self._autotune else 1
        results, n = (_Heuristic * asked)(), c_int()
        first, second, third = layouts
        name, found = "cublasLtMatmulAlgoGetHeuristic", (asked, results, ctypes.byref(n))
        status = getattr(_library(), name)(self._handle, description, first, second, third, third, preference, *found)
        if status == _NOT_SUPPORTED:
            return []
        _check(name, status)
        return [ctypes.byref(each) for each in results[: n.value] if not each.status]

    def _fastest(self, launches: list[Callable[[], None]]) -> Callable[[], None]:
        """Return the launch that takes the least time; what they write is written again in the first step."""
        self._stream.wait_event(cupy.cuda.get_current_stream().record())
        times = []
        for launch in launches:
            launch()  # the first one loads the kernel
            start, end = cupy.cuda.Event(), cupy.cuda.Event()
            start.record(self._stream)
            for _ in range(_LAUNCHES):
                launch()
            end.record(self._stream)
            end.synchronize()
            times.append(cupy.cuda.get_elapsed_time(start, end))
        return launches[times.index(min(times))]

    @property
    def _handle(self) -> c_void_p:
        return _handle(cupy.cuda.Device().id)
