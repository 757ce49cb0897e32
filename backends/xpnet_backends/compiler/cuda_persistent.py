"""Emit a program as one CUDA kernel that does many training steps, for networks that are small.

A step of a small network takes a GPU less time than the launches of its kernels. Here the loop over steps is in the
kernel, and the threads wait for one another at barriers where launches would end. All arithmetic is in the precision
of the program.
"""

from __future__ import annotations

from typing import NamedTuple

from xpnet_backends.compiler.cuda_product import PRODUCT_HEADER, WARP, Contraction, best_tile, contraction
from xpnet_backends.compiler.cuda_rows import lanes_of, rows
from xpnet_backends.compiler.cuda_text import HEADER, TYPES, KernelText, braces, index_lines
from xpnet_backends.compiler.fuse import stored
from xpnet_backends.compiler.ir import Buffer, Instruction, Loop, Program, Role, Value
from xpnet_backends.compiler.ops import Op, UntraceableError
from xpnet_backends.compiler.phases import Task, in_pieces, partial_sums, phases
from xpnet_backends.compiler.simplify import fold_casts, place_pieces

__all__ = ["Limits", "PersistentSource", "passes", "persistent_source"]

_ALIGNMENT = 16  # bytes
# Threads of a block that has the step for itself, and threads and number of blocks that share a step. Tiles, and so the
# order of sums, depend on these, but not on the GPU: where fewer blocks are resident, each does more.
_ALONE, _TOGETHER = (128, 256), (256, 128)
# Seconds of a launch within a CUDA graph, and of a cycle. The kernel must be expected in half the time of the launches
# that it replaces: where it is not that much faster, the libraries' products are better than the estimate of these.
_LAUNCH, _CYCLE = 2.5e-6, 1 / 1.6e9
# Seconds that a launch may take: longer ones block a display, and an interrupt.
_LONGEST = 0.02
# Estimates in cycles: a barrier of a block and of a grid, and the latency of a chain of a few slow instructions.
_BARRIER, _GRID_BARRIER, _SLOW = 40, 1500, 150
_MACROS = """
// A host that runs the kernel defines these itself.
#ifndef ARENA
#define ARENA extern __shared__ __align__(16) char arena[];
// Copy a number to shared memory without waiting, and wait for all such copies
#define COPY_ASYNC(to, from) asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" \\
    :: "r"((unsigned)__cvta_generic_to_shared(to)), "l"(from), "n"(sizeof *(to)) : "memory")
#define WAIT_ASYNC asm volatile("cp.async.wait_all;" ::: "memory")
#define PAUSE
#endif
"""
_BLOCK = """
// A loop of q over n items that the threads share; the item 0 belongs to warp number `first`
#define ITEMS(q, n, first) \\
    for (int q = (threadIdx.x + THREADS - (first) * 32 % THREADS) % THREADS; q < (n); q += THREADS)
"""
_GRID = """
// A loop of q over n items that the threads of the grid share: each block has neighbours, in as many warps as all others.
// The item 0 belongs to block number `first`.
#define ITEMS(q, n, first) \\
    for (int each = (((n) + 31) / 32 + gridDim.x - 1) / gridDim.x * 32, \\
         start = (blockIdx.x + gridDim.x - (first) % gridDim.x) % gridDim.x * each, \\
         end = start + each < (n) ? start + each : (n), \\
         q = start + threadIdx.x; q < end; q += THREADS)
// Wait for all threads of the grid: for as many blocks as have arrived when this many have
__device__ void meet(unsigned* arrived, unsigned all) {
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        atomicAdd(arrived, 1u);
        while (*(volatile unsigned*)arrived < all) PAUSE;
        __threadfence();
    }
    __syncthreads();
}
"""


class Limits(NamedTuple):
    """What a GPU allows: bytes of shared memory of a block, and blocks that are resident at once."""

    shared_memory: int
    n_blocks: int


