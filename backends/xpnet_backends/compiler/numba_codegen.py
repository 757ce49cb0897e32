"""A recorded step as the text of a function of plain loops, for a compiler: a whole run of steps is one call.

Elementwise calls that follow one another are one loop, whose intermediate results are numbers and need no arrays.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from xpnet_backends.compiler.expressions import OPERATORS, written
from xpnet_backends.compiler.memory_plan import Layout, place
from xpnet_backends.compiler.trace import Recording, Statement, Traced, UntraceableError

__all__ = ["Source"]

_EXPRESSIONS: dict[Any, str] = {
    **OPERATORS,
    np.logical_and: "{} and {}",
    np.logical_or: "{} or {}",
    np.logical_not: "not {}",
    np.left_shift: "{} << {}",
    **{function: f"{function.__name__}({{}})" for function in (np.log, np.log1p, np.sqrt, np.absolute, np.sign)},
    **{function: f"{function.__name__}_{{dtype}}({{}})" for function in (np.exp, np.expm1, np.tanh)},
}
_WHERE = "{1} if {0} else {2}"
_HEADER = """from numpy import absolute, bool_, dot, float32, float64, inf, int32, int64, log, log1p, nan, sign, sqrt
from xpnet_backends.compiler.numba_math import *
"""
_REDUCTIONS = {np.add: "total", np.maximum: "maximum", np.minimum: "minimum"}


class Source:
    """The text of ``steps(order, losses, *data, *arrays)``, and the arrays that it works in.

    Attributes
    ----------
    text : str
        Of a module that imports what the function calls.
    arrays : list of arrays

    Raises
    ------
    UntraceableError
        The step does something that this module has no loop for.
    """

    def __init__(self, recording: Recording) -> None:
        self._layout = layout = Layout(recording.statements, recording.loss)
        self.arrays: list[np.ndarray] = []
        self._names: dict[tuple[Any, ...], str] = {}
        self._constants: dict[str, str] = {}
        self._lines: list[str] = []
        self._count = itertools.count()
        data = [f"data{k}" for k in range(len(recording.batch))]
        for name, each in zip(data, recording.batch, strict=True):
            self._gather(name, each.value)
        self._statements = layout.statements
        chain: list[int] = []
        for k, statement in enumerate(self._statements):
            if chain and self._may_come_first(statement, chain):
                self._loop([k])
            elif statement.kind in ("each", "cast", "call"):
                if chain and not self._may_join(statement, chain):
                    self._loop(chain)
                    chain = []
                chain.append(k)
            else:
                self._loop(chain)
                chain = []
                getattr(self, f"_{statement.kind}")(statement)
        self._loop(chain)
        self._lines.append(f"losses[s] = {self._element(layout.array(recording.loss), ())}")
        arguments = ", ".join(["order", "losses", *data, *self._names.values()])
        self.text = "\n".join(
            [
                _HEADER,
                *(f"{name} = {value}" for value, name in self._constants.items()),
                f"def steps({arguments}):",
                "    for s in range(order.shape[0]):",
                *(f"        {line}" for line in self._lines),
            ]
        )

    def _name(self, array: np.ndarray) -> str:
        """Return the argument's name for an array; the same place seen the same way has one name."""
        key = place(array)
        if key not in self._names:
            self._names[key] = f"a{len(self._names)}"
            self.arrays.append(array)
        return self._names[key]

    def _element(self, array: np.ndarray, index: tuple[str, ...]) -> str:
        """Return the text of an element of an array that is broadcast to a loop with such an index."""
        own = index[len(index) - array.ndim :] if index else ("0",) * array.ndim
        parts = ("0" if n == 1 else i for n, i in zip(array.shape, own, strict=True))
        return f"{self._name(array)}[{', '.join(parts) or '()'}]"

    def _constant(self, value: Any) -> str:
        number = np.asarray(value)
        text = f"{number.dtype}({number.item()!r})"
        return self._constants.setdefault(text, f"c{len(self._constants)}")

    def _gather(self, data: str, batch: np.ndarray) -> None:
        """Write the copying of a batch's rows."""
        self._lines += [f"for i in range({self._name(batch)}.shape[0]):"]
        index = ("i", "j")[: batch.ndim]
        if batch.ndim == 2:
            self._lines += ["    row = order[s, i]", f"    for j in range({self._name(batch)}.shape[1]):"]
            source = f"{data}[row, j]"
        else:
            source = f"{data}[order[s, i]]"
        self._lines.append("    " * batch.ndim + f"{self._element(batch, index)} = {source}")

    def _may_join(self, statement: Statement, chain: list[int]) -> bool:
        """Tell whether an elementwise call may be part of the chain's loop."""
        links = [self._statements[k] for k in chain]
        alike = self._layout.array(statement.out).shape == self._layout.array(links[0].out).shape
        return alike and self._layout.may_join(statement, links)

    def _may_come_first(self, statement: Statement, chain: list[int]) -> bool:
        """Tell a call on one number that neither needs the chain nor changes what it reads."""
        links = [self._statements[k] for k in chain]
        out = self._layout.array(statement.out)
        if statement.kind not in ("each", "cast") or out.size > 1 or self._layout.array(links[0].out).size == 1:
            return False
        written = [self._layout.array(link.out) for link in links]
        touched = written + [array for link in links for array in self._layout.reads(link)]
        needs = itertools.product(self._layout.reads(statement), written)
        return not any(np.may_share_memory(a, b) for a, b in (*needs, *itertools.product([out], touched)))

    def _loop(self, chain: list[int]) -> None:
        """Write elementwise calls, given by their places among the statements, as one loop."""
        if not chain:
            return
        first = self._statements[chain[0]].out
        shape = self._layout.array(first).shape
        index = ("i", "j")[: len(shape)] if np.prod(shape) > 1 else ()
        order = list(range(len(index)))
        if len(index) == 2 and not self._layout.lies_in_rows(first):
            order.reverse()
        # What is read before each of the loops, the outer first, and in the innermost.
        parts: list[list[str]] = [[] for _ in range(len(index) + 1)]
        values: dict[tuple[Any, ...], str] = {}  # what elements are held in, by where they lie
        for k in chain:
            statement = self._statements[k]
            names = [self._operand(each, index, order, parts, values) for each in statement.inputs]
            out = self._layout.array(statement.out)
            value = f"x{k}"
            parts[-1].append(f"{value} = {_expression(statement, names, out.dtype)}")
            values[place(out)] = value
        later = self._statements[chain[-1] + 1 :]
        for k in chain:
            out = self._layout.array(self._statements[k].out)
            if values[place(out)] == f"x{k}" and self._layout.is_needed(self._statements[k].out, later):
                parts[-1].append(f"{self._element(out, index)} = x{k}")
        sizes = self._name(self._layout.array(first))
        for depth, part in enumerate(parts):
            self._lines += ["    " * depth + line for line in part]
            if depth < len(index):
                axis = order[depth]
                self._lines.append("    " * depth + f"for {index[axis]} in range({sizes}.shape[{axis}]):")

    def _operand(
        self,
        each: Any,
        index: tuple[str, ...],
        order: list[int],
        parts: list[list[str]],
        values: dict[tuple[Any, ...], str],
    ) -> str:
        if not isinstance(each, Traced | np.ndarray):
            return self._constant(each)
        array = self._layout.array(each)
        if place(array) not in values:
            sizes = (1,) * (len(index) - array.ndim) + array.shape
            depth = max((d for d, axis in enumerate(order, 1) if sizes[axis] > 1), default=0)
            values[place(array)] = name = f"y{next(self._count)}"
            parts[depth].append(f"{name} = {self._element(array, index)}")
        return values[place(array)]

    def _matmul(self, statement: Statement) -> None:
        a, b, out = (self._layout.array(each) for each in (*statement.inputs, statement.out))
        if not out.flags.c_contiguous:
            a, b, out = b.T, a.T, out.T
        if not all(each.ndim == 2 and each.flags.forc for each in (a, b, out)):
            raise UntraceableError("a product of matrices that do not lie together")
        self._lines.append(f"dot({self._name(a)}, {self._name(b)}, {self._name(out)})")

    def _reduce(self, statement: Statement) -> None:
        (array,), out = self._layout.reads(statement), self._layout.array(statement.out)
        axis, keepdims = statement.extra
        ufunc = statement.function.__self__
        if ufunc not in _REDUCTIONS or array.dtype.kind != "f" or not array.flags.forc or out.dtype != array.dtype:
            raise UntraceableError(f"the reduction {ufunc.__name__}")
        name, step = self._name(array), _REDUCTIONS[ufunc]
        if axis is None or array.ndim == 1:
            flat = self._name(array.reshape(-1, order="A"))
            lines = [f"{self._element(out, ())} = {step}_of({flat})"]
        elif axis == 0 and ufunc is np.add and not keepdims:
            lines = [f"dot({self._name(np.ones(len(array), array.dtype))}, {name}, {self._name(out)})"]
        elif axis == 1:
            result = self._element(out, ("i", "j") if keepdims else ("i",))
            joined = f"{result} + {name}[i, j]" if step == "total" else f"{step}({result}, {name}[i, j])"
            rows = f"for i in range({name}.shape[0]):"
            if self._layout.lies_in_rows(statement.inputs[0]):
                lines = [rows, f"    {result} = {step}_of({name}[i])"]
            else:
                lines = [rows, f"    {result} = {name}[i, 0]", f"for j in range(1, {name}.shape[1]):"]
                lines += [f"    {rows}", f"        {result} = {joined}"]
        else:
            raise UntraceableError(f"the reduction {ufunc.__name__} along axis {axis}")
        self._lines += lines

    def _concat(self, statement: Statement) -> None:
        """Write a concatenation as copies."""
        out, start = self._layout.array(statement.out), 0
        if out.ndim != 1:
            raise UntraceableError("a concatenation of matrices")
        for piece in self._layout.reads(statement):
            place = out[start : start + len(piece)]
            self._lines += [f"for i in range({self._name(place)}.shape[0]):"]
            self._lines += [f"    {self._name(place)}[i] = {self._name(piece)}[i]"]
            start += len(piece)


def _expression(statement: Statement, names: list[str], dtype: np.dtype) -> str:
    text = written(statement, _EXPRESSIONS, _WHERE).format(*names, dtype=dtype)
    # Compilers count with wider numbers than NumPy where these meet.
    return text if dtype.kind == "b" else f"{dtype}({text})"
