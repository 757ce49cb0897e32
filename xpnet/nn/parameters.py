"""Parameters: one flat vector with one ``(W, b)`` a layer as views of it, and how they are drawn."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from xpnet.backend import Array, namespace_of
from xpnet.errors import InvalidParameterError, shown
from xpnet.nn.initializers import get_initializer
from xpnet.seeds import Purpose, seed_sequence

if TYPE_CHECKING:
    from xpnet.nn.network import Network

__all__ = ["KINDS", "PARAMETRIZATIONS", "Parameters", "Segment", "draw", "pack", "segments"]

KINDS = ("weights", "biases", "slopes", "input_scale")

# (fan_in) -> the factor g in a layer ``z = g a W + b``. Neural tangent kernel parametrization: Jacot, Gabriel, Hongler
# (2018), arXiv:1806.07572.
PARAMETRIZATIONS: dict[str, Callable[[int], float]] = {
    "standard": lambda fan_in: 1.0,
    "ntk": lambda fan_in: 1 / math.sqrt(fan_in),
}


class Segment(NamedTuple):
    """A part of the parameter vector: one array of one layer.

    Attributes
    ----------
    kind : str
        In `KINDS`.
    layer : int
    shape : tuple of int
    """

    kind: str
    layer: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of parameters."""
        return math.prod(self.shape)


def segments(network: Network) -> tuple[Segment, ...]:
    """Return the parts of the parameter vector, in their order: kind by kind as in `KINDS`, then layer by layer."""
    layers = range(network.n_layers)
    sizes = network.layer_sizes
    weights = (Segment("weights", i, (sizes[i], sizes[i + 1])) for i in layers)
    biases = (Segment("biases", i, (sizes[i + 1],)) for i in layers)
    slopes = (Segment("slopes", i, (sizes[i + 1],)) for i in layers if network.activations[i].learned)
    scale = [Segment("input_scale", 0, (sizes[0],))] if network.input_scale else []
    return (*weights, *biases, *slopes, *scale)


class Parameters(Sequence[tuple[Array, Array]]):
    """One ``(W, b)`` a layer, cut from one flat vector; the optimizers see the vector.

    Attributes
    ----------
    vector : (n_parameters,)
        All weights, then all biases, then the learned slopes, then the input scale.
    """

    def __init__(self, vector: Array, network: Network) -> None:
        self.vector = vector
        self._network = network

    @cached_property
    def _arrays(self) -> tuple[tuple[tuple[Array, Array], ...], tuple[Array | None, ...], Array | None]:
        """The layers, the slopes and the input scale, as views of the vector that are made at the first use."""
        network, vector = self._network, self.vector
        xp = namespace_of(vector)
        arrays: dict[str, dict[int, Array]] = {kind: {} for kind in KINDS}
        start = 0
        for segment in network.segments:
            stop = start + segment.size
            array = vector[start:stop]
            arrays[segment.kind][segment.layer] = xp.reshape(array, segment.shape) if len(segment.shape) > 1 else array
            start = stop
        weights, biases, slopes, scale = arrays.values()
        layers = tuple(zip(weights.values(), biases.values(), strict=True))
        return layers, tuple(slopes.get(i) for i in range(network.n_layers)), scale.get(0)

    @classmethod
    def of(
        cls,
        layers: Iterable[tuple[Array, Array]],
        slopes: Iterable[Array | None],
        input_scale: Array | None = None,
    ) -> Parameters:
        """Return the parameters made of these arrays; they are joined to a vector when `vector` is read."""
        parameters = cls.__new__(cls)
        parameters._arrays = tuple(layers), tuple(slopes), input_scale
        return parameters

    @property
    def slopes(self) -> tuple[Array | None, ...]:
        """The learned slopes of each layer's activation, (n_out,); None where it has none."""
        return self._arrays[1]

    @property
    def input_scale(self) -> Array | None:
        """The learned factor of each input, (n_in,); None if the network has none."""
        return self._arrays[2]

    @cached_property
    def vector(self) -> Array:
        """All parameters, joined: (n_parameters,)."""
        weights, biases = zip(*self._arrays[0], strict=True)
        rest = [array for array in (*self.slopes, self.input_scale) if array is not None]
        xp = namespace_of(*weights, *biases, *rest)
        return xp.concat([*(xp.reshape(W, (-1,)) for W in weights), *biases, *rest])

    def scaled_layers(self) -> list[tuple[Array, Array]]:
        """Return one ``(W, b)`` a layer, with the input scale s in the first: ``(a s) W = a (s[:, None] W)``."""
        (W, b), *rest = self._arrays[0]
        return [(W if self.input_scale is None else self.input_scale[:, None] * W, b), *rest]

    def map(self, function: Callable[[Array], Array]) -> Parameters:
        """Return the parameters with a function applied to each array."""
        layers = ((function(W), function(b)) for W, b in self)
        slopes = (None if slope is None else function(slope) for slope in self.slopes)
        return Parameters.of(layers, slopes, None if self.input_scale is None else function(self.input_scale))

    def __repr__(self) -> str:
        shapes = [tuple(W.shape) for W, _ in self]
        return f"<Parameters of {len(self)} layers, W of the shapes {reprlib.repr(shapes)}, {self[0][0].dtype}>"

    def __len__(self) -> int:
        return len(self._arrays[0])

    def __getitem__(self, i: Any) -> Any:
        return self._arrays[0][i]

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        return iter(self._arrays[0])


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
    if params.input_scale is not None:
        params.input_scale[...] = 1
    return vector


def pack(network: Network, layers: Sequence[tuple[Array, Array]]) -> Parameters:
    """Make `Parameters` from one ``(W, b)`` a layer; learned slopes and the input scale get their initial values.

    Raises
    ------
    InvalidParameterError
        The shapes are not the network's.
    """
    if isinstance(layers, Parameters):
        return layers
    try:
        shapes = [(tuple(W.shape), tuple(b.shape)) for W, b in layers]
    except (AttributeError, TypeError, ValueError):
        raise InvalidParameterError(
            f"parameters: expected (W, b) of each layer; received {shown(layers):.60}."
        ) from None
    expected = [((n_in, n_out), (n_out,)) for n_in, n_out in pairwise(network.layer_sizes)]
    if shapes != expected:
        raise InvalidParameterError(f"parameters: expected the shapes {expected}; received {shapes}.")
    slopes = (
        activation.slope + 0 * b if activation.learned else None
        for activation, (_, b) in zip(network.activations, layers, strict=True)
    )
    W = layers[0][0]
    return Parameters.of(layers, slopes, 0 * W[:, 0] + 1 if network.input_scale else None)
