"""The text of loops over rows within a kernel: neighbouring threads of a warp share a row, as in a softmax."""

from __future__ import annotations

from dataclasses import dataclass, field

from xpnet_backends.compiler.cuda_text import COMBINATIONS, TYPES, KernelText, braces
from xpnet_backends.compiler.cuda_tiles import WARP
from xpnet_backends.compiler.fuse import apart, may_fuse, same_elements, stored
from xpnet_backends.compiler.ir import Instruction, Loop, Value, value_of
from xpnet_backends.compiler.ops import UntraceableError

__all__ = ["lanes_of", "rows"]

_STARTS = {"plus": "0", "maximum": "-INFINITY"}


@dataclass
class _Sweep:
    """Instructions on the elements of a row, which one loop does, and then those on its reductions."""

    width: int
    elements: list[Instruction] = field(default_factory=list)
    results: list[Instruction] = field(default_factory=list)

    def takes(self, instruction: Instruction, width: int) -> bool:
        """Tell whether an instruction on elements may join the loop."""
        others = may_fuse(instruction, self.results, apart) and may_fuse(instruction, self.elements, same_elements)
        return width == self.width and others


def _width(instruction: Instruction) -> int | None:
    """Return the number of elements of a row that an instruction goes over; None if it goes over results."""
    if instruction.op.is_reduction:
        return instruction.reads[0].shape[1]
    return instruction.out.shape[1] if len(instruction.out.shape) == 2 else None


def _sweeps(instructions: list[Instruction]) -> list[_Sweep]:
    sweeps: list[_Sweep] = []
    for each in instructions:
        width = _width(each)
        if width is None:
            if not sweeps:
                sweeps.append(_Sweep(1))
            sweeps[-1].results.append(each)
            continue
        if not sweeps or not sweeps[-1].takes(each, width):
            sweeps.append(_Sweep(width))
        sweeps[-1].elements.append(each)
    return sweeps


def lanes_of(instructions: list[Instruction]) -> int:
    """Return the number of threads that share a row: a power of 2."""
    widest = max(_width(each) or 1 for each in instructions)
    return min(WARP, 1 << (widest - 1).bit_length())


def rows(
    text: KernelText,
    instructions: list[Instruction],
    later: list[Instruction],
    loss: Value,
    head: str,
    n_rows: int = 0,
) -> list[str]:
    """Return the lines of a loop over rows.

    `head` is a loop of q over the threads that have work, in whole warps; `later` are the instructions that come after.
    With `n_rows`, a block does so many rows, from `row0` on.
    """
    n, lanes = instructions[0].out.shape[0], lanes_of(instructions)
    known: dict[Value, str] = {}  # variables with results of the row
    own = f"row0 + q / {lanes}" if n_rows else f"q / {lanes}"
    here = f" && q / {lanes} < {n_rows}" if n_rows else ""
    lines = [
        f"const bool inside = {own} < {n}{here};",
        f"const int lane = q % {lanes}, i = {own} < {n} ? {own} : {n - 1};",
    ]
    results = list[Instruction]()
    sweeps = _sweeps(instructions)
    for k, sweep in enumerate(sweeps):
        rest = [each for other in sweeps[k + 1 :] for each in (*other.elements, *other.results)]
        lines += _elements(text, sweep, [*rest, *later], loss, lanes, known)
        for each in sweep.results:
            text.elementwise(Loop((each,), ()), lines, known)
            _as_column(known, each.out)
        results += [*(each for each in sweep.elements if each.op.is_reduction), *sweep.results]
        lines.append("__syncwarp();")
    stores = [f"{text.element(value, 'i')} = {known[value]};" for value in stored(results, later, loss)]
    return braces(head, [*lines[:-1], *(braces("if (inside && lane == 0)", stores) if stores else [])])


def _elements(
    text: KernelText, sweep: _Sweep, later: list[Instruction], loss: Value, lanes: int, known: dict[Value, str]
) -> list[str]:
    """Return the lines of the loop over the elements of a row; add the reductions to `known`."""
    if not sweep.elements:
        return []
    before, after, body = list[str](), list[str](), list[str]()
    inner = dict(known)
    reductions: dict[Value, str] = {}
    for each in sweep.elements:
        if not each.op.is_reduction:
            text.elementwise(Loop((each,), ()), body, inner)
            continue
        (value,) = each.reads
        kind, f, name = TYPES[str(value.dtype)], COMBINATIONS[each.op], text.variable("r")
        if value.dtype.kind != "f":
            raise UntraceableError(f"the reduction {each.op.numpy} of {value.dtype}")
        before.append(f"{kind} {name} = {_STARTS[f]};")
        body.append(f"{name} = {f}({name}, {inner.get(value) or text.element(value, 'ij')});")
        after.append(
            f"for (int d = {lanes // 2}; d > 0; d /= 2) {name} = {f}({name}, __shfl_xor_sync(0xffffffffu, {name}, d));"
        )
        reductions[each.out] = name
    elements = [each for each in sweep.elements if not each.op.is_reduction]
    for value in stored(elements, later, loss):
        body.append(f"{text.element(value, 'ij')} = {inner[value]};")
    for value, name in reductions.items():
        known[value] = name
        _as_column(known, value)
    return [*before, *braces(f"for (int j = lane; inside && j < {sweep.width}; j += {lanes})", body), *after]


def _as_column(known: dict[Value, str], value: Value) -> None:
    """Make the variable with a result known as an element of a matrix of one column, too."""
    known[value_of(value.buffer, (*value.shape, 1), (*value.strides, 0), value.offset)] = known[value]
