"""Who is timed: xpnet on its devices, and its peers, each with the best code of its own library."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

import numpy as np

from xpnet.backend import Backend, get_backend
from xpnet.bench.workloads import Work
from xpnet.errors import (
    BackendNotInstalledError,
    DeviceIndexError,
    DeviceUnavailableError,
    UnknownNameError,
)
from xpnet.nn.optimizers import get_optimizer
from xpnet.nn.step import init_state, make_step

__all__ = ["PEERS", "Contender", "Missing", "Runner", "device", "peer", "resolve"]


class Runner(Protocol):
    """Trains on from where the last call ended, and waits for the device."""

    def __call__(self, order: np.ndarray, seed: int) -> float:
        """Train the epochs of an order, (epochs, steps, batch), and return the mean loss of the last.

        The order follows from the seed, by `xpnet.bench.workloads.orders`, for those that draw it themselves.
        """
        ...


class Contender(NamedTuple):
    """One row of the table.

    Attributes
    ----------
    name : str
    kind : {"cpu", "gpu"}
    start : callable
        From the work on the host to what trains on it: weights, data and optimizer are on the device then.
    backend : Backend or None
        xpnet's, or None for a peer.
    """

    name: str
    kind: str
    start: Callable[[Work], Runner]
    backend: Backend | None = None


_MANY = 1_000_000  # steps to come: what is timed is training, which goes on


class Missing(NamedTuple):
    """A row that cannot be timed, and why."""

    name: str
    reason: str


def device(name: str, n_steps: int = _MANY) -> Contender:
    """Return xpnet on a device, told that it will do so many steps; errors are those of `get_backend`."""
    backend = get_backend(name)

    def start(work: Work) -> Runner:
        rung = work.rung
        optimizer = get_optimizer(rung.optimizer)
        with backend.scope("float32"):
            params = rung.network.init(0, backend, "float32").vector
            state = init_state(rung.network, optimizer, params, 0, backend)
            rate = backend.asarray(np.asarray(rung.learning_rate, dtype=np.float32))
            state = state._replace(optimizer=state.optimizer._replace(learning_rate=rate))
            run_steps = backend.compile(make_step(rung.network, optimizer, backend), n_steps)
            data = backend.asarray(work.x), backend.asarray(work.y)

        def run(order: np.ndarray, seed: int) -> float:
            nonlocal params, state
            losses = None
            with backend.scope("float32"):
                for rows in order:
                    params, state, losses = run_steps(params, state, data, backend.asarray(rows))
                return float(backend.to_numpy(losses).mean())  # waits for the device

        return run

    return Contender(backend.name, backend.name.partition("@")[0].split(":")[1], start, backend)


class _Peer(NamedTuple):
    name: str
    module: str
    library: str


_EAGER = "eager"
# Those on an array library live with the adapters, where such a library may be imported; each has `create(kind, ...)`.
PEERS = (
    _Peer("sklearn", "xpnet.bench.sklearn_peers", "sklearn"),
    _Peer("estimator", "xpnet.bench.sklearn_peers", "sklearn"),
    _Peer("torch", "xpnet_backends.peers.torch", "torch"),
    _Peer("torch-compile", "xpnet_backends.peers.torch", "torch"),
    _Peer("torch-graph", "xpnet_backends.peers.torch", "torch"),
    _Peer("jax", "xpnet_backends.peers.jax", "jax"),
    _Peer("jax-jit", "xpnet_backends.peers.jax", "jax"),
)


def peer(name: str) -> Contender:
    """Return a peer, ``NAME`` or ``NAME:gpu``, or with ``eager:DEVICE`` xpnet itself, its steps done as they are.

    Raises
    ------
    UnknownNameError
    BackendNotInstalledError, DeviceUnavailableError
        Its package is missing, or has no such device.
    """
    known = {each.name: each for each in PEERS}
    base, _, kind = name.partition(":")
    kind = kind or "cpu"
    if base == _EAGER:
        itself = device(kind, 1)
        return itself._replace(name=f"peer {_EAGER}:{itself.name}", backend=None)
    if base not in known or kind not in ("cpu", "gpu"):
        raise UnknownNameError.among("peer", name, [_EAGER, *known])
    entry = known[base]
    try:
        module = importlib.import_module(entry.module)
    except (ImportError, OSError) as exc:
        if isinstance(exc, ModuleNotFoundError) and (exc.name or "").partition(".")[0] != entry.library:
            raise
        raise BackendNotInstalledError(
            f"peer {base!r} is not installed: expected the package {entry.library!r}; received {exc}. "
            f"Run: pip install {entry.library}"
        ) from exc
    make: Callable[..., Runner] = getattr(module, f"create_{base.replace('-', '_')}")(kind)

    def start(work: Work) -> Runner:
        rung = work.rung
        return make(
            x=work.x,
            y=work.y,
            layers=work.layers(),
            activation=rung.activation,
            optimizer=rung.optimizer,
            learning_rate=rung.learning_rate,
            batch=rung.batch,
        )

    return Contender(f"peer {base}:{kind}", kind, start)


def resolve(devices: Iterable[str], peers: Iterable[str]) -> list[Contender | Missing]:
    """Return a contender for each name, or why there is none; an unknown name is an error."""
    found: list[Contender | Missing] = []
    wanted: list[tuple[str, str, Any]] = [(name, name, device) for name in devices]
    wanted += [(f"peer {name}", name, peer) for name in peers]
    for title, name, find in wanted:
        try:
            found.append(find(name))
        except (BackendNotInstalledError, DeviceUnavailableError, DeviceIndexError) as exc:
            found.append(Missing(title, f"no device: {exc}"))
    return found
