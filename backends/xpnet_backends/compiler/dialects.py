"""What each emitter writes for an elementwise operation: one table for NumPy, Numba and CUDA."""

from __future__ import annotations

from typing import NamedTuple

from xpnet_backends.compiler.ir import Op
from xpnet_backends.compiler.trace import UntraceableError

__all__ = ["DIALECTS", "Dialect", "text_of"]


class Dialect(NamedTuple):
    """Text of an operation, with braces in place of its inputs; None where a target lacks it.

    `numpy` is a call that writes to ``{out}``. ``{dtype}`` is the type of the result.
    """

    numpy: str
    numba: str | None
    cuda: str | None


def _infix(op: Op, operator: str, in_cuda: str = "") -> Dialect:
    text = f"{{}} {operator} {{}}"
    return Dialect(f"{op.value}({{}}, {{}}, {{out}})", text, f"{{}} {in_cuda} {{}}" if in_cuda else text)


def _function(op: Op, in_cuda: str | None = None, in_numba: str = "") -> Dialect:
    name = op.value
    return Dialect(f"{name}({{}}, {{out}})", in_numba or f"{name}({{}})", in_cuda or f"{name}({{}})")


DIALECTS: dict[Op, Dialect] = {
    **{
        op: _infix(op, operator)
        for op, operator in {
            Op.ADD: "+",
            Op.SUBTRACT: "-",
            Op.MULTIPLY: "*",
            Op.DIVIDE: "/",
            Op.GREATER: ">",
            Op.GREATER_EQUAL: ">=",
            Op.LESS: "<",
            Op.LESS_EQUAL: "<=",
            Op.EQUAL: "==",
            Op.NOT_EQUAL: "!=",
            Op.AND: "&",
            Op.OR: "|",
            Op.XOR: "^",
            Op.RIGHT_SHIFT: ">>",
        }.items()
    },
    Op.LEFT_SHIFT: _infix(Op.LEFT_SHIFT, "<<")._replace(cuda=None),  # undefined in C++ where it overflows
    Op.LOGICAL_AND: _infix(Op.LOGICAL_AND, "and", "&&"),
    Op.LOGICAL_OR: _infix(Op.LOGICAL_OR, "or", "||"),
    **{
        op: _function(op)
        for op in (Op.ARCTAN, Op.CEIL, Op.COS, Op.COSH, Op.FLOOR, Op.LOG, Op.LOG1P, Op.LOG2, Op.SIN, Op.SINH, Op.SQRT)
    },
    # Numba's vector instructions cannot call the C library, so these have functions of their own in `numba_math`.
    **{op: _function(op, in_numba=f"{op.value}_{{dtype}}({{}})") for op in (Op.EXP, Op.EXPM1, Op.TANH)},
    Op.ABSOLUTE: _function(Op.ABSOLUTE, "({0} < 0 ? -{0} : {0})"),
    Op.SIGN: _function(Op.SIGN, "({0} > 0) - ({0} < 0)"),
    Op.SQUARE: _function(Op.SQUARE, "{0} * {0}", "{0} * {0}"),
    Op.NEGATIVE: _function(Op.NEGATIVE, "-{}", "-{}"),
    Op.LOGICAL_NOT: _function(Op.LOGICAL_NOT, "!{}", "not {}"),
    Op.POWER: Dialect("power({}, {}, {out})", "{} ** {}", "pow({}, {})"),
    Op.LOGADDEXP: Dialect("logaddexp({}, {}, {out})", "logaddexp({}, {})", None),
    # NumPy takes the third argument of these two by its name only.
    Op.MAXIMUM: Dialect("maximum({}, {}, out={out})", "maximum({}, {})", "maximum({}, {})"),
    Op.MINIMUM: Dialect("minimum({}, {}, out={out})", "minimum({}, {})", "minimum({}, {})"),
    Op.CAST: Dialect("copyto({out}, {}, 'unsafe')", "{}", "{}"),
    Op.WHERE: Dialect("copyto({out}, {2}); copyto({out}, {1}, where={0})", "{1} if {0} else {2}", "{} ? {} : {}"),
}


def text_of(op: Op, target: str) -> str:
    """Return the text of an operation for ``"numpy"``, ``"numba"`` or ``"cuda"``.

    Raises
    ------
    UntraceableError
        The target lacks the operation.
    """
    text: str | None = getattr(DIALECTS[op], target) if op in DIALECTS else None
    if text is None:
        raise UntraceableError(f"the operation {op.name.lower()}, which {target} lacks")
    return text
