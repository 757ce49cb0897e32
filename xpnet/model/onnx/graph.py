"""An ONNX graph under construction, which is an array namespace at the same time: its functions add nodes.

It has the functions of the array API standard that activations and output functions use, and writes each with operators
that ONNX Runtime has for float32 and float64 alike. ``Gelu``, ``Softplus``, ``Elu`` and others are for float32 only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["ML", "Graph", "Node", "Tensor"]

ML = "ai.onnx.ml"  # the domain of operators on labels and text

_REDUCTIONS_TAKE_AXES = 18  # the opset from which ReduceMax takes its axes as an input, as ReduceSum does before


class Tensor:
    """A value of a graph, with the operators of an array."""

    def __init__(self, graph: Graph, name: str, dtype: np.dtype[Any]) -> None:
        self.graph = graph
        self.name = name
        self.dtype = dtype
        self.device = None

    def __array_namespace__(self, api_version: str | None = None) -> Graph:
        return self.graph

    def __add__(self, other: Any) -> Tensor:
        return self.graph.apply("Add", self, other)

    def __radd__(self, other: Any) -> Tensor:
        return self.graph.apply("Add", other, self)

    def __sub__(self, other: Any) -> Tensor:
        return self.graph.apply("Sub", self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return self.graph.apply("Sub", other, self)

    def __mul__(self, other: Any) -> Tensor:
        return self.graph.apply("Mul", self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return self.graph.apply("Mul", other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return self.graph.apply("Div", self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return self.graph.apply("Div", other, self)

    def __neg__(self) -> Tensor:
        return self.graph.apply("Neg", self)

    def __le__(self, other: Any) -> Tensor:
        return self.graph.apply("LessOrEqual", self, other, dtype=bool)

    def __gt__(self, other: Any) -> Tensor:
        return self.graph.apply("Greater", self, other, dtype=bool)

    def __ge__(self, other: Any) -> Tensor:
        return self.graph.apply("GreaterOrEqual", self, other, dtype=bool)


class Node(NamedTuple):
    """One operation of a graph."""

    op: str
    inputs: tuple[str, ...]
    output: str
    domain: str
    attributes: dict[str, Any]


class Graph:
    """An ONNX graph under construction.

    Parameters
    ----------
    opset : int
        Version of the operators.

    Attributes
    ----------
    nodes : list of Node
    constants : dict of str to ndarray
    inputs, outputs : dict of str to (dtype, shape)
        A dimension that is None is the number of samples.
    """

    __name__ = "xpnet.model.onnx.graph"  # array-api-compat asks a namespace for it

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.nodes: list[Node] = []
        self.constants: dict[str, np.ndarray] = {}
        self.inputs: dict[str, tuple[np.dtype[Any], tuple[int | None, ...]]] = {}
        self.outputs: dict[str, tuple[np.dtype[Any], tuple[int | None, ...]]] = {}
        self._names: set[str] = set()
        self._numbers: dict[tuple[Any, str], Tensor] = {}

    def _free(self, stem: str) -> str:
        """Return a name that nothing has yet."""
        name, number = stem, 1
        while name in self._names:
            number += 1
            name = f"{stem}_{number}"
        self._names.add(name)
        return name

    def add_input(self, name: str, dtype: Any, shape: tuple[int | None, ...]) -> Tensor:
        """Add an input; another one has its name if it is taken."""
        tensor = Tensor(self, self._free(name), np.dtype(dtype))
        self.inputs[tensor.name] = tensor.dtype, shape
        return tensor

    def add_output(self, name: str, tensor: Tensor, shape: tuple[int | None, ...]) -> None:
        """Give a tensor the name of an output."""
        name = self._free(name)
        self.nodes.append(Node("Identity", (tensor.name,), name, "", {}))
        self.outputs[name] = tensor.dtype, shape

    def constant(self, values: Any, dtype: Any = None, name: str = "constant") -> Tensor:
        """Return an array as a tensor of the graph; equal numbers are one tensor."""
        array = np.asarray(values, dtype=dtype)
        if array.ndim:
            return self._add_constant(array, name)
        key = array.item(), array.dtype.name
        if key not in self._numbers:
            self._numbers[key] = self._add_constant(array, name)
        return self._numbers[key]

    def _add_constant(self, array: np.ndarray, name: str) -> Tensor:
        tensor = Tensor(self, self._free(name), array.dtype)
        self.constants[tensor.name] = array
        return tensor

    def apply(self, op: str, *inputs: Any, dtype: Any = None, domain: str = "", **attributes: Any) -> Tensor:
        """Add a node, and return its output.

        Parameters
        ----------
        op : str
            Type of the operator.
        *inputs : Tensor, float or ndarray
            What is no tensor becomes a constant in the type of the first tensor.
        dtype : dtype, optional
            Of the output; by default that of the first tensor.
        domain : str
        **attributes : object
        """
        own = next(each.dtype for each in inputs if isinstance(each, Tensor))
        tensors = [each if isinstance(each, Tensor) else self.constant(each, own) for each in inputs]
        output = Tensor(self, self._free(op), np.dtype(own if dtype is None else dtype))
        self.nodes.append(Node(op, tuple(each.name for each in tensors), output.name, domain, attributes))
        return output

    # The functions of the standard.

    def abs(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.apply("Abs", x)

    def exp(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.apply("Exp", x)

    def expm1(self, x: Tensor) -> Tensor:
        """Return ``exp(x) - 1`` as ``tanh(x / 2) (exp(x) + 1)``, which is exact near 0."""
        return self.tanh(0.5 * x) * (self.exp(x) + 1.0)

    def log(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.apply("Log", x)

    def log1p(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.log(1.0 + x)

    def remainder(self, x: Tensor, y: Any) -> Tensor:
        """Return the remainder of whole numbers, which is not negative for a positive `y`."""
        return self.apply("Mod", x, y)

    def sqrt(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.apply("Sqrt", x)

    def tanh(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.apply("Tanh", x)

    def maximum(self, x: Any, y: Any) -> Tensor:
        """Return the larger one; with 0.0 by the operator that runtimes fuse with the layer before it."""
        return self.apply("Relu", x) if isinstance(y, float) and y == 0 else self.apply("Max", x, y)

    def minimum(self, x: Any, y: Any) -> Tensor:  # noqa: D102
        return self.apply("Min", x, y)

    def matmul(self, x: Tensor, y: Tensor) -> Tensor:  # noqa: D102
        return self.apply("MatMul", x, y)

    def where(self, condition: Tensor, x: Any, y: Any) -> Tensor:  # noqa: D102
        dtype = next(each.dtype for each in (x, y) if isinstance(each, Tensor))
        x, y = (each if isinstance(each, Tensor) else self.constant(each, dtype) for each in (x, y))
        return self.apply("Where", condition, x, y, dtype=dtype)

    def sum(self, x: Tensor, *, axis: int, keepdims: bool = False) -> Tensor:  # noqa: D102
        return self.apply("ReduceSum", x, self.constant([axis], np.int64, "axes"), keepdims=int(keepdims))

    def max(self, x: Tensor, *, axis: int, keepdims: bool = False) -> Tensor:  # noqa: D102
        if self.opset < _REDUCTIONS_TAKE_AXES:
            return self.apply("ReduceMax", x, axes=[axis], keepdims=int(keepdims))
        return self.apply("ReduceMax", x, self.constant([axis], np.int64, "axes"), keepdims=int(keepdims))

    def argmax(self, x: Tensor, *, axis: int) -> Tensor:  # noqa: D102
        return self.apply("ArgMax", x, dtype=np.int64, axis=axis, keepdims=0)

    def concat(self, tensors: Sequence[Tensor], *, axis: int = 0) -> Tensor:  # noqa: D102
        return tensors[0] if len(tensors) == 1 else self.apply("Concat", *tensors, axis=axis)

    def isnan(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.apply("IsNaN", x, dtype=bool)

    def sin(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.apply("Sin", x)

    def reshape(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:  # noqa: D102
        return self.apply("Reshape", x, self.constant(shape, np.int64, "shape"))

    def take(self, x: Tensor, indices: Tensor, *, axis: int) -> Tensor:  # noqa: D102
        return self.apply("Gather", x, indices, axis=axis)

    def asarray(self, values: Any, *, dtype: Any = None, device: None = None) -> Tensor:  # noqa: D102
        return self.constant(values, dtype)

    def astype(self, x: Tensor, dtype: Any, *, copy: bool = True) -> Tensor:  # noqa: D102
        return x if x.dtype == dtype else self.apply("Cast", x, dtype=dtype, to=np.dtype(dtype))

    @staticmethod
    def finfo(dtype: Any) -> Any:  # noqa: D102
        return np.finfo(dtype)
