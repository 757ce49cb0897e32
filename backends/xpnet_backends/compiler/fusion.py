"""The calls of a recorded step in an order in which as many as possible share a kernel on a GPU."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xpnet_backends.compiler.memory_plan import Layout, is_apart
from xpnet_backends.compiler.trace import Statement

__all__ = ["Grouping"]

# Arrays of up to so many numbers are the affair of a single block.
_SMALL = 4096


class Grouping:
    """Groups of calls, and of these the parts that share a loop.

    The kinds of groups are ``"product"``, ``"concat"`` and ``"columns"``, a sum over many rows, of one call each;
    ``"each"``, elementwise calls of one shape; ``"rows"``, what meets in rows of matrices; and ``"block"``, whatever
    is small.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def groups(self) -> Iterator[tuple[str, list[Statement]]]:
        """Yield the kind of each group and its calls."""
        rest = self._layout.statements
        while rest:
            kind, first = self._kind(rest[0]), rest[0]
            if kind == "each":
                group, left = self._grouped(rest, "rows")
                if not any(statement.kind == "reduce" for statement in group):
                    group, left = self._grouped(rest, "each")
                else:
                    kind = "rows"
            elif kind in ("product", "concat", "columns"):
                group, left = [first], rest[1:]
            else:
                group, left = self._grouped(rest, kind)
            yield kind, group
            rest = left

    def _kind(self, statement: Statement) -> str:
        if statement.kind == "matmul":
            return "product"
        if statement.kind == "concat":
            return "concat"
        sizes = [array.size for array in (*self._layout.reads(statement), self._layout.array(statement.out))]
        if max(sizes) <= _SMALL:
            return "block"
        if statement.kind == "reduce":
            axis, _ = statement.extra
            return {None: "block", 0: "columns", 1: "rows"}[axis if statement.inputs[0].ndim == 2 else None]
        return "each"

    def _grouped(self, rest: list[Statement], kind: str) -> tuple[list[Statement], list[Statement]]:
        group: list[Statement] = []
        left: list[Statement] = []
        for statement in rest:
            joins = not group or (self._fits(statement, kind, group) and self._is_free(statement, left))
            (group if joins else left).append(statement)
        return group, left

    def _is_free(self, statement: Statement, passed: list[Statement]) -> bool:
        """Tell whether a call may be done before calls that it was recorded after."""
        out = self._layout.array(statement.out)
        for other in passed:
            result = self._layout.array(other.out)
            if any(np.may_share_memory(array, result) for array in (*self._layout.reads(statement), out)):
                return False
            if any(np.may_share_memory(array, out) for array in self._layout.reads(other)):
                return False
        return True

    def _fits(self, statement: Statement, kind: str, group: list[Statement]) -> bool:
        own = self._kind(statement)
        if kind == "block":
            return own == "block"
        if own not in ("each", "rows", "block") or (statement.kind == "reduce" and own != "rows"):
            return False
        out, first = self._layout.array(statement.out), self._layout.array(group[0].out)
        if kind == "each" and (out.shape != first.shape or statement.kind == "reduce"):
            return False
        if kind == "rows" and not (out.ndim and out.shape[0] == first.shape[0]):
            return False
        return self._layout.may_join(statement, group, is_apart if kind == "each" else _are_rows_apart)

    def parts(self, group: list[Statement]) -> Iterator[list[Statement]]:
        """Yield the calls of a group that share a loop."""
        part: list[Statement] = []
        for statement in group:
            if part and not self._share_a_loop(statement, part):
                yield part
                part = []
            part.append(statement)
        yield part

    def _share_a_loop(self, statement: Statement, part: list[Statement]) -> bool:
        if "reduce" in (statement.kind, part[0].kind):
            return False
        alike = self._layout.array(statement.out).shape == self._layout.array(part[0].out).shape
        return alike and self._layout.may_join(statement, part)


def _are_rows_apart(pair: tuple[np.ndarray, np.ndarray]) -> bool:
    """Tell whether what two arrays have in common is in the same rows."""
    a, b = pair
    if not np.may_share_memory(a, b):
        return True
    alike = a.__array_interface__["data"][0] == b.__array_interface__["data"][0] and a.ndim and b.ndim
    return bool(alike and (a.shape[0], a.strides[0]) == (b.shape[0], b.strides[0]))
