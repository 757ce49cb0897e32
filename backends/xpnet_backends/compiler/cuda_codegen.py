"""Emit a program as CUDA: few kernels of many instructions each, and the matrix products between them.

An ELEMENTS group is a kernel with a thread for each element, a ROWS group one with a warp for each row, and a BLOCK
group is done by a single block, one loop after another.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from xpnet_backends.compiler.cuda_text import TYPES, Names, constant, expression, index_of
from xpnet_backends.compiler.fuse import fuse
from xpnet_backends.compiler.ir import Buffer, Group, Instruction, Kind, Loop, Program, Role, Value, value_of
from xpnet_backends.compiler.memory_plan import memory_plan
from xpnet_backends.compiler.ops import Op, UntraceableError
from xpnet_backends.compiler.simplify import simplify

__all__ = ["CudaSource", "Kernel", "Product", "passes"]

# Arrays of at most this many elements are the work of a single block.
_SMALL = 4096
_THREADS = 256
_MOST_BLOCKS = 4096
# Indices in kernels are 32-bit integers, which a loop may exceed by the number of threads of the grid.
_LARGEST = 2**31 - _THREADS * _MOST_BLOCKS

_COMBINATIONS = {Op.SUM: "plus", Op.MAX: "maximum"}
_HEADER = """
#ifndef LANES
#define LANES 32
#endif
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif
template <class T> __device__ T plus(T a, T b) { return a + b; }
template <class T> __device__ T maximum(T a, T b) { return a >= b || a != a ? a : b; }
template <class T> __device__ T minimum(T a, T b) { return a <= b || a != a ? a : b; }
// The combination of the values of all lanes of a warp, in each lane.
#define OVER_WARP(r, f) \\
    for (int d = LANES / 2; d > 0; d /= 2) r = f(r, __shfl_xor_sync(0xffffffffu, r, d));
