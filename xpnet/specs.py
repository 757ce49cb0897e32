"""Names with options, as the command line, the library and model files write them: ``adam:beta_1=0.8``."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from xpnet.constraints import Constraint
from xpnet.errors import InvalidParameterError, UnknownNameError

__all__ = ["lookup"]

_ANY = Constraint("a finite number", math.isfinite)


def lookup(
    kind: str, name: str, table: Mapping[str, Callable[..., Any]], ranges: Mapping[str, Constraint] | None = None
) -> Any:
    """Call the factory that `table` has under a name, with the options that follow it.

    Parameters
    ----------
    kind : str
        What the table holds, for messages.
    name : str
        ``name`` or ``name:option=number,option=number``.
    table : mapping of str to callable
        Factories; their keyword arguments are the options.
    ranges : mapping of str to Constraint, optional
        What an option may be; one that is not named here may be any finite number.

    Raises
    ------
    UnknownNameError
        The name, or one of the options, is unknown.
    InvalidParameterError
        An option is no finite number, or one that it cannot be.
    """
    bare, _, tail = name.partition(":")
    if bare not in table:
        raise UnknownNameError.among(kind, bare, table)
    factory = table[bare]
    known = _options(factory)
    options = {}
    for item in filter(None, tail.split(",")):
        option, _, text = item.partition("=")
        if option not in known:
            what = f"option of {kind} {bare}"
            if known:
                raise UnknownNameError.among(what, option, known)
            raise UnknownNameError(f"unknown {what}: expected none, it has no options; received {option!r}.")
        options[option] = _number(f"{kind} {name!r}: {option}", text, (ranges or {}).get(option, _ANY))
    return factory(**options)


@lru_cache(maxsize=128)
def _options(factory: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(factory).parameters)


def _number(what: str, text: str, constraint: Constraint) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not constraint.holds(value):
        raise InvalidParameterError(f"{what}: expected {constraint.expected}; received {text!r}.")
    return value
