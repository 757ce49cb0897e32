"""Feeds: where the loop of training takes its batches from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from xpnet.backend import Array, Backend
from xpnet.errors import InvalidParameterError
from xpnet.nn.network import Network
from xpnet.training.samples import Samples, batches

__all__ = ["Feed", "MemoryFeed", "Order", "Piece"]

# (epoch, n_samples) -> indices of samples, (n_samples,)
Order = Callable[[int, int], np.ndarray]
# What a compiled run takes: data on the device, and (n_steps, batch) indices into it.
Piece = tuple[tuple[Array, ...], Array]


class Feed(Protocol):
    """The batches of a run; which they are follows from the epoch and the position alone, so that a run can go on.

    Attributes
    ----------
    batch_size : int
        The last batch of an epoch may be shorter.
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

    def batches(self, epoch: int, position: int) -> Iterator[Piece]:
        """Yield the batches of an epoch, counted from 0, from step `position` on."""
        ...


@dataclass(frozen=True)
class MemoryFeed(Feed):
    """Samples that lie on the device, all of them."""

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

    def batches(self, epoch: int, position: int) -> Iterator[Piece]:
        """Yield the batches of an epoch, in the order of the function, from step `position` on."""
        order = _indices(self.order(epoch, self.n_samples), self.n_samples)
        return batches(self.network, self.backend, self.samples, order, self.batch_size, position)


def _indices(order: np.ndarray, n_samples: int) -> np.ndarray:
    """Hold an order to what it must be: outside the samples, some libraries take others without a word."""
    order = np.asarray(order)
    if order.shape != (n_samples,) or order.dtype.kind not in "iu" or order.min() < 0 or order.max() >= n_samples:
        what = f"{order.dtype} of shape {order.shape}"
        if order.size and order.dtype.kind in "iu":
            what += f" from {order.min()} to {order.max()}"
        raise InvalidParameterError(
            f"shuffle: expected {n_samples} indices from 0 to {n_samples - 1} from the function; received {what}."
        )
    return order.astype(np.int32, copy=False)
