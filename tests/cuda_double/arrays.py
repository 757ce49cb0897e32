"""The double of `cupy.ndarray` and of CuPy's functions: NumPy's, on arrays that only the current GPU may use."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from tests.cuda_double.runtime import Device, Memory, current_stream, state

# Functions of shapes and types, not of elements: their results share the memory of their argument.
_VIEWS = {
    "broadcast_to", "expand_dims", "squeeze", "reshape", "transpose", "swapaxes", "moveaxis", "permute_dims", "ravel",
    "broadcast_arrays", "matrix_transpose", "flip",
}  # fmt: skip


class _Pointer:
    def __init__(self, ptr: int) -> None:
        self.ptr = ptr


class ndarray(NDArrayOperatorsMixin):  # noqa: N801 - CuPy's name
    """An array on a GPU."""

    __module__ = "cupy"
    __array_priority__ = 100

    def __init__(
        self, shape: Any = None, dtype: Any = float, *, host: Any = None, memory: Memory | None = None
    ) -> None:
        self.host: np.ndarray = np.empty(shape, dtype) if host is None else host
        self.memory = Memory(self.host) if memory is None else memory

    shape = property(lambda self: self.host.shape)
    dtype = property(lambda self: self.host.dtype)
    ndim = property(lambda self: self.host.ndim)
    size = property(lambda self: self.host.size)
    strides = property(lambda self: self.host.strides)
    itemsize = property(lambda self: self.host.itemsize)
    nbytes = property(lambda self: self.host.nbytes)
    flags = property(lambda self: self.host.flags)
    data = property(lambda self: _Pointer(self.host.ctypes.data))
    device = property(lambda self: Device(self.memory.device))
    T = property(lambda self: self._view(self.host.T))
    mT = property(lambda self: self._view(self.host.mT))  # noqa: N815 - the standard's name

    def _view(self, host: np.ndarray) -> ndarray:
        return ndarray(host=host, memory=self.memory)

    def __array__(self, *args: Any, **options: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        if method != "__call__":
            return NotImplemented
        return call(ufunc, *inputs, **({} if out is None else {"out": out[0]}), **options)

    def __getitem__(self, key: Any) -> ndarray:
        plain = all(each is None or isinstance(each, int | slice | type(...)) for each in _tuple(key))
        if plain:
            keys = _tuple(key)  # with an ellipsis NumPy returns an array, also of one element
            return self._view(self.host[keys if ... in keys else (*keys, ...)])
        _count(key)
        return call(lambda array, *keys: array[keys], self, *_tuple(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        def put(array: np.ndarray, value: Any, *keys: Any) -> None:
            array[keys] = value

        _count(key)
        call(put, self, value, *_tuple(key), writes=(self,))

    def __len__(self) -> int:
        return len(self.host)

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __index__(self) -> int:
        return self.get().__index__()

    def item(self) -> Any:
        """Return the only element."""
        return self.get().item()

    def tolist(self) -> Any:
        """Return the elements as Python's numbers."""
        return self.get().tolist()

    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> np.ndarray:
        """Copy to the host, which waits."""
        result: list[np.ndarray] = []
        with self.device:  # as CuPy does
            stream = stream or current_stream()
            stream.run(lambda: result.append(self.host.copy()), [self.memory], [])
            state.wait(stream.clock)
        if out is not None:
            out[...] = result[0]
            return out  # type: ignore[no-any-return]
        return result[0]

    def set(self, host: np.ndarray, stream: Any = None) -> None:
        """Copy from the host: at once, but from pinned memory when the stream comes to it."""
        if host.shape != self.shape or host.dtype != self.dtype:
            raise ValueError(f"Shape or dtype mismatch: {host.shape}, {host.dtype}; {self.shape}, {self.dtype}")
        with self.device:  # as CuPy does
            stream = stream or current_stream()
            if _is_pinned(host):
                stream.later(lambda: np.copyto(self.host, host), self.memory)
            else:
                stream.run(lambda: np.copyto(self.host, host), [], [self.memory])

    def fill(self, value: Any) -> None:
        """Set each element."""
        self[...] = value

    def copy(self, order: str = "C") -> ndarray:
        """Return a copy."""
        return call(np.copy, self)

    def astype(
        self, dtype: Any, order: str = "K", casting: Any = None, subok: Any = None, copy: bool = True
    ) -> ndarray:
        """Return the elements in another type."""
        if not copy and self.dtype == dtype:
            return self
        return call(lambda array: array.astype(dtype), self)

    def view(self, dtype: Any = None) -> ndarray:
        """Return the same memory as another type."""
        return self._view(self.host.view(self.dtype if dtype is None else dtype))

    def reshape(self, *shape: Any, **options: Any) -> ndarray:
        """Return the elements in another shape."""
        return call(lambda array: array.reshape(*shape, **options), self, view=True)

    def ravel(self) -> ndarray:
        """Return the elements in one dimension."""
        return self.reshape(-1)

    def transpose(self, *axes: int) -> ndarray:
        """Return the elements with other axes."""
        return self._view(self.host.transpose(*axes))


