"""Emit a program as CUDA: few kernels of many instructions each, and matrix products between them.

An ELEMENTS group becomes a kernel with a thread for each element, a ROWS group one with a warp for each row, and a
BLOCK group one with a single block, which runs one loop after another.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

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

_TYPES = {"float32": "float", "float64": "double", "int32": "int", "int64": "long long", "bool": "bool"}
_COMBINATIONS = {Op.SUM: "plus", Op.MAX: "maximum"}
# Overflow of these is undefined for signed integers in C++, and wraps around for unsigned ones.
_WRAPPING = (Op.ADD, Op.SUBTRACT, Op.MULTIPLY)
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
// Loops that the threads of a grid or a block share, its warps, or the lanes of a warp
#define GRID(t, n) for (int t = blockIdx.x * blockDim.x + threadIdx.x; t < (n); t += gridDim.x * blockDim.x)
#define BLOCK(t, n) for (int t = threadIdx.x; t < (n); t += blockDim.x)
#define GRID_WARPS(i, n) \\
    for (int i = (blockIdx.x * blockDim.x + threadIdx.x) / LANES; i < (n); i += gridDim.x * blockDim.x / LANES)
#define BLOCK_WARPS(i, n) for (int i = threadIdx.x / LANES; i < (n); i += blockDim.x / LANES)
#define LANE (threadIdx.x % LANES)
#define WARP(j, n) for (int j = LANE; j < (n); j += LANES)
// The values r of all lanes of a warp, combined by f in each lane
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
        last = max(
            k
            for k, group in enumerate(program.groups)
            if any(value.overlaps(program.loss) for loop in group.loops for value in loop.stored)
        )
        emitters = {Kind.SINGLE: self._product, Kind.ELEMENTS: self._elements, Kind.ROWS: self._rows}
        for k, group in enumerate(program.groups):
            if group.kind is Kind.BLOCK:
                self._block(group, program.loss if k == last else None)
            else:
                emitters[group.kind](group)
        self.text = _HEADER + "\n".join(self._functions)

    def _kernel(self, text: _KernelText, lines: list[str], n_threads: int, threads: int = _THREADS) -> None:
        """Add a kernel of these lines, and its launch with blocks of `threads` for about `n_threads`."""
        name = f"k{len(self._functions)}"
        arguments = ", ".join(f"{_TYPES[str(buffer.dtype)]}* {pointer}" for buffer, pointer in text.pointers.items())
        # The number of threads lets the compiler choose how many registers each may have.
        head = f'extern "C" __global__ void __launch_bounds__({threads}) {name}({arguments})'
        self._functions += _braces(head, lines)
        blocks = max(1, min(-(-n_threads // threads), _MOST_BLOCKS))
        self.launches.append(Kernel(name, tuple(text.pointers), blocks, threads))

    def _gather(self, batch: tuple[Value, ...]) -> None:
        """Write the kernel that copies the rows of a batch."""
        text, lines = _KernelText(), list[str]()
        row = f"{text.pointer(self.order)}[{text.pointer(self.counter)}[0] * {batch[0].shape[0]} + t / %d]"
        for k, each in enumerate(batch):
            n = each.size // each.shape[0]
            data = f"(({_TYPES[str(each.dtype)]}*){text.pointer(self.table)}[{k}])"
            copy = f"{text.pointer(each.buffer)}[t] = {data}[(long long){row % n} * {n} + t % {n}];"
            lines.append(f"if (t < {each.size}) {copy}")
        most = max(each.size for each in batch)
        self._kernel(text, _braces(f"GRID(t, {most})", lines), most)

    def _product(self, group: Group) -> None:
        a, b, out = group.loops[0].instructions[0].values
        # A product with a constant, a vector of ones, is a sum.
        self.launches.append(Product(_matrix(a), b, _matrix(out), exact=a.buffer.role is Role.CONSTANT))

    def _elements(self, group: Group) -> None:
        text, (loop,) = _KernelText(), group.loops
        out = loop.instructions[0].out
        self._kernel(text, _braces(f"GRID(t, {out.size})", text.elementwise(loop, _index(out))), out.size)

    def _rows(self, group: Group) -> None:
        text, lines = _KernelText(), list[str]()
        n = group.loops[0].instructions[0].out.shape[0]
        for loop in group.loops:
            instruction = loop.instructions[0]
            if instruction.op.is_reduction:
                lines += text.reduction_by_warp(instruction)
            else:
                columns = (*instruction.out.shape, 1)[1]
                lines += _braces(f"WARP(j, {columns})", text.elementwise(loop, []))
            lines.append("__syncwarp();")
        self._kernel(text, _braces(f"GRID_WARPS(i, {n})", lines), 32 * n)

    def _block(self, group: Group, loss: Value | None) -> None:
        """Write the kernel of a BLOCK group; it stores the loss at its end if one is given."""
        text, lines = _KernelText(), list[str]()
        for loop in group.loops:
            instruction, out = loop.instructions[0], loop.instructions[0].out
            if not instruction.op.is_reduction:
                lines += _braces(f"BLOCK(t, {out.size})", text.elementwise(loop, _index(out)))
            elif instruction.axis is not None:
                lines += _braces(f"BLOCK_WARPS(i, {out.size})", text.reduction_by_warp(instruction))
            else:
                lines += text.reduction_by_block(instruction)
            lines.append("__syncthreads();")
        if loss is not None:
            counter, losses = text.pointer(self.counter), text.pointer(self.losses)
            done = f"{losses}[{counter}[0]] = {text.element(loss, '')}; {counter}[0] += 1;"
            lines.append(f"if (threadIdx.x == 0) {{ {done} }}")
        self._kernel(text, lines, 1, 1024)


class _KernelText:
    """The lines of a kernel, whose arguments are `pointers` to the buffers that the lines name."""

    def __init__(self) -> None:
        self.pointers: dict[Buffer, str] = {}

    def pointer(self, buffer: Buffer) -> str:
        """Return the pointer to a buffer's first element."""
        return self.pointers.setdefault(buffer, f"p{len(self.pointers)}")

    def element(self, value: Value, index: str) -> str:
        """Return the text of an element of a value that is broadcast to a loop; `index` has a letter for each axis."""
        own = index[len(index) - len(value.shape) :] or "0" * len(value.shape)
        axes = zip(own, value.shape, value.strides, strict=True)
        terms = [f"{i} * {stride}" for i, n, stride in axes if n > 1 and i != "0"]
        return f"{self.pointer(value.buffer)}[{' + '.join([str(value.offset), *terms])}]"

    def elementwise(self, loop: Loop, lines: list[str]) -> list[str]:
        """Return `lines`, then those of elementwise instructions at the index i, j."""
        index = "ij"[: len(loop.instructions[0].out.shape)]
        known: dict[Value, str] = {}  # the variables that hold the elements

        def hold(value: Value, prefix: str, text: str) -> None:
            known[value] = f"{prefix}{len(lines)}"
            lines.append(f"const {_TYPES[str(value.dtype)]} {known[value]} = {text};")

        for instruction in loop.instructions:
            for each in instruction.reads:
                if each not in known:
                    hold(each, "y", self.element(each, index))
            texts = [known[each] if isinstance(each, Value) else _constant(each) for each in instruction.inputs]
            hold(instruction.out, "x", _expression(instruction, texts))
        return [*lines, *(f"{self.element(value, index)} = {known[value]};" for value in loop.stored)]

    def reduction_by_warp(self, instruction: Instruction) -> list[str]:
        """Return the lines by which a warp reduces row or column i of a matrix."""
        (value,), axis = instruction.reads, instruction.axis or 0
        first, index = ("i0", "ij") if axis else ("0i", "ji")
        loop = f"WARP(j, {value.shape[axis]})"
        lines = _reduction(instruction, loop, self.element(value, index), self.element(value, first))
        return _braces("", [*lines, f"if (LANE == 0) {self.element(instruction.out, 'i')} = r;"])

    def reduction_by_block(self, instruction: Instruction) -> list[str]:
        """Return the lines by which a block reduces a vector: each warp a part, then one warp the results."""
        (value,) = instruction.reads
        if len(value.shape) != 1:
            raise UntraceableError("the reduction of a whole matrix to one number")
        each, first = self.element(value, "t"), self.element(value, "0")
        last = _reduction(instruction, "WARP(j, blockDim.x / LANES)", "parts[j]", "parts[0]")
        lines = [
            f"__shared__ {_TYPES[str(value.dtype)]} parts[LANES];",
            *_reduction(instruction, f"BLOCK(t, {value.size})", each, first),
            "if (LANE == 0) parts[threadIdx.x / LANES] = r;",
            "__syncthreads();",
            *_braces("if (threadIdx.x < LANES)", [*last, f"if (LANE == 0) {self.element(instruction.out, '')} = r;"]),
        ]
        return _braces("", lines)


