"""Emit a program as calls of NumPy on arrays that are allocated once.

Chains of elementwise calls on large arrays are done block by block, so that a block stays in the cache.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import lru_cache
from types import CodeType
from typing import Any

import numpy as np

from xpnet_backends.compiler.fuse import fuse
from xpnet_backends.compiler.ir import Group, Instruction, Kind, Program, Value
from xpnet_backends.compiler.memory_plan import memory_plan
from xpnet_backends.compiler.ops import Op
from xpnet_backends.compiler.program_cache import host_memory
from xpnet_backends.compiler.simplify import simplify
from xpnet_backends.compiler.trace import UFUNCS

__all__ = ["NumpyProgram", "passes"]

# Bytes of a block: few enough for the operands of a chain to stay in the cache, enough to hide the cost of a call.
_BLOCK = 1 << 17

_FUNCTIONS: dict[str, Any] = {
    "copyto": np.copyto,
    "max_of": np.maximum.reduce,
    "sum_of": np.add.reduce,
    **{op.numpy: ufunc for ufunc, op in UFUNCS.items()},
}
# Calls of another form than ``function(*inputs, out)``
_CALLS = {
    Op.CALL: "call{axis}({out})",
    Op.CAST: "copyto({out}, {}, 'unsafe')",
    Op.MAXIMUM: "maximum({}, {}, out={out})",
    Op.MINIMUM: "minimum({}, {}, out={out})",
    Op.WHERE: "copyto({out}, {2}); copyto({out}, {1}, where={0})",
    **{op: f"{op.numpy}_of({{}}, {{axis}}, None, {{out}})" for op in (Op.MAX, Op.SUM)},
}


@lru_cache(maxsize=64)
def passes(program: Program) -> Program:
    """Apply the passes for NumPy. The result is kept for the next fit that has this program."""
    return fuse(memory_plan(simplify(program)), _kind)


@lru_cache(maxsize=64)
def _code(text: str) -> CodeType:
    return compile(text, "<step>", "exec")


def _kind(instruction: Instruction) -> Kind:
    out = instruction.out
    long = out.size * out.dtype.itemsize > _BLOCK and out.is_contiguous
    return Kind.ELEMENTS if instruction.op.is_elementwise and long else Kind.SINGLE


class NumpyProgram:
    """A program as a Python function, bound to the parameters and the state that it updates.

    Attributes
    ----------
    texts : list of (Group, str)
        Each group with its text.
    names : dict
        What the names in the texts stand for.
    """

    def __init__(self, program: Program, state: list[np.ndarray], matmul: Any = np.matmul) -> None:
        program = passes(program)
        self._array = host_memory(program, state)
        self._batch = [self._array(value) for value in program.batch]
        self._loss = self._array(program.loss)
        self.names: dict[str, Any] = {**_FUNCTIONS, "matmul": matmul}
        self._named: dict[Value, str] = {}
        self._count = itertools.count()
        self.names |= {f"call{k}": function for k, function in enumerate(program.calls)}
        self.texts = [(group, self._text(group)) for group in program.groups]
        body = "\n".join(text for _, text in self.texts).replace("\n", "\n    ")
        exec(_code(f"def step():\n    {body}\n    return"), self.names)
        self._step: Callable[[], None] = self.names["step"]

    def run(self, data: tuple[np.ndarray, ...], order: np.ndarray) -> np.ndarray:
        """Do a step for each row of `order`, (n_steps, batch), and return the losses, (n_steps,)."""
        order = order.astype(np.intp)
        losses = np.empty(order.shape[0], self._loss.dtype)
        step, loss = self._step, self._loss
        takes = [(array.take, out) for array, out in zip(data, self._batch, strict=True)]
        for i, rows in enumerate(order):
            for take, out in takes:
                take(rows, 0, out, "clip")  # in range by construction; checking would cost a copy
            step()
            losses[i] = loss
        return losses

    def call(self, arguments: list[np.ndarray]) -> None:
        """Take these arrays as the batch and run the program once."""
        for array, own in zip(arguments, self._batch, strict=True):
            own[...] = array
        self._step()

    def _text(self, group: Group) -> str:
        """Return the text of a group: a call on whole arrays, or a loop over blocks of rows."""
        ((instructions, stored),) = group.loops
        out = instructions[0].out
        in_blocks, shape = group.kind is Kind.ELEMENTS, out.shape
        named = {} if in_blocks else self._named
        # A result that is not read after the loop needs no more memory than a block.
        within = {each.out for each in instructions} - set(stored) if in_blocks else set[Value]()
        n_rows = max(1, _BLOCK * shape[0] // (out.size * out.dtype.itemsize)) if in_blocks else 0
        blocks: dict[str, list[np.ndarray]] = {}

        def name(each: Any) -> str:
            name = f"v{next(self._count)}"
            if in_blocks and each.ndim == len(shape):
                whole, starts = len(each) == shape[0], range(0, shape[0], n_rows)
                blocks[name] = [each[s : s + n_rows] if whole else each[: shape[0] - s] for s in starts]
            else:
                self.names[name] = each
            return name

        def room(value: Value) -> np.ndarray:
            return np.empty((n_rows, *shape[1:]), value.dtype) if in_blocks else self._array(value)

        def operand(each: Value) -> str:
            if each not in named:
                named[each] = name(self._array(each))
            return named[each]

        calls = []
        for op, inputs, out, axis in instructions:
            # The maximum of an array and a number takes NumPy twice the time of that of two arrays.
            fills = op in (Op.MAXIMUM, Op.MINIMUM) and out.shape != ()
            texts = [
                operand(each) if isinstance(each, Value) else name(np.full_like(room(out), each) if fills else each)
                for each in inputs
            ]
            if out in within and out not in named:
                named[out] = name(room(out))
            call = _CALLS.get(op, f"{op.numpy}({', '.join(texts)}, {{out}})")
            calls.append(call.format(*texts, out=operand(out), axis=axis))
        if not in_blocks:
            return calls[0]
        cuts = f"v{next(self._count)}"
        self.names[cuts] = list(zip(*blocks.values(), strict=True))
        return "\n    ".join([f"for {', '.join(blocks)}, in {cuts}:", *calls])