class PersistentSource:
    """A kernel ``steps`` that does many steps of a program, with all arrays of a step in memory of its own.

    Its arguments are the order, the losses, the number of steps, then with several blocks the `workspace` and a number
    of 4 bytes that is 0, then the arrays of the data, of the state and of the constants.

    Parameters
    ----------
    program : Program
    threads : int
        Threads of a block.
    blocks : int
        With one block, the state and all other arrays are in its shared memory. With several, which must all be
        resident at once, they are in global memory.

    Attributes
    ----------
    text : str
    threads, blocks : int
    memory : int
        Bytes of shared memory, or with several blocks of the workspace.
    cycles : float
        An estimate for a step, on as many multiprocessors as blocks.
    n_barriers : int
        Barriers in a step.

    Raises
    ------
    UntraceableError
        There is no kernel for an instruction.
    """

    def __init__(self, program: Program, threads: int, blocks: int) -> None:
        self.threads, self.blocks = threads, blocks
        self._program = program
        self.constants = tuple(program.constants.values())
        self._phases = phases(program)
        self.n_barriers = len(self._phases)
        writers = [each for each in program.instructions if each.out == program.loss]
        if not writers:
            raise UntraceableError("a loss that is a part of another array")
        self._last = writers[-1]
        self._text = _Text()
        bodies, cycles = zip(*map(self._body, range(self.n_barriers)), strict=True)
        self._idle = cycles.index(min(cycles))
        self.cycles = sum(cycles) + self.n_barriers * (_BARRIER if blocks == 1 else _GRID_BARRIER)
        self._places, self.memory = self._arena()
        self.text = (
            HEADER
            + PRODUCT_HEADER
            + f"#define THREADS {threads}"
            + _MACROS
            + (_BLOCK if blocks == 1 else _GRID)
            + "\n".join(self._kernel(list(bodies)))
            + "\n"
        )

    @property
    def seconds(self) -> float:
        """An estimate of the time of a step."""
        return self.cycles * _CYCLE

    @property
    def most_steps(self) -> int:
        """Steps that a launch should do at most."""
        return max(1, int(_LONGEST / self.seconds))

    def _body(self, phase: int) -> tuple[list[str], float]:
        """Return the lines of a phase and the cycles that it takes."""
        self._text.phase, lines, first = phase, list[str](), 0
        following = [each for tasks in self._phases[phase + 1 :] for task in tasks for each in task.instructions]
        slowest, busy = 0.0, 0.0
        for k, task in enumerate(self._phases[phase]):
            beside = [each for other in self._phases[phase][k + 1 :] for each in other.instructions]
            items, cycles, text = self._task(task, [*beside, *following], first)
            lines += text
            first += -(-items // WARP)
            slowest, busy = max(slowest, cycles), busy + cycles * min(1.0, items / (self.threads * self.blocks))
        return lines, max(slowest, busy)

    def _task(self, task: Task, later: list[Instruction], first: int) -> tuple[int, float, list[str]]:
        """Return the number of threads that a task has work for, the cycles that it takes, and its lines."""
        text, members, out = self._text, task.instructions, task.first.out
        kept = tuple(stored(members, later, self._program.loss))

        def done(known: dict[Value, str]) -> list[str]:
            ends = any(each is self._last for each in members)
            return [f"losses[step] = {known[self._program.loss]};"] if ends else []

        if task.contracts:
            c = Contraction.of(task.first)
            tile = best_tile(c, self.threads, self.blocks, len(members) - 1)
            head = f"ITEMS(q, {tile.items(c)}, {first})"
            return tile.items(c), tile.cycles, contraction(text, c, tile, Loop(tuple(members[1:]), kept), head, done)
        if task.is_by_rows:
            items = -(-out.shape[0] * lanes_of(members) // WARP) * WARP
            cycles = self._rounds(items) * (2 * _SLOW + 8 * len(members))
            return items, cycles, rows(text, members, later, self._program, f"ITEMS(q, {items}, {first})")
        known: dict[Value, str] = {}
        lines = text.elementwise(Loop(tuple(members), kept), index_lines(out), known)
        cycles = _SLOW + self._rounds(out.size) * 4 * len(members)
        return out.size, cycles, braces(f"ITEMS(t, {out.size}, {first})", [*lines, *done(known)])

    def _rounds(self, items: int) -> int:
        """Return how many items each thread has."""
        return -(-items // (self.threads * self.blocks))

    def _arena(self) -> tuple[dict[Buffer | str, int], int]:
        """Return the places of arrays in the kernel's own memory, in bytes, and the size of it."""
        program, shared, end = self._program, self.blocks == 1, self.n_barriers - 1
        size = lambda buffer: buffer.size * buffer.dtype.itemsize
        wanted: list[tuple[Buffer | str, int, int, int]] = []
        if shared:
            wanted.append(("index", 2 * program.batch[0].shape[0] * 4, 0, end))
        for buffer, (start, stop) in self._text.lives.items():
            if buffer.role is Role.BATCH:
                wanted.append((buffer, 2 * size(buffer), 0, end))
            elif buffer.role is Role.TEMPORARY:
                wanted.append((buffer, size(buffer), start, stop))
            elif shared:
                wanted.append((buffer, size(buffer), 0, end))
        places: dict[Buffer | str, int] = {}
        taken: list[tuple[int, int, int, int]] = []
        for name, n, start, stop in sorted(wanted, key=lambda each: -each[1]):
            n = -(-n // _ALIGNMENT) * _ALIGNMENT
            beside = sorted((a, b) for a, b, since, until in taken if since <= stop and start <= until)
            place = 0
            for a, b in beside:
                if place + n <= a:
                    break
                place = max(place, b)
            places[name] = place
            taken.append((place, place + n, start, stop))
        return places, max((b for _, b, _, _ in taken), default=0)

    def _kernel(self, bodies: list[list[str]]) -> list[str]:
        """Return the kernel of the lines of the phases."""
        program, lives, shared = self._program, self._text.lives, self.blocks == 1
        barrier = "__syncthreads();" if shared else "meet(arrived, all += gridDim.x);"
        arguments = ["const int* order", f"{_type(program.loss.buffer)}* losses", "int n_steps"]
        arguments += [] if shared else ["char* arena", "unsigned* arrived"]
        arguments += [f"const {_type(each.buffer)}* data{k}" for k, each in enumerate(program.batch)]
        moved = [each.buffer for each in program.state if each.buffer in lives]
        start, end = [], []
        suffix = "_global" if shared else ""
        for buffer in (*(each.buffer for each in program.state), *program.constants):
            arguments.append(f"{_type(buffer)}* {_name(buffer)}{suffix}")
            if shared and buffer in lives:
                name, n = _name(buffer), buffer.size
                start.append(f"ITEMS(t, {n}, 0) {name}[t] = {name}_global[t];")
                if buffer.role is Role.STATE:
                    end.append(f"ITEMS(t, {n}, 0) {name}_global[t] = {name}[t];")
        pointers = [
            f"{_type(buffer)}* const {_name(buffer)} = ({_type(buffer)}*)(arena + {place});"
            for buffer, place in self._places.items()
            if isinstance(buffer, Buffer) and buffer.role is not Role.BATCH
        ]
        batch = program.batch[0].shape[0]
        if shared:
            pointers += [f"int* const index = (int*)(arena + {self._places['index']});"]
            start += [f"ITEMS(t, {2 * batch}, 0) if (t < n_steps * {batch}) index[t] = order[t];", barrier]
            following = (
                f"ITEMS(t, {batch}, 0) COPY_ASYNC(index + step % 2 * {batch} + t, order + (step + 2ll) * {batch} + t);"
            )
            bodies[0] = [
                *braces("if (step + 1 < n_steps)", self._gather("(step + 1)")),
                f"if (step + 2 < n_steps) {following}",
                *bodies[0],
            ]
            bodies[-1].append("WAIT_ASYNC;")
        else:  # where most threads wait
            bodies[self._idle] += braces("if (step + 1 < n_steps)", self._gather("(step + 1)"))
        start += [*self._gather("0"), *(["WAIT_ASYNC;"] if shared else []), barrier]
        batches = [
            f"const {_type(each.buffer)}* const {_name(each.buffer)} = "
            f"(const {_type(each.buffer)}*)(arena + {self._places[each.buffer]}) + step % 2 * {each.size};"
            for each in program.batch
            if each.buffer in self._places
        ]
        loop = [line for body in bodies for line in (*body, barrier)]
        own = ["ARENA"] if shared else ["unsigned all = 0;"]
        lines = [
            *own,
            *pointers,
            *start,
            *braces("for (int step = 0; step < n_steps; ++step)", [*batches, *loop]),
            *end,
        ]
        head = f'extern "C" __global__ void __launch_bounds__(THREADS, 1) steps({", ".join(arguments)})'
        return braces(head, lines)

    def _gather(self, step: str) -> list[str]:
        """Return the lines that copy the rows of a batch."""
        lines = []
        shared, n_rows = self.blocks == 1, self._program.batch[0].shape[0]
        rows = f"index + {step} % 2 * {n_rows}" if shared else f"order + {step} * {n_rows}ll"
        for k, each in enumerate(self._program.batch):
            if each.buffer not in self._places:
                continue
            n, kind = each.size // n_rows, _type(each.buffer)
            to = f"({kind}*)(arena + {self._places[each.buffer]}) + {step} % 2 * {each.size} + t"
            source = f"data{k} + (long long)({rows})[t / {n}] * {n} + t % {n}"
            copy = f"COPY_ASYNC({to}, {source});" if shared and each.dtype.itemsize >= 4 else f"*({to}) = *({source});"
            lines.append(f"ITEMS(t, {each.size}, 0) {copy}")
        return lines


class _Text(KernelText):
    """The lines of a kernel, with the phases in which each buffer is used."""

    def __init__(self) -> None:
        super().__init__()
        self.phase = 0
        self.lives: dict[Buffer, tuple[int, int]] = {}

    def pointer(self, buffer: Buffer) -> str:
        """Return the pointer to a buffer's first element."""
        first, last = self.lives.get(buffer, (self.phase, self.phase))
        self.lives[buffer] = min(first, self.phase), max(last, self.phase)
        return _name(buffer)


def _name(buffer: Buffer) -> str:
    return f"{buffer.role.value}{buffer.id}"


def _type(buffer: Buffer) -> str:
    return TYPES[str(buffer.dtype)]


def passes(program: Program) -> Program:
    """Apply the passes for one kernel."""
    return partial_sums(in_pieces(place_pieces(fold_casts(program))))


def persistent_source(program: Program, limits: Limits) -> PersistentSource | None:
    """Return the fastest kernel for a program, by an estimate; None if separate launches are expected to be as fast.

    Raises
    ------
    UntraceableError
        There is no kernel for an instruction.
    """
    program = passes(program)
    n_products = sum(each.op is Op.MATMUL for each in program.instructions)
    sources = [PersistentSource(program, threads, 1) for threads in _ALONE]
    fitting = [each for each in sources if each.memory <= limits.shared_memory]
    threads, blocks = _TOGETHER
    best = min([*fitting, PersistentSource(program, threads, blocks)], key=lambda each: each.cycles)
    return best if 2 * best.seconds < _LAUNCH * (best.n_barriers + n_products) else None
