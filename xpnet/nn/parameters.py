"""Parameters: one flat vector with one ``(W, b)`` a layer as views of it, and how they are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet.backend import Array, namespace_of
from xpnet.errors import InvalidParameterError
from xpnet.nn.initializers import get_initializer
from xpnet.seeds import Purpose, seed_sequence

if TYPE_CHECKING:
    from xpnet.nn.network import Network

__all__ = ["Parameters", "draw", "pack"]


class Parameters(Sequence[tuple[Array, Array]]):
    """One ``(W, b)`` a layer, cut from one flat vector; the optimizers see the vector.

    Attributes
    ----------
    vector : (n_parameters,)
        All weights, then all biases, then the learned slopes.
    slopes : tuple of (n_out,) arrays or None
        The learned slopes of each layer's activation; None where it has none.
    """

    def __init__(self, vector: Array, network: Network) -> None:
        self.vector = vector
        xp = namespace_of(vector)
        segments = []
        start = 0
        for shape in network.shapes:
            stop = start + math.prod(shape)
            segment = vector[start:stop]
            segments.append(xp.reshape(segment, shape) if len(shape) > 1 else segment)
            start = stop
        n = network.n_layers
        self._layers = tuple(zip(segments[:n], segments[n : 2 * n], strict=True))
        slopes = iter(segments[2 * n :])
        self.slopes = tuple(next(slopes) if each.learned else None for each in network.activations)

    @classmethod
    def of(cls, layers: Iterable[tuple[Array, Array]], slopes: Iterable[Array | None]) -> Parameters:
        """Return the parameters made of these arrays; they are joined to a vector when `vector` is read."""
        parameters = cls.__new__(cls)
        parameters._layers, parameters.slopes = tuple(layers), tuple(slopes)
        return parameters

    @cached_property
    def vector(self) -> Array:
        """All parameters, joined: (n_parameters,)."""
        weights, biases = zip(*self._layers, strict=True)
        slopes = [slope for slope in self.slopes if slope is not None]
        xp = namespace_of(*weights, *biases, *slopes)
        return xp.concat([*(xp.reshape(W, (-1,)) for W in weights), *biases, *slopes])

    def map(self, function: Callable[[Array], Array]) -> Parameters:
        """Return the parameters with a function applied to each array."""
        layers = ((function(W), function(b)) for W, b in self)
        return Parameters.of(layers, (None if slope is None else function(slope) for slope in self.slopes))

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, i: Any) -> Any:
        return self._layers[i]

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        return iter(self._layers)


def draw(network: Network, seed: int, dtype: str = "float64") -> np.ndarray:
    """Draw the initial parameter vector, (n_parameters,), on the host: each layer in float64, then rounded."""
    rng = np.random.default_rng(seed_sequence(seed, Purpose.WEIGHTS))
    vector = np.zeros(network.n_parameters, dtype)
    params: Any = Parameters(vector, network)  # NumPy's arrays, which can be written
    drawn = zip(params, params.slopes, network.activations, network.initializers, strict=True)
    for (W, b), slope, activation, name in drawn:
        initializer = get_initializer(name)
        W[...] = initializer.weights(rng, *W.shape)
        b[...] = initializer.biases(rng, b.size)
        if slope is not None:
            slope[...] = activation.slope
    return vector


def pack(network: Network, layers: Sequence[tuple[Array, Array]]) -> Parameters:
    """Make `Parameters` from one ``(W, b)`` a layer; learned slopes start at their initial value.

    Raises
    ------
    InvalidParameterError
        The shapes are not the network's.
    """
    if isinstance(layers, Parameters):
        return layers
    shapes = [(tuple(W.shape), tuple(b.shape)) for W, b in layers]
    expected = [(network.shapes[i], network.shapes[network.n_layers + i]) for i in range(network.n_layers)]
    if shapes != expected:
        raise InvalidParameterError(f"parameters: expected the shapes {expected}; received {shapes}.")
    slopes = (
        activation.slope + 0 * b if activation.learned else None
        for activation, (_, b) in zip(network.activations, layers, strict=True)
    )
    return Parameters.of(layers, slopes)