def _reduction(instruction: Instruction, loop: str, element: str, first: str) -> list[str]:
    """Return the lines by which a warp combines the elements of a loop; each lane has the result, r."""
    dtype, f = instruction.reads[0].dtype, _COMBINATIONS[instruction.op]
    if dtype.kind != "f":
        raise UntraceableError(f"the reduction {instruction.op.numpy} of {dtype}")
    start = "0" if instruction.op is Op.SUM else first  # it does not change the result
    return [f"{_TYPES[str(dtype)]} r = {start};", f"{loop} r = {f}(r, {element});", f"OVER_WARP(r, {f})"]


def _matrix(value: Value) -> Value:
    """Return a vector as a matrix of one row."""
    return value if len(value.shape) == 2 else value_of(value.buffer, (1, value.size), (0, 1), value.offset)


def _index(value: Value) -> list[str]:
    """Return the lines that make the index i, j of t, such that neighbours are neighbours in memory."""
    if len(value.shape) < 2:
        return ["const int i = t;"] * len(value.shape)
    n, m = value.shape
    return ["const int " + (f"i = t % {n}, j = t / {n};" if value.buffer.by_columns else f"i = t / {m}, j = t % {m};")]


def _constant(number: np.generic) -> str:
    """Return the text of a number, with its type."""
    text = repr(number.item()).replace("inf", "INFINITY").replace("True", "true").replace("False", "false")
    return f"({_TYPES[str(number.dtype)]})({text})"


def _expression(instruction: Instruction, names: list[str]) -> str:
    """Return the text of an elementwise instruction on inputs that have names."""
    dtype = instruction.out.dtype
    if dtype.kind == "i" and instruction.op in _WRAPPING:
        names = [f"(unsigned {_TYPES[str(dtype)]})({name})" for name in names]
    return f"({_TYPES[str(dtype)]})({instruction.op.cuda.format(*names)})"


def _braces(head: str, body: Iterable[str]) -> list[str]:
    return [f"{head} {{".lstrip(), *(f"    {line}" for line in body), "}"]
