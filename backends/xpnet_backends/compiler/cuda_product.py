"""The text of matrix products and reductions within a kernel: a thread holds a tile of the result in its registers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

from xpnet_backends.compiler.cuda_text import COMBINATIONS, TYPES, KernelText, braces
from xpnet_backends.compiler.ir import Instruction, Loop, Value, value_of
from xpnet_backends.compiler.ops import Op, UntraceableError

__all__ = ["PRODUCT_HEADER", "WARP", "Contraction", "Tile", "best_tile", "contraction"]

PRODUCT_HEADER = """
#define UNROLL _Pragma("unroll")
template <class T> struct alignas(16) Vector { T x[16 / sizeof(T)]; };
// Read n neighbours, 16 bytes at once where they are aligned
template <int n, bool aligned, class T> __device__ void load(T* to, const T* from) {
    if constexpr (aligned) {
        constexpr int width = 16 / sizeof(T);
        UNROLL for (int k = 0; k < n; k += width) {
            const Vector<T> v = *(const Vector<T>*)(from + k);
            UNROLL for (int e = 0; e < width; ++e) to[k + e] = v.x[e];
        }
    } else {
        UNROLL for (int k = 0; k < n; ++k) to[k] = from[k];
    }
}
"""
WARP = 32
_VECTOR = 16  # bytes that a thread reads at once
_ROWS, _COLUMNS, _PARTS = (1, 2, 4, 8), (1, 2, 4, 5, 8), (1, 2, 4, 8, 16, 32)
# Registers of a multiprocessor and of a thread, and the part of them that a tile may take.
_REGISTERS, _MOST_REGISTERS, _PART = 65536, 255, 0.5
# Cycles until a number that is read can be used, from shared memory (or shuffled) and from the L2 cache, and bytes that
# a multiprocessor gets from there in a cycle.
_LATENCY, _L2_LATENCY, _L2_BYTES = 30, 350, 40


class Contraction(NamedTuple):
    """``out[i, j] = f over k of a[i, k] * b[k, j]``: a product, or a reduction, which has no `a` and no `i`.

    With `n_rows`, a block does so many rows of it, from `row0` on.
    """

    a: Value | None
    b: Value
    out: Value
    f: str
    n_rows: int = 0

    @classmethod
    def of(cls, instruction: Instruction, n_rows: int = 0) -> Contraction:
        """Return that of a product, or of a reduction of a vector or of columns."""
        op, out = instruction.op, instruction.out
        if op is Op.MATMUL:
            a, b = instruction.reads
            return cls(a, b, out, "plus", n_rows)
        (value,) = instruction.reads
        if value.dtype.kind != "f":
            raise UntraceableError(f"the reduction {op.numpy} of {value.dtype}")
        if instruction.axis is None:
            if len(value.shape) > 1 and not value.is_contiguous:
                raise UntraceableError("the reduction of a part of a matrix to one number")
            value = value_of(
                value.buffer, (value.size, 1), (value.strides[0] if len(value.shape) == 1 else 1, 0), value.offset
            )
        return cls(None, value, out, COMBINATIONS[op])

    @property
    def m(self) -> int:
        """Rows of the result that are done together."""
        return self.n_rows or (1 if self.a is None else self.a.shape[0])

    @property
    def n(self) -> int:
        """Columns of the result."""
        return self.b.shape[1]

    @property
    def k(self) -> int:
        """Length of a sum."""
        return self.b.shape[0]


class Tile(NamedTuple):
    """The elements of the result that a thread has, and how it computes them.

    `parts` threads, neighbours in a warp, share the sums of a tile. An operand is read in vectors of `width` along the
    sum ("k"), in vectors along the tile ("i", "j"), or number by number (""). `at_once` is how often the loop over the
    sum is unrolled. `cycles` is an estimate for the whole contraction.
    """

    cycles: float
    rows: int
    columns: int
    parts: int
    at_once: int
    width: int
    a_along: str
    b_along: str

    def places(self, c: Contraction) -> tuple[int, int]:
        """Return the number of tiles along the rows and along the columns of the result."""
        return -(-c.m // self.rows), -(-c.n // self.columns)

    def items(self, c: Contraction) -> int:
        """Return the number of threads that have work, in whole warps."""
        return -(-math.prod(self.places(c)) * self.parts // WARP) * WARP

    @property
    def depth(self) -> int:
        """Terms of a sum that a thread takes at once."""
        return self.width if "k" in (self.a_along, self.b_along) else 1


def best_tile(c: Contraction, threads: int, blocks: int, n_after: int) -> Tile:
    """Return the tile that takes the fewest cycles, by an estimate.

    With one block, operands are in shared memory; with several, which take as many warps each, in the L2 cache.
    `n_after` is the number of instructions on each element of the result.
    """
    return min(_tiles(c, threads, blocks, n_after))


def _tiles(c: Contraction, threads: int, blocks: int, n_after: int) -> Iterator[Tile]:
    width, words = _VECTOR // c.b.dtype.itemsize, c.b.dtype.itemsize // 4
    latency = _LATENCY if blocks == 1 else _L2_LATENCY
    registers = _PART * min(_REGISTERS / threads, _MOST_REGISTERS)
    for rows, columns, parts in itertools.product(_ROWS, _COLUMNS, _PARTS):
        if rows >= 2 * c.m or columns >= 2 * c.n or parts >= 2 * c.k:
            continue
        a_along = "" if c.a is None else _along(c.a.T, width, rows, "i")
        a_along = "" if c.n_rows and a_along == "i" else a_along  # a block's first row may be any
        tile = Tile(0.0, rows, columns, parts, 1, width, a_along, _along(c.b, width, columns, "j"))
        size, depth = rows * columns, tile.depth
        at_once = int((registers / words - size) / ((rows + columns) * depth))
        if at_once < 1:
            continue
        steps = -(-c.k // (parts * depth))
        at_once = min(at_once, steps, 8)
        down, right = tile.places(c)
        warps = -(-(tile.items(c) // WARP) // (1 if c.n_rows else blocks))  # of a block
        operands = [(c.b, tile.b_along, columns, 1, right)]
        operands += [] if c.a is None else [(c.a.T, a_along, rows, right, down)]
        reads = waves = 0
        for value, along, n, divide, modulo in operands:
            count = n * depth // (width if along else 1)
            places = _places(
                parts, depth * value.strides[0], divide, modulo, (n if along in ("i", "j") else 1) * value.strides[1]
            )
            reads, waves = (
                reads + count,
                waves + count * (_banks if blocks == 1 else _lines)(places, words, along != ""),
            )
        terms, turns = size * depth * words, int(math.log2(parts))
        after = -(-size // parts) * (8 + 3 * n_after)
        busy = warps * (steps * max((terms + reads + 4) / 4, waves) + turns * size * words + after / 4)
        if blocks > 1:
            here = warps * WARP // parts  # tiles of a block
            busy = max(busy, c.k * (min(here, right) * columns + -(-here // right) * rows) * 4 * words / _L2_BYTES)
        chain = (
            -(-steps // at_once) * latency + steps * (terms + reads) + turns * (_LATENCY + size) + 2 * after + latency
        )
        yield tile._replace(cycles=max(busy, -(-warps * WARP // threads) * chain), at_once=at_once)


def _along(value: Value, width: int, n: int, across: str) -> str:
    """Return the axis along which a (k, n) operand can be read in vectors: k, the other one, or none."""
    rows, columns = value.shape
    if value.offset % width:
        return ""
    if value.strides[0] == 1 and value.strides[1] % width == 0 and rows % width == 0:
        return "k"
    whole = n % width == 0 and columns % n == 0
    return across if value.strides[1] == 1 and value.strides[0] % width == 0 and whole else ""


@lru_cache(maxsize=4096)
def _places(parts: int, along: int, divide: int, modulo: int, across: int) -> tuple[int, ...]:
    """Return which elements the threads of a warp read."""
    return tuple(lane % parts * along + lane // parts // divide % modulo * across for lane in range(WARP))


@lru_cache(maxsize=4096)
def _banks(places: tuple[int, ...], words: int, vector: bool) -> int:
    """Return how many cycles a read by a warp occupies the banks of shared memory."""
    group, each = (8, 4) if vector else (WARP // words, words)
    waves = 0
    for start in range(0, WARP, group):
        banks: dict[int, set[int]] = {}
        for place in places[start : start + group]:
            for word in range(place * words, place * words + each):
                banks.setdefault(word % 32, set()).add(word)
        waves += max(map(len, banks.values()))
    return waves


@lru_cache(maxsize=4096)
def _lines(places: tuple[int, ...], words: int, vector: bool) -> int:
    """Return how many cache lines a read by a warp touches."""
    each = 4 if vector else words
    return len({word // 32 for place in places for word in range(place * words, place * words + each)})


def contraction(
    text: KernelText, c: Contraction, tile: Tile, loop: Loop, head: str, done: Callable[[dict[Value, str]], list[str]]
) -> list[str]:
    """Return the lines of a contraction, and of the elementwise instructions of `loop` on its result.

    `head` is a loop of q over the threads that have work, in whole warps. `done` returns the last lines for an element,
    from the variables.
    """
    kind, (down, right) = TYPES[str(c.out.dtype)], tile.places(c)
    parts, depth, size = tile.parts, tile.depth, tile.rows * tile.columns
    i = f"ti * {tile.rows} + r" if tile.a_along == "i" else f"{'row0 + ' * (c.n_rows > 0)}ti + r * {down}"
    j = f"tj * {tile.columns} + c" if tile.b_along == "j" else f"tj + c * {right}"
    each = f"UNROLL for (int r = 0; r < {tile.rows}; ++r) UNROLL for (int c = 0; c < {tile.columns}; ++c)"
    body = [
        f"{kind} b[{depth}][{tile.columns}];",
        *_load(text, c.b, "b", tile.b_along, ("j", j, "c"), tile.columns, depth),
    ]
    if c.a is None:
        body.append(f"UNROLL for (int d = 0; d < {depth}; ++d) {each} sums[c] = {c.f}(sums[c], b[d][c]);")
    else:
        body += [
            f"{kind} a[{depth}][{tile.rows}];",
            *_load(text, c.a.T, "a", tile.a_along, ("i", i, "r"), tile.rows, depth),
        ]
        term = f"sums[r * {tile.columns} + c] += a[d][r] * b[d][c];"
        body.append(f"UNROLL for (int d = 0; d < {depth}; ++d) {each} {term}")
    lines = [
        f"const int part = q % {parts}, place = q / {parts} < {down * right} ? q / {parts} : {down * right - 1};",
        f"const int ti = place / {right}, tj = place % {right};",
        f"{kind} sums[{size}];",
        f"UNROLL for (int e = 0; e < {size}; ++e) sums[e] = {'0' if c.f == 'plus' else '-INFINITY'};",
        f'_Pragma("unroll {tile.at_once}")',
        *braces(f"for (int k = part * {depth}; k < {c.k}; k += {parts * depth})", body),
    ]
    if parts > 1:
        shuffled = f"sums[e] = {c.f}(sums[e], __shfl_xor_sync(0xffffffffu, sums[e], d));"
        lines.append(f"for (int d = {parts // 2}; d > 0; d /= 2) UNROLL for (int e = 0; e < {size}; ++e) {shuffled}")
    known = {c.out: "sum"}
    inner = [f"{kind} sum = sums[e0];"]
    if min(parts, size) > 1:
        choose = f"if (part == e && e0 + e < {size}) sum = sums[e0 + e];"
        inner.append(f"UNROLL for (int e = 1; e < {min(parts, size)}; ++e) {choose}")
    index = f"const int i = {i}, j = {j};" if c.a else f"const int i = {j};"
    inner.append(f"const int e = e0 + part, r = e / {tile.columns}, c = e % {tile.columns};")
    guards = [
        f"e < {size}",
        f"q / {parts} < {down * right}",
        f"i < {c.a.shape[0]} && j < {c.n}" if c.a else f"i < {c.n}",
    ]
    guards += [f"i < row0 + {c.n_rows}"] * (c.n_rows > 0)
    inner += [index, *braces(f"if ({' && '.join(guards)})", [*text.elementwise(loop, [], known), *done(known)])]
    lines += braces(f"UNROLL for (int e0 = 0; e0 < {size}; e0 += {parts})", inner)
    return braces(head, lines)


def _load(
    text: KernelText, value: Value, name: str, along: str, place: tuple[str, str, str], n: int, depth: int
) -> list[str]:
    """Return the lines that read the part of a (k, n) operand that a thread needs for `depth` terms.

    `place` is the axis across the sum, the index along it, and the variable in it.
    """
    across, index, own = place
    last = value.shape[1] - 1
    inside = f"({index} < {last} ? {index} : {last})"
    if along == across:
        first = text.element(value, ["(k + d)", f"({index.rpartition(' + ')[0]})"])
        return [f"UNROLL for (int d = 0; d < {depth}; ++d) load<{n}, true>({name}[d], &{first});"]
    loop = f"UNROLL for (int {own} = 0; {own} < {n}; ++{own})"
    if along == "k":
        lines = [
            f"{TYPES[str(value.dtype)]} line[{depth}];",
            f"load<{depth}, true>(line, &{text.element(value, ['k', inside])});",
            f"UNROLL for (int d = 0; d < {depth}; ++d) {name}[d][{own}] = line[d];",
        ]
        return braces(loop, lines)
    each = text.element(value, ["(k + d)", inside])
    return [f"UNROLL for (int d = 0; d < {depth}; ++d) {loop} {name}[d][{own}] = {each};"]
