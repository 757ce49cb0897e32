"""Constraints on parameters as data, and the one function that holds values to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple

from xpnet.errors import InvalidParameterError

__all__ = ["Constraint", "check_constraints", "fraction", "integer", "one_of", "optional", "real"]


class Constraint(NamedTuple):
    """What is expected, in words, and whether a value is that."""

    expected: str
    holds: Callable[[Any], bool]


def real(low: float, high: float = math.inf, *, closed: bool = True) -> Constraint:
    """Return the constraint of a finite number from `low` (itself allowed if `closed`) to below `high`."""

    def holds(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, Real):  # NumPy's numbers are Real too
            return False
        number = float(value)
        return math.isfinite(number) and (low <= number if closed else low < number) and number < high

    above = f"{'of at least' if closed else 'above'} {low:g}"
    return Constraint(f"a finite number {above}" + (f" and below {high:g}" if high < math.inf else ""), holds)


def fraction() -> Constraint:
    """Return the constraint of a number from 0 to 1, both allowed."""
    at_least_0 = real(0)
    return Constraint("a number from 0 to 1", lambda value: at_least_0.holds(value) and float(value) <= 1)


def integer(low: int) -> Constraint:
    """Return the constraint of an integer of at least `low`."""
    return Constraint(
        f"an integer of at least {low}",
        lambda value: isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= low,
    )


def one_of(*values: Any) -> Constraint:
    """Return the constraint of one of a few values."""
    return Constraint("one of " + ", ".join(map(repr, values)), lambda value: value in values)


def optional(constraint: Constraint) -> Constraint:
    """Return a constraint that None meets too."""
    return Constraint(constraint.expected + ", or None", lambda value: value is None or constraint.holds(value))


def check_constraints(values: Any, table: Mapping[str, Constraint]) -> None:
    """Hold the attributes of an object to a table of constraints; each element of a tuple is held to it.

    Raises
    ------
    InvalidParameterError
        Names the attribute, what was expected and what was received.
    """
    for name, constraint in table.items():
        received = getattr(values, name)
        for value in received if isinstance(received, tuple) else (received,):
            if not constraint.holds(value):
                raise InvalidParameterError(f"{name}: expected {constraint.expected}; received {value!r}.")
