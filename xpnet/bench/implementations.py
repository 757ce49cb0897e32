"""The implementations that are timed: xpnet on its devices, and peers, other libraries each with its best code."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from xpnet.backend import Backend, get_backend
from xpnet.bench.workloads import TrainingData
from xpnet.errors import (
    BackendNotInstalledError,
    DeviceIndexError,
    DeviceUnavailableError,
    UnknownNameError,
)
from xpnet.nn.optimizers import get_optimizer
from xpnet.nn.step import init_state, make_step

__all__ = [
    "PEERS",
    "PREDICTING_PEERS",
    "Implementation",
    "Runner",
    "Unavailable",
    "load_peer",
    "peer",
    "resolve",
    "resolve_each",
    "xpnet_on",
]

T = TypeVar("T")


class Runner(Protocol):
    """A training run that is ready to start. Each call continues where the last one ended."""

    def __call__(self, order: np.ndarray, seed: int) -> float:
        """Train some epochs, wait for the device, and return the mean loss of the last epoch.

        Parameters
        ----------
        order : (epochs, steps, batch)
            Indices of the samples of each step.
        seed : int
            The seed of `order`, for libraries that draw the order themselves; see `xpnet.bench.workloads.orders`.
        """
        ...


class Implementation(NamedTuple):
    """A library on a device: one row of the table.

    Attributes
    ----------
    name : str
    kind : {"cpu", "gpu"}
    start : callable
        Takes the data on the host, copies data, weights and optimizer to the device, and returns the runner.
    backend : Backend or None
        The backend of xpnet, or None for a peer.
    estimator : callable or None
        For a peer that is an estimator of scikit-learn's kind, its class. It draws the order of the samples from the
        seed; of the order that its runner is given only the number of epochs counts.
    """

    name: str
    kind: str
    start: Callable[[TrainingData], Runner]
    backend: Backend | None = None
    estimator: Callable[..., Any] | None = None


class Unavailable(NamedTuple):
    """A row of the table that cannot be timed, and the reason."""

    name: str
    reason: str


# What backends are told as the number of steps to come. It is large because the steps that are timed stand for a long
# training run.
_MANY_STEPS = 1_000_000


def xpnet_on(device: str, n_steps: int = _MANY_STEPS) -> Implementation:
    """Return xpnet on a device.

    Parameters
    ----------
    device : str
    n_steps : int
        The number of steps that the backend should expect, which decides whether it compiles them.

    Raises
    ------
    XpnetError
        As for `xpnet.get_backend`.
    """
    backend = get_backend(device)

    def start(data: TrainingData) -> Runner:
        workload = data.workload
        optimizer = get_optimizer(workload.optimizer)
        with backend.scope("float32"):
            params = workload.network.init(0, backend, "float32").vector
            state = init_state(workload.network, optimizer, params, 0, backend)
            rate = backend.asarray(np.asarray(workload.learning_rate, dtype=np.float32))
            state = state._replace(optimizer=state.optimizer._replace(learning_rate=rate))
            run_steps = backend.compile(make_step(workload.network, optimizer, backend), n_steps)
            arrays = backend.asarray(data.x), backend.asarray(data.y)

        def run(order: np.ndarray, seed: int) -> float:
            nonlocal params, state
            losses: Any = None
            with backend.scope("float32"):
                for rows in order:
                    params, state, losses = run_steps(params, state, arrays, backend.asarray(rows))
                return float(backend.to_numpy(losses).mean())  # waits for the device

        return run

    return Implementation(backend.name, backend.name.partition("@")[0].split(":")[1], start, backend)


class _Peer(NamedTuple):
    name: str
    module: str
    library: str
    requires: tuple[str, ...] = ()  # further packages that its module imports

    @property
    def packages(self) -> tuple[str, ...]:
        return (self.library, *self.requires)


_EAGER = "eager"
# Each module has a function `create_NAME(kind)`. Peers that use an array library are in `xpnet_backends`, the only
# package that may import one.
PEERS = (
    _Peer("sklearn", "xpnet.bench.sklearn_peers", "sklearn"),
    _Peer("estimator", "xpnet.bench.sklearn_peers", "sklearn"),
    _Peer("torch", "xpnet_backends.peers.torch", "torch"),
    _Peer("torch-compile", "xpnet_backends.peers.torch", "torch"),
    _Peer("torch-graph", "xpnet_backends.peers.torch", "torch"),
    _Peer("jax", "xpnet_backends.peers.jax", "jax"),
    _Peer("jax-jit", "xpnet_backends.peers.jax", "jax"),
)
# Each module has a function `predict_NAME(kind)`.
PREDICTING_PEERS = (
    _Peer("sklearn", "xpnet.bench.sklearn_peers", "sklearn"),
    _Peer("estimator", "xpnet.bench.sklearn_peers", "sklearn"),
    _Peer("torch", "xpnet_backends.peers.torch", "torch"),
    _Peer("jax", "xpnet_backends.peers.jax", "jax"),
    _Peer("onnxruntime", "xpnet_backends.peers.onnxruntime", "onnxruntime", ("onnx",)),
)


def peer(name: str) -> Implementation:
    """Return a peer.

    Parameters
    ----------
    name : str
        ``NAME`` or ``NAME:gpu``; or ``eager:DEVICE`` for xpnet itself without compiled steps.

    Raises
    ------
    UnknownNameError
    BackendNotInstalledError, DeviceUnavailableError
        Its package is missing, or has no such device.
    """
    base, _, kind = name.partition(":")
    if base == _EAGER:
        itself = xpnet_on(kind or "cpu", 1)
        return itself._replace(name=f"peer {_EAGER}:{itself.name}", backend=None)
    title, module, kind = load_peer(name, PEERS, also=(_EAGER,))
    create: Callable[..., Runner] = getattr(module, f"create_{base.replace('-', '_')}")(kind)

    def start(data: TrainingData) -> Runner:
        workload = data.workload
        return create(
            x=data.x,
            y=data.y,
            layers=data.layers(),
            activation=workload.activation,
            optimizer=workload.optimizer,
            learning_rate=workload.learning_rate,
            batch=workload.batch,
        )

    make = getattr(module, f"make_{base}", None)
    return Implementation(title, kind, start, estimator=make and make(kind))


def load_peer(name: str, peers: Sequence[_Peer], *, also: Sequence[str] = ()) -> tuple[str, ModuleType, str]:
    """Return the title of a peer ``NAME`` or ``NAME:gpu``, its module and the kind of its device.

    Raises
    ------
    UnknownNameError
        It is not one of `peers`. The message lists these names and those in `also`.
    BackendNotInstalledError
    """
    known = {each.name: each for each in peers}
    base, _, kind = name.partition(":")
    kind = kind or "cpu"
    if base not in known or kind not in ("cpu", "gpu"):
        raise UnknownNameError.among("peer", name, [*also, *known])
    entry = known[base]
    try:
        module = importlib.import_module(entry.module)
    except (ImportError, OSError) as exc:
        if isinstance(exc, ModuleNotFoundError) and (exc.name or "").partition(".")[0] not in entry.packages:
            raise
        raise BackendNotInstalledError(
            f"peer {base!r} is not installed: expected the package {entry.library!r}; received {exc}. "
            f"Run: pip install {' '.join(entry.packages)}"
        ) from exc
    return f"peer {base}:{kind}", module, kind


def resolve(devices: Iterable[str], peers: Iterable[str]) -> list[Implementation | Unavailable]:
    """Return the implementation of each name, or the reason why it is not available.

    Raises
    ------
    UnknownNameError
        A name is not known.
    """
    return resolve_each(devices, xpnet_on, peers, peer)


def resolve_each(
    devices: Iterable[str], on_device: Callable[[str], T], peers: Iterable[str], find_peer: Callable[[str], T]
) -> list[T | Unavailable]:
    """Return what a function finds for each device, and another for each peer, or the reason why it finds nothing."""
    wanted = [(name, name, on_device) for name in devices] + [(f"peer {name}", name, find_peer) for name in peers]
    found: list[T | Unavailable] = []
    for title, name, find in wanted:
        try:
            found.append(find(name))
        except (BackendNotInstalledError, DeviceUnavailableError, DeviceIndexError) as exc:
            found.append(Unavailable(title, f"no device: {exc}"))
    return found
