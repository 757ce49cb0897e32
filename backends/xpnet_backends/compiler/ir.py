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
    """What a buffer is to the step."""

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
        shape = self.shape[::-1] if self.by_columns else self.shape
        strides = tuple(0 if n == 1 else math.prod(shape[axis + 1 :]) for axis, n in enumerate(shape))
        return strides[::-1] if self.by_columns else strides


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
        buffer = self.buffer
        return self.offset == 0 and self.shape == buffer.shape and self.strides == buffer._strides

    @property
    def is_contiguous(self) -> bool:
        """Whether its elements lie one after another, row by row."""
        step = 1
        for n, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if n > 1 and stride != step:
                return False
            step *= n
        return True

    @property
    def is_dense(self) -> bool:
        """Whether its elements lie one after another, row by row or column by column."""
        return self.is_contiguous or self.T.is_contiguous

    def flat(self) -> Value:
        """Return the elements of a dense value as a vector, in the order in which they lie."""
        return value_of(self.buffer, (self.size,), (1,), self.offset)

    def overlaps(self, other: Value) -> bool:
        """Tell whether the two may have an element in common: whether their ranges in one buffer meet."""
        if self.buffer is not other.buffer:
            return False
        (low, high), (other_low, other_high) = self._range(), other._range()
        return low <= other_high and other_low <= high

    def _range(self) -> tuple[int, int]:
        ends = [(n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True)]
        return self.offset + sum(end for end in ends if end < 0), self.offset + sum(end for end in ends if end > 0)

    @property
    def type_text(self) -> str:
        """The type as text: ``f32[200,100]``."""
        name = "bool" if self.dtype.kind == "b" else f"{self.dtype.kind}{8 * self.dtype.itemsize}"
        turned = " by columns" if self.buffer.by_columns and self.is_whole else ""
        return f"{name}[{','.join(map(str, self.shape))}]{turned}"

    @property
    def place_text(self) -> str:
        """Where it lies, as text, without its shape."""
        name, whole = f"%{self.buffer.id}", self.buffer.whole
        if self == whole or (self.size == whole.size and self.is_contiguous):
            return name
        if len(self.shape) > 1 and (self == whole.T or (self.T.is_contiguous and not self.is_contiguous)):
            return f"{self.T}.T"
        if self.is_contiguous:
            return f"{name}[{self.offset}:{self.offset + self.size}]"
        return f"{name}[{self.offset}, strides {','.join(map(str, self.strides))}]"

    def __str__(self) -> str:
        text = self.place_text
        plain = text.endswith(".T") or self.is_whole or (len(self.shape) == 1 and "[" in text and "," not in text)
        return text if plain else f"{text}({','.join(map(str, self.shape))})"


def value_of(buffer: Buffer, shape: Iterable[int], strides: Iterable[int], offset: int = 0) -> Value:
    """Return a view of a buffer."""
    shape = tuple(shape)
    return Value(buffer, shape, tuple(0 if n == 1 else s for n, s in zip(shape, strides, strict=True)), offset)


class Instruction(NamedTuple):
    """An operation on `inputs`, values and numbers, whose result is written to `out`.

    `axis` is that of a reduction (None for all elements) or a concatenation. A reduced axis is not kept.
    """

    op: Op
    inputs: tuple[Value | np.generic, ...]
    out: Value
    axis: int | None = None

    @property
    def reads(self) -> tuple[Value, ...]:
        """The values among the inputs."""
        return tuple(each for each in self.inputs if isinstance(each, Value))

    def __str__(self) -> str:
        inputs = ", ".join(map(str, self.inputs)) + ("" if self.axis is None else f", axis={self.axis}")
        return f"{self.out.place_text}: {self.out.type_text} = {self.op.name.lower()} {inputs}"


class Kind(Enum):
    """How the instructions of a group are done together; see `xpnet_backends.compiler.fuse`."""

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
    """Loops that are done together."""

    kind: Kind
    loops: tuple[Loop, ...]

    def __str__(self) -> str:
        if self.kind is Kind.SINGLE:
            return str(self.loops[0].instructions[0])
        lines = [f"{self.kind.value}:"]
        for loop in self.loops:
            lines += [f"    {instruction}" for instruction in loop.instructions]
            stored = ", ".join(value.place_text for value in loop.stored)
            lines += [f"    store {stored}"] if loop.instructions[0].op.is_elementwise else []
        return "\n".join(lines)


@dataclass(frozen=True)
class Program:
    """A training step.

    Attributes
    ----------
    instructions : tuple of Instruction
    batch : tuple of Value
        What is read: inputs, targets and perhaps sample weights.
    state : tuple of Value
        What is updated: parameters, then the arrays of the state in order.
    loss : Value
    constants : mapping of Buffer to array
    groups : tuple of Group
        The instructions in groups, after `fuse`.
    """

    instructions: tuple[Instruction, ...]
    batch: tuple[Value, ...]
    state: tuple[Value, ...]
    loss: Value
    constants: Mapping[Buffer, np.ndarray] = field(default_factory=dict)
    groups: tuple[Group, ...] = ()

    def mapped(self, function: Callable[[Value], Value]) -> Program:
        """Return the program with a function of each value in its place."""
        instructions = (
            Instruction(op, tuple(function(i) if isinstance(i, Value) else i for i in inputs), function(out), axis)
            for op, inputs, out, axis in self.instructions
        )
        return replace(self, instructions=tuple(instructions), loss=function(self.loss))

    def __str__(self) -> str:
        lines = []
        for role, values in (
            ("batch", self.batch),
            ("state", self.state),
            ("constant", [buffer.whole for buffer in self.constants]),
        ):
            if values:
                lines.append(f"{role} " + ", ".join(f"{value.place_text}: {value.type_text}" for value in values))
        return "\n".join([*lines, *map(str, self.groups or self.instructions), f"loss {self.loss}"])
