"""Batch sources: where the training loop takes its batches from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from xpnet.backend import Backend
from xpnet.errors import InvalidParameterError
from xpnet.nn.network import Network
from xpnet.seeds import Purpose, seed_sequence
from xpnet.training.samples import Samples
from xpnet.training.step_chunks import Sharing, StepChunk, step_chunks

__all__ = ["BatchSource", "MemoryBatches", "Order", "batch_rows", "checked_order", "epoch_order", "samples_of_epoch"]

_AUTO_BATCH_SIZE = 32

# (epoch, n_samples) -> indices of samples, (n_samples,)
Order = Callable[[int, int], np.ndarray]


def epoch_order(seed: int, shuffle: bool, epoch: int, n_samples: int) -> np.ndarray:
    """Return the order of the samples in an epoch, (n_samples,) int32 indices. It depends on seed and epoch alone."""
    if not shuffle:
        return np.arange(n_samples, dtype=np.int32)
    return np.random.default_rng(seed_sequence(seed, Purpose.SHUFFLE, epoch)).permutation(n_samples).astype(np.int32)


def batch_rows(batch_size: int | str | None, n_samples: int) -> int:
    """Return the number of samples of a batch: a size that is given, all samples for None, at most 32 for "auto"."""
    sizes = {"auto": min(_AUTO_BATCH_SIZE, n_samples), None: n_samples}
    return int(sizes.get(batch_size, batch_size))  # type: ignore[arg-type]


def samples_of_epoch(n_samples: int, batch_size: int, *, drop_last: bool) -> int:
    """Return the number of samples of an epoch, without those of a last batch that is smaller than the others."""
    return n_samples // batch_size * batch_size if drop_last else n_samples


class BatchSource(Protocol):
    """Batches of a run.

    The batches of an epoch follow from its number alone, so that an interrupted run can go on at any step.

    Attributes
    ----------
    batch_size : int
        The last batch of an epoch may be smaller, if the source does not drop it.
    """

    batch_size: int

    @property
    def n_samples(self) -> int:
        """Samples of an epoch."""
        ...

    @property
    def divisor(self) -> float:
        """The step divides the inputs by it."""
        return 1.0

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch."""
        return math.ceil(self.n_samples / self.batch_size)

    def epoch(self, number: int, position: int) -> Iterator[StepChunk]:
        """Yield the batches of an epoch, counted from 0, starting with step `position`."""
        ...


@dataclass(frozen=True)
class MemoryBatches(BatchSource):
    """Batches of samples that all lie in memory."""

    network: Network
    backend: Backend
    samples: Samples
    batch_size: int
    order: Order
    drop_last: bool = False
    sharing: Sharing | None = None

    @property
    def n_samples(self) -> int:
        """Samples of an epoch."""
        return samples_of_epoch(self.samples.x.shape[0], self.batch_size, drop_last=self.drop_last)

    @property
    def divisor(self) -> float:
        """The step divides the inputs by it."""
        return self.samples.divisor

    def epoch(self, number: int, position: int) -> Iterator[StepChunk]:
        """Yield the batches of an epoch, counted from 0, starting with step `position`."""
        n: int = self.samples.x.shape[0]
        order = self.order(number, n)[: self.n_samples]
        return step_chunks(self.network, self.backend, self.samples, order, self.batch_size, position, self.sharing)


def checked_order(function: Order, epoch: int, n_samples: int) -> np.ndarray:
    """Return the order of a user's function, checked: some libraries silently take other samples for a wrong index."""
    order = np.asarray(function(epoch, n_samples))
    if order.shape != (n_samples,) or order.dtype.kind not in "iu" or order.min() < 0 or order.max() >= n_samples:
        what = f"{order.dtype} of shape {order.shape}"
        if order.size and order.dtype.kind in "iu":
            what += f" from {order.min()} to {order.max()}"
        raise InvalidParameterError(
            f"shuffle: expected the function to return {n_samples} indices from 0 to {n_samples - 1}; received {what}."
        )
    return order.astype(np.int32, copy=False)
