"""Plan the memory of results: reuse buffers that are not read again, and choose the faster order of elements."""

from __future__ import annotations

from dataclasses import replace

from xpnet_backends.compiler.ir import Buffer, Program, Role, Value, value_of
from xpnet_backends.compiler.ops import Op

__all__ = ["memory_plan", "narrow_by_columns", "reuse_buffers"]

# A matrix with at most this many columns that is reduced along its rows lies column by column: vector instructions
# then take the sum or the maximum of many rows at once.
_NARROW = 64


def memory_plan(program: Program, narrow: int = _NARROW) -> Program:
    """Apply both passes of this module; matrices with at most `narrow` columns may come to lie by columns."""
    return narrow_by_columns(reuse_buffers(program, narrow), narrow)


def reuse_buffers(program: Program, narrow: int = _NARROW) -> Program:
    """Write a result over one that is not read again.

    An elementwise result takes the buffer of an input, a product that of an earlier product.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet_backends.compiler.trace import trace
    >>> def step(params, state, batch):
    ...     z = np.tanh(batch[0] + params)
    ...     return params, state, np.sum(z * (1.0 - z))
    >>> program = trace(step, np.zeros(3), (), [np.zeros(3)])
    >>> print(program)
    batch %0: f64[3]
    state %1: f64[3]
    %2: f64[3] = add %0, %1
    %3: f64[3] = tanh %2
    %4: f64[3] = subtract 1.0, %3
    %5: f64[3] = multiply %3, %4
    %6: f64[] = sum %5
    loss %6
    >>> print(reuse_buffers(program))
    batch %0: f64[3]
    state %1: f64[3]
    %2: f64[3] = add %0, %1
    %2: f64[3] = tanh %2
    %4: f64[3] = subtract 1.0, %2
    %2: f64[3] = multiply %2, %4
    %6: f64[] = sum %2
    loss %6
    """
    last_read = {value.buffer: k for k, i in enumerate(program.instructions) for value in i.reads}
    last_read[program.loss.buffer] = len(program.instructions)
    homes: dict[Buffer, Buffer] = {}  # the buffer that each result is moved to
    written = set[Buffer]()
    products: list[Buffer] = []
    for k, instruction in enumerate(program.instructions):
        op, out, buffer = instruction.op, instruction.out, instruction.out.buffer
        new = buffer.role is Role.TEMPORARY and out.is_whole and buffer not in written
        written.add(buffer)
        if not new:
            continue
        is_product, candidates = op is Op.MATMUL, list[Buffer]()
        if is_product:
            candidates = products
        elif op.is_elementwise and op not in (Op.WHERE, Op.CAST):
            reads = [(homes.get(value.buffer, value.buffer), value.is_whole) for value in instruction.reads]
            # Do not overwrite an input if the instruction also reads a part of it.
            parts = {home for home, is_whole in reads if not is_whole}
            candidates = [home for home, _ in reads if home not in parts]
        for home in candidates:
            alike = (home.shape, home.dtype, home.role) == (buffer.shape, buffer.dtype, buffer.role)
            if alike and last_read[home] <= k - is_product:  # a product must not be written over its own factors
                homes[buffer] = home
                last_read[home] = last_read.get(buffer, k)
                break
        else:
            # The buffer of a narrow product may come to lie by columns, so it is not shared.
            if is_product and buffer.shape[-1] > narrow and buffer in last_read:
                products.append(buffer)

    return program.mapped(lambda value: value._replace(buffer=homes[value.buffer]) if value.buffer in homes else value)


def narrow_by_columns(program: Program, narrow: int = _NARROW) -> Program:
    """Store narrow matrices that are reduced along their rows column by column.

    Matrices in the same elementwise instructions are stored column by column too.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet_backends.compiler.trace import trace
    >>> def step(params, state, batch):
    ...     z = batch[0] @ batch[1]
    ...     return params, state, np.sum(np.max(z, axis=1))
    >>> program = trace(step, np.zeros(1), (), [np.zeros((9, 4)), np.zeros((4, 2))])
    >>> print(program)
    batch %0: f64[9,4], %1: f64[4,2]
    state %2: f64[1]
    %3: f64[9,2] = matmul %0, %1
    %4: f64[9] = max %3, axis=1
    %5: f64[] = sum %4
    loss %5
    >>> print(narrow_by_columns(program))
    batch %0: f64[9,4], %1: f64[4,2]
    state %2: f64[1]
    %3: f64[9,2] by columns = matmul %0, %1
    %4: f64[9] = max %3, axis=1
    %5: f64[] = sum %4
    loss %5
    """
    chosen = set[Buffer]()
    meetings: list[set[Buffer]] = []  # the matrices of each elementwise instruction
    for instruction in program.instructions:
        op, _, out, axis = instruction
        if op.is_reduction and axis == 1 and instruction.reads[0].shape[1] <= narrow:
            chosen.add(instruction.reads[0].buffer)
        if op.is_elementwise and len(out.shape) == 2 and out.is_whole:
            meetings.append({each.buffer for each in instruction.values if each.shape == out.shape and each.is_whole})
    size = 0
    while size < len(chosen):
        size = len(chosen)
        chosen.update(*(meeting for meeting in meetings if meeting & chosen))
    values = [program.loss, *(value for instruction in program.instructions for value in instruction.values)]
    places = {value: _by_columns(value) for value in values if value.buffer in chosen}
    turned = chosen - {value.buffer for value, place in places.items() if place is None}
    buffers = {buffer: replace(buffer, by_columns=True) for buffer in turned}

    def moved(value: Value) -> Value:
        place = places[value] if value.buffer in turned else None
        return value if place is None else place._replace(buffer=buffers[value.buffer])

    return program.mapped(moved)


def _by_columns(value: Value) -> Value | None:
    """Return the place of the same elements if the buffer lies by columns; None if it must stay by rows."""
    if value.buffer.role is not Role.TEMPORARY or len(value.buffer.shape) != 2:
        return None
    m, n = value.buffer.shape
    row, column = divmod(value.offset, n)
    last, strides = column, []
    for length, stride in zip(value.shape, value.strides, strict=True):
        along_rows = stride % n == 0
        strides.append(stride // n if along_rows else stride * m)
        last += 0 if along_rows else (length - 1) * stride
    fits = 0 <= last < n
    return value_of(value.buffer, value.shape, strides, row + column * m) if fits else None
