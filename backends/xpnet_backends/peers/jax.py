"""Peers: JAX with one compiled scan over the steps of an epoch, and JAX with one compiled step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from xpnet.errors import DeviceUnavailableError

__all__ = ["create_jax", "create_jax_jit", "predict_jax"]

_ACTIVATIONS = {"relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid}
_MOMENTUM, _BETA_1, _BETA_2, _EPSILON = 0.9, 0.9, 0.999, 1e-8
_SLOTS = {"sgd": 0, "momentum": 1, "adam": 2}


Start = Callable[..., Callable[[np.ndarray, int], float]]


def create_jax(kind: str) -> Start:
    """Return a function that starts JAX with a compiled scan over the steps of an epoch."""
    return _create(kind, scanned=True)


def create_jax_jit(kind: str) -> Start:
    """Return a function that starts JAX with one call of a compiled function for each step."""
    return _create(kind, scanned=False)


def predict_jax(kind: str) -> Callable[..., Callable[[np.ndarray], np.ndarray]]:
    """Return a function that makes a compiled function for predictions; see `xpnet_backends.peers`."""
    device = _device(kind)

    def start(*, layers: list[tuple[np.ndarray, np.ndarray]], activation: str) -> Callable[[np.ndarray], np.ndarray]:
        params = jax.device_put(layers, device)
        compiled = jax.jit(lambda params, x: jax.nn.softmax(_logits(_ACTIVATIONS[activation], params, x)))

        def predict(x: np.ndarray) -> np.ndarray:
            with jax.default_matmul_precision("highest"):  # on GPUs the default is TF32
                return np.asarray(compiled(params, x))

        return predict

    return start


def _device(kind: str) -> Any:
    try:
        return jax.devices(kind)[0]
    except RuntimeError as exc:
        raise DeviceUnavailableError(
            f"JAX finds no {kind}: expected at least one; received: {exc}. "
            "Install a CUDA build: pip install 'jax[cuda13]'."
        ) from exc


def _logits(f: Any, params: Any, x: Any) -> Any:
    for W, b in params[:-1]:
        x = f(x @ W + b)
    W, b = params[-1]
    return x @ W + b


def _create(kind: str, scanned: bool) -> Start:
    device = _device(kind)

    def start(
        *,
        x: np.ndarray,
        y: np.ndarray,
        layers: list[tuple[np.ndarray, np.ndarray]],
        activation: str,
        optimizer: str,
        learning_rate: float,
        batch: int,
    ) -> Callable[[np.ndarray, int], float]:
        put = partial(jax.device_put, device=device)
        f = _ACTIVATIONS[activation]

        def loss_of(params: Any, x: Any, y: Any) -> Any:
            log_p = jax.nn.log_softmax(_logits(f, params, x))
            return -jnp.mean(jnp.take_along_axis(log_p, y[:, None], axis=1))

        def step(data: Any, carry: Any, row: Any) -> Any:
            params, count, slots = carry
            loss, gradient = jax.value_and_grad(loss_of)(params, *(jnp.take(a, row, axis=0, mode="clip") for a in data))
            count += 1
            params, slots = _update(optimizer, learning_rate, params, gradient, count, slots)
            return (params, count, slots), loss

        @partial(jax.jit, donate_argnums=0)
        def epoch(carry: Any, data: Any, rows: Any) -> Any:
            return jax.lax.scan(partial(step, data), carry, rows)

        @partial(jax.jit, donate_argnums=(0, 1))
        def single(carry: Any, total: Any, data: Any, rows: Any, i: int) -> Any:
            carry, loss = step(data, carry, rows[i])
            return carry, total + loss

        params = put(layers)
        slots = tuple(jax.tree.map(jnp.zeros_like, params) for _ in range(_SLOTS[optimizer]))
        carry = put((params, jnp.zeros((), jnp.int32), slots))
        data = put((x, y))

        def run(order: np.ndarray, seed: int) -> float:
            nonlocal carry
            total = None
            with jax.default_matmul_precision("highest"):  # on GPUs the default is TF32
                for rows in order:
                    if scanned:
                        carry, losses = epoch(carry, data, put(rows))
                        total = losses.sum()
                        continue
                    total, rows = put(jnp.zeros(())), put(rows)
                    for i in range(len(rows)):
                        carry, total = single(carry, total, data, rows, i)
            mean: float = np.asarray(total).item() / order.shape[1]  # waits for the device
            return mean

        return run

    return start


def _update(optimizer: str, rate: float, params: Any, gradient: Any, count: Any, slots: Any) -> Any:
    if optimizer == "momentum":
        (velocity,) = slots
        velocity = jax.tree.map(lambda v, g: _MOMENTUM * v + g, velocity, gradient)
        return jax.tree.map(lambda p, v: p - rate * v, params, velocity), (velocity,)
    if optimizer == "adam":
        mean, square = slots
        mean = jax.tree.map(lambda m, g: _BETA_1 * m + (1 - _BETA_1) * g, mean, gradient)
        square = jax.tree.map(lambda v, g: _BETA_2 * v + (1 - _BETA_2) * g * g, square, gradient)
        t = count.astype(jnp.float32)
        root = jnp.sqrt(1 - _BETA_2**t)
        scale = rate * root / (1 - _BETA_1**t)
        params = jax.tree.map(lambda p, m, v: p - scale * m / (jnp.sqrt(v) + _EPSILON * root), params, mean, square)
        return params, (mean, square)
    return jax.tree.map(lambda p, g: p - rate * g, params, gradient), slots
