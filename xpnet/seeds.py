"""Seeds of independent random streams: one for each purpose and, where it repeats, one for each repetition."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from xpnet.constraints import integer
from xpnet.errors import InvalidParameterError, shown

__all__ = ["Purpose", "seed_sequence"]

_SEED = integer(0)


class Purpose(IntEnum):
    """Purpose of a random stream. The numbers define what a seed means and never change."""

    WEIGHTS = 0
    SHUFFLE = 1
    MASKS = 2
    PARTS = 3
    FOLDS = 4
    TRIALS = 5


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

    Raises
    ------
    InvalidParameterError
        The seed is not an integer of at least 0.
    """
    if not _SEED.holds(seed):
        raise InvalidParameterError(f"seed: expected {_SEED.expected}; received {shown(seed)}.")
    return np.random.SeedSequence(seed, spawn_key=(purpose, *counters))
