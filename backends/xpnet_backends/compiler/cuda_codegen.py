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
from xpnet_backends.compiler.ir import Buffer, Group, Instruction, Kind, Loop, Op, Program, Role, Value, value_of
from xpnet_backends.compiler.memory_plan import memory_plan
from xpnet_backends.compiler.simplify import simplify
from xpnet_backends.compiler.trace import UntraceableError

__all__ = ["CudaSource", "Kernel", "Product", "passes"]

# Arrays of at most this many elements are the work of a single block.
_SMALL = 4096
_THREADS = 256
_MOST_BLOCKS = 4096
# Indices in kernels are 32-bit integers, which a loop may exceed by the number of threads of the grid.
_LARGEST = 2**31 - _THREADS * _MOST_BLOCKS

_COMBINATIONS = {Op.SUM: "plus", Op.MAX: "maximum", Op.MIN: "minimum"}
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
    return fuse(memory_plan(simplify(program, smallest_product=_SMALL)), _kind)


def _kind(instruction: Instruction) -> Kind:
    if instruction.op is Op.MATMUL:
        return Kind.SINGLE
    if max(value.size for value in (*instruction.reads, instruction.out)) <= _SMALL:
        return Kind.BLOCK
    if instruction.op.is_elementwise:
        return Kind.ELEMENTS
    if instruction.axis == 0:
        raise UntraceableError(f"the reduction {instruction.op.value} over many rows")
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
        if any(value.buffer.size > _LARGEST for i in program.instructions for value in (*i.reads, i.out)):
            raise UntraceableError(f"an array of more than {_LARGEST} elements")
        self._gather(program.batch)
        writers = [k for k, group in enumerate(program.groups) if _writes(group, program.loss)]
        for k, group in enumerate(program.groups):
            if group.kind is Kind.BLOCK:
                self._block(group, program.loss if k == max(writers) else None)
            else:
                {Kind.SINGLE: self._product, Kind.ELEMENTS: self._elements, Kind.ROWS: self._rows}[group.kind](group)
        self.text = _HEADER + "\n".join(self._functions)

    def _kernel(self, body: list[str], names: Names, blocks: int, threads: int) -> None:
        name = f"k{len(self._functions)}"
        arguments = ", ".join(f"{TYPES[str(buffer.dtype)]}* {pointer}" for buffer, pointer in names.pointers.items())
        lines = "\n".join(f"    {line}" for line in body)
        # The number of threads lets the compiler choose how many registers each may have.
        head = f'extern "C" __global__ void __launch_bounds__({threads}) {name}({arguments})'
        self._functions.append(f"{head} {{\n{lines}\n}}")
        self.launches.append(Kernel(name, tuple(names.pointers), blocks, threads))

    def _gather(self, batch: tuple[Value, ...]) -> None:
        """Copy the rows of a batch."""
        names, lines = Names(), []
        row = f"{names(self.order)}[{names(self.counter)}[0] * {batch[0].shape[0]} + t / %d]"
        most = max(each.size for each in batch)
        for k, each in enumerate(batch):
            n = each.size // each.shape[0]
            data = f"(({TYPES[str(each.dtype)]}*){names(self.table)}[{k}])"
            copy = f"{names(each.buffer)}[t] = {data}[(long long){row % n} * {n} + t % {n}];"
            lines.append(f"if (t < {each.size}) {copy}")
        self._kernel([_over_threads(most), *_indented(lines), "}"], names, _blocks(most), _THREADS)

    def _product(self, group: Group) -> None:
        ((a, b), out) = group.loops[0].instructions[0][1:3]
        assert isinstance(a, Value)
        assert isinstance(b, Value)
        # Products with a vector of ones are sums.
        self.launches.append(Product(_matrix(a), b, _matrix(out), exact=a.buffer.role is Role.CONSTANT))

    def _elements(self, group: Group) -> None:
        names, (loop,) = Names(), group.loops
        n = loop.instructions[0].out.size
        body = _loop_text(loop, names, index_of(loop.instructions[0].out))
        self._kernel([_over_threads(n), *_indented(body), "}"], names, _blocks(n), _THREADS)

    def _rows(self, group: Group) -> None:
        names, lines = Names(), []
        n = group.loops[0].instructions[0].out.shape[0]
        for loop in group.loops:
            instruction = loop.instructions[0]
            if instruction.op.is_reduction:
                lines += _row_reduction(instruction, names)
            else:
                columns = (*instruction.out.shape, 1)[1]
                lines.append(f"for (int j = lane; j < {columns}; j += LANES) {{")
                lines += [*_indented(_loop_text(loop, names, [])), "}"]
            lines.append("__syncwarp();")
        head = [
            "const int lane = threadIdx.x % LANES;",
            f"for (int i = (blockIdx.x * blockDim.x + threadIdx.x) / LANES; i < {n}; "
            "i += gridDim.x * blockDim.x / LANES) {",
        ]
        self._kernel([*head, *_indented(lines), "}"], names, _blocks(32 * n), _THREADS)

    def _block(self, group: Group, loss: Value | None) -> None:
        """Write a group of small loops, at whose end the loss is known unless it is None."""
        names, lines = Names(), []
        for loop in group.loops:
            instruction, out = loop.instructions[0], loop.instructions[0].out
            if instruction.op.is_reduction:
                lines += _block_reduction(instruction, names)
            else:
                lines.append(f"for (int t = threadIdx.x; t < {out.size}; t += blockDim.x) {{")
                lines += [*_indented(_loop_text(loop, names, index_of(out))), "}"]
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


