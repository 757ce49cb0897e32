"""The replay of a recorded step: the same calls of NumPy, without the Python and the allocations between them.

What is replayed are the calls as they were recorded, into arrays that are allocated once. Results that die in an
elementwise call are written over; chains of elementwise calls over large arrays are done a block at a time, so that
they stay in the cache; the pieces of a concatenation are computed in their place; and a few calls are exchanged for
faster ones that give the same.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from xpnet_backends.tape import Statement, Traced, record

__all__ = ["Program"]

# Bytes in a block: few enough for the operands of a chain to stay in the cache, enough to hide the cost of a call.
_BLOCK = 1 << 17
# Up to so many columns, a matrix that is reduced along its rows lies column by column: sums and maxima are then
# taken over many rows at once.
_NARROW = 64
_EXTREMES = (np.maximum, np.minimum)


class Program:
    """A recorded step, ready to be replayed on the parameters and the state that it was recorded with.

    Attributes
    ----------
    batch : tuple of arrays
        Where the replay reads the batch.
    loss : 0-d array
        Where it leaves the loss.
    replay : callable
    """

    def __init__(self, step: Callable[..., Any], params: np.ndarray, state: Any, batch: tuple[np.ndarray, ...]) -> None:
        statements, inputs, loss = record(step, params, state, batch)
        self.batch = tuple(each.value for each in inputs)
        layout = _Layout(_without_casts(statements), loss)
        self.loss = layout.array(loss)
        self.replay = _Writer(layout).replay


def _traced(statement: Statement) -> Iterator[Traced]:
    return (each for each in statement.inputs if isinstance(each, Traced))


def _without_casts(statements: list[Statement]) -> list[Statement]:
    """Let a comparison whose result is only made a number of write that number itself."""
    readers = Counter(id(each.root) for statement in statements for each in _traced(statement))
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


class _Layout:
    """Where each result lies."""

    def __init__(self, statements: list[Statement], loss: Traced) -> None:
        self.statements = statements
        self._arrays: dict[int, np.ndarray] = {}
        self._owners: dict[int, Traced] = {}
        self._last_read = {id(loss.root): len(statements)}
        for k, statement in enumerate(statements):
            for each in _traced(statement):
                self._last_read[id(each.root)] = max(k, self._last_read.get(id(each.root), 0))
        self._share()
        self._columns = self._reduced_along_rows()
        self._join()

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
            operands = [self.owner(each) for each in _traced(statement) if each.base is None]
            new = out.base is None and not out.bound and id(out) not in made
            for owner in {"each": operands, "matmul": products}.get(kind, []) if new else []:
                alike = (owner.shape, owner.dtype) == (out.shape, out.dtype)
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
        """Tell whether a result has its place already, as the whole of joined pieces has."""
        return id(root) in self._arrays

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


class _Writer:
    """Writes the replay as the text of a function: calls on fixed arrays, one after another."""

    def __init__(self, layout: _Layout) -> None:
        self._layout = layout
        self._lines: list[str] = []
        self._names: dict[str, Any] = {}
        self._touched = Counter(
            id(layout.owner(each)) for statement in layout.statements for each in (*_traced(statement), statement.out)
        )
        chain: list[Statement] = []
        for statement in layout.statements:
            if chain and not self._may_come_first(statement, chain):
                if not self._is_long(statement) or statement.out.shape != chain[0].out.shape:
                    self._blocks(chain)
                    chain = []
            elif chain:
                self._call(statement)
                continue
            if self._is_long(statement):
                chain.append(statement)
            else:
                self._call(statement)
        if chain:
            self._blocks(chain)

    @property
    def replay(self) -> Callable[[], None]:
        """The function."""
        body = "\n        ".join(self._lines or ["pass"])
        source = f"def make({', '.join(self._names)}):\n    def replay():\n        {body}\n    return replay"
        namespace: dict[str, Any] = {}
        exec(compile(source, "<replay>", "exec"), namespace)
        replay: Callable[[], None] = namespace["make"](*self._names.values())
        return replay

    def _name(self, value: Any) -> str:
        name = f"v{len(self._names)}"
        self._names[name] = value
        return name

    def _is_long(self, statement: Statement) -> bool:
        out = statement.out
        long = statement.kind == "each" and out.ndim in (1, 2) and out.value.nbytes > _BLOCK and out.base is None
        return long and self._layout.lies_in_rows(out)

    def _may_come_first(self, statement: Statement, chain: list[Statement]) -> bool:
        """Tell a statement on few numbers that neither needs the chain nor changes what it reads."""
        owner = self._layout.owner
        written = {id(owner(each.out)) for each in chain}
        read = {id(owner(each)) for link in chain for each in _traced(link)}
        needs = any(id(owner(each)) in written for each in _traced(statement))
        return statement.out.size == 1 and not needs and id(owner(statement.out)) not in written | read

    def _call(self, statement: Statement) -> None:
        array = self._layout.array
        function, arrays, target = statement.function, [array(each) for each in statement.inputs], array(statement.out)
        match statement.kind:
            case "reduce":
                axis, keepdims = statement.extra
                if axis == 0 and arrays[0].ndim == 2 and not keepdims:  # a third of the time of a sum over rows
                    function, arguments = np.matmul, [np.ones(len(arrays[0]), arrays[0].dtype), arrays[0], target]
                else:
                    arguments = [arrays[0], axis, None, target, keepdims]
            case "cast":
                arguments = [target, arrays[0], "unsafe"]
            case "concat":
                arguments = [tuple(arrays), statement.extra, target]
            case _:
                arguments = [*_spread(function, arrays, target), target]
        self._lines.append(self._text(function, [self._name(each) for each in arguments]))

    def _text(self, function: Any, names: list[str]) -> str:
        if function in _EXTREMES:  # NumPy wants their third argument named
            names[-1] = f"out={names[-1]}"
        return f"{self._name(function)}({', '.join(names)})"

    def _blocks(self, chain: list[Statement]) -> None:
        """Write a chain of elementwise calls as a loop over blocks of rows."""
        shape = chain[0].out.shape
        rows = max(1, _BLOCK // (chain[0].out.dtype.itemsize * math.prod(shape[1:])))
        starts = range(0, shape[0], rows)
        within = Counter(
            id(self._layout.owner(each)) for link in chain for each in (*_traced(link), link.out) if each.base is None
        )
        loop: dict[int, str] = {}
        cuts: list[list[np.ndarray]] = []

        def operand(each: Any) -> str:
            array = each
            key = id(each)
            if isinstance(each, Traced):
                root = self._layout.owner(each)
                key = id(root) if each.base is None else key
                passing = each.base is None and within[id(root)] == self._touched[id(root)]
                passing = passing and not root.bound and not self._layout.is_placed(root)
                if key in loop:
                    return loop[key]
                # What lives within a block needs no more than a block.
                array = np.empty((rows, *shape[1:]), root.dtype) if passing else self._layout.array(each)
            if np.ndim(array) < len(shape) or array.shape[0] not in (shape[0], rows):
                return self._name(array)
            whole = array.shape[0] == shape[0]
            cuts.append([array[start : start + rows] if whole else array[: shape[0] - start] for start in starts])
            loop[key] = f"b{len(loop)}"
            return loop[key]

        body = []
        for link in chain:
            block = np.empty((rows, *shape[1:]), link.out.dtype)
            names = [operand(each) for each in (*_spread(link.function, link.inputs, block), link.out)]
            body.append("    " + self._text(link.function, names))
        self._lines.append(f"for {', '.join(loop.values())}, in {self._name(list(zip(*cuts, strict=True)))}:")
        self._lines += body


def _spread(function: Any, operands: Any, like: np.ndarray) -> list[Any]:
    """Give a maximum or minimum whole arrays: with one number it takes more than twice the time."""
    if function not in _EXTREMES or like.ndim == 0:
        return list(operands)
    return [np.full_like(like, each) if isinstance(each, np.generic) else each for each in operands]
