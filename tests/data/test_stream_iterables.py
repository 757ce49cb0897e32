"""Iterables read in pieces: each sample once an epoch, and errors that name the block."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.data.test_streams import NETWORK, X, Y, all_of, batches_of, buffered, seen
from xpnet.data.streams import ArraySource, IterableSource, iterables, split_source
from xpnet.data.streams.source import Array, Source
from xpnet.errors import DataError, InvalidParameterError
from xpnet.training.trainer import Trainer

FRACTIONS = {"validation_fraction": 0.2, "test_fraction": 0.2, "seed": 0}


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iterables, "BLOCK_BYTES", 2000)


class Blocks:
    """Blocks of different sizes, the same in every epoch."""

    def __init__(self, n: int = 1003) -> None:
        self.n, self.epochs = n, 0

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        self.epochs += 1
        cuts = [0, 1, 300, 300, 310, self.n]
        for start, stop in itertools.pairwise(cuts):
            yield X[start:stop].tolist() if start == 1 else X[start:stop], Y[start:stop]


@pytest.mark.parametrize("blocks", [Blocks(), list(Blocks()), lambda: iter(Blocks())])
def test_iterables_give_their_samples_in_order(blocks: Any) -> None:
    source = IterableSource(blocks)
    assert (source.n_samples, source.n_features) == (1003, 6)
    np.testing.assert_array_equal(all_of(source)[0], X)
    rows, sizes = seen(batches_of(buffered(source, 100)), 2)
    assert sizes == [20] * 50 + [3]
    np.testing.assert_array_equal(rows[np.lexsort(rows.T)], X[np.lexsort(X.T)])
    assert not np.array_equal(rows, X)
    np.testing.assert_array_equal(seen(batches_of(buffered(IterableSource(blocks), 100)), 2, 33)[0], rows[660:])


def test_an_iterable_is_read_once_an_epoch_also_beside_a_validation_on_it() -> None:
    blocks = Blocks()
    source: Source = buffered(IterableSource(blocks), 100)
    Trainer(NETWORK, batch_size=20, epochs=3).fit(source, validation=source)
    assert blocks.epochs == 1 + 3 + 3  # counted, trained on, validated on


def test_an_iterable_can_be_read_from_before() -> None:
    source = IterableSource(Blocks())
    later, before = source.read(7)[0], source.read(2)[0]
    np.testing.assert_array_equal(np.concatenate([before, later]), np.concatenate([X[166:249], X[581:664]]))


def test_the_number_of_samples_may_be_given() -> None:
    def forever() -> Iterator[tuple[Any, Any]]:
        while True:
            yield X[:50], Y[:50]

    run = Trainer(NETWORK, epochs=2).fit(IterableSource(forever, n_samples=640))
    assert len(run.history) == 2


@pytest.mark.timeout(60)
def test_iterables_that_change_or_are_none() -> None:
    blocks = Blocks()
    source = buffered(IterableSource(blocks), 100)
    for n, received in ((900, 900), (1002, 1002)):
        blocks.n = n
        with pytest.raises(DataError, match=f"expected 1003 samples in each epoch; received {received};"):
            Trainer(NETWORK, batch_size=20).fit(source)
    blocks = Blocks(500)
    source = buffered(IterableSource(blocks), 100)
    blocks.n = 501
    with pytest.raises(DataError, match="expected 500 samples, as in the first pass; received more"):
        Trainer(NETWORK, batch_size=20).fit(source)
    with pytest.raises(InvalidParameterError, match="received an iterator, which is used up"):
        IterableSource(iter(Blocks()))
    for wrong in ([(X, Y[:-1])], [X], [(X[:, 0], Y)], [(X, Y[:, None, None])]):
        with pytest.raises(DataError, match="block 1: expected"):
            IterableSource(wrong)
    with pytest.raises(DataError, match="no samples"):
        IterableSource([])


@pytest.mark.timeout(60)
def test_an_iterable_of_other_features_later() -> None:
    blocks = [(np.zeros((50, 4)), np.zeros(50)), (np.zeros((50, 1)), np.zeros(50))]
    with pytest.raises(DataError, match=r"block 2: expected 4 features, as in the first; received 1"):
        IterableSource(blocks)


def test_an_iterable_that_raises_in_a_later_epoch() -> None:
    epochs = iter(range(100))

    def blocks() -> Iterator[tuple[Any, Any]]:
        epoch = next(epochs)
        yield X[:500], Y[:500]
        if epoch == 3:
            raise ConnectionError("the sensor is gone")
        yield X[500:], Y[500:]

    with pytest.raises(ConnectionError, match="the sensor is gone"):
        Trainer(NETWORK, batch_size=20, epochs=9).fit(buffered(IterableSource(blocks), 100))


def _in_one_buffer(rows: int, of: Array, targets: Array) -> Callable[[], Iterator[tuple[Array, Array]]]:
    """Return a function that yields blocks which lie in the same memory, and spoils it at the end."""

    def blocks() -> Iterator[tuple[Array, Array]]:
        x, y = np.empty((rows, of.shape[1])), np.empty(rows, targets.dtype)
        for start in range(0, len(of), rows):
            n = min(rows, len(of) - start)
            x[:n], y[:n] = of[start : start + n], targets[start : start + n]
            yield x[:n], y[:n]
        x[:], y[:] = np.nan, 99

    return blocks


@pytest.mark.parametrize("rows", [1, 41, 1003])
def test_blocks_may_lie_in_the_same_memory(rows: int) -> None:
    source = IterableSource(_in_one_buffer(rows, X, Y))
    x, y = map(np.concatenate, zip(*list(source), strict=True))
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)
    own = [(X[start : start + rows], Y[start : start + rows]) for start in range(0, len(X), rows)]
    runs = [
        Trainer(NETWORK, batch_size=20, epochs=2).fit(buffered(each, 100), validation=each)
        for each in (source, IterableSource(own))
    ]
    np.testing.assert_array_equal(runs[0].params.vector, runs[1].params.vector)
    assert runs[0].history[-1].validation == runs[1].history[-1].validation


class _OneBuffer(ArraySource):
    """A source that reads each block into the same memory."""

    def read(self, block: int, epoch: int = 0, start: int = 0, stop: int | None = None) -> tuple[Array, Array]:
        read = super().read(block, epoch, start, stop)
        if not hasattr(self, "_buffer"):
            self._buffer = np.empty((1003, 6)), np.empty(1003, Y.dtype)
        for array, values in zip(self._buffer, read, strict=True):
            array[: len(values)] = values
        return self._buffer[0][: len(read[0])], self._buffer[1][: len(read[1])]


def test_a_source_may_read_into_the_same_memory() -> None:
    for make in (lambda source: source, lambda source: split_source(source, **FRACTIONS).training):
        ours, theirs = (make(of(X, Y)) for of in (_OneBuffer, ArraySource))
        runs = [Trainer(NETWORK, batch_size=20, epochs=2).fit(buffered(each, 100)) for each in (ours, theirs)]
        np.testing.assert_array_equal(runs[0].params.vector, runs[1].params.vector)


def test_a_part_of_an_iterable_reads_it_once_an_epoch() -> None:
    blocks = Blocks()
    part = split_source(IterableSource(blocks), **FRACTIONS).training
    firsts = [rows for block in range(len(part.sizes)) for rows in part.rows(block)]
    assert len(firsts) > len(part.sizes)  # some parts of a block are in two slices
    Trainer(NETWORK, batch_size=20, epochs=3).fit(part)
    assert blocks.epochs == 1 + 3