def _method(function: Callable[..., Any]) -> Callable[..., ndarray]:
    return lambda self, *args, **options: call(function, self, *args, **options)


for _name in ("sum", "max", "min", "mean", "any", "all", "argmax", "take", "dot", "cumsum", "std", "var", "prod"):
    setattr(ndarray, _name, _method(getattr(np, _name)))


def _tuple(key: Any) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)


def _count(key: Any) -> None:
    """Bring the number of elements of each mask in `key` to the host, as CuPy does."""
    for each in _tuple(key):
        if isinstance(each, ndarray) and each.dtype == bool:
            int(call(np.sum, each))


def _is_pinned(host: np.ndarray) -> bool:
    base: Any = host
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    base = base.obj if isinstance(base, memoryview) else base
    return isinstance(base, PinnedMemory)


class PinnedMemory(bytearray):
    """Memory of the host from which a GPU copies by itself."""


def _unwrapped(each: Any, found: list[ndarray]) -> Any:
    if isinstance(each, ndarray):
        found.append(each)
        return each.host
    if isinstance(each, list | tuple):
        return type(each)([_unwrapped(one, found) for one in each])
    if isinstance(each, np.ndarray):
        raise TypeError(f"Unsupported type {type(each)}")
    return each


def call(
    function: Callable[..., Any], *args: Any, writes: tuple[ndarray, ...] = (), view: bool = False, **options: Any
) -> Any:
    """Call NumPy's function as work on the current stream; results are arrays on the GPU."""
    found: list[ndarray] = []
    out = options.get("out")
    results: list[Any] = []
    host = [_unwrapped(each, found) for each in args]
    host_options = {name: _unwrapped(each, found) for name, each in options.items()}
    written = [each.memory for each in (*writes, *([out] if isinstance(out, ndarray) else []))]
    reads = [each.memory for each in found if each.memory not in written]

    def work() -> None:
        with np.errstate(all="ignore"):
            results.append(function(*host, **host_options))

    if view:
        work()
    elif any(isinstance(each, np.ndarray) for each in results) or found or written:
        current_stream().run(work, reads, written)
    else:
        work()
    if isinstance(out, ndarray):
        return out
    return _wrapped(results[0], found)


def _wrapped(result: Any, found: list[ndarray]) -> Any:
    """Return arrays on the GPU for a function's results; a view has the memory of its argument."""
    if isinstance(result, np.generic):
        result = np.asarray(result)
    if isinstance(result, np.ndarray):
        for each in found:
            if np.may_share_memory(result, each.host) and result.size:
                return ndarray(host=result, memory=each.memory)
        new = ndarray(host=result)
        current_stream().run(lambda: None, [], [new.memory])
        return new
    if isinstance(result, tuple | list):
        parts = [_wrapped(each, found) for each in result]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    return result


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return NumPy's function as one of CuPy's."""

    def double(*args: Any, **options: Any) -> Any:
        options.pop("blocking", None)
        return call(function, *args, view=function.__name__ in _VIEWS, **options)

    return wraps(function)(double) if hasattr(function, "__name__") else double


def array(host: Any, dtype: Any = None, copy: bool = True, **options: Any) -> ndarray:
    """Return an array of the host's, or another array, on the current GPU."""
    options.pop("blocking", None)
    if isinstance(host, ndarray):
        if host.memory.device != state.devices[-1]:  # a copy from GPU to GPU
            with Device(host.memory.device):
                return array(host.get(), dtype)
        if not copy and (dtype is None or host.dtype == dtype):
            return host
        return host.astype(host.dtype if dtype is None else dtype)
    new = ndarray(host=np.array(host, dtype=dtype, **options))
    current_stream().run(lambda: None, [], [new.memory])
    return new


def asarray(host: Any, dtype: Any = None, **options: Any) -> ndarray:
    """Return an array on the current GPU, without a copy if it is there."""
    return array(host, dtype, copy=False, **options)


def asnumpy(each: Any, *args: Any, **options: Any) -> np.ndarray:
    """Copy to the host."""
    return each.get() if isinstance(each, ndarray) else np.asarray(each)
