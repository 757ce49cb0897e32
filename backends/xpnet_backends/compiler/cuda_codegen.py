"""A recorded step as CUDA: few kernels, each of many calls, and the matrix products between them.

Calls are put in an order in which as many as possible share a kernel. Elementwise calls of one shape are one kernel
with a thread for each element; those that meet reductions along rows have a warp for each row; and all that is small
is done by a single block, one call after another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from xpnet_backends.compiler.cuda_text import TYPES, Names, constant, expression, index_of
from xpnet_backends.compiler.fusion import Grouping
from xpnet_backends.compiler.memory_plan import Layout, place
from xpnet_backends.compiler.trace import Recording, Statement, Traced, UntraceableError

__all__ = ["CudaSource", "Kernel", "Product"]

_THREADS = 256

_REDUCTIONS = {np.add: "plus", np.maximum: "maximum", np.minimum: "minimum"}

_HEADER = """
#ifndef LANES
#define LANES 32
#endif
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif
template <class T> __device__ T plus(T a, T b) { return a + b; }
template <class T> __device__ T maximum(T a, T b) { return a >= b || a != a ? a : b; }
template <class T> __device__ T minimum(T a, T b) { return a <= b || a != a ? a : b; }
// The combination of what the lanes of a warp hold, in all of them.
#define OVER_WARP(r, f) \\
    for (int d = LANES / 2; d > 0; d /= 2) r = f(r, __shfl_xor_sync(0xffffffffu, r, d));
"""


class Kernel(NamedTuple):
    """One launch: `blocks` of `threads`, on the addresses of arrays' first elements."""

    name: str
    arrays: tuple[np.ndarray, ...]
    blocks: int
    threads: int


class Product(NamedTuple):
    """``out = a @ b``, of matrices; of an exact one, which is a sum, no factor is to be rounded."""

    a: np.ndarray
    b: np.ndarray
    out: np.ndarray
    exact: bool = False


