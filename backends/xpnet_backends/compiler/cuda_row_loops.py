"""The text of loops over rows of few elements: a thread does a row and keeps it in registers, as for a softmax."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from xpnet_backends.compiler.cuda_text import TYPES, KernelText, braces
from xpnet_backends.compiler.fuse import apart, may_fuse, shares_rows
from xpnet_backends.compiler.ir import Buffer, Instruction, Loop, Role, Value

__all__ = ["SHORT_ROW", "row_lines", "split_rows"]

# Elements of a row that a thread keeps in registers. A softmax has three arrays of a row; a thread of a block of 512
# has 128 registers of 4 bytes. Matrices with such rows lie by columns: see `memory_plan`.
SHORT_ROW, _SHORT_ROW_OF_8_BYTES = 28, 10


def split_rows(loops: tuple[Loop, ...]) -> tuple[tuple[Loop, ...], tuple[Loop, ...]]:
    """Return the loops that can be done row by row, with the first one, and the others, which can come then.

    The first part is empty if there is no reduction of rows in it.
    """
    rows, others = list[Loop](), list[Loop]()
    done, skipped = list[Instruction](), list[Instruction]()
    n = _rows_of(loops[0].instructions[0])[:1]
    for loop in loops:
        shapes = [_rows_of(each) for each in loop.instructions]
        fits = all(
            shape[:1] == n != ()
            and _is_short(each, shape)
            and shares_rows(each, done)
            and may_fuse(each, skipped, apart)
            for each, shape in zip(loop.instructions, shapes, strict=True)
        )
        (rows if fits else others).append(loop)
        (done if fits else skipped).extend(loop.instructions)
    if not any(each.op.is_reduction for each in done):
        return (), loops
    return tuple(rows), tuple(others)


def _is_short(instruction: Instruction, shape: tuple[int, ...]) -> bool:
    item = max(value.dtype.itemsize for value in instruction.values)
    return shape[1:] <= (_SHORT_ROW_OF_8_BYTES if item == 8 else SHORT_ROW,)


def _rows_of(instruction: Instruction) -> tuple[int, ...]:
    """Return the shape of the rows that an instruction goes over; () if it goes over something else."""
    if instruction.op.is_reduction:
        return instruction.reads[0].shape if instruction.axis == 1 else ()
    return instruction.out.shape


def row_lines(text: KernelText, loops: tuple[Loop, ...], kept: Iterable[Value]) -> list[str]:
    """Return the lines by which a thread does row i of loops; `kept` are the results that are read after them."""
    instructions = [instruction for loop in loops for instruction in loop.instructions]
    rows = _RowText(text, _in_registers(instructions))
    lines = [line for buffer in rows.registers for line in rows.declared(buffer, instructions)]
    for loop in loops:
        instruction = loop.instructions[0]
        if instruction.op.is_reduction:
            lines += rows.reduction_by_thread(instruction)
        else:
            lines += rows.over_row(instruction.out, rows.elementwise(loop, []))
    for value in kept:
        if value.buffer in rows.registers:
            own, memory = rows.element(value, _INDEX[len(value.shape)]), text.element(value, _INDEX[len(value.shape)])
            lines += rows.over_row(value, [f"{memory} = {own};"])
    return lines


_INDEX = ("", "i", "ij")


def _in_registers(instructions: list[Instruction]) -> list[Buffer]:
    """Return the buffers that need no memory but for what is read later: those that are written and used by rows."""
    buffers = dict.fromkeys(instruction.out.buffer for instruction in instructions)
    odd = {value.buffer for each in instructions for value in each.values if not _is_whole(value)}
    return [buffer for buffer in buffers if buffer.role is Role.TEMPORARY and buffer not in odd]


def _is_whole(value: Value) -> bool:
    """Tell whether a value is a whole buffer, or a vector as a matrix of one column."""
    as_column = value.shape == (*value.buffer.shape, 1) and value.is_contiguous
    return value.is_whole or as_column


class _RowText(KernelText):
    """The text of instructions on row i, with some buffers in registers."""

    def __init__(self, text: KernelText, registers: list[Buffer]) -> None:
        super().__init__()
        self.pointers = text.pointers
        self.registers = {buffer: f"row{buffer.id}" for buffer in registers}

    def element(self, value: Value, index: Sequence[str]) -> str:
        name = self.registers.get(value.buffer)
        if name is None:
            return super().element(value, index)
        return f"{name}[j]" if len(value.buffer.shape) == 2 else name

    def over_row(self, value: Value, lines: list[str]) -> list[str]:
        """Return lines for each element j of a row of a matrix, or for the element of a vector."""
        if len(value.shape) < 2:
            return braces("", lines)
        return ["#pragma unroll", *braces(f"for (int j = 0; j < {value.shape[1]}; ++j)", lines)]

    def declared(self, buffer: Buffer, instructions: list[Instruction]) -> list[str]:
        """Return the lines that declare a buffer's registers, and load them if they are read first."""
        value = buffer.whole
        length = "".join(f"[{n}]" for n in buffer.shape[1:])
        lines = [f"{TYPES[str(buffer.dtype)]} {self.registers[buffer]}{length};"]
        user = next(each for each in instructions if any(value.overlaps(other) for other in each.values))
        if any(map(value.overlaps, user.reads)):
            index = _INDEX[len(value.shape)]
            lines += self.over_row(value, [f"{self.element(value, index)} = {super().element(value, index)};"])
        return lines
