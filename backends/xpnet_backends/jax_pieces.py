"""Vectors kept in pieces while XLA compiles, so that gradients need not be joined, nor weights cut out, in each step.

XLA computes a joined vector element by element, choosing the piece each time, and copies the slices that a product
reads; on a CPU with AMD's cores the first costs up to ten times the whole step. As long as a function is traced,
`Namespace.concat` therefore only notes what is to be joined. What is elementwise is done piece by piece, sums and
maxima piece by piece and then over these; anything else joins.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp

from xpnet.backend import Array

__all__ = ["XP", "XP_BF16", "Pieces", "like"]

_ELEMENTWISE = ("abs", "maximum", "minimum", "sign", "sqrt", "zeros_like")


@jax.tree_util.register_pytree_node_class
class Pieces:
    """A vector of which each piece is an array of its own."""

    ndim = 1

    def __init__(self, pieces: Sequence[Array]) -> None:
        self.pieces = tuple(pieces)

    @property
    def shape(self) -> tuple[int]:
        """Of the vector."""
        return (sum(self.sizes),)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Lengths of the pieces."""
        return tuple(piece.shape[0] for piece in self.pieces)

    @property
    def dtype(self) -> Any:
        """Of all pieces."""
        return self.pieces[0].dtype

    def joined(self) -> Array:
        """Return the vector as one array, written piece by piece."""
        vector = jax.lax.empty(self.shape, self.dtype)
        for start, piece in zip(itertools.accumulate(self.sizes, initial=0), self.pieces, strict=False):
            vector = jax.lax.dynamic_update_slice(vector, piece, (start,))
        return vector

    def __getitem__(self, key: slice) -> Array | Pieces:
        start, stop, _ = key.indices(self.shape[0])
        edges = [*itertools.accumulate(self.sizes, initial=0)]
        if start not in edges or stop not in edges:
            return self.joined()[key]
        chosen = self.pieces[edges.index(start) : edges.index(stop)]
        return chosen[0] if len(chosen) == 1 else Pieces(chosen)

    def __neg__(self) -> Pieces:
        return Pieces([-piece for piece in self.pieces])

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return XP

    def tree_flatten(self) -> tuple[tuple[Array, ...], None]:
        """Return the pieces, as JAX asks for them."""
        return self.pieces, None

    @classmethod
    def tree_unflatten(cls, _: None, pieces: tuple[Array, ...]) -> Pieces:
        """Return the vector of these pieces."""
        return cls(pieces)


def like(value: Array | Pieces, model: Array | Pieces) -> Array | Pieces:
    """Return a vector cut as another one is, or joined as it is."""
    if not isinstance(model, Pieces):
        return value.joined() if isinstance(value, Pieces) else value
    if isinstance(value, Pieces):
        if value.sizes == model.sizes:
            return value
        value = value.joined()
    edges = [*itertools.accumulate(model.sizes, initial=0)]
    return Pieces([value[start:stop] for start, stop in itertools.pairwise(edges)])


def _by_piece(function: Callable[..., Array]) -> Callable[..., Any]:
    """Let an elementwise function take vectors in pieces, beside arrays of their shape and scalars."""

    @functools.wraps(function)
    def apply(*args: Any, **options: Any) -> Any:
        model = next((arg for arg in args if isinstance(arg, Pieces)), None)
        if model is None:
            return function(*args, **options)
        columns = [
            like(arg, model).pieces if getattr(arg, "shape", ()) == model.shape else itertools.repeat(arg)
            for arg in args
        ]
        return Pieces([function(*row, **options) for row in zip(*columns, strict=False)])

    return apply


def _over_pieces(function: Callable[..., Array], join: Callable[[Array, Array], Array]) -> Callable[..., Array]:
    @functools.wraps(function)
    def reduce(x: Array | Pieces, **options: Any) -> Array:
        if isinstance(x, Pieces):
            return functools.reduce(join, [function(piece, **options) for piece in x.pieces])
        return function(x, **options)

    return reduce


for _name in ("add", "sub", "mul", "truediv"):
    _function = getattr(operator, _name)
    setattr(Pieces, f"__{_name}__", _by_piece(_function))
    setattr(Pieces, f"__r{_name}__", _by_piece(lambda a, b, f=_function: f(b, a)))


class Namespace:
    """``jax.numpy``, whose functions take vectors in pieces where that can be."""

    def __init__(self) -> None:
        for name in _ELEMENTWISE:
            setattr(self, name, _by_piece(getattr(jnp, name)))
        self.sum, self.max = _over_pieces(jnp.sum, jnp.add), _over_pieces(jnp.max, jnp.maximum)

    def __getattr__(self, name: str) -> Any:
        return getattr(jnp, name)

    def concat(self, arrays: Sequence[Array | Pieces], /, *, axis: int | None = 0) -> Array | Pieces:
        """Join arrays; vectors that are being traced stay in pieces."""
        flat = [piece for array in arrays for piece in (array.pieces if isinstance(array, Pieces) else (array,))]
        if all(isinstance(piece, jax.core.Tracer) and piece.ndim == 1 for piece in flat):
            return Pieces(flat)
        return jnp.concat(flat, axis=axis)


class NamespaceBF16(Namespace):
    """The same, whose products take their float32 factors as bfloat16 and give sums in float32."""

    def matmul(self, x1: Array, x2: Array) -> Array:
        """Multiply two matrices."""
        if x1.dtype != jnp.float32:
            return jnp.matmul(x1, x2)
        factors = (x.astype(jnp.bfloat16) for x in (x1, x2))
        return jnp.matmul(*factors, preferred_element_type=jnp.float32)


XP = Namespace()
XP_BF16 = NamespaceBF16()
