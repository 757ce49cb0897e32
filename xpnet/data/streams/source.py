"""Sources of data that need not fit into memory: samples in blocks, read one at a time and again in each epoch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xpnet.errors import DataError, InvalidParameterError
from xpnet.seeds import Purpose, stream

__all__ = [
    "BLOCK_BYTES",
    "BUFFER_BYTES",
    "Array",
    "ArraySource",
    "Concatenated",
    "Part",
    "Parts",
    "Source",
    "split_source",
]

Array: TypeAlias = NDArray[Any]

BUFFER_BYTES = 192 << 20

# A block of an array that can be read anywhere: small, for a buffer of many blocks mixes sorted data well; not so
# small that the calls would cost more than the bytes. Few data have so many blocks at least.
BLOCK_BYTES, _BLOCKS = 1 << 16, 256


class Source(ABC):
    """Blocks of samples.

    Attributes
    ----------
    sizes : (n_blocks,) int64
        Samples of each block.
    n_features : int
    row_bytes : int
        Of a sample's features as they are read.
    feature_names, target_name : tuple of str, str, or None
    is_sequential : bool
        The blocks can be read in their own order only.
    buffer_bytes : int
        Memory for the samples among which a run shuffles, those that it reads ahead, and their exchange.
    """

    sizes: Array
    n_features: int
    row_bytes: int
    feature_names: tuple[str, ...] | None = None
    target_name: str | None = None
    is_sequential = False
    buffer_bytes: int = BUFFER_BYTES

    @property
    def n_samples(self) -> int:
        """Samples of all blocks."""
        return int(self.sizes.sum())

    @abstractmethod
    def read(self, block: int, epoch: int = 0, start: int = 0, stop: int | None = None) -> tuple[Array, Array]:
        """Return features (n, n_features) and targets (n,) or (n, n_outputs) of a block, or of some of its rows.

        Raises
        ------
        DataError
            What is there cannot be read; the message begins with the place.
        """

    @abstractmethod
    def where(self, block: int) -> str:
        """Return the place of a block, for messages."""

    def map(self, function: Callable[[Array, Array], tuple[Array, Array]]) -> Source:
        """Return the source whose blocks go through a function when they are read."""
        return _Mapped(self, function)

    def reader(self) -> Source:
        """Return the source to read from, apart from others who read it too."""
        return self

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        """Yield the blocks in their own order."""
        reader = self.reader()
        return (reader.read(int(block)) for block in np.flatnonzero(self.sizes))


class ArraySource(Source):
    """Two arrays of which slices can be taken: in memory, memory-mapped, or of a library that reads them from a file.

    Parameters
    ----------
    x : (n_samples, ...) array-like
        With `shape`, `dtype` and slices; more dimensions than one are a sample's features.
    y : (n_samples,) or (n_samples, n_outputs) array-like
    name : str
        What to call it in messages.
    """

    def __init__(self, x: Any, y: Any, name: str = "data") -> None:
        if len(x.shape) < 2 or not 1 <= len(y.shape) <= 2 or x.shape[0] != y.shape[0] or 0 in x.shape:
            raise DataError(
                f"{name}: expected features of shape (n_samples, n_features) and as many targets, at least one; "
                f"received the shapes {tuple(x.shape)} and {tuple(y.shape)}"
            )
        self._x, self._y, self._name = x, y, name
        n_samples, self.n_features = x.shape[0], math.prod(x.shape[1:])
        self.row_bytes = self.n_features * np.dtype(x.dtype).itemsize
        self._rows = max(1, min(BLOCK_BYTES // self.row_bytes, n_samples // _BLOCKS))
        starts = np.arange(0, n_samples, self._rows)
        self.sizes = np.minimum(self._rows, n_samples - starts)

    def read(self, block: int, epoch: int = 0, start: int = 0, stop: int | None = None) -> tuple[Array, Array]:
        """Return some rows of a block."""
        first = block * self._rows
        rows = slice(first + start, first + (int(self.sizes[block]) if stop is None else stop))
        x, y = np.asarray(self._x[rows]), np.asarray(self._y[rows])
        if len(x) != rows.stop - rows.start or len(y) != len(x):
            raise DataError(f"{self.where(block)}: expected {rows.stop - rows.start} samples; received {len(x)}")
        return x.reshape(len(x), self.n_features), y

    def where(self, block: int) -> str:
        """Return the array's name and the block's first and last sample, counted from 1."""
        first = block * self._rows
        return f"{self._name}, samples {first + 1} to {first + int(self.sizes[block])}"


class _Mapped(Source):
    def __init__(self, source: Source, function: Callable[[Array, Array], tuple[Array, Array]]) -> None:
        self._source, self._function = source, function
        _describe(self, source)
        self.sizes = source.sizes

    def read(self, block: int, epoch: int = 0, start: int = 0, stop: int | None = None) -> tuple[Array, Array]:
        x, y = self._source.read(block, epoch, start, stop)
        try:
            return self._function(x, y)
        except DataError as exc:
            raise DataError(f"{self.where(block)}: {exc}") from exc

    def where(self, block: int) -> str:
        return self._source.where(block)

    def reader(self) -> Source:
        return _Mapped(self._source.reader(), self._function)


class Concatenated(Source):
    """The blocks of several sources, one after the other."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        _describe(self, sources[0])
        for source in sources[1:]:
            if (source.n_features, source.feature_names) != (self.n_features, self.feature_names):
                raise DataError(
                    f"{source.where(0)}: expected the columns of {sources[0].where(0)}, {self.n_features} features"
                    f"{'' if self.feature_names is None else ' of the same names'}; received {source.n_features}"
                )
        self.sizes = np.concatenate([source.sizes for source in sources])
        self._ends = np.cumsum([len(source.sizes) for source in sources])

    def reader(self) -> Source:
        """Return the sources to read from, apart from others who read them too."""
        other = object.__new__(Concatenated)
        vars(other).update(vars(self), _sources=[source.reader() for source in self._sources])
        return other

    def _of(self, block: int) -> tuple[Source, int]:
        i = int(np.searchsorted(self._ends, block, "right"))
        return self._sources[i], block - int(self._ends[i - 1] if i else 0)

    def read(self, block: int, epoch: int = 0, start: int = 0, stop: int | None = None) -> tuple[Array, Array]:
        """Return some rows of a block."""
        source, own = self._of(block)
        return source.read(own, epoch, start, stop)

    def where(self, block: int) -> str:
        """Return the place in its source."""
        source, own = self._of(block)
        return source.where(own)


