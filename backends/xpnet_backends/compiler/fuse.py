"""Group instructions that are done together: elementwise ones in one loop, and on a GPU whatever shares a kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from enum import Enum

from xpnet_backends.compiler.ir import Group, Instruction, Kind, Loop, Program, Role, Value
from xpnet_backends.compiler.ops import Op

__all__ = ["Common", "fuse", "may_fuse"]

KindOf = Callable[[Instruction], Kind]


class Common(Enum):
    """What instructions that are done together may have in common, if one of them writes it."""

    NOTHING = "nothing"  # then their order does not matter
    ELEMENTS = "elements"  # then they may share a loop over elements
    ROWS = "rows"  # then they may share a loop over rows


def may_fuse(instruction: Instruction, others: Iterable[Instruction], common: Common) -> bool:
    """Tell whether an instruction may be done together with others.

    It may if what it writes and they read or write, and what they write and it reads, is apart or, element by element
    or row by row, the same.
    """
    out, values = instruction.out, (*instruction.reads, instruction.out)
    for other in others:
        if any(value.buffer is other.out.buffer and not _agree(value, other.out, common) for value in values):
            return False
        if any(value.buffer is out.buffer and not _agree(value, out, common) for value in other.reads):
            return False
    return True


def _agree(a: Value, b: Value, common: Common) -> bool:
    if common is Common.NOTHING or not a.overlaps(b):
        return not a.overlaps(b)
    if common is Common.ELEMENTS:
        return a == b
    return a.offset == b.offset and (a.shape[:1], a.strides[:1]) == (b.shape[:1], b.strides[:1]) != ((), ())


def fuse(program: Program, kind_of: KindOf, *, across_products: bool = False) -> Program:
    """Put the instructions into groups, in an order in which groups are as large as possible.

    The kinds of groups are

    - ``SINGLE``: one instruction;
    - ``ELEMENTS``: elementwise instructions of one shape, which are one loop;
    - ``ROWS``: loops over the rows of matrices, reductions along them included;
    - ``BLOCK``: instructions on few elements, each a loop of one block of GPU threads.

    Parameters
    ----------
    kind_of : callable
        The kind of group that an instruction belongs to by itself.
    across_products : bool
        Whether loops may hold instructions that come after a matrix product. Their results then wait in memory
        for their readers: worth it only where a loop costs a launch.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet_backends.compiler.trace import trace
    >>> def step(params, state, batch):
    ...     z = np.tanh(batch[0] + params)
    ...     return params, state, np.sum(z * z)
    >>> program = trace(step, np.zeros(3), (), [np.zeros(3)])
    >>> print(program)
    batch %0: f64[3]
    state %1: f64[3]
    %2: f64[3] = add %0, %1
    %3: f64[3] = tanh %2
    %4: f64[3] = multiply %3, %3
    %5: f64[] = sum %4
    loss %5
    >>> print(fuse(program, lambda each: Kind.ELEMENTS if each.op.is_elementwise else Kind.SINGLE))
    batch %0: f64[3]
    state %1: f64[3]
    elements:
        %2: f64[3] = add %0, %1
        %3: f64[3] = tanh %2
        %4: f64[3] = multiply %3, %3
        store %4
    %5: f64[] = sum %4
    loss %5
    """
    kinds = {id(each): kind_of(each) for each in program.instructions}
    groups = _grouped(program.instructions, kinds, across_products)
    loops = [(kind, list(_loops(group))) for kind, group in groups]
    later = [each for _, parts in loops for part in parts for each in part]
    finished = []
    for kind, parts in loops:
        made = []
        for part in parts:
            del later[: len(part)]
            stored = () if kind is Kind.SINGLE else _stored(part, later, program.loss)
            made.append(Loop(tuple(part), tuple(stored)))
        finished.append(Group(kind, tuple(made)))
    instructions = tuple(each for group in finished for loop in group.loops for each in loop.instructions)
    return replace(program, instructions=instructions, groups=tuple(finished))


def _grouped(
    instructions: Sequence[Instruction], kinds: dict[int, Kind], across_products: bool
) -> list[tuple[Kind, list[Instruction]]]:
    """Return groups in an order that computes the same."""
    groups: list[tuple[Kind, list[Instruction]]] = []
    rest = list(instructions)
    while rest:
        kind = kinds[id(rest[0])]
        rows_first = kind is Kind.ELEMENTS and Kind.ROWS in kinds.values()
        before, group, after = _gathered(rest, Kind.ROWS if rows_first else kind, kinds, across_products)
        if rows_first and any(member.op.is_reduction for member in group):
            kind = Kind.ROWS
        elif rows_first:
            before, group, after = _gathered(rest, kind, kinds, across_products)
        groups += _grouped(before, kinds, across_products)
        groups.append((kind, group))
        rest = after
    return groups


def _gathered(
    rest: list[Instruction], kind: Kind, kinds: dict[int, Kind], across_products: bool
) -> tuple[list[Instruction], list[Instruction], list[Instruction]]:
    """Return what must come before the group of the first instruction, the group, and what comes after."""
    before: list[Instruction] = []
    group, after = [rest[0]], list[Instruction]()
    if kind is Kind.SINGLE:
        return before, group, rest[1:]
    for k, instruction in enumerate(rest[1:], 1):
        if instruction.op is Op.MATMUL and not across_products:
            return before, group, after + rest[k:]
        free = may_fuse(instruction, after, Common.NOTHING)
        if free and _fits(instruction, kind, group, kinds[id(instruction)]):
            group.append(instruction)
        elif free and _is_number(instruction, kinds) and may_fuse(instruction, group, Common.NOTHING):
            before.append(instruction)  # a single number does not break a loop in two
        else:
            after.append(instruction)
    return before, group, after


def _is_number(instruction: Instruction, kinds: dict[int, Kind]) -> bool:
    return instruction.out.size == 1 and kinds[id(instruction)] is not Kind.BLOCK


def _fits(instruction: Instruction, kind: Kind, group: list[Instruction], own: Kind) -> bool:
    """Tell whether an instruction fits a group of a kind."""
    if kind is Kind.BLOCK:
        return own is Kind.BLOCK
    if own is Kind.SINGLE or (instruction.op.is_reduction and own is not Kind.ROWS):
        return False
    shape, first = instruction.out.shape, group[0].out.shape
    if kind is Kind.ELEMENTS:
        return instruction.op.is_elementwise and shape == first and may_fuse(instruction, group, Common.ELEMENTS)
    return shape[:1] == first[:1] != () and may_fuse(instruction, group, Common.ROWS)


def _loops(group: list[Instruction]) -> Iterable[list[Instruction]]:
    """Yield the instructions of a group that share a loop over elements."""
    part: list[Instruction] = []
    for instruction in group:
        shares = part and instruction.op.is_elementwise and part[0].op.is_elementwise
        alike = shares and instruction.out.shape == part[0].out.shape
        if part and not (alike and may_fuse(instruction, part, Common.ELEMENTS)):
            yield part
            part = []
        part.append(instruction)
    yield part


def _stored(part: list[Instruction], later: list[Instruction], loss: Value) -> Iterable[Value]:
    """Yield the results of a loop that are read after it."""
    for value in dict.fromkeys(instruction.out for instruction in part):
        reader = next((each for each in later if each.out == value or any(map(value.overlaps, each.reads))), None)
        is_read = reader is not None and any(map(value.overlaps, reader.reads))
        kept = reader is None and (value.buffer.role is Role.STATE or value.overlaps(loss))
        if is_read or kept:
            yield value
