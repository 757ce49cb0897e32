"""Implementations that predict: xpnet's `Model` on its devices, and peers; see `xpnet.bench.implementations`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import numpy as np

from xpnet.backend import get_backend
from xpnet.bench.implementations import PREDICTING_PEERS, Unavailable, load_peer, resolve_each
from xpnet.bench.workloads import Workload
from xpnet.model.model import Model

__all__ = ["Predict", "Predictor", "resolve_predictors"]

# From features on the host, (n_samples, n_in), to probabilities on the host, (n_samples, n_classes).
Predict = Callable[[np.ndarray], np.ndarray]


class Predictor(NamedTuple):
    """A library on a device that predicts.

    Attributes
    ----------
    name : str
    start : callable
        Takes a workload and returns the function that predicts with its initial weights.
    """

    name: str
    start: Callable[[Workload], Predict]


def _on_device(device: str) -> Predictor:
    backend = get_backend(device)

    def start(workload: Workload) -> Predict:
        vector = workload.network.init(0, "cpu", "float32").vector
        return partial(Model(workload.network, vector, "classification").predict_proba, device=backend)

    return Predictor(backend.name, start)


def _peer(name: str) -> Predictor:
    title, module, kind = load_peer(name, PREDICTING_PEERS)
    create: Callable[..., Predict] = getattr(module, f"predict_{name.partition(':')[0]}")(kind)

    def start(workload: Workload) -> Predict:
        return create(layers=workload.layers(), activation=workload.activation)

    return Predictor(title, start)


def resolve_predictors(devices: Iterable[str], peers: Iterable[str]) -> list[Predictor | Unavailable]:
    """Return the predictor of each name, or the reason why it is not available.

    Raises
    ------
    UnknownNameError
        A name is not known.
    """
    return resolve_each(devices, _on_device, peers, _peer)
