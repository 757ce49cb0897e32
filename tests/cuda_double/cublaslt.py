"""The double of cuBLASLt: a library with its C interface, which passes each call on to NumPy.

It holds callers to what NVIDIA's header and documentation say of attributes, sizes, alignments and masks:
https://docs.nvidia.com/cuda/cublas/#using-the-cublaslt-api
"""

from __future__ import annotations

import ctypes
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from tests.cuda_double.cublas import _BITS, _matrix, rounded
from tests.cuda_double.kernels import compiled
from tests.cuda_double.runtime import DoubleError, launch, memory_at, state, stream_at

__all__ = ["Call", "calls", "descriptors", "load", "refused"]

_SOURCE = """
#include <cstddef>
#include <cstdint>
struct Query { void *handle, *desc, *a, *b, *c, *d, *preference; int asked; void *results; int *found; };
struct Product {
    void *handle, *desc; const void *alpha, *a; void *adesc; const void *b; void *bdesc; const void *beta, *c;
    void *cdesc, *d, *ddesc; const void *algorithm; void *workspace; size_t size; void *stream;
};
static int (*on_create)(int, void**, int, int, uint64_t, uint64_t, int64_t);
static int (*on_set)(int, void*, int, const void*, size_t);
static int (*on_destroy)(int, void*);
static int (*on_query)(Query*);
static int (*on_product)(Product*);
extern "C" {
void listen(int (*create)(int, void**, int, int, uint64_t, uint64_t, int64_t),
            int (*set)(int, void*, int, const void*, size_t), int (*destroy)(int, void*), int (*query)(Query*),
            int (*product)(Product*)) {
    on_create = create, on_set = set, on_destroy = destroy, on_query = query, on_product = product;
}
int cublasLtCreate(void** p) { return on_create(0, p, 0, 0, 0, 0, 0); }
int cublasLtMatmulDescCreate(void** p, int compute, int scale) { return on_create(1, p, compute, scale, 0, 0, 0); }
int cublasLtMatrixLayoutCreate(void** p, int type, uint64_t rows, uint64_t columns, int64_t stride) {
    return on_create(2, p, type, 0, rows, columns, stride);
}
int cublasLtMatmulPreferenceCreate(void** p) { return on_create(3, p, 0, 0, 0, 0, 0); }
int cublasLtMatmulDescSetAttribute(void* p, int name, const void* x, size_t n) { return on_set(1, p, name, x, n); }
int cublasLtMatmulPreferenceSetAttribute(void* p, int name, const void* x, size_t n) {
    return on_set(3, p, name, x, n);
}
int cublasLtMatmulDescDestroy(void* p) { return on_destroy(1, p); }
int cublasLtMatrixLayoutDestroy(void* p) { return on_destroy(2, p); }
int cublasLtMatmulPreferenceDestroy(void* p) { return on_destroy(3, p); }
int cublasLtMatmulAlgoGetHeuristic(void* handle, void* desc, void* a, void* b, void* c, void* d, void* preference,
                                   int asked, void* results, int* found) {
    Query query = {handle, desc, a, b, c, d, preference, asked, results, found};
    return on_query(&query);
}
int cublasLtMatmul(void* handle, void* desc, const void* alpha, const void* a, void* adesc, const void* b, void* bdesc,
                   const void* beta, const void* c, void* cdesc, void* d, void* ddesc, const void* algorithm,
                   void* workspace, size_t size, void* stream) {
    Product product = {handle, desc, alpha, a, adesc, b, bdesc, beta, c, cdesc, d, ddesc, algorithm, workspace, size,
                       stream};
    return on_product(&product);
}
}
"""
_SUCCESS, _NOT_INITIALIZED, _INVALID_VALUE, _NOT_SUPPORTED = 0, 1, 7, 15
_P = ctypes.c_void_p
# Attributes: the types of their values and the defaults
_DESC_ATTRIBUTES = {
    3: (ctypes.c_int32, 0), 4: (ctypes.c_int32, 0), 7: (ctypes.c_uint32, 1), 8: (ctypes.c_uint64, 0),
    11: (ctypes.c_uint64, 0), 12: (ctypes.c_int64, 0),
}  # fmt: skip
_PREFERENCE_ATTRIBUTES = {1: (ctypes.c_uint64, 0), **dict.fromkeys((5, 6, 7, 8), (ctypes.c_uint32, 256))}
_ATTRIBUTES: dict[int, dict[int, tuple[Any, int]]] = {1: _DESC_ATTRIBUTES, 2: {}, 3: _PREFERENCE_ATTRIBUTES}
_BIAS, _RELU, _AUX, _DRELU, _BGRAD, _BGRADA = 4, 2, 128, 8, 16, 256
_KNOWN = {1, 4, 6, 134, 136, 152, 256}
_MORE = 16  # bytes of the workspace that a product with an epilogue needs beyond what it states, as nvmath-python found


