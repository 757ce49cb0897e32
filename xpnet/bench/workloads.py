"""The ladder: sizes of work from tiny to wide, and the data, weights and orders that every contender is given."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from xpnet.errors import UnknownNameError
from xpnet.nn.network import Network

__all__ = ["LADDER", "NARROW", "Rung", "Work", "get_rungs", "make_work", "orders"]

_QUICK_STEPS = 20
_FLOAT = 4  # bytes


class Rung(NamedTuple):
    """One size of work, always in float32 with softmax cross-entropy, shuffled each epoch.

    Attributes
    ----------
    name : str
    sizes : tuple of int
        Units of the input, of each hidden layer and of the output.
    activation : {"relu", "sigmoid"}
    batch : int
    optimizer : {"sgd", "momentum", "adam"}
        Momentum of 0.9; Adam with its paper's settings.
    learning_rate : float
    steps : int
        Of an epoch. The data are more than the caches hold where the real ones are.
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
        """Samples of an epoch: whole batches, so that no contender has a short one."""
        return self.steps * self.batch

    @property
    def network(self) -> Network:
        """The network, with xpnet's own initial weights."""
        return Network(self.sizes, activation=self.activation)

    @property
    def products(self) -> tuple[tuple[int, int, int], ...]:
        """Matrix products of a step, (m, k) by (k, n): forward, gradients of the weights, and of all but the input."""
        layers = list(itertools.pairwise(self.sizes))
        forward = [(self.batch, n_in, n_out) for n_in, n_out in layers]
        weights = [(n_in, self.batch, n_out) for n_in, n_out in layers]
        inputs = [(self.batch, n_out, n_in) for n_in, n_out in layers[1:]]
        return (*forward, *weights, *inputs)

    @property
    def flops(self) -> int:
        """Floating-point operations of the products of a step: a multiplication and an addition each."""
        return sum(2 * m * k * n for m, k, n in self.products)

    def traffic(self, slots: int) -> int:
        """Bytes that a step moves at least: parameters and optimizer slots read and written, the batch read once."""
        return _FLOAT * (2 * self.network.n_parameters * (1 + slots) + self.batch * (self.sizes[0] + 1))

    def memory(self, slots: int) -> int:
        """Bytes that training needs: parameters x (2 + slots) + activations of one batch + the data once."""
        n_parameters = self.network.n_parameters
        activations = self.batch * sum(self.sizes)  # the batch itself is gathered, and so counts
        data = self.n_samples * (self.sizes[0] + 1)  # with a class index each
        return _FLOAT * (n_parameters * (2 + slots) + activations + data)

    def quick(self) -> Rung:
        """Return the rung with a short epoch."""
        return self._replace(steps=min(self.steps, _QUICK_STEPS))


LADDER: dict[str, Rung] = {
    rung.name: rung
    for rung in (
        Rung("tiny", (64, 15, 10), "sigmoid", 10, "sgd", 0.01, 180),
        Rung("digits", (64, 100, 10), "relu", 200, "adam", 0.001, 9),
        Rung("mnist-small", (784, 128, 64, 10), "relu", 64, "momentum", 0.01, 200),
        Rung("mnist-large", (784, 512, 512, 10), "relu", 256, "adam", 0.001, 50),
        Rung("wide", (1024, 4096, 4096, 1000), "relu", 1024, "momentum", 0.01, 2),
    )
}
# The regime of fully fused networks; of use on GPUs, and run only where they are named.
NARROW: dict[str, Rung] = {
    rung.name: rung
    for rung in (
        Rung("narrow-1k", (784, 64, 64, 10), "relu", 1024, "adam", 0.001, 50),
        Rung("narrow-64k", (784, 64, 64, 10), "relu", 65536, "adam", 0.001, 2),
    )
}


class Work(NamedTuple):
    """What every contender trains on.

    Attributes
    ----------
    rung : Rung
    x : (n_samples, n_in) float32
    y : (n_samples,) int32
        Class indices; each class is there.
    """

    rung: Rung
    x: np.ndarray
    y: np.ndarray

    def layers(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the initial weights, one (W, b) a layer: the same for all, drawn anew, so that nobody keeps them."""
        return [(np.asarray(W), np.asarray(b)) for W, b in self.rung.network.init(0, "cpu", "float32")]


def make_work(rung: Rung) -> Work:
    """Draw the data: a class is mostly that of a random linear map, so that the loss falls but does not vanish."""
    rng = np.random.default_rng(0)
    n_samples, n_in, n_out = rung.n_samples, rung.sizes[0], rung.sizes[-1]
    x = rng.standard_normal((n_samples, n_in), dtype=np.float32)
    scores = x @ rng.standard_normal((n_in, n_out), dtype=np.float32)
    y = np.argmax(scores, axis=1).astype(np.int32)
    noisy = rng.random(n_samples) < 0.1
    y[noisy] = rng.integers(0, n_out, int(noisy.sum()), dtype=np.int32)
    y[:n_out] = np.arange(n_out)[:n_samples]  # scikit-learn takes the classes from the data
    return Work(rung, x, y)


def orders(rung: Rung, seed: int, epochs: int) -> np.ndarray:
    """Return the indices of samples, (epochs, steps, batch) int32, in the order that scikit-learn draws of a seed.

    It cannot be told another; all others can.
    """
    from sklearn.utils import check_random_state, shuffle

    state = check_random_state(seed)
    indices = np.arange(rung.n_samples)
    drawn = []
    for _ in range(epochs):
        indices = np.asarray(shuffle(indices, random_state=state))
        drawn.append(indices.astype(np.int32))
    return np.stack(drawn).reshape(epochs, rung.steps, rung.batch)


def get_rungs(names: tuple[str, ...]) -> list[Rung]:
    """Return the rungs of these names, in `LADDER` or `NARROW`; all of the first for none.

    Raises
    ------
    UnknownNameError
    """
    known = {**LADDER, **NARROW}
    for name in names:
        if name not in known:
            raise UnknownNameError.among("rung", name, known)
    return [known[name] for name in names or LADDER]
