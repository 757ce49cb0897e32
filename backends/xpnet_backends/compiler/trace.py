"""The recording of a step on NumPy: it runs once, on arrays that note every call of NumPy that is made on them.

Nothing is computed meanwhile: a result has its shape, its type and its layout, and memory that is never touched, which
costs no more than its addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.lib.mixins import NDArrayOperatorsMixin

__all__ = ["Recording", "Statement", "Traced", "UntraceableError", "leaves", "mapped", "record"]


class UntraceableError(AttributeError):
    """The step does something that cannot be recorded; it is run as it is."""


class Statement(NamedTuple):
    """One call: `function` of `inputs` into `out`; `kind` says how it is called."""

    kind: str
    function: Any
    inputs: tuple[Any, ...]
    out: Traced
    extra: Any = None


class Traced(NDArrayOperatorsMixin):
    """An array that records what is done with it; `value` is like the result, but for its numbers."""

    def __init__(self, tape: list[Statement], value: np.ndarray, base: Traced | None = None, view: Any = None) -> None:
        self.tape, self.value, self.base, self.view = tape, value, base, view
        self.bound = False

    shape = property(lambda self: self.value.shape)
    ndim = property(lambda self: self.value.ndim)
    size = property(lambda self: self.value.size)
    dtype = property(lambda self: self.value.dtype)
    device = "cpu"

    @property
    def T(self) -> Traced:  # noqa: N802 - NumPy's name
        """A view with its axes turned."""
        return self._seen(lambda array: array.T)

    @property
    def root(self) -> Traced:
        """The array that it is a view of, or itself."""
        return self if self.base is None else self.base.root

    def _seen(self, view: Callable[[np.ndarray], np.ndarray]) -> Traced:
        return Traced(self.tape, view(self.value), self, view)

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        import array_api_compat.numpy as xp

        return xp

    def __getattr__(self, name: str) -> Any:
        raise UntraceableError(f"the attribute {name}")

    def __bool__(self) -> bool:
        raise UntraceableError("a decision on a value")

    __float__ = __int__ = __index__ = __len__ = __bool__

    def __getitem__(self, key: Any) -> Traced:
        for part in key if isinstance(key, tuple) else (key,):
            if not (part is None or part is Ellipsis or isinstance(part, int | slice)):
                raise UntraceableError(f"the index {part!r}")
        return self._seen(lambda array: array[key])

    def astype(self, dtype: Any, copy: bool = True) -> Traced:
        """Return a copy of another type."""
        return self._write("cast", np.copyto, (self,), np.empty_like(self.value, dtype))

    def _write(self, kind: str, function: Any, inputs: tuple[Any, ...], value: np.ndarray, extra: Any = None) -> Traced:
        out = Traced(self.tape, value)
        self.tape.append(Statement(kind, function, inputs, out, extra))
        return out

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        if method == "reduce":
            return self._reduce(ufunc, inputs[0], **options)
        if method != "__call__" or options or ufunc.nout != 1:
            raise UntraceableError(f"{ufunc.__name__}.{method} with {options}")
        dtypes = {each.dtype for each in inputs if isinstance(each, Traced | np.ndarray)}
        if len(dtypes) == 1:  # a Python number takes the arrays' type
            (dtype,) = dtypes
            inputs = tuple(
                dtype.type(each) if isinstance(each, float | int) and not isinstance(each, bool) else each
                for each in inputs
            )
        kind = "matmul" if ufunc is np.matmul else "each"
        if out is None:
            values = [_value(each) for each in inputs]
            return self._write(
                kind, ufunc, inputs, _product(*values) if ufunc is np.matmul else _elements(ufunc, values)
            )
        (target,) = out
        if not isinstance(target, Traced):
            raise UntraceableError("a constant that is written")
        self.tape.append(Statement(kind, ufunc, inputs, target))
        return target

    def _reduce(self, ufunc: np.ufunc, array: Traced, axis: Any = 0, keepdims: bool = False, **options: Any) -> Traced:
        if any(option is not None for option in options.values()):
            raise UntraceableError(f"{ufunc.__name__}.reduce with {options}")
        axes = range(array.ndim) if axis is None else normalize_axis_tuple(axis, array.ndim)
        left = [1 if i in axes else n for i, n in enumerate(array.shape) if keepdims or i not in axes]
        dtype = ufunc.reduce(np.ones(1, array.dtype)).dtype
        return self._write("reduce", ufunc.reduce, (array,), np.empty(left, dtype), (axis, keepdims))

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function not in _FUNCTIONS:
            raise UntraceableError(function.__name__)
        return _FUNCTIONS[function](self, *args, **kwargs)


def _value(each: Any) -> Any:
    return each.value if isinstance(each, Traced) else each


def _elements(ufunc: np.ufunc, values: list[Any]) -> np.ndarray:
    """Return room for the result of an elementwise function, laid out as NumPy would."""
    kinds = [each.dtype if isinstance(each, np.ndarray | np.generic) else type(each) for each in values]
    return _room(values, ufunc.resolve_dtypes((*kinds, None))[-1])


def _room(values: list[Any], dtype: Any) -> np.ndarray:
    flags: list[Any] = [["readonly"]] * len(values) + [["writeonly", "allocate"]]
    room: np.ndarray = np.nditer([*values, None], ["zerosize_ok"], flags, [None] * len(values) + [dtype]).operands[-1]
    return room


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.ndim != 2 or b.ndim != 2:
        raise UntraceableError(f"a product of {a.ndim} by {b.ndim} dimensions")
    return np.empty((a.shape[0], b.shape[1]), np.result_type(a, b))


def _reduction(ufunc: np.ufunc) -> Callable[..., Traced]:
    def reduce(traced: Traced, array: Traced, axis: Any = None, *, keepdims: bool = False, **options: Any) -> Traced:
        return traced._reduce(ufunc, array, axis, keepdims, **options)

    return reduce


def _concatenate(traced: Traced, arrays: Iterable[Any], axis: int = 0) -> Traced:
    arrays = tuple(arrays)
    values = [_value(each) for each in arrays]
    shape = list(values[0].shape)
    shape[axis] = sum(each.shape[axis] for each in values)
    return traced._write("concat", np.concatenate, arrays, np.empty(shape, np.result_type(*values)), axis)


def _where(condition: Any, yes: Any, no: Any, out: np.ndarray) -> None:
    np.copyto(out, no)
    np.copyto(out, yes, where=condition)


def _choice(traced: Traced, *arrays: Any) -> Traced:
    values = [_value(each) for each in arrays]
    return traced._write("call", _where, arrays, _room(values, np.result_type(*values[1:])))


def _like(function: Any) -> Callable[..., np.ndarray]:
    return lambda traced, array, *args, **kwargs: function(array.value, *args, **kwargs)


_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.sum: _reduction(np.add),
    np.max: _reduction(np.maximum),
    np.min: _reduction(np.minimum),
    np.concatenate: _concatenate,
    np.where: _choice,
    np.reshape: lambda traced, array, shape, **_: array._seen(lambda a: a.reshape(shape)),
    np.zeros_like: _like(np.zeros_like),
    np.full_like: _like(np.full_like),
    np.ones_like: _like(np.ones_like),
}


class Recording(NamedTuple):
    """What a step does.

    Attributes
    ----------
    statements : list of Statement
    batch : list of Traced
        What it reads, beside parameters and state.
    loss : Traced
    """

    statements: list[Statement]
    batch: list[Traced]
    loss: Traced


def record(step: Callable[..., Any], params: np.ndarray, state: Any, batch: tuple[np.ndarray, ...]) -> Recording:
    """Return what a step does; parameters and state stay as they are.

    Raises
    ------
    UntraceableError
        It cannot be recorded.
    """
    tape: list[Statement] = []

    def bind(array: np.ndarray) -> Traced:
        traced = Traced(tape, array)
        traced.bound = True
        return traced

    inputs = [bind(array) for array in batch]
    bound = mapped(bind, (params, state))
    *after, loss = step(*bound, tuple(inputs))
    if not isinstance(loss, Traced):
        raise UntraceableError("a loss that does not depend on the batch")
    for old, new in zip(leaves(bound), leaves(tuple(after)), strict=True):
        if new is not old:  # made anew, like the generator's key
            tape.append(Statement("cast", np.copyto, (new,), old))
    statements = tape.copy()
    tape.clear()  # each result knows the tape: it would hold them all until the collector of cycles comes
    return Recording(statements, inputs, loss)


def mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """Return nested tuples with a function of each array in its place."""
    if not isinstance(value, tuple):
        return function(value)
    parts = [mapped(function, each) for each in value]
    return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)


def leaves(value: Any) -> list[Any]:
    """Return the arrays in nested tuples, in order."""
    if isinstance(value, tuple):
        return [leaf for each in value for leaf in leaves(each)]
    return [value]
