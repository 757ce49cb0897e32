"""The text of CUDA kernels: macros, elementwise loops and reductions, for the emitter in `cuda_codegen`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from xpnet_backends.compiler.ir import Buffer, Instruction, Loop, Value
from xpnet_backends.compiler.ops import Op, UntraceableError

__all__ = ["COMBINATIONS", "HEADER", "TYPES", "KernelText", "braces", "index_lines"]

TYPES = {"float32": "float", "float64": "double", "int32": "int", "int64": "long long", "bool": "bool"}
COMBINATIONS = {Op.SUM: "plus", Op.MAX: "maximum"}
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
        results = [*(instruction.out for instruction in loop.instructions), *loop.stored]
        index = "ij"[: max((len(each.shape) for each in results), default=0)]

        def hold(value: Value, prefix: str, text: str) -> None:
            known[value] = self.variable(prefix)
            lines.append(f"const {TYPES[str(value.dtype)]} {known[value]} = {text};")

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
        return braces("", [*lines, f"if (LANE == 0) {self.element(instruction.out, 'i')} = r;"])

    def reduction_by_block(self, instruction: Instruction) -> list[str]:
        """Return the lines by which a block reduces a vector: each warp a part, then one warp the results."""
        (value,) = instruction.reads
        if len(value.shape) != 1:
            raise UntraceableError("the reduction of a whole matrix to one number")
        each, first = self.element(value, "t"), self.element(value, "0")
        last = _reduction(instruction, "WARP(j, blockDim.x / LANES)", "parts[j]", "parts[0]")
        lines = [
            f"__shared__ {TYPES[str(value.dtype)]} parts[LANES];",
            *_reduction(instruction, f"BLOCK(t, {value.size})", each, first),
            "if (LANE == 0) parts[threadIdx.x / LANES] = r;",
            "__syncthreads();",
            *braces("if (threadIdx.x < LANES)", [*last, f"if (LANE == 0) {self.element(instruction.out, '')} = r;"]),
        ]
        return braces("", lines)


def _reduction(instruction: Instruction, loop: str, element: str, first: str) -> list[str]:
    """Return the lines by which a warp combines the elements of a loop; each lane has the result, r."""
    dtype, f = instruction.reads[0].dtype, COMBINATIONS[instruction.op]
    if dtype.kind != "f":
        raise UntraceableError(f"the reduction {instruction.op.numpy} of {dtype}")
    start = "0" if instruction.op is Op.SUM else first  # it does not change the result
    return [f"{TYPES[str(dtype)]} r = {start};", f"{loop} r = {f}(r, {element});", f"OVER_WARP(r, {f})"]


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