class _Description:
    """A descriptor of cuBLASLt's."""

    def __init__(self, kind: int, first: int, second: int, shape: tuple[int, int, int]) -> None:
        self.kind, self.first, self.second, self.shape = kind, first, second, shape
        self.device = state.devices[-1]
        self.values = {name: default for name, (_, default) in _ATTRIBUTES.get(kind, {}).items()}


class Call(NamedTuple):
    """A product: its epilogue, m, n and k, the type that it computes with, and the number of its algorithm."""

    epilogue: int
    sizes: tuple[int, int, int]
    compute: int
    algorithm: int


class _Query(ctypes.Structure):
    _fields_ = (
        *((name, _P) for name in ("handle", "desc", "a", "b", "c", "d", "preference")),
        ("asked", ctypes.c_int), ("results", _P), ("found", ctypes.POINTER(ctypes.c_int)),
    )  # fmt: skip


class _Product(ctypes.Structure):
    _fields_ = (
        *((name, _P) for name in ("handle", "desc", "alpha", "a", "adesc", "b", "bdesc", "beta", "c", "cdesc")),
        *((name, _P) for name in ("d", "ddesc", "algorithm", "workspace")), ("size", ctypes.c_size_t), ("stream", _P),
    )  # fmt: skip


class _Result(ctypes.Structure):
    _fields_ = (
        ("algorithm", ctypes.c_uint64 * 8), ("workspace", ctypes.c_size_t), ("state", ctypes.c_int),
        ("waves", ctypes.c_float), ("reserved", ctypes.c_int * 4),
    )  # fmt: skip


descriptors: dict[int, _Description] = {}
"""Those that are not destroyed, by address."""
refused = set[int]()
"""Epilogues for which the heuristic has no algorithm."""
calls = list[Call]()
"""The products since the list was cleared."""


def _create(kind: int, out: Any, first: int, second: int, rows: int, columns: int, stride: int) -> int:
    if kind == 1 and (first not in _BITS[0] or second != 0):
        return _INVALID_VALUE
    if kind == 2 and (first != 0 or min(rows, columns) < 1 or stride < rows):
        return _INVALID_VALUE
    description = _Description(kind, first, second, (rows, columns, stride))
    descriptors[id(description)] = description
    out[0] = id(description)
    return _SUCCESS


def _set(kind: int, pointer: int, name: int, value: int, size: int) -> int:
    known = _ATTRIBUTES[kind].get(name)
    if descriptors[pointer].kind != kind or known is None or ctypes.sizeof(known[0]) != size:
        return _INVALID_VALUE
    descriptors[pointer].values[name] = known[0].from_buffer_copy(ctypes.string_at(value, size)).value
    return _SUCCESS


def _destroy(kind: int, pointer: int) -> int:
    return _SUCCESS if descriptors.pop(pointer).kind == kind else _INVALID_VALUE


def _alignment(address: int) -> int:
    return min(address & -address, 256)


def _sizes(desc: _Description, layouts: list[_Description]) -> tuple[int, int, int] | None:
    """Return m, n and k, or None if the shapes do not fit."""
    (a_rows, a_columns, _), (b_rows, b_columns, _), (m, n, _) = (each.shape for each in layouts)
    a = (a_columns, a_rows) if desc.values[3] else (a_rows, a_columns)
    b = (b_columns, b_rows) if desc.values[4] else (b_rows, b_columns)
    return (m, n, a[1]) if (a[0], b[1], b[0]) == (m, n, a[1]) else None


def _query(pointer: Any) -> int:
    query = pointer.contents
    desc, preference = descriptors[query.desc], descriptors[query.preference]
    layouts = [descriptors[each] for each in (query.a, query.b, query.d)]
    epilogue, size = desc.values[7], _sizes(desc, layouts)
    if descriptors[query.handle].device != state.devices[-1]:
        return _NOT_INITIALIZED
    if [each.kind for each in (desc, *layouts, preference)] != [1, 2, 2, 2, 3] or size is None or query.asked < 1:
        return _INVALID_VALUE
    vector, mask, stride = (desc.values[name] for name in (8, 11, 12))
    if epilogue & _AUX and (mask % 16 or not mask or stride % 128 or stride < size[0]):
        return _INVALID_VALUE
    if epilogue & (_BIAS | _BGRAD | _BGRADA) and (vector % 16 or not vector):
        return _INVALID_VALUE
    # NVIDIA's own nvmath-python refuses these before it asks, so they may be wrong without an error.
    if (epilogue == _BGRADA and desc.values[3]) or (epilogue & (_DRELU | _BGRADA) and size[2] == 1):
        return _INVALID_VALUE
    if epilogue in refused or epilogue not in _KNOWN:
        query.found[0] = 0
        return _NOT_SUPPORTED
    results = (_Result * query.asked).from_address(query.results)
    query.found[0] = min(query.asked, 3)
    for number, result in enumerate(results[: query.found[0]]):
        aligned = [preference.values[name] for name in (5, 6, 8)]
        room = preference.values[1]  # all that it may use
        result.algorithm[:] = [number + (room << 8), *aligned, _alignment(vector), epilogue, query.d, query.desc]
        result.workspace, result.state = room, _NOT_SUPPORTED if number == 1 else _SUCCESS
    return _SUCCESS


