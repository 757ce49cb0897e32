"""The time of each launch of a step, in each way of compiling it: ``launches.py mnist-large@tf32``.

A workload a process: an error in a kernel ends all work of its process on the GPU.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import array_api_compat.numpy as numpy_xp
import cupy
import numpy as np
from record import item

from xpnet.backend import arrays_in, get_backend
from xpnet.bench.workloads import NARROW_WORKLOADS, WORKLOADS, TrainingData, Workload, make_data, orders
from xpnet.nn.optimizers import get_optimizer
from xpnet.nn.step import init_state, make_step
from xpnet_backends.compiler import cuda_codegen, cuda_persistent
from xpnet_backends.compiler.cuda_codegen import Product
from xpnet_backends.compiler.program_cache import traced
from xpnet_backends.cuda.cublas import Products, call_of
from xpnet_backends.cuda.graph import CudaGraph
from xpnet_backends.cuda.persistent import persistent

QUICK = bool(os.environ.get("QUICK"))
REPEATS, ROUNDS = (2, 2) if QUICK else (20, 5)
STEPS = 64
# What differs from a plain step, in the order of worth
WAYS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "one kernel": {"one_kernel": True},
    "libraries' narrow products, by columns": {"narrow": False},
    "libraries' narrow products, by rows": {"narrow": False, "by_rows": True},
}
LARGEST_OF_ONE_KERNEL = 1e9  # floating-point operations of a step: a launch must end soon


def elapsed(stream: Any, work: Callable[[], Any], n: int) -> float:
    """Return the time of each of n units of work on a stream, in microseconds: the median of several rounds."""
    times = []
    for _ in range(ROUNDS):
        before, after = cupy.cuda.Event(), cupy.cuda.Event()
        before.record(stream)
        work()
        after.record(stream)
        after.synchronize()
        times.append(1000 * cupy.cuda.get_elapsed_time(before, after) / n)
    return round(sorted(times)[ROUNDS // 2], 2)


def microseconds(stream: Any, launch: Callable[[], None]) -> float:
    """Return the time of a launch among many of its kind in a CUDA graph."""
    with stream:
        launch()
        stream.synchronize()
        stream.begin_capture()
        try:
            for _ in range(REPEATS):
                launch()
        finally:
            captured = stream.end_capture()
        return elapsed(stream, lambda: captured.launch(stream), REPEATS)


class Measured(CudaGraph):
    """A captured step that keeps what each launch is."""

    def _prepared(self, launch: Any, module: Any) -> Callable[[], None]:
        prepared = super()._prepared(launch, module)
        if isinstance(launch, Product):
            call = call_of(*launch[:3])
            label = f"product {call.sizes} {call.transposed} {'swapped' if call.swapped else ''}"
        else:
            label = f"{launch.name} {launch.blocks}x{launch.threads}"
        self.__dict__.setdefault("measured", []).append((label, prepared))
        return prepared

    def launch_times(self, rows: np.ndarray) -> dict[str, float]:
        """Return the time of each launch alone."""
        # The kernel of the loss goes on by a step each time.
        self._order.set(rows[np.arange(self._order.shape[0]) % len(rows)])
        times = {}
        for n, (label, launch) in enumerate(self.__dict__["measured"]):
            self._counter.fill(0)
            cupy.cuda.Device().synchronize()
            times[f"{n} {label}"] = microseconds(self._stream, launch)
        return times


def step_of(
    workload: Workload, precision: str, data: TrainingData, start: np.ndarray, way: dict[str, Any]
) -> dict[str, Any]:
    """Measure a workload's step in one way, whole and launch by launch."""
    backend, optimizer = get_backend(f"gpu@{precision}"), get_optimizer(workload.optimizer)
    with backend.scope("float32"):
        params = backend.asarray(start.copy())
        state = init_state(workload.network, optimizer, params, 0, backend)
        arrays = (backend.asarray(data.x), backend.asarray(data.y))
        rows = np.concatenate(list(orders(workload, 0, -(-STEPS // workload.steps))))[:STEPS]
        order = backend.asarray(rows)
        step = partial(make_step(workload.network, optimizer, backend), xp=numpy_xp)
        program, own = traced(step, params, state, arrays, order), arrays_in((params, state))
        current, values = cupy.cuda.get_current_stream(), dict[str, Any](error="")
        if way.get("one_kernel"):
            bound: Any = persistent(program, own)
            if bound is None:
                return {"error": "", "reason": "no kernel"}
        else:
            stream = cupy.cuda.Stream(non_blocking=True)
            bound = Measured(program, own, stream, Products(precision, stream))
            bound.run(arrays, order[:1])
            bound.capture()
        losses = bound.run(arrays, order)
        values["loss"] = float(losses[-1])  # by which ways are compared
        values["us_per_step"] = elapsed(current, lambda: bound.run(arrays, order), len(rows))
        if isinstance(bound, Measured):
            times = bound.launch_times(rows)
            values["sum_us"] = round(sum(times.values()), 2)
            values["rows"] = {name: {"us": us} for name, us in times.items()}
    return values


def changed(way: dict[str, Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Measure with the constants of a way in place of the compiler's own."""
    changes = [mock.patch.object(cuda_persistent, "_GAIN", 0)]
    if not way.get("narrow", True):
        changes.append(mock.patch.object(cuda_codegen, "is_narrow", return_value=False))
    if way.get("by_rows"):
        changes.append(mock.patch.object(cuda_codegen, "SHORT_ROW", 0))
    for each in changes:
        each.start()
    try:
        return measure()
    finally:
        mock.patch.stopall()


def main() -> None:
    """Measure a workload in each way."""
    rungs = {**WORKLOADS, **NARROW_WORKLOADS}
    name, _, precision = sys.argv[1].partition("@")
    workload, precision = rungs[name].quick() if QUICK else rungs[name], precision or "float32"
    data, start = make_data(workload), workload.network.init(0, "cpu", "float32").vector
    for label, way in WAYS.items():
        if way.get("one_kernel") and (precision != "float32" or workload.flops > LARGEST_OF_ONE_KERNEL):
            continue
        measure = partial(step_of, workload, precision, data, start, way)
        item(f"{name} {precision} {label}", partial(changed, way, measure))


if __name__ == "__main__":
    main()
