"""Group instructions that run together: elementwise ones in one loop, and on a GPU whatever shares a kernel."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace

from xpnet_backends.compiler.ir import Buffer, Group, Instruction, Kind, Loop, Program, Role, Value
from xpnet_backends.compiler.ops import Op

__all__ = ["apart", "fuse", "join_blocks", "may_fuse", "same_elements", "same_rows", "shares_rows", "stored"]

_Tagged = tuple[Kind, Instruction]  # an instruction and the kind of group that it belongs to by itself


def apart(a: Value, b: Value) -> bool:
    """Tell whether two values have no element in common. Then the order of their instructions does not matter."""
    return not a.overlaps(b)


def same_elements(a: Value, b: Value) -> bool:
    """Tell whether two values are apart or the same. Then their instructions may share a loop over elements."""
    return a == b or apart(a, b)


def same_rows(a: Value, b: Value) -> bool:
    """Tell whether two values are apart or have the same rows. Then their instructions may share a loop over rows."""
    rows, others = (a.offset, a.shape[:1], a.strides[:1]), (b.offset, b.shape[:1], b.strides[:1])
    return (rows == others and a.shape != ()) or apart(a, b)


def may_fuse(instruction: Instruction, others: Iterable[Instruction], agree: Callable[[Value, Value], bool]) -> bool:
    """Tell whether an instruction may run together with others.

    What one of them writes must `agree` with what the other reads or writes.
    """
    own, out = instruction.values, instruction.out
    return all(
        value.buffer is not written.buffer or agree(value, written)
        for other in others
        for values, written in ((own, other.out), (other.reads, out))
        for value in values
    )


def shares_rows(instruction: Instruction, others: Iterable[Instruction]) -> bool:
    """Tell whether an instruction may share a loop over rows with others, which are before it."""
    others = list(others)
    # A vector that is added to a matrix has an element for each column, not for each row.
    vectors = [value for value in instruction.reads if len(value.shape) == 1 < len(instruction.out.shape)]
    by_rows = all(apart(value, other.out) for value in vectors for other in others)
    return by_rows and may_fuse(instruction, others, same_rows)


def fuse(program: Program, kind_of: Callable[[Instruction], Kind], *, across_products: bool = False) -> Program:
    """Put the instructions into groups, in an order in which groups are as large as possible.

    The kinds of groups are

    - ``SINGLE``: one instruction;
    - ``ELEMENTS``: elementwise instructions of one shape and reductions to partial results, which are one loop;
    - ``ROWS``: loops over the rows of matrices, reductions along them included;
    - ``BLOCK``: instructions on few elements, each a loop of one block of GPU threads.

    `kind_of` returns the kind that an instruction belongs to by itself. With `across_products`, loops may hold
    instructions that come after a matrix product; their results then wait in memory for their readers, which is worth
    it only where a loop costs a launch.

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
    parts = _grouped([(kind_of(each), each) for each in program.instructions], across_products)
    instructions = later = [each for _, members in parts for each in members]
    groups = []
    for kind, members in parts:
        loops = []
        for part in _loops(members):
            later = later[len(part) :]
            loops.append(Loop(tuple(part), () if kind is Kind.SINGLE else tuple(stored(part, later, program.loss))))
        groups.append(Group(kind, tuple(loops)))
    return replace(program, instructions=tuple(instructions), groups=tuple(groups))


def _grouped(rest: list[_Tagged], across_products: bool) -> list[tuple[Kind, list[Instruction]]]:
    """Return groups in an order that gives the same results."""
    groups: list[tuple[Kind, list[Instruction]]] = []
    while rest:
        kind, first = rest[0]
        if kind is Kind.SINGLE:
            groups.append((kind, [first]))
            rest = rest[1:]
            continue
        wider = Kind.ROWS if kind is Kind.ELEMENTS and not first.is_partial else kind
        before, group, after = _gathered(rest, wider, across_products)
        if wider is kind or any(member.op.is_reduction for member in group):
            kind = wider
        else:  # rows without a reduction are just elements
            before, group, after = _gathered(rest, kind, across_products)
        groups += [*_grouped(before, across_products), (kind, group)]
        rest = after
    return groups


def _gathered(
    rest: list[_Tagged], kind: Kind, across_products: bool
) -> tuple[list[_Tagged], list[Instruction], list[_Tagged]]:
    """Return what must come before the group of the first instruction, the group, and what comes after."""
    before, group, after = list[_Tagged](), [rest[0][1]], list[_Tagged]()
    waiting = defaultdict[Buffer, list[Instruction]](list)  # the instructions of `after` by the buffers they touch
    for k, (own, instruction) in enumerate(rest[1:], 1):
        if instruction.op is Op.CALL or (instruction.op is Op.MATMUL and not across_products):
            return before, group, after + rest[k:]
        buffers = {value.buffer for value in instruction.values}
        free = may_fuse(instruction, [each for buffer in buffers for each in waiting[buffer]], apart)
        if free and _fits(instruction, kind, group, own):
            group.append(instruction)
        elif free and instruction.out.size == 1 and own is not Kind.BLOCK and may_fuse(instruction, group, apart):
            before.append((own, instruction))  # a single number does not break a loop in two
        else:
            after.append((own, instruction))
            for buffer in buffers:
                waiting[buffer].append(instruction)
    return before, group, after