def _bits(address: int, n: int, stride: int) -> np.ndarray:
    """Return the bytes of a mask, of which each column takes `stride` bits."""
    memory = np.ctypeslib.as_array((ctypes.c_uint8 * (n * stride // 8)).from_address(address))
    return memory.reshape(n, stride // 8)


def _product(pointer: Any) -> int:
    call = _Product.from_buffer_copy(pointer.contents)
    handle, desc = descriptors[call.handle], descriptors[call.desc]
    layouts = [descriptors[each] for each in (call.adesc, call.bdesc, call.ddesc)]
    size, stream = _sizes(desc, layouts), stream_at(call.stream)
    number, *aligned, of_vector, epilogue, d, own = ctypes.cast(call.algorithm, ctypes.POINTER(ctypes.c_uint64))[:8]
    if handle.device != state.devices[-1]:
        return _NOT_INITIALIZED
    addresses = [call.a, call.b, call.d]
    vector, mask, mask_stride = (desc.values[name] for name in (8, 11, 12))
    if (
        size is None
        or (call.ddesc, call.desc, desc.values[7]) != (d, own, epilogue)  # the algorithm is of another product
        or any(address % alignment for address, alignment in zip(addresses, aligned, strict=True))
        or (vector and vector % of_vector)
        or call.workspace % 16
        or call.size < (number >> 8) + (_MORE if epilogue > 1 else 0)
        or (call.c, call.cdesc) != (call.d, call.ddesc)
    ):
        return _INVALID_VALUE
    m, n, _ = size
    alpha, beta = (ctypes.c_float.from_address(each).value for each in (call.alpha, call.beta))
    calls.append(Call(epilogue, size, desc.first, number & 0xFF))
    for first, last in ((vector, vector + 4 * m - 1), (mask, mask + n * mask_stride // 8 - 1)):
        if first and memory_at(first) is not memory_at(last):
            raise DoubleError(f"an access beyond the memory at {first:#x}")
    bits = _BITS[0][desc.first]

    def work() -> None:
        a, b, d = (_matrix(at, *each.shape, np.float32) for at, each in zip(addresses, layouts, strict=True))
        a, b = (each.T if desc.values[turn] else each for each, turn in ((a, 3), (b, 4)))
        values = _matrix(vector, m, 1, m, np.float32)[:, 0] if vector else np.zeros(m, np.float32)
        with np.errstate(all="ignore"):
            total = a.sum(axis=1)
            x = np.float32(alpha) * (rounded(a, bits) @ rounded(b, bits)) + (beta * d if beta else 0)
            if epilogue & _BIAS:
                x = x + values[:, None]
            if epilogue & _DRELU:
                x = x * np.unpackbits(_bits(mask, n, mask_stride), axis=1, bitorder="little")[:, :m].T
            if epilogue & _RELU:
                if epilogue & _AUX:
                    positive = np.zeros((n, mask_stride), np.uint8)
                    positive[:, :m] = (x > 0).T
                    _bits(mask, n, mask_stride)[...] = np.packbits(positive, axis=1, bitorder="little")
                x = np.maximum(x, 0)
            if epilogue & (_BGRAD | _BGRADA):
                values[...] = total if epilogue & _BGRADA else x.sum(axis=1)
            d[...] = x

    launch(stream, work, [*addresses, call.workspace, *(each for each in (vector, mask) if each)])
    return _SUCCESS


_CALLBACKS = [
    ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.c_int, ctypes.POINTER(_P), ctypes.c_int, ctypes.c_int, ctypes.c_uint64, ctypes.c_uint64,
        ctypes.c_int64,
    )(_create),
    ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, _P, ctypes.c_int, _P, ctypes.c_size_t)(_set),
    ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, _P)(_destroy),
    ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Query))(_query),
    ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Product))(_product),
]  # fmt: skip


@cache
def load() -> SimpleNamespace:
    """Return the path of the library, as `cuda.pathfinder` does."""
    library = compiled(_SOURCE)
    library.listen(*_CALLBACKS)
    return SimpleNamespace(abs_path=library._name)
