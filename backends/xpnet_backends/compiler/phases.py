"""Order the instructions of a program into phases: loops that run side by side, with a barrier between phases.

A kernel that does a whole step waits at each barrier for its slowest thread, so few phases are what makes it fast.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from xpnet_backends.compiler.fuse import apart, may_fuse, same_elements, same_rows
from xpnet_backends.compiler.ir import Instruction, Program, Role, Value, value_of
from xpnet_backends.compiler.ops import Op

__all__ = ["Phase", "Task", "in_pieces", "partial_sums", "phases"]

# A vector of more elements is reduced in two phases: rows of at least so many elements, then the results.
_LONG, _ROW, _MOST_ROWS = 512, 32, 256


@dataclass(eq=False)
class Task:
    """Instructions that run as one loop, in the phase with this number.

    The first instruction tells the kind of the loop. After a product, or a reduction that is not along rows, come
    elementwise instructions on its result. All others are loops over elements or rows.
    """

    instructions: list[Instruction]
    phase: int

    @property
    def first(self) -> Instruction:
        """The instruction that tells the kind of the loop."""
        return self.instructions[0]

    @property
    def contracts(self) -> bool:
        """Whether it is a product, or a reduction that is not along rows, with what follows it."""
        return _contracts(self.first)

    @property
    def is_by_rows(self) -> bool:
        """Whether it goes over rows: it has reductions along rows, or arrays of different shapes."""
        shapes = {each.out.shape for each in self.instructions}
        return not self.contracts and (len(shapes) > 1 or any(each.op.is_reduction for each in self.instructions))

    def fits(self, instruction: Instruction) -> bool:
        """Tell whether an instruction may come last in the loop: each thread reads only what it wrote itself."""
        op, _, out, axis = instruction
        members, first = self.instructions, self.first
        if self.contracts:
            alike = op.is_elementwise and out.shape == first.out.shape and may_fuse(instruction, members, same_elements)
            return alike and all(apart(out, read) for read in first.reads)
        if _contracts(instruction) or not (op.is_elementwise or op.is_reduction):
            return False
        if not self.is_by_rows and op.is_elementwise and out.shape == first.out.shape:
            return may_fuse(instruction, members, same_elements)
        if out.size == 1 or out.shape[:1] != first.out.shape[:1] or not may_fuse(instruction, members, same_rows):
            return False
        # An input that all rows share must not be made here.
        n_axes = 2 if axis == 1 else len(out.shape)
        shared = [each for each in instruction.reads if len(each.shape) < n_axes or each.shape[0] != out.shape[0]]
        return all(apart(each, member.out) for each in shared for member in members)


def _contracts(instruction: Instruction) -> bool:
    return instruction.op is Op.MATMUL or (instruction.op.is_reduction and instruction.axis != 1)


Phase = tuple[Task, ...]


def phases(program: Program) -> tuple[Phase, ...]:
    """Return the tasks of a program by phase.

    An instruction joins the task that makes its input if it can, also if the task then runs in a later phase. What
    needs nothing that the step computes waits for the first instruction that needs it, and joins its task.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet_backends.compiler.trace import trace
    >>> def step(params, state, batch):
    ...     z = np.tanh(batch[0] @ params)
    ...     return params, state, np.sum(np.sum(z * z, axis=1))
    >>> program = trace(step, np.zeros((3, 2)), (), [np.zeros((4, 3))])
    >>> for phase in phases(program):
    ...     print([[str(instruction) for instruction in task.instructions] for task in phase])
    [['%2: f64[4,2] = matmul %0, %1', '%3: f64[4,2] = tanh %2', '%4: f64[4,2] = multiply %3, %3']]
    [['%5: f64[4] = sum %4, axis=1']]
    [['%6: f64[] = sum %5']]
    """
    plan = _Plan()
    for instruction in program.instructions:
        plan.add(instruction)
    plan.place_all()
    numbers = sorted({task.phase for task in plan.tasks})
    return tuple(tuple(task for task in plan.tasks if task.phase == number) for number in numbers)


class _Plan:
    """The tasks so far, and the elementwise instructions that wait for the first one that needs them."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self._placed: list[tuple[Instruction, Task]] = []  # in an order that gives the same results
        self._waiting: list[Instruction] = []

    def add(self, instruction: Instruction) -> None:
        """Place an instruction, or let it wait."""
        needed = self._needed(instruction)
        makers = [task for other, task in self._placed if _reads(instruction, other) and other.out.size > 1]
        if instruction.op.is_elementwise and instruction.out.size > 1 and not makers:
            self._waiting.append(instruction)
            return
        ids = set(map(id, needed))  # instructions compare by their numbers, which may be arrays
        self._waiting = [each for each in self._waiting if id(each) not in ids]
        for each in needed:
            self._place(each, self._makers(instruction))
        self._place(instruction, [])

    def place_all(self) -> None:
        """Place what still waits."""
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            self._place(each, [])

    def _needed(self, instruction: Instruction) -> list[Instruction]:
        """Return those waiting instructions that must come before an instruction."""
        needed: list[Instruction] = []
        for each in reversed(self._waiting):
            if any(_conflict(each, later) for later in (instruction, *needed)):
                needed.insert(0, each)
        return needed

    def _makers(self, instruction: Instruction) -> list[Task]:
        """Return the tasks that make the inputs of an instruction, the last ones first."""
        makers = dict.fromkeys(task for other, task in self._placed if _reads(instruction, other))
        return sorted(makers, key=lambda task: -task.phase)

    def _place(self, instruction: Instruction, preferred: list[Task]) -> None:
        """Put an instruction into a task: a preferred one, one that makes an input, one of its shape, or a new one."""
        single = instruction.out.size == 1
        makers = [] if single else [*preferred, *self._makers(instruction)]
        alike = [task for task in self.tasks if task.first.out.shape == instruction.out.shape]
        alike = sorted((task for task in alike if single or not task.contracts), key=lambda task: task.phase)
        for task in (*makers, *alike):
            if task.fits(instruction):
                phase = self._earliest(instruction, task)
                # A task moves to a later phase only for what it makes.
                if phase <= task.phase or (task in makers and self._free_until(task, phase)):
                    task.phase = max(task.phase, phase)
                    task.instructions.append(instruction)
                    break
        else:
            task = Task([instruction], self._earliest(instruction, None))
            self.tasks.append(task)
        self._placed.append((instruction, task))

    def _earliest(self, instruction: Instruction, home: Task | None) -> int:
        """Return the first phase in which an instruction can run, apart from what it needs of its own task."""
        tasks = (task for other, task in self._placed if task is not home and _conflict(other, instruction))
        return 1 + max((task.phase for task in tasks), default=-1)

    def _free_until(self, task: Task, phase: int) -> bool:
        """Tell whether a task can move to a later phase: all that must come after it does so even then."""
        after = False
        own = task.instructions
        for other, home in self._placed:
            after = after or home is task
            if after and home is not task and home.phase <= phase and any(_conflict(each, other) for each in own):
                return False
        return True


