"""Give matrix products the work that comes with them: a bias, ReLU, its derivative, and the sums of columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import NamedTuple

import numpy as np

from xpnet_backends.compiler.fuse import apart, may_fuse
from xpnet_backends.compiler.ir import Buffer, Group, Instruction, Kind, Loop, Program, Role, Value, value_of
from xpnet_backends.compiler.ops import Op

__all__ = ["Epilogue", "Product", "epilogues", "product_of"]

# cuBLASLt wants a multiple of this many bits from one row of a mask to the next.
_MASK_BITS = 128


class Epilogue(Enum):
    """What a product does with its result: the operations of the instructions that come with it."""

    NONE = ()
    BIAS = (Op.ADD,)
    BIAS_RELU = (Op.ADD, Op.MAXIMUM)
    BIAS_RELU_MASK = (Op.ADD, Op.MAXIMUM, Op.GREATER)
    MASK = (Op.MULTIPLY,)
    MASK_SUMS = (Op.MULTIPLY, Op.MATMUL)
    SUMS = (Op.MATMUL,)


class Product(NamedTuple):
    """``out = a @ b`` of matrices, and its epilogue.

    Attributes
    ----------
    a, b, out : Value
    exact : bool
        Whether the factors are not rounded to a lower precision.
    epilogue : Epilogue
    vector : Value or None
        The bias that is added to each row of `out`, (n,), or the place of the sums: of the columns of `out` or, of a
        `SUMS` epilogue, of `b`.
    mask : Value or None
        Where `out` is positive, or where it is kept, of its shape. Its memory holds a bit for each element.
    """

    a: Value
    b: Value
    out: Value
    exact: bool
    epilogue: Epilogue = Epilogue.NONE
    vector: Value | None = None
    mask: Value | None = None


Accepts = Callable[[Product], bool]


def epilogues(program: Program, accepts: Accepts) -> Program:
    """Join matrix products and groups of instructions that a product does as its epilogue, if it `accepts` that.

    - A bias, and ReLU after it. If the derivative of ReLU is another product's epilogue, the result's signs are kept
      as a mask, since that product reads the mask in place of the result.
    - The derivative of ReLU, and the sums of the columns of what it gives, which are the gradient of a bias.
    - The sums of the columns of the second factor, without another epilogue.

    Examples
    --------
    >>> from xpnet_backends.compiler.fuse import fuse
    >>> from xpnet_backends.compiler.memory_plan import memory_plan
    >>> from xpnet_backends.compiler.simplify import simplify
    >>> from xpnet_backends.compiler.trace import trace
    >>> def step(params, state, batch):
    ...     x, grad, W = batch
    ...     a = np.maximum(x @ W + params, 0.0)
    ...     delta = (grad @ W.T) * (a > 0).astype("f8")
    ...     params -= np.sum(delta, axis=0)
    ...     return params, state, np.sum(params)
    >>> program = trace(step, np.zeros(200), (), [np.zeros((4, 200)), np.zeros((4, 200)), np.zeros((200, 200))])
    >>> program = fuse(
    ...     memory_plan(simplify(program)), lambda each: Kind.ELEMENTS if each.op.is_elementwise else Kind.SINGLE
    ... )
    >>> print(program)
    batch %0: f64[4,200], %1: f64[4,200], %2: f64[200,200]
    state %3: f64[200]
    constant %13: f64[4]
    %4: f64[4,200] = matmul %0, %2
    elements:
        %4: f64[4,200] = add %4, %3
        %4: f64[4,200] = maximum %4, 0.0
        store %4
    %7: f64[4,200] = matmul %1, %2.T
    elements:
        %4: f64[4,200] = greater %4, 0.0
        %7: f64[4,200] = multiply %7, %4
        store %7
    %11: f64[200] = matmul %13, %7
    elements:
        %3: f64[200] = subtract %3, %11
        store %3
    %12: f64[] = sum %3
    loss %12
    >>> print(epilogues(program, lambda product: True))
    batch %0: f64[4,200], %1: f64[4,200], %2: f64[200,200]
    state %3: f64[200]
    constant %13: f64[4]
    product:
        %4: f64[4,200] = matmul %0, %2
        %4: f64[4,200] = add %4, %3
        %4: f64[4,200] = maximum %4, 0.0
        %15[0, strides 256,1]: bool[4,200] = greater %4, 0.0
    product:
        %7: f64[4,200] = matmul %1, %2.T
        %7: f64[4,200] = multiply %7, %15[0, strides 256,1](4,200)
        %11: f64[200] = matmul %13, %7
    elements:
        %3: f64[200] = subtract %3, %11
        store %3
    %12: f64[] = sum %3
    loss %12
    """
    groups = list(program.groups)
    new_id = 1 + max(value.buffer.id for each in program.instructions for value in each.values)
    k = 0
    while k < len(groups):  # what joins a product comes after it
        if _is_product(groups[k]) and not product_of(groups[k]).exact:
            groups = _with_bias(groups, k, accepts) or _with_mask(groups, k, new_id + k, accepts) or groups
            groups = _with_sums(groups, k, accepts) or groups
        k += 1
    instructions = tuple(each for group in groups for each in group.instructions)
    return replace(program, instructions=instructions, groups=tuple(groups))


def product_of(group: Group) -> Product:
    """Return the product of a SINGLE or PRODUCT group."""
    first, *rest = group.instructions
    a, b, out = first.values
    by_op = {each.op: each for each in rest}
    bias, kept, positive, sums = map(by_op.get, (Op.ADD, Op.MULTIPLY, Op.GREATER, Op.MATMUL))
    vector = bias.reads[1] if bias else sums.out if sums else None
    mask = kept.reads[1] if kept else positive.out if positive else None
    # A product with a constant, a vector of ones, is a sum.
    exact = a.buffer.role is Role.CONSTANT
    return Product(_matrix(a), b, _matrix(out), exact, Epilogue(tuple(each.op for each in rest)), vector, mask)


def _with_bias(groups: list[Group], k: int, accepts: Accepts) -> list[Group] | None:
    """Join product k and the loop that adds a bias to its result, and perhaps applies ReLU."""
    j, loop = _loop_on_result(groups, k)
    if tuple(each.op for each in loop) not in (Epilogue.BIAS.value, Epilogue.BIAS_RELU.value):
        return None
    add, *relu = loop
    (*others, bias), out = add.reads, add.out
    fits = others == [out] and bias.shape == out.shape[1:] and bias.is_contiguous
    in_place = all(_with_zero(each) == each.out == out for each in relu)
    return _joined(groups, k, j, loop, accepts) if fits and in_place else None


def _with_mask(groups: list[Group], k: int, new_id: int, accepts: Accepts) -> list[Group] | None:
    """Join product k and the loop that multiplies its result by the derivative of ReLU, of which a mask is kept."""
    j, loop = _loop_on_result(groups, k)
    if tuple(each.op for each in loop) != (Op.GREATER, Op.MULTIPLY):
        return None
    positive, kept = loop
    a, out = _with_zero(positive), kept.out
    if a is None or kept.reads != (out, positive.out):
        return None
    f = max(n for n, group in enumerate(groups[:j]) if any(a.overlaps(each.out) for each in group.instructions))
    if groups[f].kind is not Kind.PRODUCT or product_of(groups[f])[2:5] != (a, False, Epilogue.BIAS_RELU):
        return None
    padded = -(-a.shape[1] // _MASK_BITS) * _MASK_BITS
    mask = value_of(Buffer(new_id, (a.shape[0], padded), np.dtype(bool)), a.shape, (padded, 1))
    source = _product([*groups[f].instructions, positive._replace(out=mask)])
    if not accepts(product_of(source)):
        return None
    return _joined([*groups[:f], source, *groups[f + 1 :]], k, j, [kept._replace(inputs=(out, mask))], accepts)


def _with_sums(groups: list[Group], k: int, accepts: Accepts) -> list[Group] | None:
    """Join product k and the sums of the columns of its masked result, or of its second factor."""
    product = product_of(groups[k])
    summed = {Epilogue.NONE: product.b, Epilogue.MASK: product.out}.get(product.epilogue)
    for j in range(k + 1, len(groups)):
        if _is_product(groups[j]):
            other = product_of(groups[j])
            if other.exact and other.b == summed:
                return _joined(groups, k, j, list(groups[j].instructions), accepts)
    return None


def _is_product(group: Group) -> bool:
    return group.kind is Kind.SINGLE and group.loops[0].instructions[0].op is Op.MATMUL


def _loop_on_result(groups: list[Group], k: int) -> tuple[int, list[Instruction]]:
    """Return the next group that uses the result of product k, and its instructions if they only change the result."""
    out = groups[k].instructions[0].out
    for j in range(k + 1, len(groups)):
        own = list(groups[j].instructions)
        if any(out.overlaps(value) for each in own for value in each.values):
            alone = groups[j].kind is Kind.ELEMENTS and own[-1].out == out and groups[j].loops[0].stored == (out,)
            return j, own if alone else []
    return k, []


def _joined(
    groups: list[Group], k: int, j: int, instructions: list[Instruction], accepts: Accepts
) -> list[Group] | None:
    """Return the groups with these instructions in product k instead of group j, if they may move there."""
    between = [each for group in groups[k + 1 : j] for each in group.instructions]
    product = _product([*groups[k].instructions, *instructions])
    if all(may_fuse(each, between, apart) for each in instructions) and accepts(product_of(product)):
        return [*groups[:k], product, *groups[k + 1 : j], *groups[j + 1 :]]
    return None


def _product(instructions: list[Instruction]) -> Group:
    return Group(Kind.PRODUCT, (Loop(tuple(instructions), ()),))


def _with_zero(instruction: Instruction) -> Value | None:
    """Return the first input of an instruction whose second one is zero."""
    first, second = instruction.inputs
    return first if isinstance(first, Value) and not isinstance(second, Value) and second == 0 else None


def _matrix(value: Value) -> Value:
    """Return a vector as a matrix of one row."""
    return value if len(value.shape) == 2 else value_of(value.buffer, (1, value.size), (0, 1), value.offset)
