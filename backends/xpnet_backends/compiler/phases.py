"""Order the instructions of a program into phases: loops that run side by side, with a barrier between phases.

A kernel that does a whole step waits at each barrier for its slowest thread, so few phases are what makes it fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from xpnet_backends.compiler.fuse import apart, may_fuse, same_elements, same_rows
from xpnet_backends.compiler.ir import Instruction, Program, Value
from xpnet_backends.compiler.ops import Op

__all__ = ["Phase", "Task", "phases"]

# Bytes of a matrix by which a block may multiply its rows: reading it takes a block about as long as a barrier of all.
_FACTOR = 64 << 10
_When = tuple[int, int]  # a phase, and a stage in it


@dataclass(eq=False)
class Task:
    """Instructions that run as one loop.

    The first instruction tells the kind of the loop. After a product, or a reduction that is not along rows, come
    elementwise instructions on its result. All others are loops over elements or rows.

    Attributes
    ----------
    instructions : list of Instruction
    when : tuple of int
        The phase and the stage in which it runs.
    by_rows : bool
        Whether each block does it for its own rows.
    """

    instructions: list[Instruction]
    when: _When
    by_rows: bool

    @property
    def first(self) -> Instruction:
        """The instruction that tells the kind of the loop."""
        return self.instructions[0]

    @property
    def contracts(self) -> bool:
        """Whether it is a product, or a reduction that is not along rows, with what follows it."""
        return _contracts(self.first)

    @property
    def sweeps_rows(self) -> bool:
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
        if not self.sweeps_rows and op.is_elementwise and out.shape == first.out.shape:
            return may_fuse(instruction, members, same_elements)
        if out.size == 1 or out.shape[:1] != first.out.shape[:1] or not may_fuse(instruction, members, same_rows):
            return False
        # An input that all rows share must not be made here.
        n_axes = 2 if axis == 1 else len(out.shape)
        shared = [each for each in instruction.reads if len(each.shape) < n_axes or each.shape[0] != out.shape[0]]
        return all(apart(each, member.out) for each in shared for member in members)


def _contracts(instruction: Instruction) -> bool:
    return instruction.op is Op.MATMUL or (instruction.op.is_reduction and instruction.axis != 1)


class Phase(NamedTuple):
    """What runs between two barriers of all threads.

    Attributes
    ----------
    tasks : tuple of Task
        They need nothing of this phase.
    stages : tuple of tuple of Task
        Each block does these tasks for rows of its own, with a barrier of the block between stages.
    """

    tasks: tuple[Task, ...]
    stages: tuple[tuple[Task, ...], ...]


def phases(program: Program, n_rows: int = 0) -> tuple[Phase, ...]:
    """Return the tasks of a program by phase.

    An instruction joins the task that makes its input if it can, also if the task then runs in a later phase. What
    needs nothing that the step computes waits for the first instruction that needs it, and joins its task. Where
    arrays have `n_rows` rows, a block may go on with its own rows without a barrier of all.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet_backends.compiler.trace import trace
    >>> def step(params, state, batch):
    ...     z = np.tanh(batch[0] @ params)
    ...     return params, state, np.sum(np.sum(z * z, axis=1))
    >>> program = trace(step, np.zeros((3, 2)), (), [np.zeros((4, 3))])
    >>> for phase in phases(program):
    ...     print([[each.op.name for each in task.instructions] for task in phase.tasks])
    [['MATMUL', 'TANH', 'MULTIPLY']]
    [['SUM']]
    [['SUM']]
    >>> for phase in phases(program, n_rows=4):
    ...     print(len(phase.stages), len(phase.tasks))
    2 0
    0 1
    """
    plan = _Plan(n_rows)
    for instruction in program.instructions:
        plan.add(instruction)
    plan.place_all()
    found = []
    for number in sorted({task.when[0] for task in plan.tasks}):
        own = [task for task in plan.tasks if task.when[0] == number]
        stages = [
            tuple(task for task in own if task.by_rows and task.when[1] == stage)
            for stage in sorted({task.when[1] for task in own if task.by_rows})
        ]
        found.append(Phase(tuple(task for task in own if not task.by_rows), tuple(stages)))
    return tuple(found)


class _Plan:
    """The tasks so far, and the elementwise instructions that wait for the first one that needs them."""

    def __init__(self, n_rows: int) -> None:
        self._n_rows = n_rows
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
        return sorted(makers, key=lambda task: task.when, reverse=True)

    def _place(self, instruction: Instruction, preferred: list[Task]) -> None:
        """Put an instruction into a task: a preferred one, one that makes an input, one of its shape, or a new one."""
        single = instruction.out.size == 1
        makers = [*preferred, *self._makers(instruction)]
        alike = [task for task in self.tasks if task.first.out.shape == instruction.out.shape]
        alike = sorted((task for task in alike if single or not task.contracts), key=lambda task: task.when)
        for task in (*makers, *alike):
            if task.fits(instruction):
                when = self._earliest(instruction, task)
                # Single numbers come early, for much may need them. A task moves to a later phase for what it makes.
                early = when <= task.when if task in makers or not single else when == task.when
                if early or (task in makers and not single and self._free_until(task, when)):
                    task.when = max(task.when, when)
                    task.instructions.append(instruction)
                    break
        else:
            task = Task([instruction], (0, 0), self._may_go_by_rows(instruction))
            task.when = self._earliest(instruction, task)
            self.tasks.append(task)
        self._placed.append((instruction, task))

    def _may_go_by_rows(self, instruction: Instruction) -> bool:
        """Tell whether a block can do an instruction for its own rows."""
        if self._n_rows < 2 or instruction.out.shape[:1] != (self._n_rows,):
            return False
        factor = instruction.reads[-1]
        small = factor.size * factor.dtype.itemsize <= _FACTOR
        return small if instruction.op is Op.MATMUL else not _contracts(instruction)

    def _earliest(self, instruction: Instruction, home: Task) -> _When:
        """Return when an instruction of a task can run, as far as others let it."""
        conflicts = [pair for pair in self._placed if pair[1] is not home and _conflict(pair[0], instruction)]
        whens = [self._after(task.when, other, task, instruction, home) for other, task in conflicts]
        return max(whens, default=(0, 0))

    def _after(self, when: _When, a: Instruction, task: Task, b: Instruction, home: Task) -> _When:
        """Return when an instruction can run that comes after one that runs at `when`."""
        phase, stage = when
        own_rows = task.by_rows and home.by_rows and _meet_in_rows(a, b, self._n_rows)
        return (phase, stage + 1) if own_rows else (phase + 1, 0)

    def _free_until(self, task: Task, when: _When) -> bool:
        """Tell whether a task can run as late: all that must come after it does so even then."""
        own: list[Instruction] = []  # what the task does before the other instruction
        for other, home in self._placed:
            if home is task:
                own.append(other)
            elif any(_conflict(e, other) and home.when < self._after(when, e, task, other, home) for e in own):
                return False
        return True


def _reads(instruction: Instruction, other: Instruction) -> bool:
    """Tell whether an instruction reads the result of another."""
    return any(map(other.out.overlaps, instruction.reads))


def _conflict(a: Instruction, b: Instruction) -> bool:
    """Tell whether the order of two instructions matters."""
    return any(map(a.out.overlaps, b.values)) or any(map(b.out.overlaps, a.reads))


def _meet_in_rows(a: Instruction, b: Instruction, n_rows: int) -> bool:
    """Tell whether what one instruction writes and the other uses are the same rows, which both use row by row."""
    pairs = [(a.out, a, value, b) for value in b.values] + [(value, a, b.out, b) for value in a.reads]
    return all(
        same_rows(value, other)
        and _is_used_by_rows(value, user, n_rows)
        and _is_used_by_rows(other, other_user, n_rows)
        for value, user, other, other_user in pairs
        if value.overlaps(other)
    )


def _is_used_by_rows(value: Value, instruction: Instruction, n_rows: int) -> bool:
    """Tell whether row i of an instruction's result needs only row i of a value, which is an input or the result."""
    if instruction.op is Op.MATMUL:
        return value != instruction.reads[1]
    n_axes = 2 if instruction.axis == 1 else len(instruction.out.shape)
    return value == instruction.out or (len(value.shape) == n_axes and value.shape[0] == n_rows)
