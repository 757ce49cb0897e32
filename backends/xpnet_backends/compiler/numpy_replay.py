"""The replay of a recorded step: the same calls of NumPy, without the Python and the allocations between them.

What is replayed are the calls as they were recorded, into arrays that are allocated once. Results that die in an
elementwise call are written over; chains of elementwise calls over large arrays are done a block at a time, so that
they stay in the cache; the pieces of a concatenation are computed in their place; and a few calls are exchanged for
faster ones that give the same.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet_backends.compiler.memory_plan import Layout, operands
from xpnet_backends.compiler.trace import Recording, Statement, Traced

__all__ = ["Replay"]

# Bytes in a block: few enough for the operands of a chain to stay in the cache, enough to hide the cost of a call.
_BLOCK = 1 << 17
_EXTREMES = (np.maximum, np.minimum)


class Replay:
    """A recorded step, ready to be replayed on the parameters and the state that it was recorded with."""

    def __init__(self, recording: Recording) -> None:
        layout = Layout(recording.statements, recording.loss)
        self._batch = tuple(each.value for each in recording.batch)
        self._loss = layout.array(recording.loss)
        self._replay = _Writer(layout).replay

    def run(self, data: tuple[np.ndarray, ...], order: np.ndarray) -> np.ndarray:
        """Do a step for each row of `order`, (n_steps, batch), and return the losses, (n_steps,)."""
        order = order.astype(np.intp)
        losses = np.empty(order.shape[0], self._loss.dtype)
        replay, loss = self._replay, self._loss
        takes = [(array.take, out) for array, out in zip(data, self._batch, strict=True)]
        for i, rows in enumerate(order):
            for take, out in takes:
                take(rows, 0, out, "clip")  # in range by construction; checking would cost a copy
            replay()
            losses[i] = loss
        return losses


class _Writer:
    """Writes the replay as the text of a function: calls on fixed arrays, one after another."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lines: list[str] = []
        self._names: dict[str, Any] = {}
        self._touched = Counter(
            id(layout.owner(each)) for statement in layout.statements for each in (*operands(statement), statement.out)
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
        read = {id(owner(each)) for link in chain for each in operands(link)}
        needs = any(id(owner(each)) in written for each in operands(statement))
        return statement.out.size == 1 and not needs and id(owner(statement.out)) not in written | read

    def _call(self, statement: Statement) -> None:
        array = self._layout.array
        function, arrays, target = statement.function, [array(each) for each in statement.inputs], array(statement.out)
        match statement.kind:
            case "reduce":
                axis, keepdims = statement.extra
                is_sum = function.__self__ is np.add and arrays[0].dtype.kind == "f"
                if is_sum and axis == 0 and arrays[0].ndim == 2 and not keepdims:  # a third of the time
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
            id(self._layout.owner(each)) for link in chain for each in (*operands(link), link.out) if each.base is None
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
