"""The intermediate representation (IR) of a training step: operations, buffers, values, instructions, programs.

``print(program)`` shows one instruction a line::

    %7: f32[200,100] = maximum %6, 0.0

``%7`` is a buffer. ``%0[6400:6500]`` is a part of one, ``%5.T`` a transposed one, and ``%9(200,1)`` one with another
shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from xpnet_backends.compiler.ops import Op

__all__ = ["Buffer", "Group", "Instruction", "Kind", "Loop", "Program", "Role", "Value", "value_of"]


class Role(Enum):
    """How the step uses a buffer."""

    BATCH = "batch"  # samples, read only
    STATE = "state"  # parameters and optimizer state, updated in place
    CONSTANT = "constant"
    TEMPORARY = "temporary"


@dataclass(frozen=True, eq=False)
class Buffer:
    """Memory for an array of `shape`; a matrix lies row by row, or column by column if `by_columns`."""

    id: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    role: Role = Role.TEMPORARY
    by_columns: bool = False

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def whole(self) -> Value:
        """The value that is the whole buffer."""
        return Value(self, self.shape, self._strides, 0)

    @cached_property
    def _strides(self) -> tuple[int, ...]:
        return _row_strides(self.shape[::-1])[::-1] if self.by_columns else _row_strides(self.shape)


class Value(NamedTuple):
    """An array: a view of a buffer. Two equal values are the same elements; make one by `value_of`.

    Attributes
    ----------
    buffer : Buffer
    shape : tuple of int
    strides : tuple of int
        Distance of neighbours along each axis, in elements; 0 along axes of length 1.
    offset : int
        Index of the first element in the buffer.
    """

    buffer: Buffer
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        return self.buffer.dtype

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def T(self) -> Value:  # noqa: N802 - NumPy's name
        """The transposed value."""
        return self._replace(shape=self.shape[::-1], strides=self.strides[::-1])

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole buffer in the buffer's own shape."""
        return self.shape == self.buffer.shape and self.strides == self.buffer._strides and self.offset == 0

    @property
    def is_contiguous(self) -> bool:
        """Whether its elements lie one after another, row by row."""
        return self.strides == _row_strides(self.shape)

    @property
    def is_dense(self) -> bool:
        """Whether its elements lie one after another, row by row or column by column."""
        return self.is_contiguous or self.T.is_contiguous

    def overlaps(self, other: Value) -> bool:
        """Tell whether the two may have an element in common: whether their ranges in one buffer meet."""
        return self.buffer is other.buffer and self.offset <= other._last and other.offset <= self._last

    @property
    def _last(self) -> int:
        """Index of the last element in the buffer."""
        return self.offset + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))

    def __str__(self) -> str:
        # The shape is left out where the buffer or the range tells it.
        if not self.is_whole and (self.T.is_whole or (self.is_dense and not self.is_contiguous)):
            return f"{self.T}.T"
        text = f"%{self.buffer.id}"
        if not self.is_dense:
            return f"{text}[{self.offset}, strides {_joined(self.strides)}]({_joined(self.shape)})"
        is_part = self.size < self.buffer.size
        text += f"[{self.offset}:{self.offset + self.size}]" if is_part else ""
        return text if self.is_whole or (is_part and len(self.shape) == 1) else f"{text}({_joined(self.shape)})"

    @property
    def declaration(self) -> str:
        """Its place and its type as text: ``%6: f32[200,100]``."""
        kind, columns = self.dtype.kind, " by columns" if self.buffer.by_columns and self.is_whole else ""
        name = "bool" if kind == "b" else f"{kind}{8 * self.dtype.itemsize}"
        return f"{str(self).partition('(')[0]}: {name}[{_joined(self.shape)}]{columns}"


def _joined(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, numbers))


