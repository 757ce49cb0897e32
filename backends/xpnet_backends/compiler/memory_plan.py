"""Where the results of a recorded step lie.

Results that die in an elementwise call are written over, and the pieces of a concatenation are computed in their
place, so that it need not be done.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from xpnet_backends.compiler.trace import Statement, Traced

__all__ = ["Layout", "is_apart", "operands", "place"]

# Up to so many columns, a matrix that is reduced along its rows lies column by column: sums and maxima are then
# taken over many rows at once.
_NARROW = 64


def operands(statement: Statement) -> Iterator[Traced]:
    """Yield what a statement reads."""
    return (each for each in statement.inputs if isinstance(each, Traced))


def _without_casts(statements: list[Statement]) -> list[Statement]:
    """Let a comparison whose result is only made a number of write that number itself."""
    readers = Counter(id(each.root) for statement in statements for each in operands(statement))
    makers: dict[int, int] = {}
    kept: list[Statement | None] = list(statements)
    for k, statement in enumerate(statements):
        source = statement.inputs[0] if statement.kind == "cast" else None
        lone = isinstance(source, Traced) and source.dtype == bool and readers[id(source)] == 1
        if lone and id(source) in makers and statement.out.base is None and not statement.out.bound:
            maker = makers[id(source)]
            kept[maker] = statements[maker]._replace(out=statement.out)
            kept[k] = None
        elif statement.kind == "each" and statement.out.base is None:
            makers[id(statement.out)] = k
    return [statement for statement in kept if statement is not None]


class Layout:
    """Where each result lies."""

    def __init__(self, statements: list[Statement], loss: Traced) -> None:
        self.statements = statements = _without_casts(statements)
        self._arrays: dict[int, np.ndarray] = {}
        self._owners: dict[int, Traced] = {}
        self._loss = loss.root
        self._last_read = {id(loss.root): len(statements)}
        for k, statement in enumerate(statements):
            for each in operands(statement):
                self._last_read[id(each.root)] = max(k, self._last_read.get(id(each.root), 0))
        self._share()
        self._columns = self._reduced_along_rows()
        self._join()
        self._placed = set(self._arrays)

    def owner(self, traced: Traced) -> Traced:
        """Return the result in whose place another lies."""
        root = traced.root
        while id(root) in self._owners:
            root = self._owners[id(root)]
        return root

    def _share(self) -> None:
        """Let a result be written over an operand, and a product over an earlier one, that is not read again."""
        made, products = set[int](), list[Traced]()
        for k, statement in enumerate(self.statements):
            kind, out = statement.kind, statement.out
            own = [self.owner(each) for each in operands(statement) if each.base is None]
            new = out.base is None and not out.bound and id(out) not in made
            # What is also seen in part is read at other places than it would be written at.
            seen = {id(self.owner(each)) for each in operands(statement) if each.base is not None}
            for owner in {"each": own, "matmul": products}.get(kind, []) if new else []:
                alike = (owner.shape, owner.dtype) == (out.shape, out.dtype) and id(owner) not in seen
                if alike and not owner.bound and self._last_read[id(owner)] <= k - (kind == "matmul"):
                    self._owners[id(out)] = owner
                    self._last_read[id(owner)] = self._last_read.get(id(out), k)
                    break
            else:
                wide = kind == "matmul" and out.shape[1] > _NARROW  # a narrow one may lie column by column
                products += [out] if new and wide and id(out) in self._last_read else []
            made.add(id(out))

    def _reduced_along_rows(self) -> set[int]:
        """Return narrow matrices that are reduced along rows, and those that meet them in elementwise calls."""
        groups: dict[int, int] = {}

        def find(i: int) -> int:
            while groups.setdefault(i, i) != i:
                i = groups[i]
            return i

        seeds = set()
        for kind, _, inputs, out, extra in self.statements:
            if kind == "reduce" and inputs[0].ndim == 2 and extra[0] == 1 and inputs[0].shape[1] <= _NARROW:
                seeds.add(id(self.owner(inputs[0])))
            if kind in ("each", "cast") and out.ndim == 2:
                for each in inputs:
                    if isinstance(each, Traced) and each.base is None and each.shape == out.shape:
                        groups[find(id(self.owner(each)))] = find(id(self.owner(out)))
        chosen = {find(seed) for seed in seeds}
        return {i for i in list(groups) if find(i) in chosen}

    def _join(self) -> None:
        """Put the pieces of each concatenation where it would copy them, and drop the copy."""
        kept = []
        for k, statement in enumerate(self.statements):
            if statement.kind == "concat" and all(self._is_piece(each, k) for each in statement.inputs):
                roots = [self.owner(each) for each in statement.inputs]
                if len({id(root) for root in roots}) == len(roots):
                    whole, start = self.array(statement.out), 0
                    for root in roots:
                        self._arrays[id(root)] = whole[start : start + root.size].reshape(root.shape)
                        start += root.size
                    continue
            kept.append(statement)
        self.statements = kept

    def _is_piece(self, each: Any, k: int) -> bool:
        if not isinstance(each, Traced):
            return False
        root = self.owner(each)
        free = not root.bound and id(root) not in self._columns and id(root) not in self._arrays
        return free and root.size == each.size and each.value.flags.c_contiguous and self._last_read[id(root)] == k

    def lies_in_rows(self, traced: Traced) -> bool:
        """Tell whether the numbers of a row lie together."""
        root = self.owner(traced)
        return id(root) not in self._columns and bool(root.value.flags.c_contiguous)

    def is_placed(self, root: Traced) -> bool:
        """Tell whether a result is a piece of another, or is made of pieces."""
        return id(root) in self._placed

    def array(self, each: Any) -> Any:
        """Return the array of an operand; what is none is returned as it is."""
        if not isinstance(each, Traced):
            return each
        if each.base is not None:
            return each.view(self.array(each.base))
        root = self.owner(each)
        if root.bound:
            return root.value
        if id(root) not in self._arrays:
            in_rows = root.ndim < 2 or self.lies_in_rows(root)
            self._arrays[id(root)] = (
                np.empty(root.shape, root.dtype) if in_rows else np.empty(root.shape[::-1], root.dtype).T
            )
        return self._arrays[id(root)]

    def reads(self, statement: Statement) -> list[np.ndarray]:
        """Return the arrays that a call reads."""
        return [self.array(each) for each in statement.inputs if isinstance(each, Traced | np.ndarray)]

    def may_join(
        self, statement: Statement, group: Iterable[Statement], apart: Callable[..., bool] | None = None
    ) -> bool:
        """Tell whether a call and those of a group meet in the same elements only, so that they can share a loop.

        `apart` tells it of a pair of arrays; it is `is_apart` unless another is given.
        """
        group = list(group)
        out, written = self.array(statement.out), [self.array(each.out) for each in group]
        met = [array for each in group for array in self.reads(each)]
        pairs = (*itertools.product(self.reads(statement), written), *itertools.product([out], written + met))
        return all(map(apart or is_apart, pairs))

    def is_needed(self, out: Traced, later: Iterable[Statement]) -> bool:
        """Tell whether what has been written to a result is read by later calls, or remains after the step."""
        owner = self.owner(out)
        if out.base is not None or owner.bound or self.is_placed(owner):
            return True
        for statement in later:
            if any(self.owner(each) is owner for each in operands(statement)):
                return True
            if self.owner(statement.out) is owner and statement.out.base is None:
                return False
        return owner is self.owner(self._loss)


def place(array: np.ndarray) -> tuple[Any, ...]:
    """Return where and how an array lies: arrays of the same place are the same, element by element."""
    return (array.__array_interface__["data"][0], array.shape, array.strides, array.dtype)


def is_apart(pair: tuple[np.ndarray, np.ndarray]) -> bool:
    """Tell whether two arrays are the same, element by element, or have no element in common."""
    a, b = pair
    return place(a) == place(b) or not np.may_share_memory(a, b)
