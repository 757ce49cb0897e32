"""The text of matrix products and reductions within a kernel: a thread holds a tile of the result in its registers."""

from __future__ import annotations

from collections.abc import Callable

from xpnet_backends.compiler.cuda_text import TYPES, KernelText, braces
from xpnet_backends.compiler.cuda_tiles import Contraction, Tile, halvings
from xpnet_backends.compiler.ir import Loop, Value

__all__ = ["PRODUCT_HEADER", "contraction"]

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
    n_halvings, count = halvings(parts, size)
    lines += _gathered(c.f, kind, parts, size)
    left = parts >> n_halvings  # threads with the same sums
    lines.append(f"const int first = part / {left} * {count}, own = part % {left};")
    known = {c.out: "sum"}
    inner = [f"{kind} sum = sums[e0];"]
    if min(left, count) > 1:
        choose = f"if (own == e && e0 + e < {count}) sum = sums[e0 + e];"
        inner.append(f"UNROLL for (int e = 1; e < {min(left, count)}; ++e) {choose}")
    index = f"const int i = {i}, j = {j};" if c.a else f"const int i = {j};"
    inner.append(f"const int e = first + e0 + own, r = e / {tile.columns}, c = e % {tile.columns};")
    guards = [
        f"e0 + own < {count}",
        f"q / {parts} < {down * right}",
        f"i < {c.a.shape[0]} && j < {c.n}" if c.a else f"i < {c.n}",
    ]
    guards += [f"i < row0 + {c.n_rows}"] * (c.n_rows > 0)
    inner += [index, *braces(f"if ({' && '.join(guards)})", [*text.elementwise(loop, [], known), *done(known)])]
    lines += braces(f"UNROLL for (int e0 = 0; e0 < {count}; e0 += {left})", inner)
    return braces(head, lines)


def _gathered(f: str, kind: str, parts: int, size: int) -> list[str]:
    """Return the lines that combine the sums of `parts` threads: each takes half of them, as long as there are two."""
    lines, (n_halvings, _) = list[str](), halvings(parts, size)
    d, count = parts // 2, size
    for _ in range(n_halvings):
        count //= 2
        body = [
            f"const {kind} mine = part & {d} ? sums[e + {count}] : sums[e];",
            f"const {kind} other = part & {d} ? sums[e] : sums[e + {count}];",
            f"sums[e] = {f}(mine, __shfl_xor_sync(0xffffffffu, other, {d}));",
        ]
        lines += braces(f"UNROLL for (int e = 0; e < {count}; ++e)", body)
        d //= 2
    if d:
        each = f"UNROLL for (int e = 0; e < {count}; ++e)"
        lines.append(f"UNROLL for (int d = {d}; d > 0; d /= 2) {each}")
        lines.append(f"    sums[e] = {f}(sums[e], __shfl_xor_sync(0xffffffffu, sums[e], d));")
    return lines


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
