"""Constraints on parameters, as data, and the function that checks values against them."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple

from xpnet.errors import InvalidParameterError, shown

__all__ = [
    "Constraint",
    "as_tuple",
    "boolean",
    "check_constraints",
    "fraction",
    "instance_of",
    "integer",
    "one_of",
    "optional",
    "plain_value",
    "real",
    "text",
]


class Constraint(NamedTuple):
    """A condition on a value.

    Attributes
    ----------
    expected : str
        The condition in words, for error messages.
    holds : callable
        Tells whether a value meets the condition.
    """

    expected: str
    holds: Callable[[Any], bool]


def real(low: float, high: float = math.inf, *, closed: bool = True) -> Constraint:
    """Return the constraint ``low <= value < high`` on finite numbers, or ``low < value < high`` if not `closed`."""

    def holds(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, Real):  # NumPy's numbers are Real too
            return False
        number = float(value)
        return math.isfinite(number) and (low <= number if closed else low < number) and number < high

    above = f"{'of at least' if closed else 'above'} {low:g}"
    return Constraint(f"a finite number {above}" + (f" and below {high:g}" if high < math.inf else ""), holds)


def fraction() -> Constraint:
    """Return the constraint ``0 <= value <= 1``."""
    at_least_0 = real(0)
    return Constraint("a number from 0 to 1", lambda value: at_least_0.holds(value) and float(value) <= 1)


def integer(low: int) -> Constraint:
    """Return the constraint ``value >= low`` on integers."""
    return Constraint(
        f"an integer of at least {low}",
        lambda value: isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= low,
    )


def boolean() -> Constraint:
    """Return the constraint that a value is True or False."""
    return Constraint("True or False", lambda value: isinstance(value, bool))


def one_of(*values: Any) -> Constraint:
    """Return the constraint that a value is one of `values`."""
    return Constraint(
        "one of " + ", ".join(map(repr, values)), lambda value: isinstance(value, Hashable) and value in values
    )


def instance_of(kind: type) -> Constraint:
    """Return the constraint that a value is an instance of a class."""
    return Constraint(f"an instance of {kind.__name__}", lambda value: isinstance(value, kind))


def text() -> Constraint:
    """Return the constraint that a value is a text."""
    return Constraint("a name", lambda value: isinstance(value, str))


def optional(constraint: Constraint) -> Constraint:
    """Return a constraint that also allows None."""
    return Constraint(constraint.expected + ", or None", lambda value: value is None or constraint.holds(value))


def as_tuple(value: Any) -> tuple[Any, ...]:
    """Return a sequence as a tuple, and anything else, texts included, as a tuple of one value."""
    if isinstance(value, Iterable) and not isinstance(value, str | bytes) and getattr(value, "ndim", None) != 0:
        return tuple(value)
    return (value,)


def check_constraints(values: Any, table: Mapping[str, Constraint]) -> None:
    """Check the attributes of an object against a table of constraints; a tuple is checked element by element.

    Raises
    ------
    InvalidParameterError
        An attribute does not meet its constraint; the message names both, and the value received.
    """
    for name, constraint in table.items():
        received = getattr(values, name)
        for value in received if isinstance(received, tuple) else (received,):
            if not constraint.holds(value):
                raise InvalidParameterError(f"{name}: expected {constraint.expected}; received {shown(value)}.")


def plain_value(value: Any) -> Any:
    """Return Python's own number for NumPy's, so that a network is equal to itself after a round trip through JSON."""
    if isinstance(value, tuple):
        return tuple(map(plain_value, value))
    return value.item() if hasattr(value, "item") else value
