"""Walk nested tuples of arrays: parameters, optimizer state, batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["arrays_in", "map_arrays"]


def map_arrays(function: Callable[[Any], Any], tree: Any) -> Any:
    """Return the same nested tuples, named ones included, with ``function(array)`` in place of each array.

    Examples
    --------
    >>> map_arrays(abs, (-1, (-2, 3)))
    (1, (2, 3))
    """
    if not isinstance(tree, tuple):
        return function(tree)
    parts = [map_arrays(function, part) for part in tree]
    return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)


def arrays_in(tree: Any) -> list[Any]:
    """Return the arrays of nested tuples, in order.

    Examples
    --------
    >>> arrays_in((1, (2, 3)))
    [1, 2, 3]
    """
    if not isinstance(tree, tuple):
        return [tree]
    found: list[Any] = []
    for part in tree:
        if isinstance(part, tuple):
            found += arrays_in(part)
        else:
            found.append(part)
    return found
