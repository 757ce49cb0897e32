"""Emit a program as calls of NumPy on arrays that are allocated once.

Chains of elementwise calls on large arrays are done block by block, so that a block stays in the cache.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet_backends.compiler.fuse import fuse
from xpnet_backends.compiler.host_memory import HostMemory
from xpnet_backends.compiler.ir import Group, Instruction, Kind, Loop, Program, Value
from xpnet_backends.compiler.memory_plan import memory_plan
from xpnet_backends.compiler.ops import Op
from xpnet_backends.compiler.simplify import simplify

__all__ = ["NumpyProgram", "passes"]

# Bytes of a block: few enough for the operands of a chain to stay in the cache, enough to hide the cost of a call.
_BLOCK = 1 << 17

_FUNCTIONS: dict[str, Any] = {
    "copyto": np.copyto,
    "max_of": np.maximum.reduce,
    "min_of": np.minimum.reduce,
    "sum_of": np.add.reduce,
    **{op.numpy: getattr(np, op.numpy) for op in Op if isinstance(getattr(np, op.numpy, None), np.ufunc)},
}
# Calls of another form than ``function(*inputs, out)``
_CALLS = {
    Op.CAST: "copyto({out}, {}, 'unsafe')",
    Op.MAXIMUM: "maximum({}, {}, out={out})",
    Op.MINIMUM: "minimum({}, {}, out={out})",
    Op.WHERE: "copyto({out}, {2}); copyto({out}, {1}, where={0})",
    **{op: f"{op.numpy}_of({{}}, {{axis}}, None, {{out}})" for op in (Op.MAX, Op.MIN, Op.SUM)},
}


def passes(program: Program) -> Program:
    """Apply the passes for NumPy."""
    return fuse(memory_plan(simplify(program)), _kind)


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

    def __init__(self, program: Program, state: list[np.ndarray]) -> None:
        program = passes(program)
        memory = HostMemory(program, state)
        self._array = memory.array
        self._batch = [self._array(value) for value in program.batch]
        self._loss = self._array(program.loss)
        self.names: dict[str, Any] = dict(_FUNCTIONS)
        self._named: dict[Value, str] = {}
        self._count = itertools.count()
        self.texts = [(group, self._text(group)) for group in program.groups]
        body = "\n".join(text for _, text in self.texts).replace("\n", "\n    ")
        exec(compile(f"def step():\n    {body}\n    return", "<step>", "exec"), self.names)
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

    def _name(self, value: Any) -> str:
        name = f"v{next(self._count)}"
        self.names[name] = value
        return name

    def _text(self, group: Group) -> str:
        """Return the text of a group."""
        (loop,) = group.loops
        return self._blocks(loop) if group.kind is Kind.ELEMENTS else self._call(loop.instructions[0])

    def _call(self, instruction: Instruction) -> str:
        """Return the text of a call on whole arrays."""

        def operand(each: Value | np.generic) -> str:
            if not isinstance(each, Value):
                return self._name(np.full_like(self._array(instruction.out), each) if fills else each)
            if each not in self._named:
                self._named[each] = self._name(self._array(each))
            return self._named[each]

        fills = _fills(instruction)
        return _call_text(instruction, list(map(operand, instruction.inputs)), operand(instruction.out))

    def _blocks(self, loop: Loop) -> str:
        """Return the text of a loop over blocks of rows."""
        first = loop.instructions[0].out
        shape = first.shape
        n_rows = max(1, _BLOCK // (first.dtype.itemsize * math.prod(shape[1:])))
        starts = range(0, shape[0], n_rows)
        names: dict[Value, str] = {}
        columns: dict[str, list[np.ndarray]] = {}
        # A result that is not read after the loop needs no more memory than a block.
        within = {each.out for each in loop.instructions} - set(loop.stored)

        def cut(array: np.ndarray) -> str:
            name = f"b{len(columns)}"
            whole = array.shape[0] == shape[0]
            columns[name] = [array[s : s + n_rows] if whole else array[: shape[0] - s] for s in starts]
            return name

        def operand(each: Value, *, is_out: bool = False) -> str:
            if each not in names:
                if is_out and each in within:
                    names[each] = cut(np.empty((n_rows, *shape[1:]), each.dtype))
                elif each.shape[:1] == shape[:1] and len(each.shape) == len(shape):
                    names[each] = cut(self._array(each))
                else:
                    names[each] = self._name(self._array(each))
            return names[each]

        lines = []
        for instruction in loop.instructions:
            inputs = []
            for each in instruction.inputs:
                if isinstance(each, Value):
                    inputs.append(operand(each))
                elif _fills(instruction):
                    inputs.append(cut(np.full((n_rows, *shape[1:]), each)))
                else:
                    inputs.append(self._name(each))
            lines.append("    " + _call_text(instruction, inputs, operand(instruction.out, is_out=True)))
        cuts = self._name(list(zip(*columns.values(), strict=True)))
        return "\n".join([f"for {', '.join(columns)}, in {cuts}:", *lines])


def _fills(instruction: Instruction) -> bool:
    """Tell whether numbers become arrays: the maximum of an array and a number takes NumPy twice the time."""
    return instruction.op in (Op.MAXIMUM, Op.MINIMUM) and instruction.out.shape != ()


def _call_text(instruction: Instruction, inputs: list[str], out: str) -> str:
    """Return the text of a call."""
    text = _CALLS.get(instruction.op, f"{instruction.op.numpy}({', '.join(inputs)}, {{out}})")
    return text.format(*inputs, out=out, axis=instruction.axis)
