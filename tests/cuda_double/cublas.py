"""The double of cuBLAS: a library with its C interface, which passes each call on to NumPy.

The arguments cross the C interface as they would cross cuBLAS's, so that a wrong type or order shows.
"""

from __future__ import annotations

import ctypes
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.cuda_double.kernels import compiled
from tests.cuda_double.runtime import launch, state, stream_at

_SOURCE = """
#include <cstddef>
#include <cstring>
struct Product {
    void *handle; int transa, transb, m, n, k; const void *alpha, *a; int atype, lda; const void *b; int btype, ldb;
    const void *beta; void *c; int ctype, ldc, compute, algorithm;
};
static int (*on_create)(void**);
static int (*on_stream)(void*, void*);
static int (*on_workspace)(void*, void*, size_t);
static int (*on_product)(Product*);
extern "C" {
void listen(int (*create)(void**), int (*stream)(void*, void*), int (*workspace)(void*, void*, size_t),
            int (*product)(Product*)) {
    on_create = create, on_stream = stream, on_workspace = workspace, on_product = product;
}
int cublasCreate_v2(void** handle) { return on_create(handle); }
int cublasSetStream_v2(void* handle, void* stream) { return on_stream(handle, stream); }
int cublasSetWorkspace_v2(void* handle, void* memory, size_t size) { return on_workspace(handle, memory, size); }
int cublasGemmEx(void* handle, int transa, int transb, int m, int n, int k, const void* alpha, const void* a, int atype,
                 int lda, const void* b, int btype, int ldb, const void* beta, void* c, int ctype, int ldc, int compute,
                 int algorithm) {
    Product product = {handle, transa, transb, m, n, k, alpha, a, atype, lda, b, btype, ldb, beta, c, ctype, ldc,
                       compute, algorithm};
    return on_product(&product);
}
}
"""
_SUCCESS, _NOT_INITIALIZED, _INVALID_VALUE = 0, 1, 7
_KINDS = {0: np.float32, 1: np.float64}
_BITS = {0: {68: 24, 75: 8, 77: 11}, 1: {70: 53}}  # of the significand in each way to compute, for each type


class _Product(ctypes.Structure):
    _fields_ = [
        ("handle", ctypes.c_void_p), ("transa", ctypes.c_int), ("transb", ctypes.c_int), ("m", ctypes.c_int),
        ("n", ctypes.c_int), ("k", ctypes.c_int), ("alpha", ctypes.c_void_p), ("a", ctypes.c_void_p),
        ("atype", ctypes.c_int), ("lda", ctypes.c_int), ("b", ctypes.c_void_p), ("btype", ctypes.c_int),
        ("ldb", ctypes.c_int), ("beta", ctypes.c_void_p), ("c", ctypes.c_void_p), ("ctype", ctypes.c_int),
        ("ldc", ctypes.c_int), ("compute", ctypes.c_int), ("algorithm", ctypes.c_int),
    ]  # fmt: skip


class _Handle:
    """A context of cuBLAS on the GPU that was current when it was made."""

    def __init__(self) -> None:
        self.device, self.stream, self.workspace = state.devices[-1], 0, 0


_handles: dict[int, _Handle] = {}


def _create(out: Any) -> int:
    handle = _Handle()
    _handles[id(handle)] = handle
    out[0] = id(handle)
    return _SUCCESS


def _set_stream(handle: int, stream: int) -> int:
    _handles[handle].stream, _handles[handle].workspace = stream or 0, 0
    return _SUCCESS


def _set_workspace(handle: int, memory: int, size: int) -> int:
    _handles[handle].workspace = memory
    return _SUCCESS if memory % 256 == 0 or size else _INVALID_VALUE


def _matrix(address: int, rows: int, columns: int, stride: int, kind: Any) -> np.ndarray:
    """Return a matrix that lies column by column."""
    item = np.dtype(kind).itemsize
    n = (columns - 1) * stride + rows
    memory = np.ctypeslib.as_array((ctypes.c_char * (n * item)).from_address(address)).view(kind)
    return np.lib.stride_tricks.as_strided(memory, (rows, columns), (item, stride * item))


def rounded(x: np.ndarray, bits: int) -> np.ndarray:
    """Return numbers in float32 with fewer bits in the significand, rounded to nearest even; float64 as it is."""
    cut = 24 - bits
    if cut <= 0:
        return x
    whole = np.ascontiguousarray(x).view(np.uint32)
    up = ((whole >> np.uint32(cut)) & np.uint32(1)) + np.uint32((1 << (cut - 1)) - 1)
    return ((whole + up) >> np.uint32(cut) << np.uint32(cut)).view(np.float32)


def _product(pointer: Any) -> int:
    call = _Product.from_buffer_copy(pointer.contents)
    handle = _handles.get(call.handle)
    if handle is None or handle.device != state.devices[-1]:
        return _NOT_INITIALIZED
    stream = stream_at(handle.stream)
    kind = _KINDS[call.atype]
    shapes = [
        (call.k, call.m) if call.transa else (call.m, call.k),
        (call.n, call.k) if call.transb else (call.k, call.n),
    ]
    if (
        {call.atype, call.btype, call.ctype} != {call.atype}
        or call.compute not in _BITS[call.atype]
        or min(call.m, call.n, call.k) < 1
        or call.lda < shapes[0][0] or call.ldb < shapes[1][0] or call.ldc < call.m
        or (stream.captured is not None and not handle.workspace)  # cuBLAS would allocate one
    ):  # fmt: skip
        return _INVALID_VALUE
    alpha, beta = (
        float(ctypes.cast(p, ctypes.POINTER(np.ctypeslib.as_ctypes_type(kind)))[0]) for p in (call.alpha, call.beta)
    )

    def work() -> None:
        a, b = _matrix(call.a, *shapes[0], call.lda, kind), _matrix(call.b, *shapes[1], call.ldb, kind)
        c = _matrix(call.c, call.m, call.n, call.ldc, kind)
        bits = _BITS[call.atype][call.compute]
        a, b = (rounded(each, bits) for each in (a.T if call.transa else a, b.T if call.transb else b))
        with np.errstate(all="ignore"):
            c[...] = alpha * (a @ b) + (beta * c if beta else 0)

    workspace = [handle.workspace] if handle.workspace else []
    launch(stream, work, [call.a, call.b, call.c, *workspace])
    return _SUCCESS


_CALLBACKS = [
    ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_void_p))(_create),
    ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(_set_stream),
    ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)(_set_workspace),
    ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Product))(_product),
]


@cache
def load_nvidia_dynamic_lib(name: str) -> SimpleNamespace:
    """Return the path of the library, as `cuda.pathfinder` does."""
    if name != "cublas":
        raise RuntimeError(f"the double has no library {name}")
    library = compiled(_SOURCE)
    library.listen(*_CALLBACKS)
    return SimpleNamespace(abs_path=library._name)
