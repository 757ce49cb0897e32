"""The kernel around the phases of a step: its memory, the loop over steps, the batches and the barriers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from xpnet_backends.compiler.cuda_text import TYPES, KernelText, braces
from xpnet_backends.compiler.ir import Buffer, Program, Role, Value

__all__ = ["MEMORY_HEADER", "Life", "PhaseText", "StepLoop", "StepLoopOfBlock", "StepLoopOfGrid", "planned"]

_ALIGNMENT = 16  # bytes
_SMALL = ("bool", "unsigned char")  # types that a GPU cannot copy asynchronously

MEMORY_HEADER = """
// A host that runs the kernel defines these itself.
#ifndef ARENA
#define ARENA extern __shared__ __align__(16) char arena[];
#define SHARED(name, bytes) __shared__ __align__(16) char name[bytes];
// Copy a number to shared memory without waiting, and wait for all such copies
#define COPY_ASYNC(to, from) asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" \\
    :: "r"((unsigned)__cvta_generic_to_shared(to)), "l"(from), "n"(sizeof *(to)) : "memory")
#define WAIT_ASYNC asm volatile("cp.async.wait_all;" ::: "memory")
// Count a block, after all that its threads have written; and read the count, before all that they read then
#define ARRIVE(count) asm volatile("red.release.gpu.global.add.u32 [%0], 1;" :: "l"(count) : "memory")
#define READ(n, count) asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(n) : "l"(count) : "memory")
#endif
"""
# Bytes of shared memory that a block may have without asking for more.
_SHARED = 48 << 10


class PhaseText(KernelText):
    """The lines of phases. `lives` has the first and the last phase in which each buffer is used.

    `copies` are the names of copies in the block's shared memory, by buffer, first element and number of elements.
    """

    def __init__(self) -> None:
        super().__init__()
        self.phase = 0
        self.copies: dict[tuple[Buffer, int, int], str] = {}
        self._free = _SHARED
        self.lives: dict[Buffer, tuple[int, int]] = {}

    def pointer(self, buffer: Buffer) -> str:
        """Return the pointer to a buffer's first element."""
        first, last = self.lives.get(buffer, (self.phase, self.phase))
        self.lives[buffer] = min(first, self.phase), max(last, self.phase)
        return _name(buffer)

    def element(self, value: Value, index: Sequence[str]) -> str:
        """Return the text of an element of a value, or of its copy."""
        copy = self.copies.get(_place(value)) if value.is_dense else None
        if copy is None:
            return super().element(value, index)
        return copy + super().element(value._replace(offset=0), index).removeprefix(_name(value.buffer))

    def copied(self, values: Iterable[Value]) -> tuple[dict[tuple[Buffer, int, int], str], list[str]]:
        """Return names of copies of values, those that fit, and the lines with which a block begins to make them."""
        names: dict[tuple[Buffer, int, int], str] = {}
        lines, size = list[str](), 0
        for value in values:
            place, kind = _place(value), _type(value.buffer)
            n = -(-value.size * value.dtype.itemsize // _ALIGNMENT) * _ALIGNMENT
            if place not in names and value.is_dense and size + n <= self._free:
                name = names[place] = self.variable("copy")
                lines.append(f"{kind}* const {name} = ({kind}*)(copies{self.phase} + {size});")
                source = f"{self.pointer(value.buffer)} + {value.offset} + t"
                lines.append(f"OWN_ITEMS(t, {value.size}) COPY_ASYNC({name} + t, {source});")
                size += n
        self._free -= size
        return names, [f"SHARED(copies{self.phase}, {size})"] * (size > 0) + lines


def _place(value: Value) -> tuple[Buffer, int, int]:
    return value.buffer, value.offset, value.size


class Life(NamedTuple):
    """A buffer that needs so many bytes from one phase to another."""

    buffer: Buffer
    size: int
    first: int
    last: int


def planned(lives: list[Life]) -> tuple[dict[Buffer, int], int]:
    """Return the places of buffers in one memory, in bytes, and its size.

    Buffers share a place if their lives do not meet.

    Examples
    --------
    >>> a, b, c = (Buffer(k, (8,), np.dtype("f4")) for k in range(3))
    >>> places, size = planned([Life(a, 32, 0, 1), Life(b, 32, 1, 2), Life(c, 20, 2, 3)])
    >>> list(places.values()), size
    ([0, 32, 0], 64)
    """
    places: dict[Buffer, int] = {}
    taken = list[tuple[int, int, Life]]()
    for life in sorted(lives, key=lambda each: -each.size):
        size, place = -(-life.size // _ALIGNMENT) * _ALIGNMENT, 0
        beside = [(a, b) for a, b, other in taken if life.first <= other.last and other.first <= life.last]
        for start, stop in sorted(beside):
            if place + size <= start:
                break
            place = max(place, stop)
        places[life.buffer] = place
        taken.append((place, place + size, life))
    return places, max((stop for _, stop, _ in taken), default=0)


class StepLoop:
    """The kernel of a program's phases; its classes are for one block and for a grid.

    Attributes
    ----------
    memory : int
        Bytes of the memory in which the arrays of a step are.
    """

    macros: str
    barrier: str

    def __init__(self, program: Program, lives: dict[Buffer, tuple[int, int]], n_phases: int) -> None:
        self._program, self._lives = program, lives
        self._batch = [(k, each) for k, each in enumerate(program.batch) if each.buffer in lives]
        self._n_rows = program.batch[0].shape[0]
        always = 0, n_phases - 1
        # There are two batches at a time: the step's own, and that of the next step, which is on its way.
        wanted = [Life(each.buffer, 2 * _bytes(each.buffer), *always) for _, each in self._batch]
        temporary = [buffer for buffer in lives if buffer.role is Role.TEMPORARY]
        wanted += [Life(buffer, _bytes(buffer), *lives[buffer]) for buffer in temporary]
        wanted += [Life(buffer, _bytes(buffer), *always) for buffer in self._moved()]
        self._places, self.memory = planned(wanted)

    def _moved(self) -> list[Buffer]:
        """Return the other buffers that are in the memory of a step."""
        return []

    def kernel(self, bodies: list[list[str]], longest: int) -> list[str]:
        """Return the lines of the kernel; `bodies` are those of each phase, of which one takes longest."""
        raise NotImplementedError

    def _kernel(
        self, suffix: str, own_arguments: list[str], start: list[str], bodies: list[list[str]], end: list[str]
    ) -> list[str]:
        program = self._program
        arguments = ["const int* order", f"{_type(program.loss.buffer)}* losses", "int n_steps", *own_arguments]
        arguments += [f"const {_type(each.buffer)}* data{k}" for k, each in enumerate(program.batch)]
        others = [*(each.buffer for each in program.state), *program.constants]
        arguments += [f"{_type(buffer)}* {_name(buffer)}{suffix}" for buffer in others]
        pointers = [
            f"{_pointer(buffer)} = {self._at(buffer)};" for buffer in self._places if buffer.role is not Role.BATCH
        ]
        batch = [f"const {_pointer(each.buffer)} = {self._batch_at(each, 'step')};" for _, each in self._batch]
        loop = [*batch, *(line for body in bodies for line in (*body, self.barrier))]
        lines = [*pointers, *start, *braces("for (int step = 0; step < n_steps; ++step)", loop), *end]
        head = f'extern "C" __global__ void __launch_bounds__(THREADS, 1) steps({", ".join(arguments)})'
        return braces(head, lines)

    def _at(self, buffer: Buffer) -> str:
        return f"({_type(buffer)}*)(arena + {self._places[buffer]})"

    def _unit(self, value: Value) -> tuple[str, int]:
        """Return the type in which the rows of a batch are copied, and its number in a row: small types 4 at once."""
        width, size = value.size // self._n_rows, value.dtype.itemsize
        return ("int", width * size // 4) if size < 4 and width * size % 4 == 0 else (_type(value.buffer), width)

    def _batch_at(self, value: Value, step: str, kind: str = "", width: int = 0) -> str:
        """Return the pointer to a batch: that of a step with an even or an odd number."""
        kind, size = kind or _type(value.buffer), width * self._n_rows or value.size
        return f"({kind}*)(arena + {self._places[value.buffer]}) + {step} % 2 * {size}"

    def _gather(self, step: str, rows: str, copy: str) -> list[str]:
        """Return the lines that copy the rows of a batch."""
        lines = []
        for k, each in self._batch:
            kind, n = self._unit(each)
            to = f"{self._batch_at(each, step, kind, n)} + t"
            source = f"(const {kind}*)data{k} + (long long)({rows})[t / {n}] * {n} + t % {n}"
            own = copy if kind not in _SMALL else "*({0}) = *({1});"
            lines.append(f"ITEMS(t, {n * self._n_rows}, 0) {own.format(to, source)}")
        return lines


class StepLoopOfBlock(StepLoop):
    """One block has a step for itself. All arrays are in its shared memory: the state from first to last step."""

    macros = """
// A loop of q over n items that the threads share; item 0 belongs to warp number `first`
#define ITEMS(q, n, first) \\
    for (int q = (threadIdx.x + THREADS - (first) * 32 % THREADS) % THREADS; q < (n); q += THREADS)
"""
    barrier = "__syncthreads();"

    def _moved(self) -> list[Buffer]:
        # The rows of two batches, which are known a step before the batch is.
        self._index = Buffer(-1, (2 * self._n_rows,), np.dtype(np.int32), Role.CONSTANT)
        return [self._index, *(buffer for buffer in self._lives if buffer.role in (Role.STATE, Role.CONSTANT))]

    def kernel(self, bodies: list[list[str]], longest: int) -> list[str]:
        """Return the lines of the kernel."""
        n, index = self._n_rows, _name(self._index)
        copy = "COPY_ASYNC({}, {});"

        def gather(step: str) -> list[str]:
            return self._gather(step, f"{index} + {step} % 2 * {n}", copy)

        loads, stores = list[str](), list[str]()
        for buffer in self._moved()[1:]:
            name, loop = _name(buffer), f"ITEMS(t, {buffer.size}, 0)"
            loads.append(f"{loop} {name}[t] = {name}_global[t];")
            if buffer.role is Role.STATE:
                stores.append(f"{loop} {name}_global[t] = {name}[t];")
        rows = copy.format(f"{index} + step % 2 * {n} + t", f"order + (step + 2ll) * {n} + t")
        following = [
            *braces("if (step + 1 < n_steps)", gather("(step + 1)")),
            f"if (step + 2 < n_steps) ITEMS(t, {n}, 0) {rows}",
        ]
        first = f"ITEMS(t, {2 * n}, 0) if (t < n_steps * {n}) {index}[t] = order[t];"
        start = [first, self.barrier, *loads, *gather("0"), "WAIT_ASYNC;", self.barrier]
        bodies = [[*following, *bodies[0]], *bodies[1:]]
        bodies[-1] = [*bodies[-1], "WAIT_ASYNC;"]
        head, *lines = self._kernel("_global", [], start, bodies, stores)
        return [head, "    ARENA", *lines]


class StepLoopOfGrid(StepLoop):
    """The blocks of a grid share a step, and all arrays are in global memory."""

    macros = """
// A loop of q over n items that the threads of the grid share: a block has neighbours, in as many warps as any other.
// Item 0 belongs to block number `first`.
#define SHARE(n) ((((n) + 31) / 32 + BLOCKS - 1) / BLOCKS * 32)
#define ITEMS(q, n, first) \\
    for (int start = (blockIdx.x + BLOCKS - (first) % BLOCKS) % BLOCKS * SHARE(n), \\
         end = start + SHARE(n) < (n) ? start + SHARE(n) : (n), \\
         q = start + threadIdx.x; q < end; q += THREADS)
// What a thread holds in registers of n items, and a loop of q over them, with the number u
#define HELD(n) ((SHARE(n) + THREADS - 1) / THREADS)
#define HELD_ITEMS(q, u, n) _Pragma("unroll") \\
    for (int u = 0, q = blockIdx.x * SHARE(n) + threadIdx.x; u < HELD(n); ++u, q += THREADS) \\
        if (q < (n) && q < (blockIdx.x + 1) * SHARE(n))
// Loops over the rows that a block has at a time, and over items of them
#define ROWS(row0, n, each) for (int row0 = blockIdx.x * (each); row0 < (n); row0 += BLOCKS * (each))
#define OWN_ITEMS(q, n) for (int q = threadIdx.x; q < (n); q += THREADS)
// Wait for all threads of the grid, until so many blocks have arrived
__device__ void meet(unsigned* arrived, unsigned all) {
    __syncthreads();
    if (threadIdx.x == 0) {
        unsigned n;
        ARRIVE(arrived);
        do { READ(n, arrived); } while (n < all);
    }
    __syncthreads();
}
"""
    barrier = "meet(arrived, all += BLOCKS);"

    def kernel(self, bodies: list[list[str]], longest: int) -> list[str]:
        """Return the lines of the kernel; the batch of the next step is on its way in the longest phase."""
        n = self._n_rows
        start, load, store = ["unsigned all = 0;"], list[str](), list[str]()
        start += self._gather("0", "order", "*({}) = *({});")
        for k, each in self._batch:
            kind, width = self._unit(each)
            loop, held = f"HELD_ITEMS(t, u, {n * width})", f"HELD({n * width})"
            # Indices are read a step before their samples, so that no load waits for another.
            start.append(f"int sample{k}[{held}];")
            start.append(f"if (n_steps > 1) {loop} sample{k}[u] = order[{n} + t / {width}];")
            load.append(f"{kind} held{k}[{held}];")
            place = f"(long long)sample{k}[u] * {width} + t % {width}"
            load.append(f"if (more) {loop} held{k}[u] = ((const {kind}*)data{k})[{place}];")
            load.append(f"if (step + 2 < n_steps) {loop} sample{k}[u] = order[(step + 2ll) * {n} + t / {width}];")
            store.append(f"if (more) {loop} ({self._batch_at(each, '(step + 1)', kind, width)})[t] = held{k}[u];")
        bodies = list(bodies)
        bodies[longest] = ["const bool more = step + 1 < n_steps;", *load, *bodies[longest], *store]
        return self._kernel("", ["char* arena", "unsigned* arrived"], [*start, self.barrier], bodies, [])


def _bytes(buffer: Buffer) -> int:
    return buffer.size * buffer.dtype.itemsize


def _name(buffer: Buffer) -> str:
    return "index" if buffer.id < 0 else f"{buffer.role.value}{buffer.id}"


def _type(buffer: Buffer) -> str:
    return TYPES[str(buffer.dtype)]


def _pointer(buffer: Buffer) -> str:
    return f"{_type(buffer)}* const {_name(buffer)}"
