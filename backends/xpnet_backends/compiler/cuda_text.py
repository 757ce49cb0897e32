"""The text of CUDA kernels: macros, elementwise loops and reductions, for the emitter in `cuda_codegen`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from xpnet_backends.compiler.ir import Buffer, Instruction, Loop, Value
from xpnet_backends.compiler.ops import Op, UntraceableError

__all__ = ["COMBINATIONS", "HEADER", "TYPES", "KernelText", "braces", "index_lines"]

TYPES = {
    "float32": "float",
    "float64": "double",
    "uint8": "unsigned char",
    "int32": "int",
    "int64": "long long",
    "bool": "bool",
}
COMBINATIONS = {Op.SUM: "plus", Op.MAX: "maximum"}
# A result of at most _SHORT elements is a thread's work, one of more than _LONG times the number of results a block's.
_SHORT, _LONG = 32, 1024
_STARTS = {Op.SUM: "0", Op.MAX: "-INFINITY"}  # combined with a number, they give the number
# Overflow of these is undefined for signed integers in C++, and wraps around for unsigned ones.
_WRAPPING = (Op.ADD, Op.SUBTRACT, Op.MULTIPLY)
HEADER = """
#ifndef LANES
#define LANES 32
#endif
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif
template <class T> __device__ T plus(T a, T b) { return a + b; }
template <class T> __device__ T maximum(T a, T b) { return a >= b || a != a ? a : b; }
template <class T> __device__ T minimum(T a, T b) { return a <= b || a != a ? a : b; }
// Loops that the threads of a grid or a block share, the blocks of a grid, their warps, or the lanes of a warp
#define GRID(t, n) for (int t = blockIdx.x * blockDim.x + threadIdx.x; t < (n); t += gridDim.x * blockDim.x)
#define BLOCK(t, n) for (int t = threadIdx.x; t < (n); t += blockDim.x)
#define GRID_BLOCKS(k, n) for (int k = blockIdx.x; k < (n); k += gridDim.x)
#define GRID_WARPS(i, n) \\
    for (int i = (blockIdx.x * blockDim.x + threadIdx.x) / LANES; i < (n); i += gridDim.x * blockDim.x / LANES)
#define BLOCK_WARPS(i, n) for (int i = threadIdx.x / LANES; i < (n); i += blockDim.x / LANES)
#define LANE (threadIdx.x % LANES)
#define WARP(j, n) for (int j = LANE; j < (n); j += LANES)
// The values r of all lanes of a warp, combined by f in each lane
#define OVER_WARP(r, f) \\
    for (int d = LANES / 2; d > 0; d /= 2) r = f(r, __shfl_xor_sync(0xffffffffu, r, d));
