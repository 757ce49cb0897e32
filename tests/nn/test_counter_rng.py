"""The counter-based generator: the same bits everywhere, uniform, independent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from xpnet.nn.counter_rng import advance, uniform_bits, uniform_floats

WORD = 1 << 32


def _mix(h: int) -> int:
    """Return the published hash lowbias32, in Python's own unsigned arithmetic."""
    h ^= h >> 16
    h = h * 0x7FEB352D % WORD
    h ^= h >> 15
    h = h * 0x846CA68B % WORD
    return h ^ (h >> 16)


def _expected(seed: int, counter: int, stream: int, n: int) -> np.ndarray:
    start = _mix((_mix(_mix(seed) ^ (counter % WORD)) + stream) % WORD)
    words = np.asarray([_mix(_mix(position) ^ start) for position in range(n)], dtype=np.uint32)
    return words.view(np.int32)


def _draw(seed: int = 0, counter: int = 0, stream: int = 0, n: int = 100_000) -> np.ndarray:
    return uniform_bits(np, np.asarray([seed, counter], dtype=np.int32), stream, (n,))


@pytest.mark.parametrize("dtype", ["float32"], indirect=True)
@pytest.mark.parametrize(("seed", "counter", "stream"), [(0, 0, 0), (1, 0, 3), (2**31 - 1, 2**31 - 1, 5), (42, -1, 1)])
def test_the_stream_is_that_hash_on_every_backend(
    seed: int, counter: int, stream: int, xp: Any, put: Any, backend: Any
) -> None:
    with np.errstate(all="raise"):
        bits = uniform_bits(xp, put([seed, counter]), stream, (4, 25))
    host = backend.to_numpy(bits)
    assert host.dtype == np.int32
    np.testing.assert_array_equal(host, _expected(seed, counter, stream, 100).reshape(4, 25))


def test_floats_are_the_upper_bits_on_every_backend(xp: Any, put: Any, backend: Any, dtype: str) -> None:
    bits = put([0, 255, 256, -1, -(2**31), 2**31 - 1])
    floats = backend.to_numpy(uniform_floats(xp, bits, getattr(xp, dtype)))
    assert floats.dtype == dtype
    np.testing.assert_array_equal(floats * 2**24, [0, 0, 1, 2**24 - 1, 2**23, 2**23 - 1])


@pytest.mark.parametrize("dtype", ["float32"], indirect=True)
def test_advance_raises_the_counter_and_keeps_the_seed(xp: Any, put: Any, backend: Any) -> None:
    key = put([7, 41])
    np.testing.assert_array_equal(backend.to_numpy(advance(xp, key)), [7, 42])
    np.testing.assert_array_equal(backend.to_numpy(key), [7, 41])
    assert advance(xp, key).dtype == xp.int32


@pytest.mark.parametrize("shift", [0, 8, 16, 24], ids="byte at bit {}".format)
def test_every_byte_is_uniform(shift: int) -> None:
    byte = (_draw(seed=3).view(np.uint32) >> shift) & 0xFF
    assert 1e-3 < stats.chisquare(np.bincount(byte, minlength=256)).pvalue < 1 - 1e-3


def test_floats_are_uniform() -> None:
    u = uniform_floats(np, _draw(seed=4), np.float64)
    assert u.min() >= 0
    assert u.max() < 1
    assert u.mean() == pytest.approx(1 / 2, abs=4 / np.sqrt(12 * u.size))
    assert u.var() == pytest.approx(1 / 12, abs=4 / np.sqrt(180 * u.size))
    assert stats.kstest(u, "uniform").pvalue > 1e-3


NEIGHBOURS = {
    "seed": {"seed": 6},
    "counter": {"counter": 1},
    "counter after 2^16": {"counter": 1 << 16},
    "stream": {"stream": 1},
}


@pytest.mark.parametrize("change", NEIGHBOURS.values(), ids=NEIGHBOURS)
def test_neighbouring_streams_are_different_and_uncorrelated(change: dict[str, int]) -> None:
    one, other = _draw(seed=5), _draw(**{"seed": 5, **change})
    n = one.size
    assert (one == other).sum() <= 2  # by chance n / 2^32
    assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(n)
    differing_bits = np.bitwise_count((one ^ other).view(np.uint32)).mean()
    assert differing_bits == pytest.approx(16, abs=4 * np.sqrt(8 / n))
    # Nor is one the other, displaced: the value at a position says nothing about that at the next.
    assert abs(np.corrcoef(one[1:], other[:-1])[0, 1]) < 4 / np.sqrt(n)


def test_neighbouring_positions_are_uncorrelated() -> None:
    bits = _draw(seed=5)
    for lag in (1, 2, 16, 256):
        assert abs(np.corrcoef(bits[lag:], bits[:-lag])[0, 1]) < 4 / np.sqrt(bits.size)


def test_successive_counters_at_one_position_are_uniform() -> None:
    u = np.asarray([uniform_floats(np, _draw(9, counter, n=1), np.float64)[0] for counter in range(5000)])
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 4 / np.sqrt(u.size)
