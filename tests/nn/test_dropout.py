"""Dropout masks and random slopes: their share and scale, and their independence of step, layer and micro-batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xpnet.nn.backprop import objective_and_gradient
from xpnet.nn.counter_rng import uniform_bits
from xpnet.nn.dropout import dropout_mask, random_slope
from xpnet.nn.network import Network

# Dropout, seen from outside: with hidden outputs of 1, the gradient of an outgoing weight is its unit's mask times
# the output's delta, which is the gradient of the output's bias.

UNITS, BATCH = 500, 20


def _mask(xp: Any, put: Any, backend: Any, dropout: float, counter: int = 0, units: int = UNITS) -> np.ndarray:
    network = Network([1, units, 1], "identity", loss="squared_error", dropout=dropout)
    vector = put([1.0] * units + [1.0] * units + [0.0] * (units + 1))
    _, gradient = objective_and_gradient(network, xp, vector, (put([[1.0]]), put([[0.25]])), put([3, counter]))
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
    keys = (np.asarray([3, counter], dtype=np.int32) for counter in range(10))
    words = np.concatenate([uniform_bits(np, key, 0, (UNITS,)) for key in keys])
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
    value, _ = objective_and_gradient(network, np, vector, batch, None)
    assert value == 0.5 * 3**2
    assert (
        network.predict(network.pack([(vector[None, :3], vector[6:9]), (vector[3:6, None], vector[9:])]), batch[0]) == 3
    )


def test_layers_drop_independently() -> None:
    network = Network([1, UNITS, UNITS, 1], "identity", loss="squared_error", dropout=0.5)
    assert network.keep_probabilities == (0.5, 0.5, 1.0)
    key = np.asarray([3, 0], dtype=np.int32)
    first, second = (dropout_mask(np, key, layer, 0.5, (1, UNITS), np.float32) > 0 for layer in range(2))
    assert 0.4 < np.mean(first == second) < 0.6


def test_a_mask_and_the_slopes_of_its_layer_are_independent() -> None:
    key = np.asarray([3, 0], dtype=np.int32)
    kept = dropout_mask(np, key, 1, 0.5, (BATCH, UNITS), np.float64) > 0
    slopes = random_slope(np, key, 1, (0.25, 0.75), (BATCH, UNITS), np.float64)
    assert 0.25 <= slopes.min() < 0.26
    assert 0.74 < slopes.max() < 0.75
    assert abs(slopes[kept].mean() - slopes[~kept].mean()) < 4 * 0.5 / np.sqrt(12) * 2 / np.sqrt(kept.size)


@pytest.mark.parametrize("first", [1, 7])
def test_the_rows_of_a_micro_batch_are_those_of_the_batch(first: int) -> None:
    key, rest = np.asarray([3, 0], dtype=np.int32), (BATCH - first, UNITS)
    mask = dropout_mask(np, key, 1, 0.5, (BATCH, UNITS), np.float32)
    slopes = random_slope(np, key, 1, (0.25, 0.75), (BATCH, UNITS), np.float32)
    np.testing.assert_array_equal(dropout_mask(np, key, 1, 0.5, rest, np.float32, first), mask[first:])
    np.testing.assert_array_equal(random_slope(np, key, 1, (0.25, 0.75), rest, np.float32, first), slopes[first:])
