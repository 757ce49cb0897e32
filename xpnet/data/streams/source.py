"""Sources: samples in blocks that are read one at a time, and again in each epoch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xpnet.communicator import Communicator, share_of
from xpnet.data.images import image_shape
from xpnet.errors import DataError

__all__ = [
    "BLOCK_BYTES",
    "BUFFER_BYTES",
    "Array",
    "ArraySource",
    "Concatenated",
    "Source",
    "concatenate",
    "copy_description",
    "own_blocks",
]

Array: TypeAlias = NDArray[Any]

BUFFER_BYTES = 192 << 20

# The size of a block where the rows can be read in any order. With small blocks the buffer holds many, which mixes
# sorted data well; with much smaller ones the calls would cost more than the bytes. Small data have at least _BLOCKS.
BLOCK_BYTES, _BLOCKS = 1 << 16, 256


class Source(ABC):
    """Samples in blocks.

    Attributes
    ----------
    sizes : ndarray of int64, shape (n_blocks,)
        Number of samples in each block.
    n_features : int
    row_bytes : int
        Bytes of the features of one sample as they are read.
    feature_names : tuple of str or None
    target_name : str or None
    image_shape : tuple of int or None
        Shape of a sample before it was flattened, if the samples are images.
    is_sequential : bool
        Whether the blocks can only be read in order.
    buffer_bytes : int
        Memory for the samples that are shuffled, for those that are read ahead, and for moving them.
    """

    sizes: Array
    n_features: int
    row_bytes: int
    feature_names: tuple[str, ...] | None = None
    target_name: str | None = None
    image_shape: tuple[int, ...] | None = None
    is_sequential = False
    buffer_bytes: int = BUFFER_BYTES

    @property
    def n_samples(self) -> int:
        """Number of samples in all blocks."""
        return int(self.sizes.sum())

    @abstractmethod
    def read(self, block: int, epoch: int = 0, start: int = 0, stop: int | None = None) -> tuple[Array, Array]:
        """Return rows of a block.

        Parameters
        ----------
        block : int
        epoch : int
            A sequential source may give other samples in each epoch.
        start, stop : int
            The rows of the block; the default is all.

        Returns
        -------
        x : ndarray, shape (n, n_features)
            A `TableSource` returns a table of these rows and columns.
        y : ndarray, shape (n,) or (n, n_outputs)

        Raises
        ------
        DataError
            The block cannot be read. The message begins with its place.
        """

    @abstractmethod
    def where(self, block: int) -> str:
        """Return the place of a block, for messages."""

    def map(self, function: Callable[[Any, Array], tuple[Array, Array]], n_features: int | None = None) -> Source:
        """Return a source whose blocks are passed through ``function(x, y)`` when they are read.

        Parameters
        ----------
        function : callable
        n_features : int, optional
            The number of features that it returns; by default that of the source.
        """
        return _Mapped(self, function, n_features)

    def reader(self) -> Source:
        """Return an independent source of the same data, so that two threads can read at the same time."""
        return self

    def __iter__(self) -> Iterator[tuple[Any, Array]]:
        """Yield the blocks in order, without empty ones."""
        reader = self.reader()
        return (reader.read(int(block)) for block in np.flatnonzero(self.sizes))


class ArraySource(Source):
    """Two arrays that can be sliced: in memory, memory-mapped, or read from a file by a library.

    Parameters
    ----------
    x : array-like, shape (n_samples, ...)
        It needs `shape`, `dtype` and slicing. All dimensions after the first are features.
    y : array-like, shape (n_samples,) or (n_samples, n_outputs)
    name : str
        Used in messages.

    Raises
    ------
    DataError
        The shapes do not fit each other, or there are no samples.
    """

    def __init__(self, x: Any, y: Any, name: str = "data") -> None:
        if len(x.shape) < 2 or not 1 <= len(y.shape) <= 2 or x.shape[0] != y.shape[0] or 0 in x.shape:
            raise DataError(
                f"{name}: expected features of shape (n_samples, n_features) and targets of the same length, at least "
                f"1; received the shapes {tuple(x.shape)} and {tuple(y.shape)}"
            )
        self._x, self._y, self._name = x, y, name
        self.image_shape = image_shape(x.shape)
        n_samples, self.n_features = x.shape[0], math.prod(x.shape[1:])
        self.row_bytes = self.n_features * np.dtype(x.dtype).itemsize
        self._rows = max(1, min(BLOCK_BYTES // self.row_bytes, n_samples // _BLOCKS))
        starts = np.arange(0, n_samples, self._rows)
        self.sizes = np.minimum(self._rows, n_samples - starts)

    def read(self, block: int, epoch: int = 0, start: int = 0, stop: int | None = None) -> tuple[Array, Array]:
        """Return rows of a block."""
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
    """A source whose blocks are passed through a function."""

    def __init__(
        self, source: Source, function: Callable[[Any, Array], tuple[Array, Array]], n_features: int | None = None
    ) -> None:
        self._source, self._function = source, function
        copy_description(self, source)
        self.sizes = source.sizes
        self.n_features = n_features or source.n_features

    def read(self, block: int, epoch: int = 0, start: int = 0, stop: int | None = None) -> tuple[Array, Array]:
        x, y = self._source.read(block, epoch, start, stop)
        try:
            return self._function(x, y)
        except DataError as exc:
            raise DataError(f"{self.where(block)}: {exc}") from exc

    def where(self, block: int) -> str:
        return self._source.where(block)

    def reader(self) -> Source:
        return _Mapped(self._source.reader(), self._function, self.n_features)


class Concatenated(Source):
    """The blocks of several sources, one source after the other."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        copy_description(self, sources[0])
        for source in sources[1:]:
            if (source.n_features, source.feature_names) != (self.n_features, self.feature_names):
                raise DataError(
                    f"{source.where(0)}: expected the columns of {sources[0].where(0)}, {self.n_features} features"
                    f"{'' if self.feature_names is None else ' of the same names'}; received {source.n_features}"
                )
        self.sizes = np.concatenate([source.sizes for source in sources])
        self._ends = np.cumsum([len(source.sizes) for source in sources])

    def reader(self) -> Source:
        """Return an independent source of the same data."""
        other = object.__new__(Concatenated)
        vars(other).update(vars(self), _sources=[source.reader() for source in self._sources])
        return other

    def _locate(self, block: int) -> tuple[Source, int]:
        """Return the source of a block and the number of the block in it."""
        i = int(np.searchsorted(self._ends, block, "right"))
        return self._sources[i], block - int(self._ends[i - 1] if i else 0)

    def read(self, block: int, epoch: int = 0, start: int = 0, stop: int | None = None) -> tuple[Array, Array]:
        """Return rows of a block."""
        source, own = self._locate(block)
        return source.read(own, epoch, start, stop)

    def where(self, block: int) -> str:
        """Return the place of a block in its source, for messages."""
        source, own = self._locate(block)
        return source.where(own)


def concatenate(parts: Sequence[Any]) -> Any:
    """Return features one below the other: arrays, or tables of the same columns."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    import pyarrow as pa

    return pa.concat_tables(parts)


def own_blocks(sizes: Array, communicator: Communicator | None) -> range:
    """Return the blocks of this rank: consecutive ones, with about the same number of rows on each rank."""
    if communicator is None:
        return range(len(sizes))
    share = share_of(int(sizes.sum()), communicator.rank, communicator.size)
    first, last = np.searchsorted(np.cumsum(sizes) - sizes, (share.start, share.stop))
    return range(int(first), int(last) if communicator.rank < communicator.size - 1 else len(sizes))


def copy_description(source: Source, like: Source) -> None:
    """Copy all attributes of a source but its sizes."""
    source.n_features, source.row_bytes = like.n_features, like.row_bytes
    source.feature_names, source.target_name = like.feature_names, like.target_name
    source.image_shape = like.image_shape
    source.is_sequential, source.buffer_bytes = like.is_sequential, like.buffer_bytes
