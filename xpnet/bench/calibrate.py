"""Measure the costs of a device, from which ``auto`` chooses; see `xpnet.backend.costs`."""

from __future__ import annotations

import statistics

from xpnet.backend import Backend, kind_of
from xpnet.backend.costs import Costs
from xpnet.bench.implementations import Implementation
from xpnet.bench.matmul_bound import copy_bandwidth, device_products
from xpnet.bench.step_times import Settings, measure_step_times
from xpnet.bench.timing import seconds
from xpnet.bench.workloads import WORKLOADS, Workload

__all__ = ["measure_costs"]

# Two networks so small that a step takes the time of its calls alone, and one whose products take all of it.
_SHALLOW = Workload("shallow", (16, 16, 10), "relu", 16, "adam", 0.001, 200)
_DEEP = _SHALLOW._replace(name="deep", sizes=(16, 16, 16, 16, 16, 16, 10))
_LARGE = WORKLOADS["wide"]
_SETTINGS, _QUICK = Settings(5, 0.05), Settings(1, 0.005)
_PRODUCTS = 3


def measure_costs(implementation: Implementation, *, quick: bool = False) -> Costs:
    """Return the costs of xpnet on a device, in some seconds.

    The start is that of a process that has loaded the libraries, with code that is compiled for the first time.
    """
    backend = implementation.backend
    if backend is None:
        raise TypeError("expected xpnet on a device; received a peer")
    shallow, deep = (
        measure_step_times(workload, [implementation], _QUICK if quick else _SETTINGS)[0]
        for workload in (_SHALLOW, _DEEP)
    )
    one, other = (statistics.median(each.seconds) for each in (shallow, deep))
    n_layers, n_more = len(_SHALLOW.sizes) - 1, len(_DEEP.sizes) - len(_SHALLOW.sizes)
    layer = max(0.0, (other - one) / n_more)
    return Costs(
        start=shallow.time_to_first_step,
        step=max(0.0, one - n_layers * layer),
        layer=layer,
        flops=_flops(_LARGE.quick() if quick else _LARGE, backend),
        bytes=copy_bandwidth(kind_of(backend), backend),
    )


def _flops(workload: Workload, backend: Backend) -> float:
    multiply = device_products(workload, backend)
    multiply(1)
    return workload.flops / min(seconds(lambda: multiply(1)) for _ in range(_PRODUCTS))
