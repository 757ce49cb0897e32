"""The operations of the intermediate representation, with what each emitter writes for them."""

from __future__ import annotations

from enum import Enum

__all__ = ["Op", "UntraceableError"]


class UntraceableError(AttributeError):
    """The step does something that the compiler does not know; the step runs uncompiled."""


class Op(Enum):
    """An operation: the name of NumPy's function, and the expressions in Numba and in CUDA, None where it is lacking.

    Braces stand for inputs and ``{dtype}`` for the type of the result. Of a reduction, the expressions combine two
    elements.
    """

    ABSOLUTE = "absolute", "absolute({})", "({0} < 0 ? -{0} : {0})"
    ADD = "add", "{} + {}", "{} + {}"
    AND = "bitwise_and", "{} & {}", "{} & {}"
    ARCTAN = "arctan", "arctan({})", "atan({})"
    CAST = "astype", "{}", "{}"
    CEIL = "ceil", "ceil({})", "ceil({})"
    COS = "cos", "cos({})", "cos({})"
    COSH = "cosh", "cosh({})", "cosh({})"
    DIVIDE = "divide", "{} / {}", "{} / {}"
    EQUAL = "equal", "{} == {}", "{} == {}"
    # Numba's vector instructions cannot call the C library, so some functions are those of `numba_math`.
    EXP = "exp", "exp_{dtype}({})", "exp({})"
    EXPM1 = "expm1", "expm1_{dtype}({})", "expm1({})"
    FLOOR = "floor", "floor({})", "floor({})"
    GREATER = "greater", "{} > {}", "{} > {}"
    GREATER_EQUAL = "greater_equal", "{} >= {}", "{} >= {}"
    LEFT_SHIFT = "left_shift", "{} << {}", None  # undefined in C++ where it overflows
    LESS = "less", "{} < {}", "{} < {}"
    LESS_EQUAL = "less_equal", "{} <= {}", "{} <= {}"
    LOG = "log", "log({})", "log({})"
    LOG1P = "log1p", "log1p({})", "log1p({})"
    LOG2 = "log2", "log2({})", "log2({})"
    LOGADDEXP = "logaddexp", "logaddexp({}, {})", None
    LOGICAL_AND = "logical_and", "{} and {}", "{} && {}"
    LOGICAL_NOT = "logical_not", "not {}", "!{}"
    LOGICAL_OR = "logical_or", "{} or {}", "{} || {}"
    MAXIMUM = "maximum", "maximum({}, {})", "maximum({}, {})"
    MINIMUM = "minimum", "minimum({}, {})", "minimum({}, {})"
    MULTIPLY = "multiply", "{} * {}", "{} * {}"
    NEGATIVE = "negative", "-{}", "-{}"
    NOT_EQUAL = "not_equal", "{} != {}", "{} != {}"
    OR = "bitwise_or", "{} | {}", "{} | {}"
    POWER = "power", "{} ** {}", "pow({}, {})"
    RIGHT_SHIFT = "right_shift", "{} >> {}", "{} >> {}"
    SIGN = "sign", "sign({})", "({0} > 0) - ({0} < 0)"
    SIN = "sin", "sin({})", "sin({})"
    SINH = "sinh", "sinh({})", "sinh({})"
    SQRT = "sqrt", "sqrt({})", "sqrt({})"
    SQUARE = "square", "{0} * {0}", "{0} * {0}"
    SUBTRACT = "subtract", "{} - {}", "{} - {}"
    TANH = "tanh", "tanh_{dtype}({})", "tanh({})"
    WHERE = "where", "{1} if {0} else {2}", "{} ? {} : {}"
    XOR = "bitwise_xor", "{} ^ {}", "{} ^ {}"
    # Not elementwise
    CONCAT = "concat", None, None
    MATMUL = "matmul", None, None
    MAX = "max", "maximum({}, {})", "maximum({}, {})"
    MIN = "min", "minimum({}, {})", "minimum({}, {})"
    SUM = "sum", "{} + {}", "{} + {}"

    def __init__(self, numpy: str, numba: str | None, cuda: str | None) -> None:
        self.numpy, self._texts = numpy, {"Numba": numba, "CUDA": cuda}
        self.is_reduction = numpy in ("max", "min", "sum")
        self.is_elementwise = not self.is_reduction and numpy not in ("concat", "matmul")

    def text(self, target: str, *inputs: str, dtype: object = None) -> str:
        """Return the expression in ``"Numba"`` or ``"CUDA"``, or raise if the target lacks the operation."""
        text = self._texts[target]
        if text is None:
            raise UntraceableError(f"the operation {self.numpy}, which {target} lacks")
        return text.format(*inputs, dtype=dtype)
