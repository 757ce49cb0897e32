"""The text of the kernel that takes the samples of a batch from the data."""

from __future__ import annotations

from collections.abc import Sequence

from xpnet_backends.compiler.cuda_text import TYPES, KernelText, braces, index_lines
from xpnet_backends.compiler.ir import Buffer, Group, Kind, Loop, Program, Role, Value

__all__ = ["GatherText", "gathered"]


def gathered(program: Program) -> tuple[list[Value], Loop | None]:
    """Return what the kernel does: the values of the batch that it copies, and a loop that reads samples in the data.

    The loop is the first group if that has elementwise instructions on samples, like those that scale bytes.
    """
    first, *rest = program.groups
    loop = first.loops[0] if _reads_samples(first) else None
    others = [*rest, *([] if loop else [first])]
    reads = [value for group in others for part in group.loops for each in part.instructions for value in each.reads]
    return [value for value in program.batch if any(map(value.overlaps, reads))], loop


def _reads_samples(group: Group) -> bool:
    instructions = list(group.instructions)
    reads = [value for each in instructions for value in each.reads if value.buffer.role is Role.BATCH]
    simple = group.kind is Kind.ELEMENTS and not any(each.is_partial for each in instructions)
    return simple and reads != [] and all(map(_is_of_samples, reads))


def _is_of_samples(value: Value) -> bool:
    """Tell whether row i of a value is of sample i."""
    n = value.buffer.shape[0]
    return value.shape[:1] == (n,) and value.strides[0] == _length(value) and value.offset < _length(value)


def _length(value: Value) -> int:
    """Return the number of elements of a sample."""
    return value.buffer.size // value.buffer.shape[0]


class GatherText(KernelText):
    """Text that reads the samples of a batch where they lie: in rows of the data, by the order."""

    def __init__(self, batch: tuple[Value, ...], order: Buffer, counter: Buffer, table: Buffer) -> None:
        super().__init__()
        self._order, self._counter, self._table = order, counter, table
        self._places = {value.buffer: k for k, value in enumerate(batch)}

    def element(self, value: Value, index: Sequence[str]) -> str:
        """Return the text of an element, which lies in the data if it is of the batch."""
        if value.buffer not in self._places:
            return super().element(value, index)
        data = f"(({TYPES[str(value.dtype)]}*){self.pointer(self._table)}[{self._places[value.buffer]}])"
        own = index[len(index) - len(value.shape) :]
        step = f"(long long){self.pointer(self._counter)}[0] * {self._order.shape[1]}"
        row = f"(long long){self.pointer(self._order)}[{step} + {own[0]}] * {_length(value)}"
        column = f" + {own[1]} * {value.strides[1]}" if value.shape[1:] > (1,) else ""
        return f"{data}[{row} + {value.offset}{column}]"

    def copy(self, value: Value) -> list[str]:
        """Return the lines that copy element t of a batch."""
        index = "ij"[: len(value.shape)]
        return [*index_lines(value), f"{super().element(value, index)} = {self.element(value, index)};"]

    def lines(self, copied: list[Value], loop: Loop | None) -> tuple[list[str], int]:
        """Return the lines of the kernel, and the number of threads that have work."""
        works = [(value.size, self.copy(value)) for value in copied]
        if loop is not None:
            over = loop.instructions[0].over
            works.append((over.size, self.elementwise(loop, index_lines(over))))
        most = max(size for size, _ in works)
        return braces(f"GRID(t, {most})", [line for n, work in works for line in braces(f"if (t < {n})", work)]), most