def _reads(instruction: Instruction, other: Instruction) -> bool:
    """Tell whether an instruction reads the result of another."""
    return any(map(other.out.overlaps, instruction.reads))


def _conflict(a: Instruction, b: Instruction) -> bool:
    """Tell whether the order of two instructions matters."""
    return any(map(a.out.overlaps, b.values)) or any(map(b.out.overlaps, a.reads))


def in_pieces(program: Program) -> Program:
    """Split elementwise instructions on whole vectors at the pieces in which the gradient is computed.

    The update of a weight matrix then joins the product that makes the gradient, which needs no memory.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet_backends.compiler.simplify import simplify
    >>> from xpnet_backends.compiler.trace import trace
    >>> def step(params, state, batch):
    ...     params -= np.concatenate([np.reshape(batch[0].T @ batch[1], (-1,)), np.sum(batch[1], axis=0)])
    ...     return params, state, params[0]
    >>> program = simplify(trace(step, np.zeros(8), (), [np.zeros((4, 3)), np.zeros((4, 2))]), 100)
    >>> print(program)
    batch %0: f64[4,3], %1: f64[4,2]
    state %2: f64[8]
    %5[0:6]: f64[3,2] = matmul %0.T, %1
    %5[6:8]: f64[2] = sum %1, axis=0
    %2: f64[8] = subtract %2, %5
    loss %2[0:1]()
    >>> print(in_pieces(program))
    batch %0: f64[4,3], %1: f64[4,2]
    state %2: f64[8]
    %5[0:6]: f64[3,2] = matmul %0.T, %1
    %5[6:8]: f64[2] = sum %1, axis=0
    %2[0:6]: f64[3,2] = subtract %2[0:6](3,2), %5[0:6](3,2)
    %2[6:8]: f64[2] = subtract %2[6:8], %5[6:8]
    loss %2[0:1]()
    """
    pieces: dict[int, dict[int, Value]] = {}  # by the size of the vector and the offset
    for instruction in program.instructions:
        out = instruction.out
        if len(out.buffer.shape) == 1 and out.size < out.buffer.size and out.is_contiguous:
            known = pieces.setdefault(out.buffer.size, {})
            if not any(out.offset < end.offset + end.size and end.offset < out.offset + out.size
                       for end in known.values() if end.offset != out.offset):  # fmt: skip
                known.setdefault(out.offset, out)
    instructions = [part for each in program.instructions for part in _parts(each, pieces.get(each.out.size, {}))]
    return replace(program, instructions=tuple(instructions))


