"""The tracer: run a step on arrays without elements and record its operations as a program.

NumPy passes each call with such an array to the array itself, by its override protocols (NEP 13 and NEP 18).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from xpnet.backend import NUMPY, Array, Step, arrays_in, map_arrays
from xpnet_backends.compiler.ir import Buffer, Instruction, Program, Role, Value, value_of
from xpnet_backends.compiler.ops import Op, UntraceableError

__all__ = ["UFUNCS", "Tracer", "trace", "trace_function"]

UFUNCS = {getattr(np, op.numpy): op for op in Op if isinstance(getattr(np, op.numpy, None), np.ufunc)}


def trace(step: Step, params: Array, state: Any, batch: Sequence[Array]) -> Program:
    """Return the program of a step. Only shapes and dtypes of the arrays are used; none is read or written.

    Parameters
    ----------
    step : callable
        ``step(params, state, batch) -> (params, state, loss)``, on NumPy's namespace.
    params : array
    state : nested tuples of arrays
    batch : sequence of arrays

    Raises
    ------
    UntraceableError
        The step does something that the compiler does not support.

    Examples
    --------
    >>> def step(params, state, batch):
    ...     error = batch[0] @ params[:, None] - 1.0
    ...     return params, state, np.sum(error * error)
    >>> print(trace(step, np.zeros(3), (), [np.zeros((4, 3))]))
    batch %0: f64[4,3]
    state %1: f64[3]
    %2: f64[4,1] = matmul %0, %1(3,1)
    %3: f64[4,1] = subtract %2, 1.0
    %4: f64[4,1] = multiply %3, %3
    %5: f64[] = sum %4
    loss %5
    """
    recorder = _Recorder()
    inputs = [recorder.array(array.shape, array.dtype, Role.BATCH) for array in batch]
    before = map_arrays(lambda array: recorder.array(array.shape, array.dtype, Role.STATE), (params, state))
    *after, loss = step(*before, tuple(inputs))
    if not isinstance(loss, Tracer):
        raise UntraceableError("a loss that does not depend on the batch")
    for old, new in zip(arrays_in(before), arrays_in(tuple(after)), strict=True):
        value = recorder.operand(new, old.dtype)
        if value != old.value:  # a new array, such as the random key
            if isinstance(value, Value) and value.buffer.role is Role.STATE:
                raise UntraceableError("arrays of the state that change places")
            recorder.record(Op.CAST, (value,), old)
    return recorder.program(inputs, arrays_in(before), loss)


def trace_function(function: Callable[..., tuple[Array, ...]], arguments: tuple[Any, ...]) -> Program:
    """Return the program of a pure function that returns a tuple of arrays.

    The batch of the program is the function's arguments, in order, and its state receives the results. It has no loss
    of its own; the first result stands in its place.

    Parameters
    ----------
    function : callable
    arguments : tuple of arrays and nested tuples of arrays
        Only shapes and dtypes are used.

    Raises
    ------
    UntraceableError
        The function does something that the compiler does not support.

    Examples
    --------
    >>> print(trace_function(lambda x: (x * x,), (np.zeros(3),)))
    batch %0: f64[3]
    state %2: f64[3]
    %1: f64[3] = multiply %0, %0
    %2: f64[3] = cast %1
    loss %2
    """
    recorder = _Recorder()
    inputs = map_arrays(lambda array: recorder.array(array.shape, array.dtype, Role.BATCH), arguments)
    results = []
    for result in function(*inputs):
        if not isinstance(result, Tracer):
            raise UntraceableError("a result that does not depend on the arguments")
        kept = recorder.array(result.shape, result.dtype, Role.STATE)
        results.append(recorder.record(Op.CAST, (result.value,), kept))
    return recorder.program(arrays_in(inputs), results, results[0])


class _Recorder:
    """The instructions and constants of a program that is being traced."""

    def __init__(self) -> None:
        self.instructions: list[Instruction] = []
        self.constants: dict[int, tuple[Buffer, np.ndarray]] = {}  # by the array's id
        self.calls: list[Callable[[Any], None]] = []
        self._n_buffers = 0

    def array(self, shape: tuple[int, ...], dtype: Any, role: Role = Role.TEMPORARY) -> Tracer:
        """Return a new array."""
        if len(shape) > 2:
            raise UntraceableError(f"an array of {len(shape)} dimensions")
        buffer = Buffer(self._n_buffers, tuple(shape), np.dtype(dtype), role)
        self._n_buffers += 1
        return Tracer(self, buffer.whole)

    def program(self, batch: list[Tracer], state: list[Tracer], loss: Tracer) -> Program:
        """Return the program of the instructions so far."""
        return Program(
            tuple(self.instructions),
            tuple(each.value for each in batch),
            tuple(each.value for each in state),
            loss.value,
            {buffer: np.ascontiguousarray(array) for buffer, array in self.constants.values()},
            calls=tuple(self.calls),
        )

    def operand(self, each: Any, dtype: np.dtype[Any]) -> Value | np.generic:
        """Return an operand as it stands in an instruction; a Python number gets a dtype."""
        if isinstance(each, Tracer):
            return each.value
        if not isinstance(each, np.ndarray):
            return each if isinstance(each, np.generic) else dtype.type(each)
        if id(each) not in self.constants:
            self.constants[id(each)] = self.array(each.shape, each.dtype, Role.CONSTANT).value.buffer, each
        return self.constants[id(each)][0].whole

    def record(self, op: Op, inputs: Iterable[Any], out: Tracer, axis: int | None = None) -> Tracer:
        """Record an instruction and return its result."""
        self.instructions.append(Instruction(op, tuple(inputs), out.value, axis))
        return out


class Tracer(NDArrayOperatorsMixin):
    """An array without elements. Operations on it become instructions."""

    def __init__(self, recorder: _Recorder, value: Value) -> None:
        self.recorder, self.value = recorder, value

    shape = property(lambda self: self.value.shape)
    ndim = property(lambda self: len(self.value.shape))
    dtype = property(lambda self: self.value.dtype)
    T = property(lambda self: Tracer(self.recorder, self.value.T))
    device = "cpu"

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return NUMPY

    def __getattr__(self, name: str) -> Any:
        raise UntraceableError(f"the attribute {name}")

    def __bool__(self) -> bool:
        raise UntraceableError("a decision on a value")

    __float__ = __int__ = __index__ = __len__ = __bool__

    def __array__(self, *args: Any, **options: Any) -> Any:
        raise UntraceableError("an array that is made from a value")

    def __getitem__(self, key: Any) -> Tracer:
        keys = list(key) if isinstance(key, tuple) else [key]
        if keys and keys[-1] is Ellipsis:
            keys.pop()
        axes, offset = list(zip(self.shape, self.value.strides, strict=True)), self.value.offset
        kept: list[tuple[int, int]] = []
        for each in keys:
            if each is None:
                kept.append((1, 0))
            elif isinstance(each, int):
                n, stride = axes.pop(0)
                offset += range(n)[each] * stride
            elif isinstance(each, slice) and (each.step or 1) > 0:
                n, stride = axes.pop(0)
                rows = range(n)[each]
                kept.append((len(rows), rows.step * stride))
                offset += rows.start * stride
            else:
                raise UntraceableError(f"the index {each!r}")
        shape, strides = zip(*kept, *axes, strict=True) if kept or axes else ((), ())
        return Tracer(self.recorder, value_of(self.value.buffer, shape, strides, offset))

    def reshape(self, shape: Iterable[int]) -> Tracer:
        """Return the elements, row by row, in another shape."""
        shape = list(shape)
        if -1 in shape:
            shape[shape.index(-1)] = self.value.size // -math.prod(shape)
        value = (self if self.value.is_contiguous else self.astype(self.dtype)).value
        return Tracer(self.recorder, value_of(value.buffer, shape, offset=value.offset))

    def astype(self, dtype: Any, copy: bool = True) -> Tracer:
        """Return the elements in another dtype."""
        if not copy and dtype == self.dtype:
            return self
        return self.recorder.record(Op.CAST, (self.value,), self.recorder.array(self.shape, dtype))

    def record_call(self, function: Callable[[Any], None]) -> None:
        """Record that a function changes this array; see `xpnet.backend.steps.call_in_place`."""
        if not self.value.is_contiguous:
            raise UntraceableError("a call with an array that is not contiguous")
        self.recorder.record(Op.CALL, (self.value,), self, len(self.recorder.calls))
        self.recorder.calls.append(function)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        if ufunc not in UFUNCS or method != "__call__" or options:
            raise UntraceableError(" ".join([f"{ufunc.__name__}.{method}", *options]))
        # A Python number takes the type that the function computes in.
        *types, dtype = ufunc.resolve_dtypes((*(getattr(each, "dtype", type(each)) for each in inputs), None))
        operands = [self.recorder.operand(each, kind) for each, kind in zip(inputs, types, strict=True)]
        shapes: list[tuple[int, ...]] = [each.shape for each in operands]
        if out is not None:
            (result,) = out
            if not isinstance(result, Tracer):
                raise UntraceableError("a constant that is written")
        elif ufunc is not np.matmul:
            result = self.recorder.array(np.broadcast_shapes(*shapes), dtype)
        elif all(len(shape) == 2 for shape in shapes):
            result = self.recorder.array((shapes[0][0], shapes[1][1]), dtype)
        else:
            raise UntraceableError("a product of arrays that are not matrices")
        return self.recorder.record(UFUNCS[ufunc], operands, result)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function not in _FUNCTIONS:
            raise UntraceableError(function.__name__)
        return _FUNCTIONS[function](self.recorder, *args, **kwargs)


def _concatenate(recorder: _Recorder, arrays: Sequence[Any], axis: int = 0) -> Tracer:
    dtype = np.result_type(*(each.dtype for each in arrays))
    shape = list(arrays[0].shape)
    shape[axis] = sum(each.shape[axis] for each in arrays)
    inputs = [recorder.operand(each, dtype) for each in arrays]
    return recorder.record(Op.CONCAT, inputs, recorder.array(tuple(shape), dtype), axis)


def _where(recorder: _Recorder, *arrays: Any) -> Tracer:
    dtype = np.result_type(*(getattr(each, "dtype", each) for each in arrays[1:]))
    inputs = [recorder.operand(each, dtype) for each in arrays]
    return recorder.record(Op.WHERE, inputs, recorder.array(np.broadcast_shapes(*(i.shape for i in inputs)), dtype))


def _reduction(op: Op) -> Callable[..., Tracer]:
    def reduce(
        recorder: _Recorder, array: Tracer, axis: int | None = None, *, keepdims: bool = False, **options: Any
    ) -> Tracer:
        if any(option is not None for option in options.values()):
            raise UntraceableError(" ".join([op.numpy, *options]))
        axes = range(array.ndim) if axis is None else [range(array.ndim)[axis]]
        shape = tuple(n for i, n in enumerate(array.shape) if i not in axes)
        dtype = getattr(np, op.numpy)(np.ones(1, array.dtype)).dtype
        result = recorder.record(op, (array.value,), recorder.array(shape, dtype), axes[0] if shape else None)
        return result[tuple(None if i in axes else slice(None) for i in range(array.ndim))] if keepdims else result

    return reduce


_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.sum: _reduction(Op.SUM),
    np.max: _reduction(Op.MAX),
    np.concatenate: _concatenate,
    np.where: _where,
    np.reshape: lambda _, array, shape, **__: array.reshape(shape),
    np.zeros_like: lambda _, array, dtype=None: np.zeros(array.shape, dtype or array.dtype),
}
