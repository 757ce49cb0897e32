"""Split instructions on whole vectors, for a kernel in which an instruction may join the one that makes its input."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace

from xpnet_backends.compiler.ir import Instruction, Program, Role, Value, value_of

__all__ = ["in_pieces", "partial_sums"]

# A vector of more elements is reduced in two phases: rows of at least so many elements, then the results.
_LONG, _ROW, _MOST_ROWS = 512, 32, 256


def in_pieces(program: Program) -> Program:
    """Split elementwise instructions on whole vectors at the pieces in which the gradient is computed.

    The update of a weight matrix then joins the product that makes the gradient, which needs no memory.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet_backends.compiler.simplify import simplify
    >>> from xpnet_backends.compiler.trace import trace
    >>> def step(params, state, batch):
    ...     params -= np.concatenate([np.reshape(batch[0].T @ batch[1], (-1,)), np.sum(batch[1], axis=0)])
    ...     return params, state, params[0]
    >>> program = simplify(trace(step, np.zeros(8), (), [np.zeros((4, 3)), np.zeros((4, 2))]), 100)
    >>> print(program)
    batch %0: f64[4,3], %1: f64[4,2]
    state %2: f64[8]
    %5[0:6]: f64[3,2] = matmul %0.T, %1
    %5[6:8]: f64[2] = sum %1, axis=0
    %2: f64[8] = subtract %2, %5
    loss %2[0:1]()
    >>> print(in_pieces(program))
    batch %0: f64[4,3], %1: f64[4,2]
    state %2: f64[8]
    %5[0:6]: f64[3,2] = matmul %0.T, %1
    %5[6:8]: f64[2] = sum %1, axis=0
    %2[0:6]: f64[3,2] = subtract %2[0:6](3,2), %5[0:6](3,2)
    %2[6:8]: f64[2] = subtract %2[6:8], %5[6:8]
    loss %2[0:1]()
    """
    pieces: dict[int, dict[int, Value]] = {}  # by the size of the vector and the offset
    for instruction in program.instructions:
        out = instruction.out
        if len(out.buffer.shape) == 1 and out.size < out.buffer.size and out.is_contiguous:
            known = pieces.setdefault(out.buffer.size, {})
            if not any(out.offset < end.offset + end.size and end.offset < out.offset + out.size
                       for end in known.values() if end.offset != out.offset):  # fmt: skip
                known.setdefault(out.offset, out)
    instructions = [part for each in program.instructions for part in _parts(each, pieces.get(each.out.size, {}))]
    return replace(program, instructions=tuple(instructions))


def _parts(instruction: Instruction, pieces: dict[int, Value]) -> Iterator[Instruction]:
    """Yield an instruction on a whole vector as instructions on pieces; any other as it is."""
    n = instruction.out.size
    vectors = [each for each in instruction.values if each.size > 1]
    splits = instruction.op.is_elementwise and all(each.shape == (n,) and each.is_contiguous for each in vectors)
    if n < 2 or not pieces or not splits:
        yield instruction
        return
    start = 0
    for offset in (*sorted(pieces), n):
        if offset > start:  # between pieces
            yield _part(instruction, start, (offset - start,))
        if offset < n:
            yield _part(instruction, offset, pieces[offset].shape)
            start = offset + pieces[offset].size


def _part(instruction: Instruction, start: int, shape: tuple[int, ...]) -> Instruction:
    def part(value: Value) -> Value:
        return value_of(value.buffer, shape, offset=value.offset + start) if value.size > 1 else value

    inputs = tuple([part(each) if isinstance(each, Value) else each for each in instruction.inputs])
    return instruction._replace(inputs=inputs, out=part(instruction.out))


def partial_sums(program: Program) -> Program:
    """Reduce a long vector in two phases: by rows, then the results. The order of a sum depends on the length alone.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet_backends.compiler.trace import trace
    >>> program = trace(lambda params, state, batch: (params, state, np.sum(params)), np.zeros(1030), (), [np.zeros(1)])
    >>> print(partial_sums(program))
    batch %0: f64[1]
    state %1: f64[1030]
    %3[0:32]: f64[32] = sum %1[0:1024](32,32), axis=1
    %3[32:33]: f64[1] = sum %1[1024:1030](1,6), axis=1
    %2: f64[] = sum %3
    loss %2
    """
    ids = itertools.count(1 + max(value.buffer.id for each in program.instructions for value in each.values))

    def split(instruction: Instruction) -> Iterable[Instruction]:
        op, inputs, out, axis = instruction
        value = inputs[0]
        if not (op.is_reduction and axis is None and isinstance(value, Value)):
            return [instruction]
        if not (value.size > _LONG and value.is_contiguous):
            return [instruction]
        n = min(_MOST_ROWS, value.size // _ROW)
        length, rest = divmod(value.size, n)
        parts = replace(out.buffer, id=next(ids), shape=(n + (rest > 0),), role=Role.TEMPORARY).whole
        places = [(n, length, 0)] + [(1, rest, n)] * (rest > 0)
        return [
            *(
                Instruction(
                    op,
                    (value_of(value.buffer, (m, width), offset=value.offset + start * length),),
                    value_of(parts.buffer, (m,), offset=start),
                    1,
                )
                for m, width, start in places
            ),
            Instruction(op, (parts,), out),
        ]

    return replace(program, instructions=tuple([each for i in program.instructions for each in split(i)]))
