"""Matrix products, and the text of small ones with a short side, such as those of a last layer of ten units.

NVIDIA's libraries have no good kernels for them: on an H200 each takes 6 to 31 us, whatever its work. All arithmetic is
in the precision of the matrices.
"""

from __future__ import annotations

from typing import NamedTuple

from xpnet_backends.compiler.cuda_row_loops import SHORT_ROW
from xpnet_backends.compiler.cuda_text import TYPES, KernelText, braces, index_lines
from xpnet_backends.compiler.ir import Group, Kind, Loop, Role, Value, value_of

__all__ = ["Product", "is_narrow", "loop_after", "narrow_product", "product_of"]

# Multiplications of a product that is small: for more, libraries reuse what they read better than these loops do.
_SMALL = 1 << 21
# Terms of an element's sum, over which a thread or a warp goes alone: with the 65,536 rows of a large batch that takes
# 93 us on an H200, of which libraries need 6. With 1,024 rows it takes half of their time.
_LONGEST = 4096


class Product(NamedTuple):
    """``out = a @ b`` of matrices.

    Attributes
    ----------
    a, b, out : Value
    exact : bool
        Whether the factors are not rounded to a lower precision.
    """

    a: Value
    b: Value
    out: Value
    exact: bool


def product_of(group: Group) -> Product:
    """Return the product of a SINGLE group."""
    a, b, out = group.instructions[0].values
    # A product with a constant, a vector of ones, is a sum.
    return Product(_matrix(a), b, _matrix(out), a.buffer.role is Role.CONSTANT)


def _matrix(value: Value) -> Value:
    """Return a vector as a matrix of one row."""
    return value if len(value.shape) == 2 else value_of(value.buffer, (1, value.size), (0, 1), value.offset)


def is_narrow(product: Product) -> bool:
    """Tell whether a product is small, has a side of a few elements, and no long sums."""
    (m, k), n = product.a.shape, product.b.shape[1]
    return min(m, n, k) <= SHORT_ROW and k <= _LONGEST and m * n * k <= _SMALL


def loop_after(product: Product, group: Group) -> Loop | None:
    """Return the loop of the group after a narrow product, if the kernel of the product can do it too.

    A thread must have an element of the result, and the loop must do no more than change it in its place, for which it
    reads no other element.
    """
    by_elements = product.b.shape[0] <= SHORT_ROW and group.kind is Kind.ELEMENTS
    return group.loops[0] if by_elements and group.loops[0].stored == (product.out,) else None


def narrow_product(text: KernelText, product: Product, loop: Loop | None) -> tuple[list[str], int]:
    """Return the lines of a kernel for a narrow product and the loop after it, and the number of its threads."""
    a, b, out = product[:3]
    kind, k = TYPES[str(out.dtype)], b.shape[0]
    if k <= SHORT_ROW:  # a thread does an element
        lines = [
            *index_lines(out),
            f"{kind} sum = 0;",
            "#pragma unroll",
            f"for (int k = 0; k < {k}; ++k) sum += {text.element(a, 'ik')} * {text.element(b, 'kj')};",
        ]
        lines = text.elementwise(loop or Loop((), (out,)), lines, {out: "sum"})
        return braces(f"GRID(t, {out.size})", lines), out.size
    if out.shape[0] < out.shape[1]:
        a, b, out = b.T, a.T, out.T
    m, n = out.shape  # a warp does a row
    each = f"for (int j = 0; j < {n}; ++j)"
    lines = [
        f"{kind} sums[{n}];",
        f"#pragma unroll\n{each} sums[j] = 0;",
        "#pragma unroll 4",
        *braces(
            f"WARP(k, {k})",
            [
                f"const {kind} x = {text.element(a, 'ik')};",
                f"#pragma unroll\n{each} sums[j] += x * {text.element(b, 'kj')};",
            ],
        ),
        f"#pragma unroll\n{each} {{ OVER_WARP(sums[j], plus) }}",
        *braces("if (LANE == 0)", [f"#pragma unroll\n{each} {text.element(out, 'ij')} = sums[j];"]),
    ]
    return braces(f"GRID_WARPS(i, {m})", lines), 32 * m