class Part(Source):
    """Of each block a stretch of rows, which goes on at the block's beginning when it reaches its end."""

    def __init__(self, source: Source, firsts: Array, counts: Array) -> None:
        self._source, self._firsts = source, firsts
        _describe(self, source)
        self.sizes = counts

    def read(self, block: int, epoch: int = 0, start: int = 0, stop: int | None = None) -> tuple[Array, Array]:
        """Return the part's rows of a block, or some of them."""
        pieces = [self._source.read(block, epoch, rows.start, rows.stop) for rows in self.rows(block)]
        x, y = pieces[0] if len(pieces) == 1 else map(np.concatenate, zip(*pieces, strict=True))
        return x[start:stop], y[start:stop]

    def rows(self, block: int) -> list[slice]:
        """Return the stretches of a block that belong to the part."""
        whole, count = int(self._source.sizes[block]), int(self.sizes[block])
        first = int(self._firsts[block]) % whole
        rows = slice(first, min(first + count, whole))
        return [rows] if first + count <= whole else [rows, slice(0, first + count - whole)]

    def where(self, block: int) -> str:
        """Return the place of the whole block."""
        return self._source.where(block)

    def reader(self) -> Part:
        """Return the part to read from, apart from others who read it too."""
        return Part(self._source.reader(), self._firsts, self.sizes)


def _describe(source: Source, like: Source) -> None:
    source.n_features, source.row_bytes = like.n_features, like.row_bytes
    source.feature_names, source.target_name = like.feature_names, like.target_name
    source.is_sequential, source.buffer_bytes = like.is_sequential, like.buffer_bytes


class Parts(NamedTuple):
    """The parts of a source; validation and test are None where their fraction is 0."""

    training: Part
    validation: Part | None
    test: Source | None


def split_source(source: Source, *, validation_fraction: float, test_fraction: float, seed: int) -> Parts:
    """Cut every block in parts, by a seed: the same in every epoch, and every stretch of the data is in each part.

    Of a block, each part takes neighbouring rows, from a place that the seed draws, so that reading a part reads little
    of the others. As sorted data have their classes in different blocks, the parts have the classes in proportion.

    Raises
    ------
    InvalidParameterError
        A fraction out of range, or fractions that leave nothing to train on.
    """
    n, sizes = source.n_samples, source.sizes
    fractions = {"test_fraction": test_fraction, "validation_fraction": validation_fraction}
    ends = np.cumsum(sizes)
    firsts = np.random.default_rng(stream(seed, Purpose.PARTS, 1)).integers(0, sizes)
    for name, fraction in fractions.items():
        if not 0 <= fraction < 1:
            raise InvalidParameterError(f"{name}: expected a number from 0 to less than 1; received {fraction!r}")
    totals = [max(1, round(fraction * n)) if fraction else 0 for fraction in fractions.values()]
    if sum(totals) >= n:
        raise InvalidParameterError(
            f"validation_fraction and test_fraction: expected to leave samples to train on; received {n} samples, "
            f"of which {totals[1]} for validation and {totals[0]} for testing; use smaller fractions or more data"
        )
    parts, left = [], sizes
    for total in totals:
        # As many of each block as keep the sum at its share; a small block may not have so many left.
        counts = np.minimum(np.diff(np.rint(ends * (total / n)).astype(np.int64), prepend=0), left)
        parts.append(Part(source, firsts, counts) if counts.any() else None)
        firsts, left = firsts + counts, left - counts
    return Parts(Part(source, firsts, left), parts[1], parts[0])
