"""The time of each launch of a step, and of the algorithms of its products: ``launches.py mnist-large wide``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import array_api_compat.numpy as numpy_xp
import cupy
import numpy as np
from record import item

from xpnet.backend import arrays_in, get_backend
from xpnet.bench.workloads import NARROW_WORKLOADS, WORKLOADS, Workload, make_data, orders
from xpnet.nn.optimizers import get_optimizer
from xpnet.nn.step import init_state, make_step
from xpnet_backends.compiler.cuda_codegen import Product
from xpnet_backends.compiler.program_cache import traced
from xpnet_backends.cuda import cublaslt, graph
from xpnet_backends.cuda.cublas import Products, call_of

QUICK = bool(os.environ.get("QUICK"))
REPEATS, ROUNDS = (2, 2) if QUICK else (20, 5)
CANDIDATES = 16


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
        times = []
        for _ in range(ROUNDS):
            before, after = cupy.cuda.Event(), cupy.cuda.Event()
            before.record(stream)
            captured.launch(stream)
            after.record(stream)
            after.synchronize()
            times.append(1000 * cupy.cuda.get_elapsed_time(before, after) / REPEATS)
    return round(sorted(times)[len(times) // 2], 2)


class Measured(graph.CudaGraph):
    """A captured step that keeps what each launch is."""

    def _prepared(self, launch: Any, module: Any, lt: Any) -> Callable[[], None]:
        prepared = super()._prepared(launch, module, lt)
        label, others = "", {}
        if isinstance(launch, Product):
            call = call_of(*launch[:3])
            label = f"{launch.epilogue.name} {call.sizes} {call.transposed} {'swapped' if call.swapped else ''}"
            lt._autotune = True
            found = {"lt": lt._launches_of(launch)}
            if launch.epilogue.name != "NONE":
                found["plain lt"] = lt._launches_of(launch._replace(epilogue=type(launch.epilogue).NONE))
            lt._autotune = False
            by_cublas = partial(self._products.multiply, call_of(*launch[:3]), launch.out.dtype, exact=launch.exact)
            found["cublas"] = [partial(by_cublas, *map(self._address, launch[:3]))]
            others = found
        else:
            label = f"{launch.name} {launch.blocks}x{launch.threads}"
        self.__dict__.setdefault("measured", []).append((label, prepared, others))
        return prepared


def step_of(workload: Workload, precision: str, *, autotune: bool, has_epilogues: bool) -> dict[str, Any]:
    """Measure a workload's step, whole and launch by launch."""
    backend = get_backend(f"gpu@{precision}")
    data, optimizer = make_data(workload), get_optimizer(workload.optimizer)
    with backend.scope("float32"):
        params = workload.network.init(0, backend, "float32").vector
        state = init_state(workload.network, optimizer, params, 0, backend)
        arrays = (backend.asarray(data.x), backend.asarray(data.y))
        rows = np.concatenate(list(orders(workload, 0, -(-64 // workload.steps))))[:64]
        order = backend.asarray(rows)
        step = partial(make_step(workload.network, optimizer, backend), xp=numpy_xp)
        program = traced(step, params, state, arrays, order)
        stream = cupy.cuda.Stream(non_blocking=True)
        own, products = arrays_in((params, state)), Products(precision, stream)
        measured = Measured(program, own, stream, products, autotune=autotune, has_epilogues=has_epilogues)
        measured.run(arrays, order[:1])
        measured.capture()

        def run() -> None:
            measured.run(arrays, order)

        run()
        times = []
        for _ in range(ROUNDS):
            before, after = cupy.cuda.Event(), cupy.cuda.Event()
            before.record()
            run()
            after.record()
            after.synchronize()
            times.append(1000 * cupy.cuda.get_elapsed_time(before, after) / len(rows))
        values: dict[str, Any] = {"us_per_step": round(sorted(times)[ROUNDS // 2], 2), "rows": {}}
        for n, (label, launch, others) in enumerate(measured.__dict__["measured"]):
            found: dict[str, Any] = {"us": microseconds(stream, launch)}
            if not autotune and has_epilogues:
                for name, launches in others.items():
                    found[name] = [microseconds(stream, each) for each in launches]
            values["rows"][f"{n} {label}"] = found
    return values | {"error": "", "sum_us": round(sum(each["us"] for each in values["rows"].values()), 2)}


def main() -> None:
    """Measure the workloads that are named."""
    rungs = {**WORKLOADS, **NARROW_WORKLOADS}
    cublaslt._CANDIDATES = CANDIDATES  # type: ignore[misc]
    for each in sys.argv[1:]:
        name, _, precision = each.partition("@")
        workload = rungs[name].quick() if QUICK else rungs[name]
        for autotune, has_epilogues in ((False, True), (True, True), (False, False)):
            options = {"autotune": autotune, "has_epilogues": has_epilogues}
            precision = precision or "float32"
            label = f"launches {name} {precision} {options}"
            item(label, partial(step_of, workload, precision, **options))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
