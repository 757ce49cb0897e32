"""Batch sources: where the training loop takes its batches from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from xpnet.backend import Array, Backend
from xpnet.errors import InvalidParameterError
from xpnet.nn.network import Network
from xpnet.training.samples import Samples, pieces

__all__ = ["BatchSource", "MemoryBatches", "Order", "Piece"]

# (epoch, n_samples) -> indices of samples, (n_samples,)
Order = Callable[[int, int], np.ndarray]
# Arrays on the device, and (n_steps, batch) indices into them: the batches of some steps, as a compiled run takes them.
Piece = tuple[tuple[Array, ...], Array]


class BatchSource(Protocol):
    """Batches of a run.

    The batches of an epoch follow from its number alone, so that an interrupted run can go on at any step.

    Attributes
    ----------
    batch_size : int
        The last batch of an epoch may be smaller.
    """

    batch_size: int

    @property
    def n_samples(self) -> int:
        """Samples of an epoch."""
        ...

    @property
    def n_steps(self) -> int:
        """Steps of an epoch."""
        return math.ceil(self.n_samples / self.batch_size)

    def epoch(self, number: int, position: int) -> Iterator[Piece]:
        """Yield the batches of an epoch, counted from 0, starting with step `position`."""
        ...


@dataclass(frozen=True)
class MemoryBatches(BatchSource):
    """Batches of samples that all lie in the memory of the device."""

    network: Network
    backend: Backend
    samples: Samples
    batch_size: int
    order: Order

    @property
    def n_samples(self) -> int:
        """Samples of an epoch."""
        n: int = self.samples.x.shape[0]
        return n

    def epoch(self, number: int, position: int) -> Iterator[Piece]:
        """Yield the batches of an epoch, counted from 0, starting with step `position`."""
        order = _checked_order(self.order(number, self.n_samples), self.n_samples)
        return pieces(self.network, self.backend, self.samples, order, self.batch_size, position)


def _checked_order(order: np.ndarray, n_samples: int) -> np.ndarray:
    """Check that `order` holds valid indices: some libraries silently take other samples for an index out of range."""
    order = np.asarray(order)
    if order.shape != (n_samples,) or order.dtype.kind not in "iu" or order.min() < 0 or order.max() >= n_samples:
        what = f"{order.dtype} of shape {order.shape}"
        if order.size and order.dtype.kind in "iu":
            what += f" from {order.min()} to {order.max()}"
        raise InvalidParameterError(
            f"shuffle: expected the function to return {n_samples} indices from 0 to {n_samples - 1}; received {what}."
        )
    return order.astype(np.int32, copy=False)
