"""Vectors in segments: compiled steps keep parameters and gradients of each layer apart instead of in one vector.

XLA computes a concatenated vector element by element and selects the source for each element, and it copies the slices
that a matrix product reads. On AMD's processors the concatenation can take ten times as long as the rest of the step.
While JAX traces a function, `Namespace.concat` therefore returns a vector in segments. Elementwise functions work on
each segment, and sums and maxima combine the results of the segments. Everything else joins them into one array.
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

__all__ = ["XP", "XP_BF16", "SegmentedVector", "split_like"]

Array = Any  # JAX's own, which has more than the standard

_ELEMENTWISE = ("abs", "maximum", "minimum", "sign", "sqrt", "zeros_like")


@jax.tree_util.register_pytree_node_class
class SegmentedVector:
    """A vector that consists of several arrays."""

    ndim = 1

    def __init__(self, segments: Sequence[Array]) -> None:
        self.segments = tuple(segments)

    @property
    def shape(self) -> tuple[int]:
        """Shape of the whole vector."""
        return (sum(self.sizes),)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Length of each segment."""
        return tuple(segment.shape[0] for segment in self.segments)

    @property
    def dtype(self) -> Any:
        """The common dtype of the segments."""
        return self.segments[0].dtype

    def joined(self) -> Array:
        """Return the vector as one array. The segments are written into it, because XLA's concatenation is slow."""
        vector = jax.lax.empty(self.shape, self.dtype)
        for start, segment in zip(itertools.accumulate(self.sizes, initial=0), self.segments, strict=False):
            vector = jax.lax.dynamic_update_slice(vector, segment, (start,))
        return vector

    def __getitem__(self, key: slice) -> Array | SegmentedVector:
        start, stop, _ = key.indices(self.shape[0])
        edges = [*itertools.accumulate(self.sizes, initial=0)]
        if start not in edges or stop not in edges:
            return self.joined()[key]
        chosen = self.segments[edges.index(start) : edges.index(stop)]
        return chosen[0] if len(chosen) == 1 else SegmentedVector(chosen)

    def __neg__(self) -> SegmentedVector:
        return SegmentedVector([-segment for segment in self.segments])

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return XP

    def tree_flatten(self) -> tuple[tuple[Array, ...], None]:
        """Return the segments, for JAX."""
        return self.segments, None

    @classmethod
    def tree_unflatten(cls, _: None, segments: tuple[Array, ...]) -> SegmentedVector:
        """Return a vector of these segments, for JAX."""
        return cls(segments)


def split_like(value: Array | SegmentedVector, template: Array | SegmentedVector) -> Array | SegmentedVector:
    """Return a vector in segments of the same sizes as those of `template`, or as one array if `template` is one."""
    if not isinstance(template, SegmentedVector):
        return value.joined() if isinstance(value, SegmentedVector) else value
    if isinstance(value, SegmentedVector):
        if value.sizes == template.sizes:
            return value
        value = value.joined()
    edges = [*itertools.accumulate(template.sizes, initial=0)]
    return SegmentedVector([value[start:stop] for start, stop in itertools.pairwise(edges)])


def _by_segment(function: Callable[..., Array]) -> Callable[..., Any]:
    """Return an elementwise function that also takes segmented vectors, with arrays of the same shape and scalars."""

    @functools.wraps(function)
    def apply(*args: Any, **options: Any) -> Any:
        template = next((arg for arg in args if isinstance(arg, SegmentedVector)), None)
        if template is None:
            return function(*args, **options)
        split_args = [
            split_like(arg, template).segments if getattr(arg, "shape", ()) == template.shape else itertools.repeat(arg)
            for arg in args
        ]
        return SegmentedVector([function(*segments, **options) for segments in zip(*split_args, strict=False)])

    return apply


def _over_segments(function: Callable[..., Array], combine: Callable[[Array, Array], Array]) -> Callable[..., Array]:
    """Return a reduction that also takes segmented vectors; `combine` combines the results of two segments."""

    @functools.wraps(function)
    def reduce(x: Array | SegmentedVector, **options: Any) -> Array:
        if isinstance(x, SegmentedVector):
            return functools.reduce(combine, [function(segment, **options) for segment in x.segments])
        return function(x, **options)

    return reduce


for _name in ("add", "sub", "mul", "truediv"):
    _function = getattr(operator, _name)
    setattr(SegmentedVector, f"__{_name}__", _by_segment(_function))
    setattr(SegmentedVector, f"__r{_name}__", _by_segment(lambda a, b, f=_function: f(b, a)))


class Namespace:
    """``jax.numpy``, with functions that also take vectors in segments."""

    def __init__(self) -> None:
        for name in _ELEMENTWISE:
            setattr(self, name, _by_segment(getattr(jnp, name)))
        self.sum, self.max = _over_segments(jnp.sum, jnp.add), _over_segments(jnp.max, jnp.maximum)

    def __getattr__(self, name: str) -> Any:
        return getattr(jnp, name)

    def concat(self, arrays: Sequence[Array | SegmentedVector], /, *, axis: int | None = 0) -> Array | SegmentedVector:
        """Concatenate arrays; vectors that are being traced stay in segments."""
        flat = [
            segment
            for array in arrays
            for segment in (array.segments if isinstance(array, SegmentedVector) else (array,))
        ]
        if all(isinstance(segment, jax.core.Tracer) and segment.ndim == 1 for segment in flat):
            return SegmentedVector(flat)
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