// Those of all threads of a block: of each warp, then of the warps; `start` does not change what f combines it with
#define OVER_BLOCK(T, r, f, start) { \\
    __shared__ T warps_r[LANES]; \\
    OVER_WARP(r, f) \\
    if (LANE == 0) warps_r[threadIdx.x / LANES] = r; \\
    __syncthreads(); \\
    r = LANE < blockDim.x / LANES ? warps_r[LANE] : start; \\
    OVER_WARP(r, f) \\
    __syncthreads(); \\
}
"""


class KernelText:
    """The lines of a kernel, whose arguments are `pointers` to the buffers that the lines name."""

    def __init__(self) -> None:
        self.pointers: dict[Buffer, str] = {}
        self._numbers = itertools.count()  # of the variables

    def pointer(self, buffer: Buffer) -> str:
        """Return the pointer to a buffer's first element."""
        return self.pointers.setdefault(buffer, f"p{len(self.pointers)}")

    def element(self, value: Value, index: Sequence[str]) -> str:
        """Return the text of an element of a value that is broadcast to a loop; `index` has a name for each axis."""
        own = index[len(index) - len(value.shape) :] or "0" * len(value.shape)
        axes = zip(own, value.shape, value.strides, strict=True)
        terms = [f"{i} * {stride}" for i, n, stride in axes if n > 1 and i != "0"]
        return f"{self.pointer(value.buffer)}[{' + '.join([str(value.offset), *terms])}]"

    def variable(self, prefix: str) -> str:
        """Return a new name."""
        return f"{prefix}{next(self._numbers)}"

    def elementwise(self, loop: Loop, lines: list[str], known: dict[Value, str] | None = None) -> list[str]:
        """Return `lines`, then those of elementwise instructions at the index i, j.

        `known` are the variables that hold elements; it is updated.
        """
        known = {} if known is None else known
        over = [*(instruction.over for instruction in loop.instructions), *loop.stored]
        index = "ij"[: len(over[0].shape)] if over else ""

        def hold(value: Value, prefix: str, text: str) -> None:
            known[value] = self.variable(prefix)
            lines.append(f"const {TYPES[str(value.dtype)]} {known[value]} = {text};")

        for instruction in loop.instructions:
            for each in instruction.reads:
                if each not in known:
                    hold(each, "y", self.element(each, index))
            texts = [known[each] if isinstance(each, Value) else _constant(each) for each in instruction.inputs]
            if instruction.is_partial:
                lines.append(_combined(instruction, texts[0]))
                continue
            hold(instruction.out, "x", _expression(instruction, texts))
        results = [value for value in loop.stored if value in known]
        return [*lines, *(f"{self.element(value, index)} = {known[value]};" for value in results)]

    def reduction_by_thread(self, instruction: Instruction) -> list[str]:
        """Return the lines by which a thread reduces row or column i of a matrix."""
        (value,), axis = instruction.reads, instruction.axis or 0
        loop = f"for (int j = 0; j < {value.shape[axis]}; ++j)"
        lines = [*_started(instruction), "#pragma unroll"]
        lines.append(f"{loop} {_combined(instruction, self.element(value, _INDEX[axis]))}")
        return braces("", [*lines, f"{self.element(instruction.out, 'i')} = {_result(instruction)};"])

    def reduction_by_warp(self, instruction: Instruction) -> list[str]:
        """Return the lines by which a warp reduces row or column i of a matrix."""
        (value,), axis, r = instruction.reads, instruction.axis or 0, _result(instruction)
        loop = f"WARP(j, {value.shape[axis]})"
        lines = [*_started(instruction), f"{loop} {_combined(instruction, self.element(value, _INDEX[axis]))}"]
        lines.append(f"OVER_WARP({r}, {COMBINATIONS[instruction.op]})")
        return braces("", [*lines, f"if (LANE == 0) {self.element(instruction.out, 'i')} = {r};"])

    def reduction_by_block(self, instruction: Instruction) -> list[str]:
        """Return the lines by which a block reduces an array, or row or column i of a matrix."""
        (value,), axis = instruction.reads, instruction.axis
        if axis is None:
            index, place, loop = index_lines(value), "ij"[: len(value.shape)], f"BLOCK(t, {value.size})"
        else:
            index, place, loop = [], _INDEX[axis], f"BLOCK(j, {value.shape[axis]})"
        lines = braces(loop, [*index, _combined(instruction, self.element(value, place))])
        own = self.element(instruction.out, "i"[: len(instruction.out.shape)])
        return braces("", [*_started(instruction), *lines, *_over_block(instruction, own)])

    def reduction_in_block(self, instruction: Instruction) -> list[str]:
        """Return the lines by which a block does a reduction: each result by a thread, a warp or the whole block."""
        (value,), axis, n = instruction.reads, instruction.axis, instruction.out.size
        length = value.size if axis is None else value.shape[axis]
        if axis is None:
            return self.reduction_by_block(instruction)
        if length <= _SHORT:
            return braces(f"BLOCK(i, {n})", self.reduction_by_thread(instruction))
        if length <= _LONG * n:
            return braces(f"BLOCK_WARPS(i, {n})", self.reduction_by_warp(instruction))
        return braces(f"for (int i = 0; i < {n}; ++i)", self.reduction_by_block(instruction))

    def partial_reductions(self, loop: Loop) -> list[str]:
        """Return the lines by which the blocks of a grid do a loop with reductions to partial results.

        A block does each part of the elements whole, so results do not depend on the number of blocks.
        """
        partial = [instruction for instruction in loop.instructions if instruction.is_partial]
        over, n = partial[0].over, partial[0].out.size
        head = f"for (int t = k * blockDim.x + threadIdx.x; t < {over.size}; t += {n} * blockDim.x)"
        lines = [line for each in partial for line in _started(each)]
        lines += braces(head, self.elementwise(loop, index_lines(over)))
        lines += [line for each in partial for line in _over_block(each, self.element(each.out, "k"))]
        return braces(f"GRID_BLOCKS(k, {n})", lines)


_INDEX = ("ji", "ij")  # of the elements of a reduction along either axis, whose results have the index i


def _result(instruction: Instruction) -> str:
    """Return the name of the variable that holds the result of a reduction."""
    return f"r{instruction.out.buffer.id}"


def _started(instruction: Instruction) -> list[str]:
    """Return the line that declares the result of a reduction."""
    dtype = instruction.reads[0].dtype
    if dtype.kind != "f":
        raise UntraceableError(f"the reduction {instruction.op.numpy} of {dtype}")
    return [f"{TYPES[str(dtype)]} {_result(instruction)} = {_STARTS[instruction.op]};"]


def _combined(instruction: Instruction, element: str) -> str:
    """Return the line that combines the result of a reduction with an element."""
    r = _result(instruction)
    return f"{r} = {COMBINATIONS[instruction.op]}({r}, {element});"


def _over_block(instruction: Instruction, out: str) -> list[str]:
    """Return the lines that combine the results of a block's threads."""
    dtype, r, op = TYPES[str(instruction.out.dtype)], _result(instruction), instruction.op
    combine = f"OVER_BLOCK({dtype}, {r}, {COMBINATIONS[op]}, {_STARTS[op]})"
    return [combine, f"if (threadIdx.x == 0) {out} = {r};"]


def index_lines(value: Value) -> list[str]:
    """Return the lines that make the index i, j of t, such that neighbours are neighbours in memory."""
    if len(value.shape) < 2:
        return ["const int i = t;"] * len(value.shape)
    n, m = value.shape
    return ["const int " + (f"i = t % {n}, j = t / {n};" if value.buffer.by_columns else f"i = t / {m}, j = t % {m};")]


def _constant(number: np.generic) -> str:
    """Return the text of a number, with its type."""
    text = repr(number.item()).replace("inf", "INFINITY").replace("True", "true").replace("False", "false")
    return f"({TYPES[str(number.dtype)]})({text})"


def _expression(instruction: Instruction, names: list[str]) -> str:
    """Return the text of an elementwise instruction on inputs that have names."""
    dtype = instruction.out.dtype
    if dtype.kind == "i" and instruction.op in _WRAPPING:
        names = [f"(unsigned {TYPES[str(dtype)]})({name})" for name in names]
    return f"({TYPES[str(dtype)]})({instruction.op.cuda.format(*names)})"


def braces(head: str, body: Iterable[str]) -> list[str]:
    """Return a block of lines: the head, then the body within braces."""
    return [f"{head} {{".lstrip(), *(f"    {line}" for line in body), "}"]