def _parts(instruction: Instruction, pieces: dict[int, Value]) -> Iterator[Instruction]:
    """Yield an instruction on a whole vector as instructions on pieces; any other as it is."""
    n = instruction.out.size
    vectors = [each for each in instruction.values if each.size > 1]
    splits = instruction.op.is_elementwise and all(each.shape == (n,) and each.is_contiguous for each in vectors)
    if n < 2 or not pieces or not splits:
        yield instruction
        return
    start = 0
    for offset in (*sorted(pieces), n):
        if offset > start:  # between pieces
            yield _part(instruction, start, (offset - start,))
        if offset < n:
            yield _part(instruction, offset, pieces[offset].shape)
            start = offset + pieces[offset].size


def _part(instruction: Instruction, start: int, shape: tuple[int, ...]) -> Instruction:
    def part(value: Value) -> Value:
        return value_of(value.buffer, shape, offset=value.offset + start) if value.size > 1 else value

    inputs = tuple([part(each) if isinstance(each, Value) else each for each in instruction.inputs])
    return instruction._replace(inputs=inputs, out=part(instruction.out))


def partial_sums(program: Program) -> Program:
    """Reduce a long vector in two phases: by rows, then the results. The order of a sum depends on the length alone.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet_backends.compiler.trace import trace
    >>> program = trace(lambda params, state, batch: (params, state, np.sum(params)), np.zeros(1030), (), [np.zeros(1)])
    >>> print(partial_sums(program))
    batch %0: f64[1]
    state %1: f64[1030]
    %3[0:32]: f64[32] = sum %1[0:1024](32,32), axis=1
    %3[32:33]: f64[1] = sum %1[1024:1030](1,6), axis=1
    %2: f64[] = sum %3
    loss %2
    """
    ids = itertools.count(1 + max(value.buffer.id for each in program.instructions for value in each.values))

    def split(instruction: Instruction) -> Iterable[Instruction]:
        op, inputs, out, axis = instruction
        value = inputs[0]
        if not (op.is_reduction and axis is None and isinstance(value, Value)):
            return [instruction]
        if not (value.size > _LONG and value.is_contiguous):
            return [instruction]
        n = min(_MOST_ROWS, value.size // _ROW)
        length, rest = divmod(value.size, n)
        parts = replace(out.buffer, id=next(ids), shape=(n + (rest > 0),), role=Role.TEMPORARY).whole
        places = [(n, length, 0)] + [(1, rest, n)] * (rest > 0)
        return [
            *(
                Instruction(
                    op,
                    (value_of(value.buffer, (m, width), offset=value.offset + start * length),),
                    value_of(parts.buffer, (m,), offset=start),
                    1,
                )
                for m, width, start in places
            ),
            Instruction(op, (parts,), out),
        ]

    return replace(program, instructions=tuple([each for i in program.instructions for each in split(i)]))