class CudaSource:
    """A step as CUDA, which reads its batch by an order and a counter and leaves its loss by that counter.

    All arrays are stand-ins on the host: they say where in its buffer, and how, an array on the device lies.

    Attributes
    ----------
    text : str
    launches : list of Kernel and Product
    order : (n_steps, batch) int32
    counter : (1,) int32
        How many steps have been done of the order.
    losses : (n_steps,)
    table : (n_data,) int64
        Addresses on the device of the data, which the rows of a batch are taken from; they lie row by row.

    Raises
    ------
    UntraceableError
        The step does something that this module has no kernel for.
    """

    def __init__(self, recording: Recording, n_steps: int) -> None:
        self._layout = Layout(recording.statements, recording.loss)
        self._grouping = Grouping(self._layout)
        self._loss = recording.loss
        self.table = np.empty(len(recording.batch), np.int64)
        batch = len(recording.batch[0].value)
        self.order = np.empty((n_steps, batch), np.int32)
        self.counter = np.empty(1, np.int32)
        self.losses = np.empty(n_steps, recording.loss.dtype)
        self.launches: list[Kernel | Product] = []
        self._functions: list[str] = []
        self._gather([each.value for each in recording.batch])
        groups = list(self._grouping.groups())
        self._ahead = [statement for _, group in groups for statement in group]  # in their new order
        for kind, group in groups:
            getattr(self, f"_{kind}")(group)
        self.text = _HEADER + "\n".join(self._functions)

    # The kernels.

    def _parts(self, group: list[Statement]) -> Iterator[list[Statement]]:
        """Yield the parts of a group, and let only what comes after each be ahead."""
        for part in self._grouping.parts(group):
            del self._ahead[: len(part)]
            yield part

    def _kernel(self, body: list[str], names: Names, blocks: int, threads: int) -> None:
        name = f"k{len(self._functions)}"
        arguments = ", ".join(f"{TYPES[str(array.dtype)]}* {p}" for p, array in names.arrays.items())
        lines = "\n".join(f"    {line}" for line in body)
        # Told how many threads there are, the compiler gives each no more registers than there are for all.
        head = f'extern "C" __global__ void __launch_bounds__({threads}) {name}({arguments})'
        self._functions.append(f"{head} {{\n{lines}\n}}")
        self.launches.append(Kernel(name, tuple(names.arrays.values()), blocks, threads))

    def _gather(self, batch: list[np.ndarray]) -> None:
        names, lines = Names(), []
        row = f"{names(self.order)}[{names(self.counter)}[0] * {len(batch[0])} + t / %d]"
        most = max(each.size for each in batch)
        for k, each in enumerate(batch):
            n = each.size // len(each)
            data = f"(({TYPES[str(each.dtype)]}*){names(self.table)}[{k}])"
            lines.append(f"if (t < {each.size}) {names(each)}[t] = {data}[(long long){row % n} * {n} + t % {n}];")
        self._kernel([_over_threads(most), *_indented(lines), "}"], names, _blocks(most), _THREADS)

    def _each(self, group: list[Statement]) -> None:
        names = Names()
        shape = self._layout.array(group[0].out).shape
        n = int(np.prod(shape))
        (part,) = self._parts(group)
        body = self._elements(part, names, shape, index_of(shape, self._layout.lies_in_rows(group[0].out)))
        self._kernel([_over_threads(n), *_indented(body), "}"], names, _blocks(n), _THREADS)

    def _rows(self, group: list[Statement]) -> None:
        names, lines = Names(), []
        n = self._layout.array(group[0].out).shape[0]
        for part in self._parts(group):
            statement = part[0]
            if statement.kind == "reduce":
                lines += self._row_reduction(statement, names)
            else:
                shape = self._layout.array(statement.out).shape
                columns = shape[1] if len(shape) == 2 else 1
                lines.append(f"for (int j = lane; j < {columns}; j += LANES) {{")
                lines += [*_indented(self._elements(part, names, shape, [])), "}"]
            lines.append("__syncwarp();")
        head = [
            "const int lane = threadIdx.x % LANES;",
            f"for (int i = (blockIdx.x * blockDim.x + threadIdx.x) / LANES; i < {n}; "
            "i += gridDim.x * blockDim.x / LANES) {",
        ]
        self._kernel([*head, *_indented(lines), "}"], names, _blocks(32 * n), _THREADS)

    def _row_reduction(self, statement: Statement, names: Names) -> list[str]:
        (array,), out = self._layout.reads(statement), self._layout.array(statement.out)
        kind, f = TYPES[str(array.dtype)], self._combination(statement)
        start = "0" if f == "plus" else names.element(array, ("i", "0"))
        return [
            "{",
            f"    {kind} r = {start};",
            f"    for (int j = lane; j < {array.shape[1]}; j += LANES) r = {f}(r, {names.element(array, ('i', 'j'))});",
            f"    OVER_WARP(r, {f})",
            f"    if (lane == 0) {names.element(out, ('i', '0')[: out.ndim])} = r;",
            "}",
        ]

    def _block(self, group: list[Statement]) -> None:
        names, lines = Names(), []
        for part in self._parts(group):
            statement, out = part[0], self._layout.array(part[0].out)
            if statement.kind == "reduce":
                lines += self._block_reduction(statement, names)
            else:
                lines.append(f"for (int t = threadIdx.x; t < {out.size}; t += blockDim.x) {{")
                index = index_of(out.shape, self._layout.lies_in_rows(statement.out))
                lines += [*_indented(self._elements(part, names, out.shape, index)), "}"]
            lines.append("__syncthreads();")
        loss = self._layout.array(self._loss)
        ends = not any(np.may_share_memory(self._layout.array(each.out), loss) for each in self._ahead)
        if ends and any(np.may_share_memory(self._layout.array(each.out), loss) for each in group):
            counter, losses = names(self.counter), names(self.losses)
            done = f"{losses}[{counter}[0]] = {names.element(loss, ())}; {counter}[0] += 1;"
            lines.append(f"if (threadIdx.x == 0) {{ {done} }}")
        self._kernel(lines, names, 1, 1024)

    def _block_reduction(self, statement: Statement, names: Names) -> list[str]:
        (array,), out = self._layout.reads(statement), self._layout.array(statement.out)
        kind, f = TYPES[str(array.dtype)], self._combination(statement)
        axis, _ = statement.extra
        if array.ndim == 2 and axis is not None:  # a thread for each result
            own, along = ("i", "j") if axis == 1 else ("j", "i")
            n, m = array.shape[1 - axis], array.shape[axis]
            result = names.element(out, {1: (own,), 2: (own, "0") if axis == 1 else ("0", own)}[out.ndim])
            first = names.element(array, ("i", "0") if axis == 1 else ("0", "j"))
            return [
                f"for (int {own} = threadIdx.x; {own} < {n}; {own} += blockDim.x) {{",
                f"    {kind} r = {first};",
                f"    for (int {along} = 1; {along} < {m}; ++{along}) r = {f}(r, {names.element(array, ('i', 'j'))});",
                f"    {result} = r;",
                "}",
            ]
        flat = array.reshape(-1, order="A")
        if not np.may_share_memory(flat, array):
            raise UntraceableError("the reduction of an array that does not lie together")
        start = "0" if f == "plus" else names.element(flat, ("0",))
        return [
            "{",
            f"    __shared__ {kind} parts[LANES];",
            f"    {kind} r = {start};",
            f"    for (int t = threadIdx.x; t < {flat.size}; t += blockDim.x)",
            f"        r = {f}(r, {names.element(flat, ('t',))});",
            f"    OVER_WARP(r, {f})",
            "    if (threadIdx.x % LANES == 0) parts[threadIdx.x / LANES] = r;",
            "    __syncthreads();",
            "    if (threadIdx.x < LANES) {",
            f"        r = threadIdx.x < blockDim.x / LANES ? parts[threadIdx.x] : {start};",
            f"        OVER_WARP(r, {f})",
            f"        if (threadIdx.x == 0) {names.element(out, ())} = r;",
            "    }",
            "}",
        ]

    def _combination(self, statement: Statement) -> str:
        ufunc = statement.function.__self__
        if ufunc not in _REDUCTIONS or self._layout.reads(statement)[0].dtype.kind != "f":
            raise UntraceableError(f"the reduction {ufunc.__name__}")
        return _REDUCTIONS[ufunc]

    def _elements(self, part: list[Statement], names: Names, shape: tuple[int, ...], lines: list[str]) -> list[str]:
        """Return `lines` and the text of elementwise calls at the index i, j."""
        index = ("i", "j")[: len(shape)]
        values: dict[tuple[Any, ...], str] = {}
        made: list[tuple[Statement, str]] = []
        for statement in part:
            texts = []
            for each in statement.inputs:
                if not isinstance(each, Traced | np.ndarray):
                    texts.append(constant(each))
                    continue
                array = self._layout.array(each)
                if place(array) not in values:
                    values[place(array)] = name = f"y{len(lines)}"
                    lines.append(f"const {TYPES[str(array.dtype)]} {name} = {names.element(array, index)};")
                texts.append(values[place(array)])
            out = self._layout.array(statement.out)
            name = f"x{len(lines)}"
            lines.append(f"const {TYPES[str(out.dtype)]} {name} = {expression(statement, texts, out.dtype)};")
            values[place(out)] = name
            made.append((statement, name))
        for statement, name in made:
            out = self._layout.array(statement.out)
            if values[place(out)] == name and self._layout.is_needed(statement.out, self._ahead):
                lines.append(f"{names.element(out, index)} = {name};")
        return lines

    # What is no kernel of its own making.

    def _product(self, group: list[Statement]) -> None:
        ((statement,),) = self._parts(group)
        a, b = self._layout.reads(statement)
        self.launches.append(Product(a, b, self._layout.array(statement.out)))

    def _columns(self, group: list[Statement]) -> None:
        ((statement,),) = self._parts(group)
        (array,), out = self._layout.reads(statement), self._layout.array(statement.out)
        if self._combination(statement) != "plus":
            raise UntraceableError("an extreme over many rows")
        self.launches.append(Product(_ones(len(array), array.dtype), array, out.reshape(1, -1), exact=True))

    def _concat(self, group: list[Statement]) -> None:
        ((statement,),) = self._parts(group)
        out, start = self._layout.array(statement.out), 0
        if out.ndim != 1:
            raise UntraceableError("a concatenation of matrices")
        names, lines = Names(), []
        for piece in self._layout.reads(statement):
            own = names.element(out[start : start + len(piece)], ("t",))
            lines += [_over_threads(len(piece)), f"    {own} = {names.element(piece, ('t',))};", "}"]
            start += len(piece)
        self._kernel(lines, names, _blocks(len(out)), _THREADS)


def _ones(n: int, dtype: np.dtype) -> np.ndarray:
    return np.ones((1, n), dtype)


def _over_threads(n: int) -> str:
    return f"for (int t = blockIdx.x * blockDim.x + threadIdx.x; t < {n}; t += gridDim.x * blockDim.x) {{"


def _blocks(n: int) -> int:
    return max(1, min(-(-n // _THREADS), 4096))


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines]