def _loop_text(loop: Loop, names: Names, lines: list[str]) -> list[str]:
    """Return `lines` and those of elementwise instructions at the index i, j."""
    index = ("i", "j")[: len(loop.instructions[0].out.shape)]
    known: dict[Value, str] = {}  # the variables that hold the elements
    for instruction in loop.instructions:
        texts = []
        for each in instruction.inputs:
            if not isinstance(each, Value):
                texts.append(constant(each))
                continue
            if each not in known:
                known[each] = f"y{len(lines)}"
                lines.append(f"const {TYPES[str(each.dtype)]} {known[each]} = {names.element(each, index)};")
            texts.append(known[each])
        out = instruction.out
        name = f"x{len(lines)}"
        lines.append(f"const {TYPES[str(out.dtype)]} {name} = {expression(instruction, texts)};")
        known[out] = name
    return [*lines, *(f"{names.element(value, index)} = {known[value]};" for value in loop.stored)]


def _reduced(instruction: Instruction) -> tuple[Value, str, str]:
    """Return the input of a reduction, its type and the function that combines two elements."""
    value = instruction.reads[0]
    if value.dtype.kind != "f":
        raise UntraceableError(f"the reduction {instruction.op.value} of {value.type_text}")
    return value, TYPES[str(value.dtype)], _COMBINATIONS[instruction.op]


def _row_reduction(instruction: Instruction, names: Names) -> list[str]:
    value, kind, f = _reduced(instruction)
    start = "0" if f == "plus" else names.element(value, ("i", "0"))
    return [
        "{",
        f"    {kind} r = {start};",
        f"    for (int j = lane; j < {value.shape[1]}; j += LANES) r = {f}(r, {names.element(value, ('i', 'j'))});",
        f"    OVER_WARP(r, {f})",
        f"    if (lane == 0) {names.element(instruction.out, ('i',))} = r;",
        "}",
    ]


def _block_reduction(instruction: Instruction, names: Names) -> list[str]:
    value, kind, f = _reduced(instruction)
    out, axis = instruction.out, instruction.axis
    if axis is not None:  # a thread for each result
        own, along = ("i", "j") if axis == 1 else ("j", "i")
        n, m = value.shape[1 - axis], value.shape[axis]
        first = names.element(value, ("i", "0") if axis == 1 else ("0", "j"))
        return [
            f"for (int {own} = threadIdx.x; {own} < {n}; {own} += blockDim.x) {{",
            f"    {kind} r = {first};",
            f"    for (int {along} = 1; {along} < {m}; ++{along}) r = {f}(r, {names.element(value, ('i', 'j'))});",
            f"    {names.element(out, (own,))} = r;",
            "}",
        ]
    if not value.is_dense:
        raise UntraceableError("the reduction of an array that is not contiguous")
    flat = value.flat()
    start = "0" if f == "plus" else names.element(flat, ("0",))
    return [
        "{",
        f"    __shared__ {kind} parts[LANES];",
        f"    {kind} r = {start};",
        f"    for (int t = threadIdx.x; t < {flat.size}; t += blockDim.x)",
        f"        r = {f}(r, {names.element(flat, ('t',))});",
        f"    OVER_WARP(r, {f})",
        "    if (threadIdx.x % LANES == 0) parts[threadIdx.x / LANES] = r;",
        "    __syncthreads();",
        "    if (threadIdx.x < LANES) {",
        f"        r = threadIdx.x < blockDim.x / LANES ? parts[threadIdx.x] : {start};",
        f"        OVER_WARP(r, {f})",
        f"        if (threadIdx.x == 0) {names.element(out, ())} = r;",
        "    }",
        "}",
    ]


def _over_threads(n: int) -> str:
    return f"for (int t = blockIdx.x * blockDim.x + threadIdx.x; t < {n}; t += gridDim.x * blockDim.x) {{"


def _blocks(n: int) -> int:
    return max(1, min(-(-n // _THREADS), _MOST_BLOCKS))


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines]
