"""Iterables of blocks as a source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from xpnet.data.streams.source import BLOCK_BYTES, BUFFER_BYTES, Array, Source
from xpnet.errors import DataError, InvalidParameterError

__all__ = ["IterableSource"]

Blocks = Iterable[tuple[Any, Any]] | Callable[[], Iterable[tuple[Any, Any]]]


class IterableSource(Source):
    """Blocks ``(x, y)`` from an iterable, or from a function that returns one and is called in each epoch.

    The blocks are read in the order of the iterable, so samples are shuffled within the buffer only. If the data are
    sorted, let the iterable mix them, if possible in another order in each epoch. A resumed run reads the current epoch
    from its beginning.

    Parameters
    ----------
    blocks : iterable or callable
        It is iterated once in each epoch. `x` has shape (n, n_features) and `y` (n,) or (n, n_outputs), for any n. All
        blocks may lie in the same memory.
    n_samples : int, optional
        The number of samples in an epoch. By default the samples are counted in a first pass.
    buffer_bytes : int
        As for `xpnet.open_source`.

    Raises
    ------
    InvalidParameterError
        `blocks` is an iterator, which is used up after one epoch.
    DataError
        There are no blocks, or one of them is not a pair of arrays with these shapes.
    """

    is_sequential = True

    def __init__(self, blocks: Blocks, *, n_samples: int | None = None, buffer_bytes: int = BUFFER_BYTES) -> None:
        if not callable(blocks) and iter(blocks) is blocks:
            raise InvalidParameterError(
                "blocks: expected an iterable for each epoch; received an iterator, which is used up after one epoch. "
                "Pass the function that creates it."
            )
        self._blocks, self.buffer_bytes = blocks, buffer_bytes
        self._is_counted = n_samples is None
        first, n = None, 0
        self.n_features = -1  # unknown before the first block
        for x, _ in self._checked():
            first = x if first is None else first
            n += len(x)
            if n_samples is not None:
                break
        if first is None or (n if n_samples is None else n_samples) < 1:
            raise DataError("no samples: expected blocks of samples from the iterable; received none")
        n = n if n_samples is None else n_samples
        self.row_bytes = first.itemsize * first.shape[1]
        rows = max(1, BLOCK_BYTES // max(self.row_bytes, 1))
        self.sizes = np.minimum(rows, n - np.arange(0, n, rows))
        self._iterator: Iterator[tuple[Array, Array]] = iter(())
        self._next = (-1, 0)  # epoch and number of the next block
        self._block = first[:0], first[:0]  # the one before it
        self._left: tuple[Array, Array] | None = None  # samples that the iterable gave beyond the last block

    def _checked(self) -> Iterator[tuple[Array, Array]]:
        for i, block in enumerate(self._blocks() if callable(self._blocks) else self._blocks):
            try:
                x, y = block
                x, y = np.asarray(x), np.asarray(y)
            except (TypeError, ValueError) as exc:
                raise DataError(f"block {i + 1}: expected features and targets, (x, y); {exc}") from exc
            if x.ndim != 2 or y.ndim not in (1, 2) or len(x) != len(y):
                raise DataError(
                    f"block {i + 1}: expected x of shape (n, n_features) and y with as many rows; received the shapes "
                    f"{x.shape} and {y.shape}"
                )
            if self.n_features not in (-1, x.shape[1]):
                raise DataError(
                    f"block {i + 1}: expected {self.n_features} features, as in the first; received {x.shape[1]}"
                )
            if len(x):
                self.n_features = x.shape[1]
                yield x, y

    def read(self, block: int, epoch: int = 0, start: int = 0, stop: int | None = None) -> tuple[Array, Array]:
        """Return rows of a block; the blocks before it in the epoch are read and dropped."""
        if self._next == (epoch, block + 1):  # the block that was read last, of which a subset may have two slices
            return self._block[0][start:stop], self._block[1][start:stop]
        if self._next[0] != epoch or self._next[1] > block:
            self._iterator, self._next, self._left = self._checked(), (epoch, 0), None
        while self._next[1] <= block:
            self._block = self._cut(int(self.sizes[self._next[1]]))
            self._next = epoch, self._next[1] + 1
        if block == len(self.sizes) - 1 and self._is_counted and (self._left or next(self._iterator, None) is not None):
            raise DataError(
                f"iterable: expected {self.n_samples} samples, as in the first pass; received more; give the same "
                "number in each epoch"
            )
        return self._block[0][start:stop], self._block[1][start:stop]

    def _cut(self, size: int) -> tuple[Array, Array]:
        """Return the next `size` samples of the iterable.

        They are copied, because the iterable may put its next block into the same memory. The samples that are left
        are not: the next block is taken only when they are used up.
        """
        pieces: list[tuple[Array, Array]] = []
        missing = size
        while missing:
            block = self._left or next(self._iterator, None)
            if block is None:
                done = int(self.sizes[: self._next[1]].sum()) + size - missing
                raise DataError(
                    f"iterable: expected {self.n_samples} samples in each epoch; received {done}; give the same number "
                    "in each epoch, or another n_samples"
                )
            x, y = block
            pieces.append((x[:missing].copy(), y[:missing].copy()))
            self._left = (x[missing:], y[missing:]) if len(x) > missing else None
            missing -= len(pieces[-1][0])
        x, y = (np.concatenate(arrays) for arrays in zip(*pieces, strict=True)) if pieces[1:] else pieces[0]
        return x, y

    def where(self, block: int) -> str:
        """Return the block's first and last sample, counted from 1."""
        first = int(self.sizes[:block].sum())
        return f"iterable, samples {first + 1} to {first + int(self.sizes[block])}"

    def reader(self) -> Source:
        """Return an independent source of the same data, with a position of its own."""
        other = object.__new__(IterableSource)
        vars(other).update(vars(self), _next=(-1, 0), _left=None)
        return other
