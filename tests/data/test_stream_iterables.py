"""Iterables read in pieces: each sample once an epoch, and errors that name the block."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.data.test_streams import NETWORK, X, Y, all_of, batches_of, buffered, seen
from xpnet.data.streams import IterableSource, iterables
from xpnet.data.streams.source import Source
from xpnet.errors import DataError, InvalidParameterError
from xpnet.training.trainer import Trainer


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
