"""What cuBLAS is asked for, held to a product of matrices that lie by columns as cuBLAS's do."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("cupy")
products = pytest.importorskip("xpnet_backends.cuda.cublas")

RNG = np.random.default_rng(0)


def by_rows(m: int, n: int) -> np.ndarray:
    return RNG.standard_normal((m, n))


def by_columns(m: int, n: int) -> np.ndarray:
    return RNG.standard_normal((n, m)).T


def within_rows(m: int, n: int) -> np.ndarray:
    return RNG.standard_normal((m, n + 3))[:, :n]


LAYOUTS = [by_rows, by_columns, within_rows]


def multiply(call: products.Call, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """Do what ``cublasGemmEx`` does with the addresses of three matrices."""

    def at(start: np.ndarray, rows: int, columns: int, stride: int) -> np.ndarray:
        assert stride >= rows  # or cuBLAS refuses
        return np.lib.stride_tricks.as_strided(
            start[:1, :1].reshape(1), (rows, columns), (start.itemsize, stride * start.itemsize)
        )

    left, right = (b, a) if call.swapped else (a, b)
    m, n, k = call.sizes
    turned = [
        at(matrix, *(shape[::-1] if turn else shape), stride)
        for matrix, shape, turn, stride in zip(
            (left, right), ((m, k), (k, n)), call.transposed, call.strides[:2], strict=True
        )
    ]
    factors = [matrix.T if turn else matrix for matrix, turn in zip(turned, call.transposed, strict=True)]
    at(out, m, n, call.strides[2])[...] = factors[0] @ factors[1]


@pytest.mark.parametrize("layouts", list(itertools.product(LAYOUTS, repeat=3)))
@pytest.mark.parametrize("sizes", [(4, 5, 6), (1, 5, 6), (4, 1, 6), (4, 5, 1), (1, 1, 6), (4, 1, 1), (1, 1, 1)])
def test_every_layout(layouts: tuple[Callable[[int, int], np.ndarray], ...], sizes: tuple[int, int, int]) -> None:
    m, k, n = sizes
    make_a, make_b, make_out = layouts
    a, b, out = make_a(m, k), make_b(k, n), make_out(m, n)
    expected = a @ b
    multiply(products.call_of(*map(products.value_like, (a, b, out))), a, b, out)
    np.testing.assert_allclose(out, expected, rtol=1e-12)
