"""A training step on NumPy, recorded once and replayed: the same calls, without the Python and the allocations between.

The step runs once on arrays that record every call of NumPy. What is replayed are these calls, in their order, into
buffers that are allocated once: results that die in an elementwise call are written over, chains of elementwise calls
over large arrays are done a block at a time so that they stay in the cache, and the pieces of a concatenation are
computed in their place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

__all__ = ["Program", "UntraceableError", "leaves", "record"]

# Numbers in a block: few enough to stay in the cache, enough to hide the cost of a call.
_BLOCK = 1 << 14
# Up to so many columns, a matrix that is reduced along its rows lies column by column: sums and maxima are then
# taken over many rows at once.
_NARROW = 64


class UntraceableError(Exception):
    """The step does something that cannot be recorded; it is run as it is."""


class Statement(NamedTuple):
    """One call: `function` of `inputs` into `out`; `kind` says how it is called."""

    kind: str
    function: Any
    inputs: tuple[Any, ...]
    out: Traced
    extra: Any = None


class Traced(NDArrayOperatorsMixin):
    """An array that records what is done with it; `value` is what it is while recording."""

    def __init__(self, tape: list[Statement], value: np.ndarray, base: Traced | None = None, view: Any = None) -> None:
        self.tape, self.value, self.base, self.view = tape, value, base, view
        self.bound = False

    shape = property(lambda self: self.value.shape)
    ndim = property(lambda self: self.value.ndim)
    size = property(lambda self: self.value.size)
    dtype = property(lambda self: self.value.dtype)
    device = "cpu"

    @property
    def T(self) -> Traced:
        return self._seen(lambda array: array.T)

    @property
    def root(self) -> Traced:
        return self if self.base is None else self.base.root

    def _seen(self, view: Callable[[np.ndarray], np.ndarray]) -> Traced:
        return Traced(self.tape, view(self.value), self, view)

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        import array_api_compat.numpy as xp

        return xp

    def __bool__(self) -> bool:
        raise UntraceableError("a decision on a value")

    __float__ = __int__ = __index__ = __len__ = __bool__  # type: ignore[assignment]

    def __getitem__(self, key: Any) -> Traced:
        for part in key if isinstance(key, tuple) else (key,):
            if not (part is None or part is Ellipsis or isinstance(part, int | slice)):
                raise UntraceableError(f"the index {part!r}")
        return self._seen(lambda array: array[key])

    def astype(self, dtype: Any, copy: bool = True) -> Traced:
        return self._write("cast", np.copyto, (self,), self.value.astype(dtype))

    def _write(self, kind: str, function: Any, inputs: tuple[Any, ...], value: Any, extra: Any = None) -> Traced:
        out = Traced(self.tape, np.asarray(value))
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
            inputs = tuple(dtype.type(each) if isinstance(each, float | int) and not isinstance(each, bool) else each
                           for each in inputs)
        values = [_value(each) for each in inputs]
        kind = "matmul" if ufunc is np.matmul else "each"
        if out is None:
            return self._write(kind, ufunc, inputs, ufunc(*values))
        (target,) = out
        ufunc(*values, out=target.value)
        self.tape.append(Statement(kind, ufunc, inputs, target))
        return target

    def _reduce(self, ufunc: np.ufunc, array: Traced, axis: Any = 0, keepdims: bool = False, **options: Any) -> Traced:
        if any(option is not None for option in options.values()):
            raise UntraceableError(f"{ufunc.__name__}.reduce with {options}")
        value = ufunc.reduce(array.value, axis=axis, keepdims=keepdims)
        return self._write("reduce", ufunc.reduce, (array,), value, (axis, keepdims))

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function not in _FUNCTIONS:
            raise UntraceableError(function.__name__)
        return _FUNCTIONS[function](self, *args, **kwargs)


def _value(each: Any) -> Any:
    return each.value if isinstance(each, Traced) else each


def _reduction(ufunc: np.ufunc) -> Callable[..., Traced]:
    def reduce(traced: Traced, array: Traced, axis: Any = None, *, keepdims: bool = False, **options: Any) -> Traced:
        return traced._reduce(ufunc, array, axis, keepdims, **options)

    return reduce


def _concatenate(traced: Traced, arrays: Iterable[Any], axis: int = 0) -> Traced:
    arrays = tuple(arrays)
    return traced._write("concat", np.concatenate, arrays, np.concatenate([_value(each) for each in arrays], axis), axis)


def _like(function: Any) -> Callable[..., np.ndarray]:
    return lambda traced, array, *args, **kwargs: function(array.value, *args, **kwargs)


_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.sum: _reduction(np.add),
    np.max: _reduction(np.maximum),
    np.min: _reduction(np.minimum),
    np.concatenate: _concatenate,
    np.where: lambda traced, *arrays: traced._write("where", np.where, arrays, np.where(*map(_value, arrays))),
    np.reshape: lambda traced, array, shape, **_: array._seen(lambda a: a.reshape(shape)),
    np.zeros_like: _like(np.zeros_like),
    np.full_like: _like(np.full_like),
    np.ones_like: _like(np.ones_like),
}


def record(
    step: Callable[..., Any], params: np.ndarray, state: Any, batch: tuple[np.ndarray, ...]
) -> tuple[list[Statement], list[Traced], Traced, list[tuple[Traced, Any]]]:
    """Run a step once, on arrays that record.

    Returns
    -------
    statements, inputs, loss, carried
        `inputs` are the arrays of `batch` as recorded; `carried` are parameters and state with what they become.
    """
    tape: list[Statement] = []

    def bind(array: np.ndarray) -> Traced:
        traced = Traced(tape, array)
        traced.bound = True
        return traced

    inputs = [bind(array) for array in batch]
    bound = _map(bind, (params, state))
    *after, loss = step(*bound, tuple(inputs))
    if not isinstance(loss, Traced):
        raise UntraceableError("a loss that does not depend on the batch")
    return tape, inputs, loss, list(zip(leaves(bound), leaves(tuple(after)), strict=True))


def _map(function: Callable[[np.ndarray], Any], value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return function(value)
    parts = [_map(function, each) for each in value]
    return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)


def leaves(value: Any) -> list[Any]:
    """Return the arrays in nested tuples, in order."""
    if isinstance(value, tuple):
        return [leaf for each in value for leaf in leaves(each)]
    return [value]


class Program:
    """A recorded step, ready to be replayed on the parameters and the state that it was recorded with."""

    def __init__(self, step: Callable[..., Any], params: np.ndarray, state: Any, batch: tuple[np.ndarray, ...]) -> None:
        tape, inputs, loss, carried = record(step, params, state, batch)
        for before, after in carried:
            if after is not before:
                tape.append(Statement("cast", np.copyto, (after,), before))
                np.copyto(before.value, after.value)
        self.first_loss = loss.value.copy()
        plan = _Plan(tape, loss)
        self.batch = tuple(array.value for array in inputs)
        self.loss = plan.array(loss)
        self.replay = plan.compile()


class _Plan:
    """Where each result lies, and the source text of the replay."""

    def __init__(self, tape: list[Statement], loss: Traced) -> None:
        self._statements = tape
        self._arrays: dict[int, np.ndarray] = {}
        self._owner: dict[int, Traced] = {}
        self._last_read = {id(loss.root): len(tape)}
        for k, statement in enumerate(tape):
            for each in statement.inputs:
                if isinstance(each, Traced):
                    self._last_read[id(each.root)] = max(k, self._last_read.get(id(each.root), 0))
        self._share()
        self._columns = self._find_columns()
        self._place()

    # Results that lie in the same place.

    def _find(self, traced: Traced) -> Traced:
        root = traced.root
        while id(root) in self._owner:
            root = self._owner[id(root)].root
        return root

    def _share(self) -> None:
        """Let a result be written over an operand of the same shape that is not read again."""
        written: set[int] = set()
        for k, (kind, _, inputs, out, _) in enumerate(self._statements):
            root = self._find(out)
            if kind == "each" and out.base is None and not out.bound and id(root) not in written:
                for each in inputs:
                    if isinstance(each, Traced) and each.base is None and not each.bound:
                        owner = self._find(each)
                        same = owner.shape == out.shape and owner.dtype == out.dtype and not owner.bound
                        if same and self._last_read[id(owner)] == k:
                            self._owner[id(out)] = owner
                            self._last_read[id(owner)] = self._last_read.get(id(out), k)
                            break
            written.add(id(self._find(out)))

    # Narrow matrices that lie column by column.

    def _find_columns(self) -> set[int]:
        """Return the results that are reduced along rows, and those that share elementwise calls with them."""
        groups: dict[int, int] = {}

        def find(i: int) -> int:
            while groups.setdefault(i, i) != i:
                i = groups[i]
            return i

        seeds = []
        for kind, _, inputs, out, extra in self._statements:
            if kind == "reduce" and inputs[0].ndim == 2 and extra[0] == 1 and inputs[0].shape[1] <= _NARROW:
                seeds.append(id(self._find(inputs[0])))
            if kind == "each" and out.ndim == 2:
                for each in inputs:
                    if isinstance(each, Traced) and each.base is None and each.shape == out.shape:
                        groups[find(id(self._find(each)))] = find(id(self._find(out)))
        chosen = {find(seed) for seed in seeds}
        return {i for i in list(groups) if find(i) in chosen}

    # Arrays.

    def _place(self) -> None:
        """Put the pieces of each concatenation where it would copy them, and drop the copy."""
        kept = []
        for k, statement in enumerate(self._statements):
            kind, _, inputs, out, _ = statement
            roots = [self._find(each) for each in inputs if isinstance(each, Traced)] if kind == "concat" else []
            movable = len(roots) == len(inputs) and len({id(root) for root in roots}) == len(roots)
            movable = movable and all(
                not root.bound
                and root.size == each.size
                and id(root) not in self._columns
                and id(root) not in self._arrays
                and self._last_read[id(root)] == k
                for root, each in zip(roots, inputs, strict=False)
            )
            if not movable or kind != "concat":
                kept.append(statement)
                continue
            whole = self.array(out)
            start = 0
            for root in roots:
                self._arrays[id(root)] = whole[start : start + root.size].reshape(root.shape)
                start += root.size
        self._statements = kept

    def array(self, each: Any) -> Any:
        """Return the array of an operand."""
        if not isinstance(each, Traced):
            return each
        if each.base is not None:
            return each.view(self.array(each.base))
        root = self._find(each)
        if root.bound:
            return root.value
        if id(root) not in self._arrays:
            columns = id(root) in self._columns and root.ndim == 2
            self._arrays[id(root)] = np.empty(root.shape[::-1], root.dtype).T if columns else np.empty_like(root.value)
        return self._arrays[id(root)]

    # Source.

    def compile(self) -> Callable[[], None]:
        """Return the replay as a function of nothing."""
        writer = _Writer()
        group: list[tuple[Any, list[Any]]] = []
        for kind, function, inputs, out, extra in self._statements:
            target, arrays = self.array(out), [self.array(each) for each in inputs]
            if kind == "each" and target.size > _BLOCK and target.ndim in (1, 2) and target.flags.c_contiguous:
                if group and group[0][1][-1].shape != target.shape:
                    writer.blocks(group)
                    group = []
                group.append((function, [*arrays, target]))
                continue
            if group:
                writer.blocks(group)
                group = []
            if kind == "reduce":
                axis, keepdims = extra
                if axis == 0 and arrays[0].ndim == 2 and not keepdims:  # a third of the time of a sum over rows
                    writer.call(np.matmul, [np.ones(arrays[0].shape[0], arrays[0].dtype), arrays[0], target])
                else:
                    writer.call(function, [arrays[0], axis, None, target, keepdims])
            elif kind == "cast":
                writer.call(np.copyto, [target, arrays[0], "unsafe"])
            elif kind == "where":
                writer.call(_where, [*arrays, target])
            elif kind == "concat":
                writer.call(np.concatenate, [tuple(arrays), extra, target])
            else:
                writer.call(function, [*arrays, target])
        if group:
            writer.blocks(group)
        return writer.function()


def _where(condition: Any, yes: Any, no: Any, out: np.ndarray) -> None:
    np.copyto(out, no)
    np.copyto(out, yes, where=condition)


class _Writer:
    """Writes straight-line Python that calls functions on fixed arrays."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._names: dict[str, Any] = {}

    def _name(self, value: Any) -> str:
        name = f"v{len(self._names)}"
        self._names[name] = value
        return name

    def call(self, function: Any, arguments: list[Any]) -> None:
        self._lines.append(f"{self._name(function)}({', '.join(map(self._name, arguments))})")

    def blocks(self, group: list[tuple[Any, list[Any]]]) -> None:
        """Write a chain of elementwise calls as a loop over blocks of rows."""
        shape = group[0][1][-1].shape
        rows = max(1, _BLOCK // math.prod(shape[1:]))
        operands: dict[int, Any] = {}
        for _, arrays in group:
            operands.update((id(each), each) for each in arrays if _is_cut(each, shape))
        names = {i: f"b{k}" for k, i in enumerate(operands)}
        cuts = [
            tuple(each[start : start + rows] for each in operands.values()) for start in range(0, shape[0], rows)
        ]
        self._lines.append(f"for {', '.join(names.values())}, in {self._name(cuts)}:")
        for function, arrays in group:
            arguments = (names[id(each)] if id(each) in names else self._name(each) for each in arrays)
            self._lines.append(f"    {self._name(function)}({', '.join(arguments)})")

    def function(self) -> Callable[[], None]:
        body = "\n        ".join(self._lines or ["pass"])
        source = f"def make({', '.join(self._names)}):\n    def replay():\n        {body}\n    return replay"
        namespace: dict[str, Any] = {}
        exec(compile(source, "<replay>", "exec"), namespace)
        replay: Callable[[], None] = namespace["make"](*self._names.values())
        return replay


def _is_cut(each: Any, shape: tuple[int, ...]) -> bool:
    return isinstance(each, np.ndarray) and each.ndim == len(shape) and each.shape[0] == shape[0] > 1
