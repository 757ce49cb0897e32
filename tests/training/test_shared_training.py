"""Tests of runs whose ranks share the data: in memory and read in windows."""

from __future__ import annotations

import numpy as np
import pytest

import xpnet
from tests.thread_ranks import run_ranks
from xpnet.communicator import share_of
from xpnet.data.scaled_bytes import ScaledBytes
from xpnet.data.shared_rows import SharedRows
from xpnet.data.streams import ArraySource, IterableSource, Source
from xpnet.errors import DataError
from xpnet.training.streaming import StreamBatches

RNG = np.random.default_rng(0)
N = 101
X = RNG.normal(size=(N, 6))
BYTES = RNG.integers(0, 256, (N, 6), dtype=np.uint8)
CLASSES = RNG.integers(0, 3, N).astype(np.int32)
VALUES = RNG.normal(size=(N, 3))
NETWORK = xpnet.Network([6, 5, 3])
REGRESSION = xpnet.Network([6, 5, 3], loss="squared_error")
EVEN, UNEVEN = None, (0, 0, 90, 90, N)  # the cuts between the shares


def fit(x, y, comm=None, validation=None, network=NETWORK, **options):
    settings = {"epochs": 3, "batch_size": 8, "dtype": "float64", "learning_rate": 0.05, "seed": 3, **options}
    trainer = xpnet.Trainer(network, communicator=comm, **settings)
    run = trainer.fit(x, y, validation=validation)
    losses = [(record.loss, dict(record.validation or {})) for record in run.history]
    return losses, np.array(run.params.vector)


def same(results, expected):
    for losses, vector in results:
        np.testing.assert_allclose(vector, expected[1], rtol=1e-10, atol=1e-12)
        for (loss, scores), (loss0, scores0) in zip(losses, expected[0], strict=True):
            assert loss == pytest.approx(loss0, rel=1e-10)
            assert scores == pytest.approx(scores0, rel=1e-10)


def share(comm, x, cuts=EVEN):
    rows = share_of(len(x), comm.rank, comm.size) if cuts is None else slice(*cuts[comm.rank : comm.rank + 2])
    return SharedRows(x[rows], comm)


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("cuts", [EVEN, UNEVEN], ids=["even", "uneven"])
def test_shared_rows_are_trained_on_as_the_whole(size, cuts):
    cuts = cuts if size == 4 else EVEN
    expected = fit(X, CLASSES, validation=(X[:7], CLASSES[:7]))
    same(
        run_ranks(
            size,
            lambda c: fit(share(c, X, cuts), CLASSES, c, (share(c, X).part(np.arange(7)), CLASSES[:7])),
        ),
        expected,
    )


def test_shared_bytes_are_scaled_in_the_step():
    expected = fit(ScaledBytes(BYTES, 255.0), CLASSES)
    same(run_ranks(3, lambda c: fit(ScaledBytes(share(c, BYTES), 255.0), CLASSES, c)), expected)


def test_shared_rows_of_a_wider_type_are_narrowed():
    expected = fit(X, VALUES, network=REGRESSION, dtype="float32")
    for _, vector in run_ranks(2, lambda c: fit(share(c, X), VALUES, c, network=REGRESSION, dtype="float32")):
        np.testing.assert_allclose(vector, expected[1], rtol=1e-4, atol=1e-5)


class Uneven(Source):
    """Blocks of very different sizes, some without a sample."""

    def __init__(self, x, y):
        self.x, self.y, self.n_features, self.row_bytes = x, y, x.shape[1], x.shape[1] * 8
        self.sizes = np.array([0, 1, 57, 3, 0, len(x) - 61])
        self._ends = np.cumsum(self.sizes)

    def read(self, block, epoch=0, start=0, stop=None):
        first = self._ends[block] - self.sizes[block]
        rows = slice(first, self._ends[block])
        return self.x[rows][start:stop], self.y[rows][start:stop]

    def where(self, block):
        return f"block {block}"


SOURCES = {
    "blocks": lambda x, y: ArraySource(x, y),
    "uneven": Uneven,
    "iterable": lambda x, y: IterableSource(lambda: iter([(x[:40], y[:40]), (x[40:], y[40:])])),
}


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize(
    ("network", "y", "more"),
    [
        (NETWORK, CLASSES, {"class_weight": "balanced"}),
        (REGRESSION, VALUES, {"shuffle": False}),
        (NETWORK, CLASSES, {"batch_size": 3, "drop_last": True}),
    ],
)
def test_windows_are_those_of_a_single_process(kind, size, network, y, more):
    # Windows of two batches or more: the last has fewer samples than others, or than there are ranks.
    source = SOURCES[kind](X, y)
    sample = (6 + 3 + 2) * 8
    source.buffer_bytes = 2 * int(source.sizes.max()) * source.row_bytes + 3 * 20 * sample
    expected = fit(source, None, validation=source, network=network, **more)
    same(run_ranks(size, lambda c: fit(source, None, c, source, network, **more)), expected)


def test_each_rank_reads_its_share_of_a_window_only():
    source = ArraySource(X, CLASSES)  # blocks of one sample

    def read(comm):
        own, blocks = source.map(lambda x, y: (blocks.append(x) or x, y)), []
        fit(own, None, comm, epochs=2)
        return sum(map(len, blocks))

    assert source.sizes.max() == 1
    assert run_ranks(4, read) == [52, 50, 50, 50]


def test_an_error_in_one_share_of_a_window_is_raised_on_all_ranks():
    x = X.copy()
    x[90, 2] = np.inf

    def fails(comm):
        with pytest.raises(DataError, match=r"samples 91 to 91: in epoch 1: .*received inf"):
            fit(ArraySource(x, CLASSES), None, comm)
        comm.barrier()
        return True

    assert all(run_ranks(3, fails))


def test_a_single_process_shares_nothing():
    batches = StreamBatches(NETWORK, xpnet.get_backend("cpu"), "float64", ArraySource(X, CLASSES), 8)
    assert all(isinstance(samples.x, np.ndarray) for samples in batches.windows())
