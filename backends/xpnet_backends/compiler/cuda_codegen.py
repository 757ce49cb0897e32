"""Emit a program as CUDA: few kernels of many instructions each, and matrix products between them.

The first kernel takes the batch from the data. An ELEMENTS group becomes a kernel with a thread for each element, a
ROWS group one with a thread or a warp for each row, and a BLOCK group one with a single block, which runs one loop
after another. Small products with a short side are kernels too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from xpnet_backends.compiler.cuda_gather import GatherText, gathered
from xpnet_backends.compiler.cuda_narrow import Product, is_narrow, loop_after, narrow_product, product_of
from xpnet_backends.compiler.cuda_row_loops import SHORT_ROW, row_lines, split_rows
from xpnet_backends.compiler.cuda_text import HEADER, TYPES, KernelText, braces, index_lines
from xpnet_backends.compiler.fuse import apart, fuse, join_blocks, may_fuse, stored
from xpnet_backends.compiler.ir import Buffer, Group, Instruction, Kind, Loop, Program, Value
from xpnet_backends.compiler.memory_plan import memory_plan
from xpnet_backends.compiler.ops import Op, UntraceableError
from xpnet_backends.compiler.simplify import simplify
from xpnet_backends.compiler.split_reductions import split_reductions

__all__ = ["CudaSource", "HostCall", "Kernel", "Product", "passes"]

# Arrays of at most this many elements are the work of a single block.
_SMALL = 4096
# Threads of a block: those of kernels with a thread for each element, with one for each row, and with a single block.
# A row lies in registers, of which 512 threads have 128 each.
_THREADS, _ROW_THREADS, _BLOCK_THREADS = 256, 64, 512
_MOST_BLOCKS = 4096
_MOST_PARTS = 1024  # of a long reduction: enough blocks for any GPU, and the results are a single block's work
# Indices in kernels are 32-bit integers, which a loop may exceed by the number of threads of the grid.
_LARGEST = 2**31 - _THREADS * _MOST_BLOCKS


def passes(program: Program) -> Program:
    """Apply the passes for CUDA."""
    program = simplify(program, smallest_product=_SMALL)
    program = split_reductions(program, smallest=_SMALL, part=_THREADS, most=_MOST_PARTS)
    return join_blocks(fuse(memory_plan(program, narrow=SHORT_ROW), _kind, across_products=True))


def _kind(instruction: Instruction) -> Kind:
    if instruction.op in (Op.MATMUL, Op.CALL):
        return Kind.SINGLE
    if instruction.is_partial:
        return Kind.ELEMENTS
    if max(value.size for value in instruction.values) <= _SMALL:
        return Kind.BLOCK
    if instruction.op.is_elementwise:
        return Kind.ELEMENTS
    if instruction.axis == 0:
        raise UntraceableError(f"the reduction {instruction.op.numpy} over many rows")
    return Kind.BLOCK if instruction.axis is None else Kind.ROWS


class HostCall(NamedTuple):
    """A call of a function that puts its work on an array on the stream."""

    function: Callable[[Any], None]
    value: Value


class Kernel(NamedTuple):
    """A launch of `blocks` of `threads` on the addresses of buffers."""

    name: str
    buffers: tuple[Buffer, ...]
    blocks: int
    threads: int


class CudaSource:
    """The CUDA source of a program after `passes`: it gathers its batch by an order and a counter, and stores the loss.

    Attributes
    ----------
    text : str
    launches : list of Kernel, Product and HostCall
        The launches of a step, in order. A narrow product is a kernel.
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
        self._loss, self._later = program.loss, list[Instruction]()
        self.order = Buffer(-1, (n_steps, batch), np.dtype(np.int32))
        self.counter = Buffer(-2, (1,), np.dtype(np.int32))
        self.losses = Buffer(-3, (n_steps,), program.loss.dtype)
        self.table = Buffer(-4, (len(program.batch),), np.dtype(np.int64))
        self.launches: list[Kernel | Product | HostCall] = []
        self._calls = program.calls
        self._functions: list[str] = []
        if any(value.buffer.size > _LARGEST for i in program.instructions for value in i.values):
            raise UntraceableError(f"an array of more than {_LARGEST} elements")
        text = GatherText(program.batch, self.order, self.counter, self.table)
        copied, first = gathered(program)
        self._kernel(text, *text.lines(copied, first))
        last = max(
            k
            for k, group in enumerate(program.groups)
            if any(value.overlaps(program.loss) for loop in group.loops for value in loop.stored)
        )
        emitters = {
            Kind.ELEMENTS: self._elements,
            Kind.ROWS: self._rows,
        }
        joined: Group | None = None
        for k, group in enumerate(program.groups):
            if (k == 0 and first is not None) or group is joined:
                continue
            self._later = [each for other in program.groups[k + 1 :] for each in other.instructions]
            if group.kind is Kind.BLOCK:
                self._block(group, program.loss if k == last else None)
            elif group.kind is Kind.SINGLE:
                joined = self._product(group, *program.groups[k + 1 : k + 2])
            else:
                emitters[group.kind](group)
        self.text = HEADER + "\n".join(self._functions)

    def _kernel(self, text: KernelText, lines: list[str], n_threads: int, threads: int = _THREADS) -> None:
        """Add a kernel of these lines, and its launch with blocks of `threads` for about `n_threads`."""
        name = f"k{len(self._functions)}"
        arguments = ", ".join(f"{TYPES[str(buffer.dtype)]}* {pointer}" for buffer, pointer in text.pointers.items())
        # How many registers a thread may have: as many as let one block run, or the compiler keeps more for a second.
        head = f'extern "C" __global__ void __launch_bounds__({threads}, 1) {name}({arguments})'
        self._functions += braces(head, lines)
        blocks = max(1, min(-(-n_threads // threads), _MOST_BLOCKS))
        self.launches.append(Kernel(name, tuple(text.pointers), blocks, threads))

    def _product(self, group: Group, after: Group | None = None) -> Group | None:
        """Add a product, or a call; return the group after it if it is done, too."""
        instruction = group.instructions[0]
        if instruction.op is Op.CALL:
            assert instruction.axis is not None
            self.launches.append(HostCall(self._calls[instruction.axis], instruction.out))
            return None
        product = product_of(group)
        if not is_narrow(product):
            self.launches.append(product)
            return None
        text, loop = KernelText(), loop_after(product, after) if after else None
        self._kernel(text, *narrow_product(text, product, loop), _ROW_THREADS)
        return after if loop else None

    def _elements(self, group: Group) -> None:
        text, (loop,) = KernelText(), group.loops
        over = loop.instructions[0].over
        if any(instruction.is_partial for instruction in loop.instructions):
            lines = text.partial_reductions(loop)
        else:
            lines = braces(f"GRID(t, {over.size})", text.elementwise(loop, index_lines(over)))
        self._kernel(text, lines, over.size)

    def _rows(self, group: Group) -> None:
        text, lines = KernelText(), list[str]()
        n = group.loops[0].instructions[0].out.shape[0]
        rows, others = split_rows(group.loops)
        if rows and not others:
            lines = braces(f"GRID(i, {n})", row_lines(text, rows, self._kept(rows)))
            self._kernel(text, lines, n, _ROW_THREADS)
            return
        for loop in group.loops:
            instruction = loop.instructions[0]
            if instruction.op.is_reduction:
                lines += text.reduction_by_warp(instruction)
            else:
                columns = (*instruction.out.shape, 1)[1]
                lines += braces(f"WARP(j, {columns})", text.elementwise(loop, []))
            lines.append("__syncwarp();")
        self._kernel(text, braces(f"GRID_WARPS(i, {n})", lines), 32 * n)

    def _kept(self, loops: tuple[Loop, ...], rest: tuple[Loop, ...] = ()) -> Iterable[Value]:
        """Return the results of loops that are read after them; `rest` are those of the group that come then."""
        return stored(_instructions(loops), [*_instructions(rest), *self._later], self._loss)

    def _block(self, group: Group, loss: Value | None) -> None:
        """Write the kernel of a BLOCK group; it stores the loss at its end if one is given."""
        text, lines, unseen = KernelText(), list[str](), list[Instruction]()
        loops = group.loops
        while loops:
            rows, rest = split_rows(loops)
            part, loops = (rows, rest) if rows else (loops[:1], loops[1:])
            instructions, out = _instructions(part), part[0].instructions[0].out
            if not all(may_fuse(each, unseen, apart) for each in instructions):
                lines.append("__syncthreads();")  # for what other threads read and wrote since the last one
                unseen.clear()
            unseen += instructions
            if rows:
                lines += braces(f"BLOCK(i, {out.shape[0]})", row_lines(text, rows, self._kept(rows, rest)))
            elif instructions[0].op.is_reduction:
                lines += text.reduction_in_block(instructions[0])
            else:
                lines += braces(f"BLOCK(t, {out.size})", text.elementwise(part[0], index_lines(out)))
        if loss is not None:
            counter, losses = text.pointer(self.counter), text.pointer(self.losses)
            done = f"{losses}[{counter}[0]] = {text.element(loss, '')}; {counter}[0] += 1;"
            lines += ["__syncthreads();", f"if (threadIdx.x == 0) {{ {done} }}"]
        self._kernel(text, lines, 1, _BLOCK_THREADS)


def _instructions(loops: tuple[Loop, ...]) -> list[Instruction]:
    return [instruction for loop in loops for instruction in loop.instructions]
