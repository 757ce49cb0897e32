"""JAX, on whatever device it has; a whole run of steps is compiled as one scan."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from xpnet.backend import Array, Backend, RunSteps, Step, check_index
from xpnet.errors import DeviceUnavailableError
from xpnet_backends.jax_pieces import XP, XP_BF16, Pieces, like
from xpnet_backends.memory_errors import memory_errors

__all__ = ["create"]


class JaxBackend(Backend):
    """JAX on one device."""

    xp: Any = XP

    def __init__(self, name: str, device: Any) -> None:
        self.name = name
        self.device = device

    def asarray(self, host: np.ndarray) -> Array:
        """Bring a host array to the device."""
        return jax.device_put(host, self.device)  # jnp.asarray(..., device=...) takes ten times as long

    def compile(self, step: Step, n_steps: int = 1) -> RunSteps:
        """Compile the run of steps with ``lax.scan``; XLA compiles anew for each new shape of `order`."""
        return _compiled(step)

    def scope(self, dtype: str) -> AbstractContextManager[Any]:
        """Allow 64-bit types when `dtype` needs them, here only and not for the user's other code.

        On GPUs JAX by itself takes TF32 for products in float32.
        """
        stack = ExitStack()
        if self.device.platform == "cpu":
            stack.enter_context(memory_errors(self.name))
        else:
            stack.enter_context(memory_errors(self.name, self._free))
        stack.enter_context(jax.default_matmul_precision("tensorfloat32" if self.precision == "tf32" else "highest"))
        stack.enter_context(jax.enable_x64(dtype == "float64"))
        stack.enter_context(jax.default_device(self.device))
        return stack

    def _free(self) -> int | None:
        known: dict[str, int] = self.device.memory_stats() or {}
        return known["bytes_limit"] - known["bytes_in_use"] if "bytes_limit" in known else None

    def set_precision(self, precision: str) -> None:
        """Take bf16, or on a GPU TF32."""
        if precision == "bf16":
            self.xp = XP_BF16
        elif self.device.platform == "cpu":
            super().set_precision(precision)


@lru_cache(maxsize=16)
def _compiled(step: Step) -> RunSteps:
    """Return the same function for the same step, so that a second fit need not compile."""

    def run(params: Array, state: Any, data: tuple[Array, ...], order: Array) -> tuple[Array, Any, Array]:
        # Indices are in range by construction; the default mode would fill in NaN for others, at a cost.
        def gather(row: Array) -> tuple[Array, ...]:
            return tuple(jnp.take(array, row, axis=0, mode="clip") for array in data)

        def body(carry: tuple[Array, Any], row: Array) -> tuple[tuple[Array, Any], Array]:
            params, state, loss = step(*carry, gather(row))
            return _like((params, state), carry), loss

        # What the step makes of vectors tells how they are cut.
        after = jax.eval_shape(lambda row: step(params, state, gather(row))[:2], order[0, :])
        carry, losses = jax.lax.scan(body, _like((params, state), after), order)
        return *_like(carry, (params, state)), losses

    compiled: RunSteps = jax.jit(run, donate_argnums=(0, 1))
    return compiled


def _like(tree: Any, model: Any) -> Any:
    """Return a tree of arrays whose vectors are cut as those of another one are."""
    leaves, structure = jax.tree.flatten(tree, is_leaf=_is_in_pieces)
    models = jax.tree.leaves(model, is_leaf=_is_in_pieces)
    return jax.tree.unflatten(structure, map(like, leaves, models))


def _is_in_pieces(value: Any) -> bool:
    return isinstance(value, Pieces)


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