def _fits(instruction: Instruction, kind: Kind, group: list[Instruction], own: Kind) -> bool:
    """Tell whether an instruction whose own kind is `own` may join a group."""
    if kind is Kind.BLOCK:
        return own is Kind.BLOCK
    if kind is Kind.ELEMENTS:
        return own is not Kind.SINGLE and _shares_loop(instruction, group)
    if own is Kind.SINGLE or (instruction.op.is_reduction and own is not Kind.ROWS):
        return False
    return instruction.out.shape[:1] == group[0].out.shape[:1] != () and shares_rows(instruction, group)


def _shares_loop(instruction: Instruction, part: list[Instruction]) -> bool:
    """Tell whether an instruction may share a loop over elements with others."""
    loops = all(each.op.is_elementwise or each.is_partial for each in (instruction, part[0]))
    return loops and instruction.over.shape == part[0].over.shape and may_fuse(instruction, part, same_elements)


def _loops(group: list[Instruction]) -> list[list[Instruction]]:
    """Return the instructions of a group by the loops over elements that they share."""
    parts = [group[:1]]
    for instruction in group[1:]:
        if _shares_loop(instruction, parts[-1]):
            parts[-1].append(instruction)
        else:
            parts.append([instruction])
    return parts


def stored(part: list[Instruction], later: list[Instruction], loss: Value) -> Iterable[Value]:
    """Yield the results of a loop that are read after it."""
    for value in dict.fromkeys(instruction.out for instruction in part):
        is_stored = value.buffer.role is Role.STATE or value.overlaps(loss)
        for each in later:
            is_read = any(map(value.overlaps, each.reads))
            if is_read or each.out == value:
                is_stored = is_read
                break
        if is_stored:
            yield value


def join_blocks(program: Program) -> Program:
    """Join BLOCK groups that need nothing from the groups between them, or only what can come before both.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet_backends.compiler.trace import trace
    >>> def step(params, state, batch):
    ...     loss = np.sum(batch[0]) + np.sum(params * params)
    ...     params -= params * 0.1
    ...     return params, state, loss
    >>> kinds = {2: Kind.BLOCK, 300: Kind.ELEMENTS}
    >>> program = trace(step, np.zeros(300), (), [np.zeros(2)])
    >>> program = fuse(program, lambda each: kinds.get(each.out.size, Kind.BLOCK))
    >>> print(program)
    batch %0: f64[2]
    state %1: f64[300]
    block:
        %2: f64[] = sum %0
    elements:
        %3: f64[300] = multiply %1, %1
        %6: f64[300] = multiply %1, 0.1
        %1: f64[300] = subtract %1, %6
        store %3, %1
    block:
        %4: f64[] = sum %3
        %5: f64[] = add %2, %4
        store %5
    loss %5
    >>> print(join_blocks(program))
    batch %0: f64[2]
    state %1: f64[300]
    elements:
        %3: f64[300] = multiply %1, %1
        %6: f64[300] = multiply %1, 0.1
        %1: f64[300] = subtract %1, %6
        store %3, %1
    block:
        %2: f64[] = sum %0
        %4: f64[] = sum %3
        %5: f64[] = add %2, %4
        store %5
    loss %5
    """
    groups = list[Group]()
    for group in program.groups:
        joined = _joined_to(groups, group) if group.kind is Kind.BLOCK else None
        groups = joined or [*groups, group]
    instructions = [each for group in groups for each in group.instructions]
    return replace(program, instructions=tuple(instructions), groups=tuple(groups))


def _joined_to(groups: list[Group], last: Group) -> list[Group] | None:
    """Return groups in an order in which the last one, a BLOCK group, joins an earlier one; None if it cannot."""
    needed, others = list[Group](), list[Group]()  # what must come before the last group, and what may come after it
    for k, group in reversed(list(enumerate(groups))):
        free = _independent(group, needed)
        if free and group.kind is Kind.BLOCK:
            return [*groups[:k], *needed, Group(Kind.BLOCK, group.loops + last.loops), *others]
        side = others if free and _independent(group, [last]) else needed
        side.insert(0, group)
    return None


def _independent(group: Group, others: list[Group]) -> bool:
    rest = [each for other in others for each in other.instructions]
    return all(may_fuse(each, rest, apart) for each in group.instructions)
