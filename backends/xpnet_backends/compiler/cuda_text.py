"""Write the parts of instructions in CUDA C++: types, arrays, numbers, expressions."""

from __future__ import annotations

import numpy as np

from xpnet_backends.compiler.ir import Buffer, Instruction, Value
from xpnet_backends.compiler.ops import Op

__all__ = ["TYPES", "Names", "constant", "expression", "index_of"]

TYPES = {"float32": "float", "float64": "double", "int32": "int", "int64": "long long", "bool": "bool"}
# Overflow of these is undefined for signed integers in C++, and wraps around for unsigned ones.
_WRAPPING = (Op.ADD, Op.SUBTRACT, Op.MULTIPLY)


class Names:
    """The arguments of a kernel: a pointer for each buffer."""

    def __init__(self) -> None:
        self.pointers: dict[Buffer, str] = {}

    def __call__(self, buffer: Buffer) -> str:
        """Return the pointer to a buffer's first element."""
        return self.pointers.setdefault(buffer, f"p{len(self.pointers)}")

    def element(self, value: Value, index: tuple[str, ...]) -> str:
        """Return the text of an element of a value that is broadcast to a loop with such an index."""
        own = index[len(index) - len(value.shape) :] if index else ("0",) * len(value.shape)
        axes = zip(own, value.shape, value.strides, strict=True)
        terms = [f"{i} * {stride}" for i, n, stride in axes if n > 1 and i != "0"]
        return f"{self(value.buffer)}[{' + '.join([str(value.offset), *terms])}]"


def index_of(value: Value) -> list[str]:
    """Return the lines that make the index i, j of t, such that neighbours are neighbours in memory."""
    if len(value.shape) < 2:
        return ["const int i = t;"] * len(value.shape)
    n, m = value.shape
    return ["const int " + (f"i = t % {n}, j = t / {n};" if value.buffer.by_columns else f"i = t / {m}, j = t % {m};")]


def constant(number: np.generic) -> str:
    """Return the text of a number, with its type."""
    text = repr(number.item()).replace("inf", "INFINITY")
    return f"({TYPES[str(number.dtype)]})({text})".replace("(True)", "(true)").replace("(False)", "(false)")


def expression(instruction: Instruction, names: list[str]) -> str:
    """Return the text of an elementwise instruction on inputs that have names."""
    dtype = instruction.out.dtype
    if dtype.kind == "i" and instruction.op in _WRAPPING:
        unsigned = "unsigned long long" if dtype.itemsize == 8 else "unsigned"
        names = [f"({unsigned})({name})" for name in names]
    return f"({TYPES[str(dtype)]})({instruction.op.cuda.format(*names)})"
