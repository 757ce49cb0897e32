"""How threads share a matrix product or a reduction: the tile of the result that each has, chosen by an estimate."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from xpnet_backends.compiler.cuda_text import COMBINATIONS
from xpnet_backends.compiler.ir import Instruction, Value, value_of
from xpnet_backends.compiler.ops import Op, UntraceableError

__all__ = ["WARP", "Contraction", "Tile", "best_tile", "halvings"]

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
            across = (n if along in ("i", "j") else 1) * value.strides[1]
            places = _places(parts, depth * value.strides[0], divide, modulo, across)
            reads += count
            waves += count * (_banks if blocks == 1 else _lines)(places, words, along != "")
        terms, turns, sent = size * depth * words, int(math.log2(parts)), _n_shuffles(parts, size) * words
        after = -(-size // parts) * (8 + 3 * n_after)
        busy = warps * (steps * max((terms + reads + 4) / 4, waves) + sent + after / 4)
        if blocks > 1:
            here = warps * WARP // parts  # tiles of a block
            busy = max(busy, c.k * (min(here, right) * columns + -(-here // right) * rows) * 4 * words / _L2_BYTES)
        chain = -(-steps // at_once) * latency + steps * (terms + reads) + turns * _LATENCY + sent + 2 * after + latency
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


def halvings(parts: int, size: int) -> tuple[int, int]:
    """Return how often threads that share sums can each take half of them, and how many each then has."""
    n = 0
    while 1 << n < parts and size % 2 == 0:
        n, size = n + 1, size // 2
    return n, size


def _n_shuffles(parts: int, size: int) -> int:
    """Return how many numbers a thread sends."""
    n, count = halvings(parts, size)
    return size - count + ((parts >> n).bit_length() - 1) * count
