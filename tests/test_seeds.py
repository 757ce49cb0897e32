"""Streams of random numbers: one seed, many purposes, none the same."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet.errors import InvalidParameterError
from xpnet.seeds import Purpose, seed_sequence


def words(*arguments: int) -> tuple[int, ...]:
    return tuple(seed_sequence(*arguments).generate_state(4).tolist())


def test_streams_of_one_seed_differ_by_purpose_and_counter() -> None:
    seeds = (0, 1, 5, 2**32 + 5, 2**64)
    streams = [words(s, p, *c) for s in seeds for p in Purpose for c in ((), (0,), (1,), (1, 0))]
    # Only a counter of its own tells streams apart, not a zero put to the end of a seed.
    assert len(set(streams)) == len(streams)


def test_the_weights_are_not_the_order_of_the_first_epoch() -> None:
    weights = np.random.default_rng(seed_sequence(3, Purpose.WEIGHTS)).random(100)
    order = np.random.default_rng(seed_sequence(3, Purpose.SHUFFLE, 0)).random(100)
    assert abs(np.corrcoef(weights, order)[0, 1]) < 0.3


def test_a_stream_is_what_it_was() -> None:
    # Written out: a saved run, and a published seed, must mean the same in a later version.
    assert words(7, Purpose.SHUFFLE, 2) == tuple(np.random.SeedSequence(7, spawn_key=(1, 2)).generate_state(4).tolist())
    assert [(purpose.name, purpose.value) for purpose in Purpose] == [
        ("WEIGHTS", 0),
        ("SHUFFLE", 1),
        ("MASKS", 2),
        ("PARTS", 3),
        ("FOLDS", 4),
        ("TRIALS", 5),
    ]


def test_a_seed_that_is_none() -> None:
    for seed in (-1, 0.5, "a", None):
        with pytest.raises(InvalidParameterError, match=r"^seed: expected an integer of at least 0; received "):
            words(seed, Purpose.WEIGHTS)  # type: ignore[arg-type]
