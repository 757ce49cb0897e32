"""Vectors in pieces: compiled steps keep parameters and gradients of each layer apart instead of in one vector.

XLA computes a concatenated vector element by element and selects the piece for each element, and it copies the slices
that a matrix product reads. On AMD's processors the concatenation can take ten times as long as the rest of the step.
While JAX traces a function, `Namespace.concat` therefore returns a vector in pieces. Elementwise functions work on each
piece, and sums and maxima combine the results of the pieces. Everything else joins the pieces into one array.
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

__all__ = ["XP", "XP_BF16", "Pieces", "like"]

Array = Any  # JAX's own, which has more than the standard

_ELEMENTWISE = ("abs", "maximum", "minimum", "sign", "sqrt", "zeros_like")


@jax.tree_util.register_pytree_node_class
class Pieces:
    """A vector that consists of several arrays."""

    ndim = 1

    def __init__(self, pieces: Sequence[Array]) -> None:
        self.pieces = tuple(pieces)

    @property
    def shape(self) -> tuple[int]:
        """Shape of the whole vector."""
        return (sum(self.sizes),)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Length of each piece."""
        return tuple(piece.shape[0] for piece in self.pieces)

    @property
    def dtype(self) -> Any:
        """The common dtype of the pieces."""
        return self.pieces[0].dtype

    def joined(self) -> Array:
        """Return the vector as one array, into which the pieces are written."""
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
        """Return the pieces, for JAX."""
        return self.pieces, None

    @classmethod
    def tree_unflatten(cls, _: None, pieces: tuple[Array, ...]) -> Pieces:
        """Return a vector of these pieces, for JAX."""
        return cls(pieces)


def like(value: Array | Pieces, model: Array | Pieces) -> Array | Pieces:
    """Return a vector with the pieces of `model`, or as one array if `model` is one."""
    if not isinstance(model, Pieces):
        return value.joined() if isinstance(value, Pieces) else value
    if isinstance(value, Pieces):
        if value.sizes == model.sizes:
            return value
        value = value.joined()
    edges = [*itertools.accumulate(model.sizes, initial=0)]
    return Pieces([value[start:stop] for start, stop in itertools.pairwise(edges)])


def _by_piece(function: Callable[..., Array]) -> Callable[..., Any]:
    """Return an elementwise function that also takes vectors in pieces, with arrays of their shape and scalars."""

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
    """Return a reduction that also takes vectors in pieces; `join` combines the results of two pieces."""

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
    """``jax.numpy``, with functions that also take vectors in pieces."""

    def __init__(self) -> None:
        for name in _ELEMENTWISE:
            setattr(self, name, _by_piece(getattr(jnp, name)))
        self.sum, self.max = _over_pieces(jnp.sum, jnp.add), _over_pieces(jnp.max, jnp.maximum)

    def __getattr__(self, name: str) -> Any:
        return getattr(jnp, name)

    def concat(self, arrays: Sequence[Array | Pieces], /, *, axis: int | None = 0) -> Array | Pieces:
        """Concatenate arrays; vectors that are being traced stay in pieces."""
        flat = [piece for array in arrays for piece in (array.pieces if isinstance(array, Pieces) else (array,))]
        if all(isinstance(piece, jax.core.Tracer) and piece.ndim == 1 for piece in flat):
            return Pieces(flat)
        return jnp.concat(flat, axis=axis)


class NamespaceBF16(Namespace):
    """The same namespace, whose matrix products round float32 factors to bfloat16 and sum in float32."""

    def matmul(self, x1: Array, x2: Array) -> Array:
        """Multiply two matrices."""
        if x1.dtype != jnp.float32:
            return jnp.matmul(x1, x2)
        factors = (x.astype(jnp.bfloat16) for x in (x1, x2))
        return jnp.matmul(*factors, preferred_element_type=jnp.float32)


XP = Namespace()
XP_BF16 = NamespaceBF16()
