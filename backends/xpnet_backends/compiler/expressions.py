"""Elementwise calls of NumPy as text: what Python and C++ write alike, and the choice between kinds of calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xpnet_backends.compiler.trace import Statement, UntraceableError

__all__ = ["OPERATORS", "written"]

OPERATORS: dict[Any, str] = {
    np.add: "{} + {}",
    np.subtract: "{} - {}",
    np.multiply: "{} * {}",
    np.divide: "{} / {}",
    np.negative: "-{}",
    np.maximum: "maximum({}, {})",
    np.minimum: "minimum({}, {})",
    np.greater: "{} > {}",
    np.greater_equal: "{} >= {}",
    np.less: "{} < {}",
    np.less_equal: "{} <= {}",
    np.equal: "{} == {}",
    np.not_equal: "{} != {}",
    np.bitwise_and: "{} & {}",
    np.bitwise_or: "{} | {}",
    np.bitwise_xor: "{} ^ {}",
    np.right_shift: "{} >> {}",
}


def written(statement: Statement, expressions: Mapping[Any, str], where: str) -> str:
    """Return the text of an elementwise call, with braces in the place of its operands.

    Parameters
    ----------
    expressions : mapping of function to str
    where : str
        Of a choice: its condition, and what it is where that holds and where it does not.

    Raises
    ------
    UntraceableError
        The function has no text.
    """
    if statement.kind == "cast":
        return "{}"
    if statement.kind == "call":
        return where
    if statement.function not in expressions:
        raise UntraceableError(f"the function {statement.function.__name__}")
    return expressions[statement.function]