"""


def passes(program: Program) -> Program:
    """Apply the passes for CUDA."""
    return fuse(memory_plan(simplify(program, smallest_product=_SMALL)), _kind, across_products=True)


def _kind(instruction: Instruction) -> Kind:
    if instruction.op is Op.MATMUL:
        return Kind.SINGLE
    if max(value.size for value in instruction.values) <= _SMALL:
        return Kind.BLOCK
    if instruction.op.is_elementwise:
        return Kind.ELEMENTS
    if instruction.axis == 0:
        raise UntraceableError(f"the reduction {instruction.op.numpy} over many rows")
    return Kind.BLOCK if instruction.axis is None else Kind.ROWS


class Kernel(NamedTuple):
    """A launch of `blocks` of `threads` on the addresses of buffers."""

    name: str
    buffers: tuple[Buffer, ...]
    blocks: int
    threads: int


class Product(NamedTuple):
    """``out = a @ b`` of matrices; factors of an exact product are not rounded to a lower precision."""

    a: Value
    b: Value
    out: Value
    exact: bool


class CudaSource:
    """The CUDA source of a program after `passes`: it gathers its batch by an order and a counter, and stores the loss.

    Attributes
    ----------
    text : str
    launches : list of Kernel and Product
        The launches of a step, in order.
    order : Buffer
        (n_steps, batch) int32.
    counter : Buffer
        (1,) int32: the number of steps done.
    losses : Buffer
        (n_steps,)
    table : Buffer
        (n_data,) int64: addresses of the data, contiguous arrays of which a batch is rows.

    Raises
    ------
    UntraceableError
        This module has no kernel for an instruction.
    """

    def __init__(self, program: Program, n_steps: int) -> None:
        batch = program.batch[0].shape[0]
        self.order = Buffer(-1, (n_steps, batch), np.dtype(np.int32))
        self.counter = Buffer(-2, (1,), np.dtype(np.int32))
        self.losses = Buffer(-3, (n_steps,), program.loss.dtype)
        self.table = Buffer(-4, (len(program.batch),), np.dtype(np.int64))
        self.launches: list[Kernel | Product] = []
        self._functions: list[str] = []
        if any(value.buffer.size > _LARGEST for i in program.instructions for value in i.values):
            raise UntraceableError(f"an array of more than {_LARGEST} elements")
        self._gather(program.batch)
        writers = [k for k, group in enumerate(program.groups) if _writes(group, program.loss)]
        kernels = {Kind.SINGLE: self._single, Kind.ELEMENTS: self._elements, Kind.ROWS: self._rows}
        for k, group in enumerate(program.groups):
            if group.kind is Kind.BLOCK:
                self._small(group, program.loss if k == writers[-1] else None)
            else:
                kernels[group.kind](group)
        self.text = _HEADER + "\n".join(self._functions)

    def _kernel(self, body: list[str], names: Names, blocks: int, threads: int) -> None:
        name = f"k{len(self._functions)}"
        arguments = ", ".join(f"{TYPES[str(buffer.dtype)]}* {pointer}" for buffer, pointer in names.pointers.items())
        # The number of threads lets the compiler choose how many registers each may have.
        head = f'extern "C" __global__ void __launch_bounds__({threads}) {name}({arguments})'
        self._functions += _block(head, body)
        self.launches.append(Kernel(name, tuple(names.pointers), blocks, threads))

    def _gather(self, batch: tuple[Value, ...]) -> None:
        """Copy the rows of a batch."""
        names, lines = Names(), []
        row = f"{names(self.order)}[{names(self.counter)}[0] * {batch[0].shape[0]} + t / %d]"
        for k, each in enumerate(batch):
            n = each.size // each.shape[0]
            data = f"(({TYPES[str(each.dtype)]}*){names(self.table)}[{k}])"
            copy = f"{names(each.buffer)}[t] = {data}[(long long){row % n} * {n} + t % {n}];"
            lines.append(f"if (t < {each.size}) {copy}")
        most = max(each.size for each in batch)
        self._kernel(_block(_over_grid("t", most), lines), names, _blocks(most), _THREADS)

    def _single(self, group: Group) -> None:
        (a, b), out = group.loops[0].instructions[0].reads, group.loops[0].instructions[0].out
        # A product with a constant, a vector of ones, is a sum.
        self.launches.append(Product(_matrix(a), b, _matrix(out), exact=a.buffer.role is Role.CONSTANT))

    def _elements(self, group: Group) -> None:
        names, (loop,) = Names(), group.loops
        out = loop.instructions[0].out
        body = _elementwise(loop, names, index_of(out))
        self._kernel(_block(_over_grid("t", out.size), body), names, _blocks(out.size), _THREADS)

    def _rows(self, group: Group) -> None:
        names, lines = Names(), ["const int lane = threadIdx.x % LANES;"]
        n = group.loops[0].instructions[0].out.shape[0]
        for loop in group.loops:
            instruction = loop.instructions[0]
            if instruction.op.is_reduction:
                lines += _warp_reduction(instruction, names)
            else:
                columns = (*instruction.out.shape, 1)[1]
                lines += _block(f"for (int j = lane; j < {columns}; j += LANES)", _elementwise(loop, names, []))
            lines.append("__syncwarp();")
        self._kernel(_block(_over_grid("i", n, " / LANES"), lines), names, _blocks(32 * n), _THREADS)

    def _small(self, group: Group, loss: Value | None) -> None:
        """Write the kernel of a BLOCK group, which stores the loss at its end unless that is None."""
        names, lines = Names(), ["const int lane = threadIdx.x % LANES;"]
        for loop in group.loops:
            instruction, out = loop.instructions[0], loop.instructions[0].out
            if not instruction.op.is_reduction:
                lines += _block(_over_block("t", out.size), _elementwise(loop, names, index_of(out)))
            elif instruction.axis is not None:
                lines += _block(_over_block("i", out.size, " / LANES"), _warp_reduction(instruction, names))
            else:
                lines += _block_reduction(instruction, names)
            lines.append("__syncthreads();")
        if loss is not None:
            counter, losses = names(self.counter), names(self.losses)
            done = f"{losses}[{counter}[0]] = {names.element(loss, ())}; {counter}[0] += 1;"
            lines.append(f"if (threadIdx.x == 0) {{ {done} }}")
        self._kernel(lines, names, 1, 1024)


def _writes(group: Group, value: Value) -> bool:
    return any(each.out.overlaps(value) for loop in group.loops for each in loop.instructions)


def _matrix(value: Value) -> Value:
    """Return a vector as a matrix of one row."""
    return value if len(value.shape) == 2 else value_of(value.buffer, (1, value.size), (0, 1), value.offset)


def _elementwise(loop: Loop, names: Names, lines: list[str]) -> list[str]:
    """Return `lines` and those of elementwise instructions at the index i, j."""
    index = ("i", "j")[: len(loop.instructions[0].out.shape)]
    known: dict[Value, str] = {}  # the variables that hold the elements

    def hold(value: Value, prefix: str, text: str) -> None:
        known[value] = f"{prefix}{len(lines)}"
        lines.append(f"const {TYPES[str(value.dtype)]} {known[value]} = {text};")

    for instruction in loop.instructions:
        for each in instruction.reads:
            if each not in known:
                hold(each, "y", names.element(each, index))
        texts = [known[each] if isinstance(each, Value) else constant(each) for each in instruction.inputs]
        hold(instruction.out, "x", expression(instruction, texts))
    return [*lines, *(f"{names.element(value, index)} = {known[value]};" for value in loop.stored)]


def _start(instruction: Instruction, value: Value, names: Names, first: tuple[str, ...]) -> tuple[str, str]:
    """Return the lines that begin a reduction, with an element that changes nothing, and the function of two."""
    if value.dtype.kind != "f":
        raise UntraceableError(f"the reduction {instruction.op.numpy} of {value.dtype}")
    start = "0" if instruction.op is Op.SUM else names.element(value, first)
    return f"{TYPES[str(value.dtype)]} r = {start};", _COMBINATIONS[instruction.op]


def _warp_reduction(instruction: Instruction, names: Names) -> list[str]:
    """Return the lines by which a warp reduces row or column i of a matrix."""
    (value,), axis = instruction.reads, instruction.axis or 0
    first, index = (("i", "0"), ("i", "j")) if axis else (("0", "i"), ("j", "i"))
    start, f = _start(instruction, value, names, first)
    loop = f"for (int j = lane; j < {value.shape[axis]}; j += LANES) r = {f}(r, {names.element(value, index)});"
    store = f"if (lane == 0) {names.element(instruction.out, ('i',))} = r;"
    return _block("", [start, loop, f"OVER_WARP(r, {f})", store])


def _block_reduction(instruction: Instruction, names: Names) -> list[str]:
    """Return the lines by which a block reduces an array to one number."""
    (value,) = instruction.reads
    if not value.is_dense:
        raise UntraceableError("the reduction of an array that is not contiguous")
    flat = value.flat()
    start, f = _start(instruction, flat, names, ("0",))
    last = [
        "r = parts[threadIdx.x < blockDim.x / LANES ? threadIdx.x : 0];",
        *(["if (threadIdx.x >= blockDim.x / LANES) r = 0;"] if instruction.op is Op.SUM else []),
        f"OVER_WARP(r, {f})",
        f"if (threadIdx.x == 0) {names.element(instruction.out, ())} = r;",
    ]
    lines = [
        f"__shared__ {TYPES[str(value.dtype)]} parts[LANES];",
        start,
        f"{_over_block('t', flat.size)} r = {f}(r, {names.element(flat, ('t',))});",
        f"OVER_WARP(r, {f})",
        "if (lane == 0) parts[threadIdx.x / LANES] = r;",
        "__syncthreads();",
        *_block("if (threadIdx.x < LANES)", last),
    ]
    return _block("", lines)


def _over_grid(i: str, n: int, per: str = "") -> str:
    """Return the head of a loop over what the threads of a grid share, one each or by `per` many."""
    first, step = "blockIdx.x * blockDim.x + threadIdx.x", "gridDim.x * blockDim.x"
    return f"for (int {i} = ({first}){per}; {i} < {n}; {i} += {step}{per})"


def _over_block(i: str, n: int, per: str = "") -> str:
    return f"for (int {i} = threadIdx.x{per}; {i} < {n}; {i} += blockDim.x{per})"


def _block(head: str, body: Iterable[str]) -> list[str]:
    return [f"{head} {{".lstrip(), *(f"    {line}" for line in body), "}"]


def _blocks(n: int) -> int:
    return max(1, min(-(-n // _THREADS), _MOST_BLOCKS))