def _row_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides of an array that lies row by row."""
    return tuple(0 if n == 1 else math.prod(shape[axis + 1 :]) for axis, n in enumerate(shape))


def value_of(buffer: Buffer, shape: Iterable[int], strides: Iterable[int] | None = None, offset: int = 0) -> Value:
    """Return a view of a buffer, row by row if no strides are given."""
    shape = tuple(shape)
    if strides is None:
        return Value(buffer, shape, _row_strides(shape), offset)
    return Value(buffer, shape, tuple(0 if n == 1 else s for n, s in zip(shape, strides, strict=True)), offset)


class Instruction(NamedTuple):
    """An operation on `inputs`, values and numbers, whose result is written to `out`.

    `axis` is that of a reduction (None for all elements) or a concatenation. A reduced axis is not kept. A reduction of
    all elements to a vector has partial results; see `xpnet_backends.compiler.split_reductions`. A CALL lets a function
    change its only input, which is its result too; `axis` is the function's place in the program's `calls`.
    """

    op: Op
    inputs: tuple[Value | np.generic, ...]
    out: Value
    axis: int | None = None

    @property
    def reads(self) -> tuple[Value, ...]:
        """The values among the inputs."""
        return tuple([each for each in self.inputs if isinstance(each, Value)])

    @property
    def values(self) -> tuple[Value, ...]:
        """What it reads, and its result."""
        return (*self.reads, self.out)

    @property
    def is_partial(self) -> bool:
        """Whether it is a reduction to partial results."""
        return self.op.is_reduction and self.axis is None and self.out.shape != ()

    @property
    def over(self) -> Value:
        """The value over whose elements its loop goes, if it is elementwise or a reduction to partial results."""
        return self.reads[0] if self.is_partial else self.out

    def __str__(self) -> str:
        inputs = ", ".join(map(str, self.inputs)) + ("" if self.axis is None else f", axis={self.axis}")
        return f"{self.out.declaration} = {self.op.name.lower()} {inputs}"


class Kind(Enum):
    """How the instructions of a group run together; see `xpnet_backends.compiler.fuse`."""

    SINGLE = "single"
    ELEMENTS = "elements"
    ROWS = "rows"
    BLOCK = "block"


class Loop(NamedTuple):
    """Elementwise instructions of one loop, or one other instruction.

    `stored` are the results that are read after the loop; the others need no memory.
    """

    instructions: tuple[Instruction, ...]
    stored: tuple[Value, ...]


class Group(NamedTuple):
    """Loops that run together."""

    kind: Kind
    loops: tuple[Loop, ...]

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """The instructions of all loops, in order."""
        return tuple([each for loop in self.loops for each in loop.instructions])

    def __str__(self) -> str:
        if self.kind is Kind.SINGLE:
            return str(self.loops[0].instructions[0])
        lines = [f"{self.kind.value}:"]
        for instructions, stored in self.loops:
            lines += [f"    {instruction}" for instruction in instructions]
            if instructions[0].op.is_elementwise or instructions[0].is_partial:
                lines.append("    store " + ", ".join(str(value).partition("(")[0] for value in stored))
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class Program:
    """A training step.

    Attributes
    ----------
    instructions : tuple of Instruction
    batch : tuple of Value
        Read only: inputs, targets and perhaps sample weights.
    state : tuple of Value
        Updated in place: parameters, then the arrays of the state in order.
    loss : Value
    constants : mapping of Buffer to array
    groups : tuple of Group
        The instructions in groups, after `fuse`.
    calls : tuple of callable
        The functions that CALL instructions call.
    """

    instructions: tuple[Instruction, ...]
    batch: tuple[Value, ...]
    state: tuple[Value, ...]
    loss: Value
    constants: Mapping[Buffer, np.ndarray] = field(default_factory=dict)
    groups: tuple[Group, ...] = ()
    calls: tuple[Callable[[Any], None], ...] = ()

    def mapped(self, function: Callable[[Value], Value]) -> Program:
        """Return the program with each value replaced by the function's result for it."""
        instructions = [
            Instruction(op, tuple([function(i) if isinstance(i, Value) else i for i in inputs]), function(out), axis)
            for op, inputs, out, axis in self.instructions
        ]
        return replace(self, instructions=tuple(instructions), loss=function(self.loss))

    def __str__(self) -> str:
        parts = {"batch": self.batch, "state": self.state, "constant": [buffer.whole for buffer in self.constants]}
        lines = [f"{role} {', '.join(each.declaration for each in part)}" for role, part in parts.items() if part]
        return "\n".join([*lines, *map(str, self.groups or self.instructions), f"loss {self.loss}"])
