"""JAX on its CPU and GPU devices; a run of steps is compiled as one scan."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from xpnet.backend import Backend, RunSteps, Step, check_index
from xpnet.errors import DeviceUnavailableError
from xpnet_backends.jax_segments import XP, XP_BF16, SegmentedVector, split_like
from xpnet_backends.memory_errors import memory_errors

__all__ = ["create"]

Array = Any  # JAX's own, which has more than the standard


class JaxBackend(Backend):
    """JAX on one device."""

    xp: Any = XP

    def __init__(self, name: str, device: Any) -> None:
        self.name = name
        self.device = device

    def asarray(self, host: np.ndarray) -> Array:
        """Copy a host array to the device."""
        return jax.device_put(host, self.device)  # jnp.asarray(..., device=...) is ten times slower

    def indices(self, host: np.ndarray) -> Array:
        """Return the host array: a compiled function copies it to the device in a quarter of the time of `asarray`."""
        return host

    def compile(self, step: Step, n_steps: int | None = 1) -> RunSteps:
        """Compile a run of steps with ``lax.scan``; XLA compiles again for each new shape of `order`."""
        return _compiled(step)

    def jit(self, function: Callable[..., Any], *, repeated: bool = False) -> Callable[..., Any]:
        """Compile a function; XLA compiles again for each new shape of an argument."""
        compiled: Callable[..., Any] = jax.jit(function)
        return compiled

    def scope(self, dtype: str) -> AbstractContextManager[Any]:
        """Return a context that allows 64-bit types if `dtype` needs them, and sets the precision of products.

        The settings do not change outside the context. JAX's default for float32 products on GPUs is TF32.
        """
        stack = ExitStack()
        if self.device.platform == "cpu":
            stack.enter_context(memory_errors(self.name))
        else:
            stack.enter_context(memory_errors(self.name, self.free_bytes))
        stack.enter_context(jax.default_matmul_precision("tensorfloat32" if self.precision == "tf32" else "highest"))
        stack.enter_context(jax.enable_x64(dtype == "float64"))
        stack.enter_context(jax.default_device(self.device))
        return stack

    def free_bytes(self) -> int | None:
        """Return what is left of the memory that XLA may use on a GPU."""
        known: dict[str, int] = self.device.memory_stats() or {}
        return known["bytes_limit"] - known["bytes_in_use"] if "bytes_limit" in known else None

    def set_precision(self, precision: str) -> None:
        """Use bf16, or TF32 on a GPU."""
        if precision == "bf16":
            self.xp = XP_BF16
        elif self.device.platform == "cpu":
            super().set_precision(precision)


@lru_cache(maxsize=16)
def _compiled(step: Step) -> RunSteps:
    """Return the compiled run of a step; a second fit with the same step reuses it."""

    def run(params: Array, state: Any, data: tuple[Array, ...], order: Array) -> tuple[Array, Any, Array]:
        # The indices are in range, so the cheapest mode suffices; the default mode checks each of them.
        def gather(row: Array) -> tuple[Array, ...]:
            return tuple(jnp.take(array, row, axis=0, mode="clip") for array in data)

        def body(carry: tuple[Array, Any], row: Array) -> tuple[tuple[Array, Any], Array]:
            params, state, loss = step(*carry, gather(row))
            return _split_like((params, state), carry), loss

        # The step may return vectors in segments. The carry of the scan needs the same segments from the start.
        after = jax.eval_shape(lambda row: step(params, state, gather(row))[:2], order[0, :])
        carry, losses = jax.lax.scan(body, _split_like((params, state), after), order)
        return *_split_like(carry, (params, state)), losses

    compiled: RunSteps = jax.jit(run, donate_argnums=(0, 1))
    return compiled


def _split_like(tree: Any, template: Any) -> Any:
    """Return a tree of arrays whose vectors have segments of the same sizes as those of another tree."""
    leaves, structure = jax.tree.flatten(tree, is_leaf=_is_segmented)
    templates = jax.tree.leaves(template, is_leaf=_is_segmented)
    return jax.tree.unflatten(structure, map(split_like, leaves, templates))


def _is_segmented(value: Any) -> bool:
    return isinstance(value, SegmentedVector)


def create(kind: str, index: int) -> Backend:
    """Return the backend of a device."""
    try:
        devices = jax.devices(kind)
    except RuntimeError as exc:
        raise DeviceUnavailableError(
            f"JAX finds no {kind}: expected at least one; received: {exc}. "
            "Install a CUDA build (pip install 'jax[cuda13]'), or train with --device jax:cpu."
        ) from exc
    check_index("jax", kind, index, len(devices))
    return JaxBackend(f"jax:{kind}:{index}" if index else f"jax:{kind}", devices[index])
