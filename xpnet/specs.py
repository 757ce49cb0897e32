"""Specs: a name with options, as the command line, the library and model files write it: ``"adam:beta_1=0.8"``."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from xpnet.constraints import Constraint
from xpnet.errors import InvalidParameterError, UnknownNameError, shown

__all__ = ["from_spec", "options_of"]

_FINITE = Constraint("a finite number", math.isfinite)


def from_spec(
    kind: str,
    spec: str,
    table: Mapping[str, Callable[..., Any]],
    ranges: Mapping[str, Constraint] | None = None,
    synonyms: Mapping[str, str] = MappingProxyType({}),
) -> Any:
    """Parse a spec, and call the factory that the table has under its name, with its options.

    Parameters
    ----------
    kind : str
        What the table holds, for error messages: ``"optimizer"``.
    spec : str
        ``name`` or ``name:option=number,option=number``.
    table : mapping of str to callable
        Factories by name; their keyword arguments are the options.
    ranges : mapping of str to Constraint, optional
        Allowed values of each option; an option that is not in it may be any finite number.
    synonyms : mapping of str to str, optional
        Names that others use, and which one is meant, for error messages; see `UnknownNameError.among`.

    Returns
    -------
    object
        What the factory returns.

    Raises
    ------
    UnknownNameError
        The table has no such name, or the factory has no such option.
    InvalidParameterError
        The spec is not a text, or the value of an option is not a finite number, or is outside its range.

    Examples
    --------
    >>> from xpnet.specs import from_spec
    >>> from_spec("shape", "square:side=2", {"square": lambda side=1.0: side * side})
    4.0
    """
    if not isinstance(spec, str):
        raise InvalidParameterError(f"{kind}: expected one of {', '.join(sorted(table))}; received {shown(spec)}.")
    name, _, tail = spec.partition(":")
    if name not in table:
        raise UnknownNameError.among(kind, name, table, synonyms)
    factory = table[name]
    known = options_of(factory)
    options = {}
    for item in filter(None, tail.split(",")):
        option, _, text = item.partition("=")
        if option not in known:
            what = f"option of {kind} {name}"
            if known:
                raise UnknownNameError.among(what, option, known)
            raise UnknownNameError(f"unknown {what}: expected none, it has no options; received {shown(option)}.")
        options[option] = _number(f"{kind} {shown(spec)}: {option}", text, (ranges or {}).get(option, _FINITE))
    return factory(**options)


@lru_cache(maxsize=128)
def options_of(factory: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of the options that a factory takes."""
    return tuple(inspect.signature(factory).parameters)


def _number(what: str, text: str, constraint: Constraint) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not constraint.holds(value):
        raise InvalidParameterError(f"{what}: expected {constraint.expected}; received {shown(text)}.")
    return value
