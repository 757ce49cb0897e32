"""The tracer: it runs a step on arrays without elements and notes the operations, as a program.

NumPy hands each of its calls over to such an array by its override protocols (NEP 13 and NEP 18).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.lib.mixins import NDArrayOperatorsMixin

from xpnet.backend import Array, Step, arrays_in, map_arrays
from xpnet_backends.compiler.ir import Buffer, Instruction, Program, Role, Value, value_of
from xpnet_backends.compiler.ops import Op, UntraceableError

__all__ = ["Tracer", "trace"]

_UFUNCS = {getattr(np, op.numpy): op for op in Op if isinstance(getattr(np, op.numpy, None), np.ufunc)}


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
        The step does something that the compiler does not know.

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
    builder = _Builder()
    inputs = [builder.tracer(array.shape, array.dtype, Role.BATCH) for array in batch]
    before = map_arrays(lambda array: builder.tracer(array.shape, array.dtype, Role.STATE), (params, state))
    *after, loss = step(*before, tuple(inputs))
    if not isinstance(loss, Tracer):
        raise UntraceableError("a loss that does not depend on the batch")
    for old, new in zip(arrays_in(before), arrays_in(tuple(after)), strict=True):
        value = builder.operand(new)
        if value != old.value:  # a new array, as the random key is
            if isinstance(value, Value) and value.buffer.role is Role.STATE:
                raise UntraceableError("arrays of the state that change places")
            builder.write(Op.CAST, (value,), old.value)
    return Program(
        tuple(builder.instructions),
        tuple(each.value for each in inputs),
        tuple(each.value for each in arrays_in(before)),
        loss.value,
        dict(builder.constants.values()),
    )


class _Builder:
    """A program that is being traced."""

    def __init__(self) -> None:
        self.instructions: list[Instruction] = []
        self.constants: dict[int, tuple[Buffer, np.ndarray]] = {}  # by the array's id
        self._ids = itertools.count()

    def tracer(self, shape: tuple[int, ...], dtype: Any, role: Role = Role.TEMPORARY) -> Tracer:
        """Return a new array."""
        return Tracer(self, self._buffer(shape, dtype, role).whole)

    def _buffer(self, shape: tuple[int, ...], dtype: Any, role: Role) -> Buffer:
        if len(shape) > 2:
            raise UntraceableError(f"an array of {len(shape)} dimensions")
        return Buffer(next(self._ids), tuple(shape), np.dtype(dtype), role)

    def operand(self, each: Any) -> Any:
        """Return an operand as instructions have it; a Python number is returned as it is."""
        if isinstance(each, Tracer):
            return each.value
        if not isinstance(each, np.ndarray):
            return each
        if id(each) not in self.constants:
            self.constants[id(each)] = self._buffer(each.shape, each.dtype, Role.CONSTANT), each
        return self.constants[id(each)][0].whole

    def write(self, op: Op, inputs: Iterable[Any], out: Value, axis: int | None = None) -> Tracer:
        """Add an instruction and return its result."""
        self.instructions.append(Instruction(op, tuple(inputs), out, axis))
        return Tracer(self, out)


class Tracer(NDArrayOperatorsMixin):
    """An array without elements; what is done with it becomes instructions."""

    def __init__(self, builder: _Builder, value: Value) -> None:
        self._builder, self.value = builder, value

    shape = property(lambda self: self.value.shape)
    ndim = property(lambda self: len(self.value.shape))
    size = property(lambda self: self.value.size)
    dtype = property(lambda self: self.value.dtype)
    T = property(lambda self: Tracer(self._builder, self.value.T))
    device = "cpu"

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        import array_api_compat.numpy as xp

        return xp

    def __getattr__(self, name: str) -> Any:
        raise UntraceableError(f"the attribute {name}")

    def __bool__(self) -> bool:
        raise UntraceableError("a decision on a value")

    __float__ = __int__ = __index__ = __len__ = __bool__

    def __getitem__(self, key: Any) -> Tracer:
        keys = list(key) if isinstance(key, tuple) else [key]
        used = sum(each is not None and each is not Ellipsis for each in keys)
        rest = [slice(None)] * (self.ndim - used)
        at = keys.index(Ellipsis) if any(each is Ellipsis for each in keys) else len(keys)
        axes = iter(zip(self.value.shape, self.value.strides, strict=True))
        shape, strides, offset = list[int](), list[int](), self.value.offset
        for each in [*keys[:at], *rest, *keys[at + 1 :]]:
            if each is None:
                shape, strides = [*shape, 1], [*strides, 0]
            elif isinstance(each, slice):
                n, stride = next(axes)
                taken = range(n)[each]
                shape, strides, offset = (
                    [*shape, len(taken)],
                    [*strides, taken.step * stride],
                    offset + taken.start * stride,
                )
            elif isinstance(each, int):
                n, stride = next(axes)
                offset += range(n)[each] * stride
            else:
                raise UntraceableError(f"the index {each!r}")
        return Tracer(self._builder, value_of(self.value.buffer, shape, strides, offset))

    def reshape(self, shape: Any) -> Tracer:
        """Return the elements, row by row, in another shape."""
        shape = [shape] if isinstance(shape, int) else list(shape)
        if -1 in shape:
            shape[shape.index(-1)] = self.size // -math.prod(shape)
        whole = self if self.value.is_contiguous else self.astype(self.dtype)
        strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        return Tracer(self._builder, value_of(whole.value.buffer, shape, strides, whole.value.offset))

    def astype(self, dtype: Any, copy: bool = True) -> Tracer:
        """Return the elements in another dtype."""
        if not copy and dtype == self.dtype:
            return self
        return self._write(Op.CAST, (self.value,), self.shape, dtype)

    def _write(
        self, op: Op, inputs: Iterable[Any], shape: tuple[int, ...], dtype: Any, axis: int | None = None
    ) -> Tracer:
        return self._builder.write(op, inputs, self._builder.tracer(shape, dtype).value, axis)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        if ufunc not in _UFUNCS or method != "__call__" or options:
            raise UntraceableError(" ".join([f"{ufunc.__name__}.{method}", *options]))
        operands = [self._builder.operand(each) for each in inputs]
        # A Python number takes the type that the function computes in.
        kinds = [each.dtype if hasattr(each, "dtype") else type(each) for each in operands]
        *types, dtype = ufunc.resolve_dtypes((*kinds, None))
        operands = [
            each if hasattr(each, "dtype") else kind.type(each) for each, kind in zip(operands, types, strict=True)
        ]
        shapes: list[tuple[int, ...]] = [each.shape for each in operands]
        if out is not None:
            if not isinstance(out[0], Tracer):
                raise UntraceableError("a constant that is written")
            return self._builder.write(_UFUNCS[ufunc], operands, out[0].value)
        if ufunc is not np.matmul:
            return self._write(_UFUNCS[ufunc], operands, np.broadcast_shapes(*shapes), dtype)
        if any(len(shape) != 2 for shape in shapes):
            raise UntraceableError("a product of arrays that are no matrices")
        return self._write(Op.MATMUL, operands, (shapes[0][0], shapes[1][1]), dtype)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function not in _FUNCTIONS:
            raise UntraceableError(function.__name__)
        return _FUNCTIONS[function](self, *args, **kwargs)

    def _concatenate(self, arrays: Iterable[Any], axis: int = 0) -> Tracer:
        values = [self._builder.operand(each) for each in arrays]
        shape = list(values[0].shape)
        shape[axis] = sum(each.shape[axis] for each in values)
        dtype = np.result_type(*(each.dtype for each in values))
        return self._write(Op.CONCAT, values, tuple(shape), dtype, range(len(shape))[axis])

    def _where(self, *arrays: Any) -> Tracer:
        condition, *choices = (self._builder.operand(each) for each in arrays)
        dtype = np.result_type(*(getattr(each, "dtype", each) for each in choices))
        choices = [each if hasattr(each, "dtype") else dtype.type(each) for each in choices]
        shape = np.broadcast_shapes(*(each.shape for each in (condition, *choices)))
        return self._write(Op.WHERE, (condition, *choices), shape, dtype)


def _reduction(op: Op, ufunc: np.ufunc) -> Callable[..., Tracer]:
    def reduce(_: Tracer, array: Tracer, axis: Any = None, *, keepdims: bool = False, **options: Any) -> Tracer:
        if any(option is not None for option in options.values()):
            raise UntraceableError(" ".join([op.numpy, *options]))
        axes = range(array.ndim) if axis is None else normalize_axis_tuple(axis, array.ndim)
        kept = [axis for axis in range(array.ndim) if axis not in axes]
        dtype = ufunc.reduce(np.ones(1, array.dtype)).dtype
        along = axes[0] if kept else None
        result = array._write(op, (array.value,), tuple(array.shape[axis] for axis in kept), dtype, along)
        return result[tuple(slice(None) if i in kept else None for i in range(array.ndim))] if keepdims else result

    return reduce


def _like(function: Any) -> Callable[..., np.ndarray]:
    return lambda _, array, *args, **kwargs: function(np.empty(array.shape, array.dtype), *args, **kwargs)


_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.sum: _reduction(Op.SUM, np.add),
    np.max: _reduction(Op.MAX, np.maximum),
    np.min: _reduction(Op.MIN, np.minimum),
    np.concatenate: Tracer._concatenate,
    np.where: Tracer._where,
    np.reshape: lambda _, array, shape, **__: array.reshape(shape),
    np.zeros_like: _like(np.zeros_like),
    np.full_like: _like(np.full_like),
    np.ones_like: _like(np.ones_like),
}
