"""The counter-based generator: the same bits everywhere, uniform, independent; and the dropout made of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from xpnet.nn.backprop import value_and_gradient
from xpnet.nn.counter_rng import advance, uniform_bits, uniform_floats
from xpnet.nn.network import Network

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


# Dropout, seen from outside: with hidden outputs of 1, the gradient of an outgoing weight is its unit's mask times
# the output's delta, which is the gradient of the output's bias.

UNITS, BATCH = 500, 20


def _mask(xp: Any, put: Any, backend: Any, dropout: float, counter: int = 0, units: int = UNITS) -> np.ndarray:
    network = Network([1, units, 1], "identity", loss="squared_error", dropout=dropout)
    vector = put([1.0] * units + [1.0] * units + [0.0] * (units + 1))
    _, gradient = value_and_gradient(network, xp, vector, (put([[1.0]]), put([[0.25]])), put([3, counter]))
    host = backend.to_numpy(gradient)
    return host[units : 2 * units] / host[-1]


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.9])
def test_dropout_keeps_its_share_and_scales_it_up(dropout: float, xp: Any, put: Any, backend: Any) -> None:
    keep = 1 - dropout
    masks = np.concatenate([_mask(xp, put, backend, dropout, counter) for counter in range(10)])
    kept = masks > 0
    np.testing.assert_allclose(masks[kept], 1 / keep, rtol=1e-4)
    assert kept.mean() == pytest.approx(keep, abs=4 * np.sqrt(keep * dropout / masks.size))
    # Exactly these: the words below keep * 2^32, counted from the lowest.
    words = np.concatenate([_expected(3, counter, 0, UNITS) for counter in range(10)])
    np.testing.assert_array_equal(kept, words + 2.0**31 < keep * 2.0**32)


def test_each_step_drops_others(xp: Any, put: Any, backend: Any) -> None:
    first, again, second = (_mask(xp, put, backend, 0.5, counter) > 0 for counter in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert 0.4 < np.mean(first == second) < 0.6


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_without_a_key_nothing_is_dropped(dropout: float) -> None:
    network = Network([1, 3, 1], "identity", loss="squared_error", dropout=dropout)
    vector = np.asarray([1.0] * 6 + [0.0] * 4)
    batch = np.asarray([[1.0]]), np.asarray([[0.0]])
    value, _ = value_and_gradient(network, np, vector, batch, None)
    assert value == 0.5 * 3**2
    assert (
        network.predict(network.pack([(vector[None, :3], vector[6:9]), (vector[3:6, None], vector[9:])]), batch[0]) == 3
    )


def test_layers_drop_independently() -> None:
    network = Network([1, UNITS, UNITS, 1], "identity", loss="squared_error", dropout=0.5)
    assert network.keep_probabilities == (0.5, 0.5, 1.0)
    # The masks of the two layers come from streams of their own.
    first, second = (uniform_bits(np, np.asarray([3, 0], dtype=np.int32), 2 * i, (UNITS,)) < 0 for i in range(2))
    assert 0.4 < np.mean(first == second) < 0.6
