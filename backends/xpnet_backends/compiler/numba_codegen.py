"""Emit a program as the text of a function of plain loops for Numba: a whole run of steps is one call.

Elementwise instructions of a group are one loop, whose intermediate results are numbers and need no arrays.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from xpnet_backends.compiler.fuse import fuse
from xpnet_backends.compiler.ir import Instruction, Kind, Loop, Program, Value
from xpnet_backends.compiler.memory_plan import memory_plan
from xpnet_backends.compiler.ops import Op, UntraceableError
from xpnet_backends.compiler.simplify import simplify

__all__ = ["NumbaSource", "passes"]

_HEADER = """from numpy import absolute, bool_, float32, float64, inf, int32, int64, nan
from numpy import cos, dot, log, log1p, sign, sqrt
from xpnet_backends.compiler.numba_math import *
"""
_INDENT = "    "


@lru_cache(maxsize=64)
def passes(program: Program) -> Program:
    """Apply the passes for Numba. The result is kept for the next fit that has this program."""
    return fuse(memory_plan(simplify(program)), _kind)


def _kind(instruction: Instruction) -> Kind:
    return Kind.ELEMENTS if instruction.op.is_elementwise else Kind.SINGLE


class NumbaSource:
    """The text of ``steps(order, losses, *data, *arrays)`` for a program after `passes`.

    If the program has calls, the last argument is the addresses of functions without arguments, (n_calls,) int64.

    Attributes
    ----------
    text : str
        A module that defines ``steps`` and imports what it calls.
    arrays : list of Value
        The values whose arrays the function takes.

    Raises
    ------
    UntraceableError
        This module has no loop for an instruction.
    """

    def __init__(self, program: Program) -> None:
        self.arrays: list[Value] = []
        self._names: dict[Value, str] = {}
        self._constants: dict[str, str] = {}
        self._lines: list[str] = []
        self._count = itertools.count()
        data = [f"data{k}" for k in range(len(program.batch))]
        for name, value in zip(data, program.batch, strict=True):
            self._gather(name, value)
        for kind, (loop,) in program.groups:
            (instruction, *_), _ = loop
            if kind is Kind.ELEMENTS:
                self._elements(loop)
            elif instruction.op is Op.MATMUL:
                self._product(instruction)
            elif instruction.op is Op.CALL:
                self._lines.append(f"call_address(calls[{instruction.axis}])")
            else:
                self._reduction(instruction)
        self._lines.append(f"losses[s] = {self._element(program.loss, '')}")
        constants = [f"{name} = {number}" for number, name in self._constants.items()]
        calls = ["calls"] if program.calls else []
        arguments = ", ".join(["order", "losses", *data, *self._names.values(), *calls])
        head = [f"def steps({arguments}):", f"{_INDENT}for s in range(order.shape[0]):"]
        self.text = "\n".join([_HEADER, *constants, *head, *(2 * _INDENT + line for line in self._lines)])

    def _name(self, value: Value) -> str:
        """Return the name of the argument for a value."""
        if value not in self._names:
            self._names[value] = f"a{len(self._names)}"
            self.arrays.append(value)
        return self._names[value]

    def _element(self, value: Value, index: str) -> str:
        """Return the text of an element of a value that is broadcast to a loop; `index` has a letter for each axis."""
        own = index[len(index) - len(value.shape) :] or "0" * len(value.shape)
        parts = ("0" if n == 1 else i for n, i in zip(value.shape, own, strict=True))
        return f"{self._name(value)}[{', '.join(parts) or '()'}]"

    def _constant(self, number: np.generic) -> str:
        text = f"{number.dtype}({number.item()!r})"
        return self._constants.setdefault(text, f"c{len(self._constants)}")

    def _nest(self, name: str, axes: Sequence[int], parts: Sequence[list[str]]) -> None:
        """Write nested loops over axes of an array; the parts are the lines before each loop and in the innermost."""
        for depth, part in enumerate(parts):
            self._lines += [depth * _INDENT + line for line in part]
            if depth < len(axes):
                self._lines.append(f"{depth * _INDENT}for {'ij'[axes[depth]]} in range({name}.shape[{axes[depth]}]):")

    def _gather(self, data: str, batch: Value) -> None:
        """Copy the rows of a batch."""
        index = "ij"[: len(batch.shape)]
        parts: list[list[str]] = [[] for _ in range(len(index) + 1)]
        parts[1].append("row = order[s, i]")
        parts[-1].append(f"{self._element(batch, index)} = {data}[{', '.join(['row', *index[1:]])}]")
        self._nest(self._name(batch), range(len(index)), parts)

    def _elements(self, loop: Loop) -> None:
        """Write elementwise instructions as one loop."""
        first = loop.instructions[0].out
        index = "ij"[: len(first.shape)] if first.size > 1 else ""
        axes = range(len(index))[:: -1 if first.buffer.by_columns else 1]
        # An element is read before the loops that it does not depend on.
        parts: list[list[str]] = [[] for _ in range(len(axes) + 1)]
        known: dict[Value, str] = {}  # the variables that hold the elements

        def operand(each: Value | np.generic) -> str:
            if not isinstance(each, Value):
                return self._constant(each)
            if each not in known:
                sizes = (1,) * (len(index) - len(each.shape)) + each.shape
                depth = max((d for d, axis in enumerate(axes, 1) if sizes[axis] > 1), default=0)
                known[each] = f"y{next(self._count)}"
                parts[depth].append(f"{known[each]} = {self._element(each, index)}")
            return known[each]

        for op, inputs, out, _ in loop.instructions:
            text = op.numba.format(*map(operand, inputs), dtype=out.dtype)
            # Compilers compute in wider numbers than NumPy where such meet.
            known[out] = f"x{next(self._count)}"
            parts[-1].append(f"{known[out]} = {text if out.dtype.kind == 'b' else f'{out.dtype}({text})'}")
        parts[-1] += [f"{self._element(value, index)} = {known[value]}" for value in loop.stored]
        self._nest(self._name(first), axes, parts)

    def _product(self, instruction: Instruction) -> None:
        a, b, out = instruction.values
        if not out.is_contiguous:
            a, b, out = b.T, a.T, out.T
        if not (a.is_dense and b.is_dense and out.is_contiguous):
            raise UntraceableError("a product of matrices that are not contiguous")
        self._lines.append(f"dot({self._name(a)}, {self._name(b)}, {self._name(out)})")

    def _reduction(self, instruction: Instruction) -> None:
        op, (value,), out, axis = instruction.op, instruction.reads, instruction.out, instruction.axis
        if value.dtype.kind != "f" or axis == 0 or (axis is None) != (len(value.shape) == 1):
            raise UntraceableError(f"the reduction {op.numpy} of {value.dtype}, axis={axis}")
        name, result = self._name(value), self._element(out, "" if axis is None else "i")
        rows = f"for i in range({name}.shape[0]):"
        if axis is None:
            self._lines.append(f"{result} = {op.numpy}_of({name})")
        elif value.is_contiguous:
            self._lines += [rows, f"{_INDENT}{result} = {op.numpy}_of({name}[i])"]
        else:
            combined = op.numba.format(result, f"{name}[i, j]")
            self._lines += [rows, f"{_INDENT}{result} = {name}[i, 0]", f"for j in range(1, {name}.shape[1]):"]
            self._lines += [f"{_INDENT}{rows}", f"{2 * _INDENT}{result} = {combined}"]
