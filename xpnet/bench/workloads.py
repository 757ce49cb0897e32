"""Workloads: networks from tiny to wide, with the data, weights and sample orders that all implementations get."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from xpnet.errors import UnknownNameError
from xpnet.nn.network import Network

__all__ = ["NARROW_WORKLOADS", "WORKLOADS", "TrainingData", "Workload", "get_workloads", "make_data", "orders"]

_QUICK_STEPS, _QUICK_WIDTH = 20, 512
# Samples of a whole epoch where a workload's own epoch is a short one: those of MNIST, and for `wide` more than the
# caches of most processors hold.
_FULL_SAMPLES = {"mnist-small": 60_000, "mnist-large": 60_000, "wide": 8_192}
_FLOAT = 4  # bytes


class Workload(NamedTuple):
    """A network and how it is trained: in float32 with softmax cross-entropy, shuffled in each epoch.

    Attributes
    ----------
    name : str
    sizes : tuple of int
        Units of the input, of each hidden layer and of the output.
    activation : {"relu", "sigmoid"}
    batch : int
        Batch size.
    optimizer : {"sgd", "momentum", "adam"}
        Momentum is 0.9; Adam has the settings of its paper.
    learning_rate : float
    steps : int
        Steps in an epoch. Where real data would exceed the processor's caches, the data of an epoch do too.
    """

    name: str
    sizes: tuple[int, ...]
    activation: str
    batch: int
    optimizer: str
    learning_rate: float
    steps: int

    @property
    def n_samples(self) -> int:
        """Number of samples in an epoch: a multiple of the batch size."""
        return self.steps * self.batch

    @property
    def network(self) -> Network:
        """The network, with xpnet's default initial weights."""
        return Network(self.sizes, activation=self.activation)

    @property
    def products(self) -> tuple[tuple[int, int, int], ...]:
        """Matrix products of a step, each (m, k) by (k, n): forward, weight gradients, and input gradients.

        The first layer needs no input gradient.
        """
        layers = list(itertools.pairwise(self.sizes))
        forward = [(self.batch, n_in, n_out) for n_in, n_out in layers]
        weights = [(n_in, self.batch, n_out) for n_in, n_out in layers]
        inputs = [(self.batch, n_out, n_in) for n_in, n_out in layers[1:]]
        return (*forward, *weights, *inputs)

    @property
    def flops(self) -> int:
        """Floating-point operations of a step's matrix products, counting a multiplication and an addition as two."""
        return sum(2 * m * k * n for m, k, n in self.products)

    def traffic(self, slots: int) -> int:
        """Return the fewest bytes that a step can move.

        It reads and writes the parameters and the optimizer's slots, and reads the batch.

        Parameters
        ----------
        slots : int
            Number of vectors of the parameters' size that the optimizer keeps.
        """
        return _FLOAT * (2 * self.network.n_parameters * (1 + slots) + self.batch * (self.sizes[0] + 1))

    def memory(self, slots: int) -> int:
        """Return the bytes that training needs: parameters x (2 + slots) + activations of one batch + the data once."""
        n_parameters = self.network.n_parameters
        activations = self.batch * sum(self.sizes)  # including the batch, which is gathered into an array of its own
        return _FLOAT * (n_parameters * (2 + slots) + activations) + self.data_bytes

    def layers(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return new arrays with the initial weights, one (W, b) for each layer; they are the same in each call."""
        return [(np.asarray(W), np.asarray(b)) for W, b in self.network.init(0, "cpu", "float32")]

    def quick(self) -> Workload:
        """Return the workload with a short epoch and narrow hidden layers."""
        n_in, *hidden, n_out = self.sizes
        sizes = (n_in, *(min(n_hidden, _QUICK_WIDTH) for n_hidden in hidden), n_out)
        return self._replace(sizes=sizes, steps=min(self.steps, _QUICK_STEPS))

    def full(self) -> Workload:
        """Return the workload with an epoch of a whole data set, without the samples of a last, smaller batch."""
        return self._replace(steps=_FULL_SAMPLES.get(self.name, self.n_samples) // self.batch)

    @property
    def data_bytes(self) -> int:
        """Bytes of the samples of an epoch, with one class index each."""
        return _FLOAT * self.n_samples * (self.sizes[0] + 1)


WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload("tiny", (64, 15, 10), "sigmoid", 10, "sgd", 0.01, 180),
        Workload("digits", (64, 100, 10), "relu", 200, "adam", 0.001, 9),
        Workload("mnist-small", (784, 128, 64, 10), "relu", 64, "momentum", 0.01, 200),
        Workload("mnist-large", (784, 512, 512, 10), "relu", 256, "adam", 0.001, 50),
        Workload("wide", (1024, 4096, 4096, 1000), "relu", 1024, "momentum", 0.01, 2),
    )
}
"""The workloads that run by default."""

NARROW_WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload("narrow-1k", (784, 64, 64, 10), "relu", 1024, "adam", 0.001, 50),
        Workload("narrow-64k", (784, 64, 64, 10), "relu", 65536, "adam", 0.001, 2),
    )
}
"""Workloads for GPUs, with the sizes for which fully fused networks are made; they run only if they are named."""


class TrainingData(NamedTuple):
    """What every implementation trains on.

    Attributes
    ----------
    workload : Workload
    x : ndarray of float32, shape (n_samples, n_in)
    y : ndarray of int32, shape (n_samples,)
        Class indices; each class occurs.
    """

    workload: Workload
    x: np.ndarray
    y: np.ndarray

    def layers(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return new arrays with the initial weights of the workload."""
        return self.workload.layers()


def make_data(workload: Workload) -> TrainingData:
    """Draw random data. The class is a linear function of the features with 10 % noise, so that training can learn."""
    rng = np.random.default_rng(0)
    n_samples, n_in, n_out = workload.n_samples, workload.sizes[0], workload.sizes[-1]
    x = rng.standard_normal((n_samples, n_in), dtype=np.float32)
    scores = x @ rng.standard_normal((n_in, n_out), dtype=np.float32)
    y = np.argmax(scores, axis=1).astype(np.int32)
    noisy = rng.random(n_samples) < 0.1
    y[noisy] = rng.integers(0, n_out, int(noisy.sum()), dtype=np.int32)
    y[:n_out] = np.arange(n_out)[:n_samples]  # scikit-learn takes the classes from the data
    return TrainingData(workload, x, y)


def orders(workload: Workload, seed: int, epochs: int) -> np.ndarray:
    """Return the indices of the samples of each step, (epochs, steps, batch) int32.

    The order is the one that scikit-learn draws from the seed, because it accepts no other.
    """
    from sklearn.utils import check_random_state, shuffle

    state = check_random_state(seed)
    indices = np.arange(workload.n_samples)
    drawn = []
    for _ in range(epochs):
        indices = np.asarray(shuffle(indices, random_state=state))
        drawn.append(indices.astype(np.int32))
    return np.stack(drawn).reshape(epochs, workload.steps, workload.batch)


def get_workloads(names: tuple[str, ...]) -> list[Workload]:
    """Return the workloads of these names, or the default ones if no names are given.

    Raises
    ------
    UnknownNameError
    """
    known = {**WORKLOADS, **NARROW_WORKLOADS}
    for name in names:
        if name not in known:
            raise UnknownNameError.among("workload", name, known)
    return [known[name] for name in names or WORKLOADS]
