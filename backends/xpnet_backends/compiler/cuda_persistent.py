"""Emit a program as one CUDA kernel that does many training steps, for networks that are small.

A step of a small network takes a GPU less time than the launches of its kernels. Here the loop over steps is in the
kernel, and the threads wait for one another at barriers where launches would end. All arithmetic is in the precision
of the program.
"""

from __future__ import annotations

from typing import NamedTuple

from xpnet_backends.compiler.cuda_product import PRODUCT_HEADER, contraction
from xpnet_backends.compiler.cuda_rows import lanes_of, rows
from xpnet_backends.compiler.cuda_step_loop import MEMORY_HEADER, PhaseText, StepLoopOfBlock, StepLoopOfGrid
from xpnet_backends.compiler.cuda_text import HEADER, braces, index_lines
from xpnet_backends.compiler.cuda_tiles import WARP, Contraction, best_tile
from xpnet_backends.compiler.fuse import stored
from xpnet_backends.compiler.ir import Instruction, Loop, Program, Role, Value
from xpnet_backends.compiler.ops import Op, UntraceableError
from xpnet_backends.compiler.phases import Phase, Task, phases
from xpnet_backends.compiler.pieces import in_pieces, partial_sums
from xpnet_backends.compiler.simplify import fold_casts, place_pieces

__all__ = ["Limits", "PersistentSource", "passes", "persistent_source"]

# Threads of a block that has a step for itself; threads and number of blocks that share a step. Tiles, and so the order
# of sums, depend on these numbers, but not on the GPU: where fewer blocks are resident, each does more.
_ALONE, _TOGETHER = (128, 256), (256, 128)
# Estimates in cycles: a barrier of a block and of a grid, and the latency of a few slow instructions.
_BARRIER, _GRID_BARRIER, _SLOW = 40, 1500, 150
# Seconds of a cycle of these estimates, which leave out much of what threads wait for, and of a launch within a CUDA
# graph. Measured on an H200 (2026-11-27): tiny, digits and mnist-small take 2.05, 12.9 and 15.9 us a step, 780, 580 and
# 840 of these cycles in a microsecond. In graphs of mnist-large and narrow-1k a launch takes 6 to 8 us on average: a
# product of cuBLAS 6 to 12, another kernel 2.
_CYCLE, _LAUNCH = 1 / 0.75e9, 5e-6
# The kernel must be expected in half the time of the launches that it replaces: where it is not that much faster, the
# products of NVIDIA's libraries are better than this estimate of the kernel's.
_GAIN = 2
# Seconds that a launch may take: a longer one delays an interrupt and what a display shows.
_LONGEST = 0.02


class Limits(NamedTuple):
    """What a GPU allows: bytes of shared memory of a block, and blocks that are resident at once."""

    shared_memory: int
    n_blocks: int


