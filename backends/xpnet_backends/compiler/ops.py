"""The operations of the intermediate representation, with what each emitter writes for them."""

from __future__ import annotations

from enum import Enum

__all__ = ["Op", "UntraceableError"]


class UntraceableError(AttributeError):
    """The step does something that the compiler does not support; the step runs uncompiled."""


class Op(Enum):
    """An operation: the name of NumPy's function, and the expressions for Numba and for CUDA.

    Braces stand for the inputs and ``{dtype}`` for the type of the result. The expression of a reduction combines two
    elements. The table holds what the step of a multilayer perceptron needs, and no more.
    """

    ABSOLUTE = "absolute", "absolute({})", "({0} < 0 ? -{0} : {0})"
    ADD = "add", "{} + {}", "{} + {}"
    AND = "bitwise_and", "{} & {}", "{} & {}"
    CAST = "astype", "{}", "{}"
    COS = "cos", "cos({})", "cos({})"
    DIVIDE = "divide", "{} / {}", "{} / {}"
    EQUAL = "equal", "{} == {}", "{} == {}"
    # Numba's vector instructions cannot call the C library, so some functions are those of `numba_math`.
    EXP = "exp", "exp_{dtype}({})", "exp({})"
    EXPM1 = "expm1", "expm1_{dtype}({})", "expm1({})"
    GREATER = "greater", "{} > {}", "{} > {}"
    GREATER_EQUAL = "greater_equal", "{} >= {}", "{} >= {}"
    LESS = "less", "{} < {}", "{} < {}"
    LESS_EQUAL = "less_equal", "{} <= {}", "{} <= {}"
    LOG = "log", "log({})", "log({})"
    LOG1P = "log1p", "log1p({})", "log1p({})"
    MAXIMUM = "maximum", "maximum({}, {})", "maximum({}, {})"
    MINIMUM = "minimum", "minimum({}, {})", "minimum({}, {})"
    MULTIPLY = "multiply", "{} * {}", "{} * {}"
    NEGATIVE = "negative", "-{}", "-{}"
    RIGHT_SHIFT = "right_shift", "{} >> {}", "{} >> {}"
    SIGN = "sign", "sign({})", "({0} > 0) - ({0} < 0)"
    SQRT = "sqrt", "sqrt({})", "sqrt({})"
    SUBTRACT = "subtract", "{} - {}", "{} - {}"
    TANH = "tanh", "tanh_{dtype}({})", "tanh({})"
    WHERE = "where", "{1} if {0} else {2}", "{} ? {} : {}"
    XOR = "bitwise_xor", "{} ^ {}", "{} ^ {}"
    # Not elementwise
    CALL = "call", "", ""
    CONCAT = "concat", "", ""
    MATMUL = "matmul", "", ""
    MAX = "max", "maximum({}, {})", "maximum({}, {})"
    SUM = "sum", "{} + {}", "{} + {}"

    def __init__(self, numpy: str, numba: str, cuda: str) -> None:
        self.numpy, self.numba, self.cuda = numpy, numba, cuda
        self.is_reduction = numpy in ("max", "sum")
        self.is_elementwise = not self.is_reduction and numpy not in ("call", "concat", "matmul")
