"""A double of CuPy and of cuBLAS, so that the code for GPUs runs from end to end where there is none.

It is stricter than a GPU where a GPU may fail: arrays do not become NumPy's by themselves, work is refused on a device
or a stream that is not current, nothing is allocated while a stream is captured, and two streams that may use the same
memory at once raise an error. Kernels are compiled for the host. It says nothing about speed.

    with cuda_double.installed() as state:
        xpnet.get_backend("gpu")

``python -m tests.cuda_double -m xpnet train digits --device gpu`` runs a command with the double.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from tests.cuda_double import arrays, cublas, kernels, nccl, runtime
from tests.cuda_double.runtime import DoubleError, State

__all__ = ["DoubleError", "install", "installed"]

_PREFIXES = ("cupy", "cuda", "array_api_compat.cupy", "xpnet_backends.cupy", "xpnet_backends.cuda")
# NumPy's names that CuPy has not, or has otherwise.
_OTHERS = {"asarray", "array", "ascontiguousarray", "ndarray", "matmul", "copy", "frombuffer", "fromfile"}


def _module(name: str, **members: Any) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(members)
    module.__path__ = []  # a package
    sys.modules[name] = module
    return module


class _Pool:
    def free_bytes(self) -> int:
        """Return what the pool keeps without using it."""
        return 0

    def used_bytes(self) -> int:
        """Return what the pool uses on the current GPU."""
        return runtime.state.used(runtime.state.devices[-1])

    def free_all_blocks(self) -> None:
        """Give back what is not used: nothing is kept."""


_compute_types: dict[Any, int] = {}
_DEFAULT, _TF32 = 0, 1


def _matmul(a: Any, b: Any, *args: Any, **options: Any) -> Any:
    """Multiply as CuPy does, in its own precision, and never while a stream is captured."""
    if runtime.current_stream().captured is not None:
        raise runtime.CUDARuntimeError("CuPy's products refuse to be captured")
    bits = 11 if a.dtype == np.float32 and _compute_types.get(np.dtype(np.float32)) == _TF32 else 53

    def product(a: np.ndarray, b: np.ndarray, *args: Any, **options: Any) -> np.ndarray:
        return np.matmul(cublas.rounded(a, bits), cublas.rounded(b, bits), *args, **options)

    return arrays.call(product, a, b, *args, **options)


def install() -> State:
    """Put the double in the place of CuPy in this process; return what it knows, as new."""
    for name in [name for name in sys.modules if name.startswith(_PREFIXES)]:
        if name.split(".")[0] in ("cupy", "cuda") or name in _PREFIXES or name.startswith(_PREFIXES[2:]):
            del sys.modules[name]
    state = runtime.state
    State.__init__(state)
    functions = {
        name: arrays.wrapped(member) if callable(member) and not isinstance(member, type) else member
        for name, member in vars(np).items()
        if not name.startswith("_") and name not in _OTHERS and not isinstance(member, ModuleType)
    }
    for name in ("finfo", "iinfo", "issubdtype", "result_type", "can_cast", "isdtype", "dtype"):
        functions[name] = getattr(np, name)
    cuda = _module(
        "cupy.cuda",
        **{each.__name__: each for each in (runtime.Device, runtime.Stream, runtime.Event)},
        get_current_stream=runtime.current_stream,
        get_elapsed_time=runtime.get_elapsed_time,
        alloc_pinned_memory=arrays.PinnedMemory,
        PinnedMemory=arrays.PinnedMemory,
        runtime=_module(
            "cupy.cuda.runtime",
            CUDARuntimeError=runtime.CUDARuntimeError,
            getDeviceCount=lambda: state.count,
            getDevice=lambda: state.devices[-1],
            driverGetVersion=lambda: 13000,
            runtimeGetVersion=lambda: 13000,
            getDeviceProperties=lambda index: {
                "name": b"a double of a GPU",
                "multiProcessorCount": state.attributes["MultiProcessorCount"],
                "sharedMemPerBlockOptin": state.attributes["MaxSharedMemoryPerBlockOptin"],
                "totalGlobalMem": state.capacity,
            },
        ),
        compiler=_module("cupy.cuda.compiler", CompileException=kernels.CompileException),
        device=_module("cupy.cuda.device", Device=runtime.Device),
        memory=_module("cupy.cuda.memory", OutOfMemoryError=runtime.OutOfMemoryError),
    )
    sys.modules["cupy.cuda.nccl"] = nccl  # to be imported: as in CuPy, cupy.cuda has no such attribute before
    _compute_types.clear()
    products = _module(
        "cupy._core._routines_linalg",
        COMPUTE_TYPE_DEFAULT=_DEFAULT,
        COMPUTE_TYPE_TF32=_TF32,
        get_compute_type=lambda dtype: _compute_types.get(np.dtype(dtype), _DEFAULT),
        set_compute_type=lambda dtype, kind: _compute_types.__setitem__(np.dtype(dtype), kind),
    )
    members = {
        **functions,
        "ndarray": arrays.ndarray,
        "asarray": arrays.asarray,
        "array": arrays.array,
        "asnumpy": arrays.asnumpy,
        "ascontiguousarray": lambda each: each if each.flags.c_contiguous else each.copy(),
        "copy": lambda each: each.copy(),
        "matmul": _matmul,
        "RawModule": kernels.RawModule,
        "cuda": cuda,
        "get_default_memory_pool": _Pool,
        "__version__": "14.2.0",
    }
    cupy = _module("cupy", **members)
    cupy.__dict__["__all__"] = [name for name in members if not name.startswith("_")]
    cupy.__dict__["_core"] = _module("cupy._core", _routines_linalg=products)
    for own in (np.linalg, np.fft):
        wrapped = {name: arrays.wrapped(vars(own)[name]) for name in own.__all__ if callable(vars(own)[name])}
        name = own.__name__.partition(".")[2]
        cupy.__dict__[name] = _module(f"cupy.{name}", **wrapped, __all__=list(wrapped))
    pathfinder = _module("cuda.pathfinder", load_nvidia_dynamic_lib=cublas.load_nvidia_dynamic_lib)
    _module("cuda", pathfinder=pathfinder)
    return state


@contextmanager
def installed() -> Iterator[State]:
    """Install the double for a time; afterwards there is again what was there."""
    from xpnet.backend import devices, registry

    before = {name: module for name, module in sys.modules.items() if name.startswith(_PREFIXES)}
    devices._create.cache_clear()
    registry.has_driver.cache_clear()
    try:
        yield install()
        if runtime.state.errors:
            raise DoubleError(runtime.state.errors[0])
    finally:
        for name in [name for name in sys.modules if name.startswith(_PREFIXES)]:
            del sys.modules[name]
        sys.modules.update(before)
        devices._create.cache_clear()
        registry.has_driver.cache_clear()
