"""Split the reduction of a long array to one number into two steps that many blocks of GPU threads can share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from xpnet_backends.compiler.ir import Buffer, Instruction, Program

__all__ = ["split_reductions"]


def split_reductions(program: Program, smallest: int, part: int, most: int) -> Program:
    """Reduce an array of more than `smallest` elements to partial results, and these to one number.

    Each partial result is that of about `part` elements, or of more where there would be more than `most` results. So
    the order of a sum depends on the length of the array alone, and not on the GPU.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet_backends.compiler.trace import trace
    >>> def step(params, state, batch):
    ...     return params, state, np.sum(params * params)
    >>> program = trace(step, np.zeros(1000), (), [np.zeros(3)])
    >>> print(program)
    batch %0: f64[3]
    state %1: f64[1000]
    %2: f64[1000] = multiply %1, %1
    %3: f64[] = sum %2
    loss %3
    >>> print(split_reductions(program, smallest=100, part=256, most=1024))
    batch %0: f64[3]
    state %1: f64[1000]
    %2: f64[1000] = multiply %1, %1
    %4: f64[4] = sum %2
    %3: f64[] = sum %4
    loss %3
    """

    def steps(instruction: Instruction, new_id: int) -> Iterator[Instruction]:
        op, reads, out = instruction.op, instruction.reads, instruction.out
        if op.is_reduction and instruction.axis is None and reads[0].size > smallest:
            n = min(-(-reads[0].size // part), most)
            partial = Buffer(new_id, (n,), out.dtype).whole
            yield instruction._replace(out=partial)
            instruction = instruction._replace(inputs=(partial,))
        yield instruction

    values = (value for instruction in program.instructions for value in instruction.values)
    first = 1 + max(buffer.id for buffer in (*program.constants, *(value.buffer for value in values)))
    instructions = [each for k, i in enumerate(program.instructions, first) for each in steps(i, k)]
    return replace(program, instructions=tuple(instructions))