class PersistentSource:
    """A kernel ``steps`` that does many steps of a program.

    Its arguments are the order, the losses and the number of steps; with several blocks the memory and a counter of 4
    bytes that is 0; then the arrays of the data, of the state, and the constants.

    Parameters
    ----------
    program : Program
        After `passes`.
    threads : int
        Threads of a block.
    blocks : int
        One block has all arrays of a step in its shared memory. Several have them in global memory.
    resident : int, optional
        The number of blocks that are resident at once, if it is smaller. It changes no result.

    Attributes
    ----------
    text : str
    constants : tuple of arrays
    threads, blocks : int
        Those of a launch.
    memory : int
        Bytes of shared memory, or with several blocks of global memory.
    n_barriers : int
        Barriers in a step.
    cycles : float
        An estimate for a step, where each block has a multiprocessor.

    Raises
    ------
    UntraceableError
        There is no kernel for an instruction.
    """

    def __init__(self, program: Program, threads: int, blocks: int, resident: int | None = None) -> None:
        self.threads, self.blocks = threads, min(blocks, resident or blocks)
        self.constants = tuple(program.constants.values())
        self._many = blocks
        makers = [each for each in program.instructions if each.out == program.loss]
        if not makers:
            raise UntraceableError("a loss that is a part of another array")
        self._loss, self._maker, self._text = program.loss, makers[-1], PhaseText()
        n_rows = program.batch[0].shape[0]
        plan = phases(program, 0 if blocks == 1 else n_rows)
        self._rows = n_rows, -(-n_rows // blocks)  # all, and those of a block
        parts = [self._phase(plan[number:], number) for number in range(len(plan))]
        bodies, cycles = [lines for lines, _ in parts], [cycles for _, cycles in parts]
        self.n_barriers = len(plan)
        self.cycles = sum(cycles) + self.n_barriers * (_BARRIER if blocks == 1 else _GRID_BARRIER)
        loop = (StepLoopOfBlock if blocks == 1 else StepLoopOfGrid)(program, self._text.lives, len(plan))
        self.memory = loop.memory
        lines = loop.kernel(bodies, cycles.index(max(cycles)))
        self.text = "\n".join(
            [
                f"#define THREADS {threads}\n#define BLOCKS {self.blocks}",
                HEADER,
                PRODUCT_HEADER,
                MEMORY_HEADER,
                loop.macros,
                *lines,
                "",
            ]
        )

    @property
    def is_alone(self) -> bool:
        """Whether one block has the arrays of a step in its shared memory."""
        return self._many == 1

    @property
    def seconds(self) -> float:
        """An estimate for a step."""
        return self.cycles * _CYCLE

    @property
    def most_steps(self) -> int:
        """Steps that a launch should do at most."""
        return max(1, int(_LONGEST / self.seconds))

    def _phase(self, plan: tuple[Phase, ...], number: int) -> tuple[list[str], float]:
        """Return the lines of the first phase of `plan`, and an estimate of its cycles."""
        self._text.phase, lines, first, slowest, busy = number, list[str](), 0, 0.0, 0.0
        later = [task for phase in plan for tasks in (*phase.stages, phase.tasks) for task in tasks]

        def done(task: Task, head: str) -> tuple[int, float, list[str]]:
            later.remove(task)
            return self._task(task, [each for other in later for each in other.instructions], head)

        if plan[0].stages:
            # What all rows need of the parameters is on its way while the first stage runs.
            names, copies = self._text.copied(_state_read(plan[0].stages))
            for k, stage in enumerate(plan[0].stages):
                parts = [done(task, "OWN_ITEMS({0}, {1})") for task in stage]
                waits = ["WAIT_ASYNC;"] * (k == 1 and names != {}) + ["__syncthreads();"] * (k > 0)
                lines += [*waits, *(line for _, _, own in parts for line in own)]
                self._text.copies = names
                slowest += sum(cycles for _, cycles, _ in parts) + _BARRIER
            n_rows, each = self._rows
            self._text.copies = {}
            lines, first = [*copies, *braces(f"ROWS(row0, {n_rows}, {each})", lines)], -(-n_rows // each)
        for task in plan[0].tasks:
            items, cycles, own = done(task, f"ITEMS({{0}}, {{1}}, {first})")
            lines += own
            first += -(-items // WARP)
            slowest, busy = max(slowest, cycles), busy + cycles * min(1.0, items / (self.threads * self._many))
        return lines, max(slowest, busy)

    def _task(self, task: Task, later: list[Instruction], head: str) -> tuple[int, float, list[str]]:
        """Return the number of threads that a task has work for, an estimate of its cycles, and its lines.

        `later` are the instructions that come after. `head` is the loop over the variable {0} to {1}.
        """
        text, members, out = self._text, task.instructions, task.first.out
        kept = tuple(stored(members, later, self._loss))
        n_rows = self._rows[1] if task.by_rows else 0

        def done(known: dict[Value, str]) -> list[str]:
            is_last = any(each is self._maker for each in members)
            return [f"losses[step] = {known[self._loss]};"] if is_last else []

        if task.contracts:
            c = Contraction.of(task.first, n_rows)
            tile = best_tile(c, self.threads, self._many, len(members) - 1)
            items, loop = tile.items(c), Loop(tuple(members[1:]), kept)
            return items, tile.cycles, contraction(text, c, tile, loop, head.format("q", items), done)
        if task.sweeps_rows:
            items = -(-(n_rows or out.shape[0]) * lanes_of(members) // WARP) * WARP
            cycles = self._rounds(items, task) * (2 * _SLOW + 8 * len(members))
            return items, cycles, rows(text, members, later, self._loss, head.format("q", items), n_rows)
        known: dict[Value, str] = {}
        lines = text.elementwise(Loop(tuple(members), kept), index_lines(out), known)
        items, lines = out.size, [*lines, *done(known)]
        if task.by_rows:
            width = out.size // out.shape[0]
            items = width * n_rows
            lines = [f"const int t = row0 * {width} + own;", *braces(f"if (t < {out.size})", lines)]
        cycles = _SLOW + self._rounds(items, task) * 4 * len(members)
        return items, cycles, braces(head.format("own" if task.by_rows else "t", items), lines)

    def _rounds(self, items: int, task: Task) -> int:
        return -(-items // (self.threads * (1 if task.by_rows else self._many)))


def _state_read(stages: tuple[tuple[Task, ...], ...]) -> list[Value]:
    """Return what stages after the first one read of the parameters and the state, and no stage writes."""
    first, *rest = ([each for task in stage for each in task.instructions] for stage in stages)
    later = [each for stage in rest for each in stage]
    read = [value for each in later for value in each.reads if value.buffer.role is Role.STATE and value.size > 1]
    return [value for value in read if not any(value.overlaps(each.out) for each in (*first, *later))]


def passes(program: Program) -> Program:
    """Apply the passes for one kernel."""
    return partial_sums(in_pieces(place_pieces(fold_casts(program))))


def persistent_source(program: Program, limits: Limits) -> PersistentSource | None:
    """Return the fastest kernel for a traced program, by an estimate; None if launches are expected to be as fast.

    Raises
    ------
    UntraceableError
        There is no kernel for an instruction.
    """
    if program.calls:  # of functions on the host
        return None
    program = passes(program)
    sources = [PersistentSource(program, threads, 1) for threads in _ALONE]
    fitting = [each for each in sources if each.memory <= limits.shared_memory]
    best = min([*fitting, PersistentSource(program, *_TOGETHER, limits.n_blocks)], key=lambda each: each.cycles)
    n_launches = best.n_barriers + sum(each.op is Op.MATMUL for each in program.instructions)
    return best if _GAIN * best.seconds < _LAUNCH * n_launches else None
