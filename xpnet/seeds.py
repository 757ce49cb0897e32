"""Seeds of independent random streams: one for each purpose and, where it repeats, one for each repetition."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

__all__ = ["Purpose", "seed_sequence"]


class Purpose(IntEnum):
    """Purpose of a random stream. The numbers define what a seed means and never change."""

    WEIGHTS = 0
    SHUFFLE = 1
    MASKS = 2
    PARTS = 3


def seed_sequence(seed: int, purpose: Purpose, *counters: int) -> np.random.SeedSequence:
    """Return the seed sequence of a random stream.

    Streams are independent if their seed, purpose or counters differ. Seeds may exceed 32 bits.

    Parameters
    ----------
    seed : int
        Seed of the user.
    purpose : Purpose
    *counters : int
        Numbers that tell repetitions apart, e.g. the epoch.
    """
    return np.random.SeedSequence(seed, spawn_key=(purpose, *counters))
