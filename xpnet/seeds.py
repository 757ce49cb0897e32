"""Independent streams of random numbers from one seed: one for each purpose and, where it repeats, each time."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

__all__ = ["Purpose", "stream"]


class Purpose(IntEnum):
    """What a stream is for; the numbers are part of what a seed means and never change."""

    WEIGHTS = 0
    SHUFFLE = 1
    MASKS = 2
    PARTS = 3


def stream(seed: int, purpose: Purpose, *counters: int) -> np.random.SeedSequence:
    """Return the seed of a stream; streams that differ in anything are independent, also of seeds beyond 32 bits."""
    return np.random.SeedSequence(seed, spawn_key=(purpose, *counters))
