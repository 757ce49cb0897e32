"""How the calls of a recorded step are written in CUDA's C++."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet_backends.compiler.expressions import OPERATORS, written
from xpnet_backends.compiler.trace import Statement

__all__ = ["TYPES", "Names", "constant", "expression", "index_of"]

TYPES = {"float32": "float", "float64": "double", "int32": "int", "int64": "long long", "bool": "bool"}
_EXPRESSIONS: dict[Any, str] = {
    **OPERATORS,
    np.logical_and: "{} && {}",
    np.logical_or: "{} || {}",
    np.logical_not: "!{}",
    np.absolute: "({0} < 0 ? -{0} : {0})",
    np.sign: "({0} > 0) - ({0} < 0)",
    **{f: f"{f.__name__}({{}})" for f in (np.exp, np.expm1, np.log, np.log1p, np.sqrt, np.tanh)},
}
_WHERE = "{} ? {} : {}"
# Of signed integers these would be undefined where they overflow.
_WRAPPING = (np.add, np.subtract, np.multiply)


class Names:
    """The arguments of a kernel: a pointer for each address."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._known: dict[tuple[int, np.dtype], str] = {}

    def __call__(self, array: np.ndarray) -> str:
        """Return the pointer to an array's first element."""
        key = (array.__array_interface__["data"][0], array.dtype)
        if key not in self._known:
            self._known[key] = f"p{len(self._known)}"
            self.arrays[self._known[key]] = array
        return self._known[key]

    def element(self, array: np.ndarray, index: tuple[str, ...]) -> str:
        """Return the text of an element of an array that is broadcast to a loop with such an index."""
        own = index[len(index) - array.ndim :] if index else ("0",) * array.ndim
        terms = [
            f"{i} * {stride // array.itemsize}"
            for i, n, stride in zip(own, array.shape, array.strides, strict=True)
            if n > 1 and i != "0"
        ]
        return f"{self(array)}[{' + '.join(terms) or '0'}]"


def index_of(shape: tuple[int, ...], in_rows: bool) -> list[str]:
    """Return the lines that make i and j of t, so that neighbours are neighbours in memory."""
    if len(shape) < 2:
        return ["const int i = t;"] * len(shape)
    n, m = shape
    return ["const int " + (f"i = t / {m}, j = t % {m};" if in_rows else f"i = t % {n}, j = t / {n};")]


def constant(value: Any) -> str:
    """Return the text of a number, with its type."""
    number = np.asarray(value)
    text = repr(number.item()).replace("inf", "INFINITY")
    return f"({TYPES[str(number.dtype)]})({text})".replace("(True)", "(true)").replace("(False)", "(false)")


def expression(statement: Statement, names: list[str], dtype: np.dtype) -> str:
    """Return the text of an elementwise call of operands that have names."""
    if dtype.kind == "i" and statement.function in _WRAPPING:
        unsigned = "unsigned long long" if dtype.itemsize == 8 else "unsigned"
        names = [f"({unsigned})({name})" for name in names]
    return f"({TYPES[str(dtype)]})({written(statement, _EXPRESSIONS, _WHERE).format(*names)})"
