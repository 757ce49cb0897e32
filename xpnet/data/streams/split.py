"""Splits of a source into training, validation and test parts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xpnet.data.split import part_sizes
from xpnet.data.streams.source import Array, Source, concatenate, copy_description
from xpnet.seeds import Purpose, seed_sequence

__all__ = ["SourceSplit", "SourceSubset", "split_source"]


class SourceSubset(Source):
    """Some consecutive rows of each block of a source; they wrap around from the end of the block to its beginning.

    Parameters
    ----------
    source : Source
    firsts, counts : ndarray of int64, shape (n_blocks,)
        The first row in each block, and the number of rows. `firsts` are taken modulo the size of the block.
    """

    def __init__(self, source: Source, firsts: Array, counts: Array) -> None:
        self._source, self._firsts = source, firsts
        copy_description(self, source)
        self.sizes = counts

    def read(self, block: int, epoch: int = 0, start: int = 0, stop: int | None = None) -> tuple[Array, Array]:
        """Return rows of the subset."""
        first, *second = self.rows(block)
        x, y = self._source.read(block, epoch, first.start, first.stop)
        for rows in second:
            before = concatenate([x]), concatenate([y])  # a source may put what it reads next into the same memory
            after = self._source.read(block, epoch, rows.start, rows.stop)
            x, y = map(concatenate, zip(before, after, strict=True))
        return x[start:stop], y[start:stop]

    def rows(self, block: int) -> list[slice]:
        """Return the one or two slices of a block that belong to the subset."""
        whole, count = int(self._source.sizes[block]), int(self.sizes[block])
        first = int(self._firsts[block]) % whole
        rows = slice(first, min(first + count, whole))
        return [rows] if first + count <= whole else [rows, slice(0, first + count - whole)]

    def where(self, block: int) -> str:
        """Return the place of the whole block, for messages."""
        return self._source.where(block)

    def reader(self) -> SourceSubset:
        """Return an independent source of the same data."""
        return SourceSubset(self._source.reader(), self._firsts, self.sizes)


class SourceSplit(NamedTuple):
    """The parts of a source; validation and test are None where their fraction is 0."""

    training: SourceSubset
    validation: SourceSubset | None
    test: Source | None


def split_source(source: Source, *, validation_fraction: float, test_fraction: float, seed: int) -> SourceSplit:
    """Split a source at random into training, validation and test parts, which are the same in every epoch.

    Each part takes consecutive rows of every block, starting at a random row, so that reading one part reads little of
    the others. As each part has rows of every block, the parts of sorted data have the classes in proportion too.

    Parameters
    ----------
    source : Source
    validation_fraction, test_fraction : float in [0, 1)
        Fractions of all samples, as for `xpnet.data.split.split`.
    seed : int

    Raises
    ------
    InvalidParameterError
        A fraction is out of range, or no samples are left for training.
    """
    n, sizes = source.n_samples, source.sizes
    n_validation, n_test = part_sizes(n, validation_fraction, test_fraction)
    ends = np.cumsum(sizes)
    firsts, left = np.random.default_rng(seed_sequence(seed, Purpose.PARTS, 1)).integers(0, sizes), sizes
    parts = []
    for total in (n_test, n_validation):
        # Each block gives the rows that keep the sum in proportion, but not more than it has left.
        counts = np.minimum(np.diff(np.rint(ends * (total / n)).astype(np.int64), prepend=0), left)
        parts.append(SourceSubset(source, firsts, counts) if counts.any() else None)
        firsts, left = firsts + counts, left - counts
    return SourceSplit(SourceSubset(source, firsts, left), parts[1], parts[0])
