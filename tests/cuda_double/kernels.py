"""The double of `cupy.RawModule`: CUDA source, compiled for the host.

One thread runs a kernel; a kernel that does many steps runs with a fiber for each thread.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

from tests.compiler import fibers
from tests.cuda_double.arrays import ndarray
from tests.cuda_double.runtime import CUDARuntimeError, current_stream, launch, state
from tests.host_compiler import HostCompilerError, build

HOST = """
using std::cos, std::exp, std::expm1, std::log, std::log1p, std::sqrt, std::tanh;
#define LANES 1
#define __global__
#define __launch_bounds__(...)
#define __device__
#define __shared__
static void __syncthreads() {}
static void __syncwarp() {}
template <class T> static T __shfl_xor_sync(unsigned, T r, int) { return r; }
struct Dim { int x; };
static Dim threadIdx{0}, blockDim{1}, blockIdx{0}, gridDim{1};
"""


class CompileException(Exception):  # noqa: N818 - CuPy's name
    """What CuPy raises where CUDA's compiler refuses a source."""


def compiled(text: str) -> ctypes.CDLL:
    """Return the library of a C++ source."""
    try:
        return build(text)
    except HostCompilerError as exc:
        raise CompileException(str(exc)) from exc


class RawModule:
    """Kernels from source."""

    def __init__(self, code: str, options: tuple[str, ...] = (), **_: Any) -> None:
        self.code, self.options, self.device = code, options, state.devices[-1]
        self._many = " steps(" in code
        self._library = None if self._many else compiled(HOST + code)

    def get_function(self, name: str) -> RawKernel:
        """Return a kernel; it is loaded on the current GPU."""
        return RawKernel(_fibers(self.code) if self._many else getattr(self._library, name))


@cache
def _fibers(code: str) -> fibers.HostKernel:
    return fibers.build(code)


class RawKernel:
    """A kernel, which cannot be captured before it has run once on a GPU: its first use loads it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function, self._loaded = function, set[int]()
        self.max_dynamic_shared_size_bytes = 49152

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], args: Any, *, shared_mem: int = 0) -> None:
        """Launch it on the current stream."""
        most = state.attributes["MaxSharedMemoryPerBlockOptin"]
        if shared_mem > self.max_dynamic_shared_size_bytes or self.max_dynamic_shared_size_bytes > most:
            raise CUDARuntimeError("cudaErrorInvalidValue: invalid argument")
        if not (1 <= grid[0] < 2**31 and 1 <= block[0] <= 1024):
            raise CUDARuntimeError("cudaErrorInvalidConfiguration: invalid configuration argument")
        stream = current_stream()
        if stream.captured is not None and stream.device not in self._loaded:
            raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: a kernel is loaded during a capture")
        self._loaded.add(stream.device)
        arrays = [each.data.ptr for each in args if isinstance(each, ndarray)]
        if isinstance(self._function, fibers.HostKernel):
            host = [each.host if isinstance(each, ndarray) else int(each) for each in args]
            work = partial(self._function, host, grid[0], block[0], shared_mem, fibers.ORDERS["in order"])
        else:
            work = partial(self._function, *map(_argument, args))
        launch(stream, work, arrays)


def _argument(each: Any) -> Any:
    if isinstance(each, ndarray):
        return ctypes.c_void_p(each.data.ptr)
    kind = np.ctypeslib.as_ctypes_type(np.asarray(each).dtype)
    return kind(each)
