"""Section 1: every rung and every kind of step through the compiled step on CuPy, beside NumPy and timed by events.

It imports no other GPU library than CuPy.
"""

from __future__ import annotations

import os
import platform
import sys
import time
import warnings
from datetime import UTC, datetime
from typing import Any

import cupy
import numpy as np
from record import item

from tests.adapters.test_cuda_graph import MANY, Steps
from tests.compiler.training_steps import CASES
from xpnet.backend import arrays_in, get_backend
from xpnet.backend.steps import run_steps
from xpnet.bench.matmul_bound import device_products
from xpnet.bench.workloads import NARROW_WORKLOADS, WORKLOADS, Workload, make_data, orders
from xpnet.errors import XpnetWarning
from xpnet.nn.optimizers import OPTIMIZERS, get_optimizer
from xpnet.nn.step import init_state, make_step

QUICK = bool(os.environ.get("QUICK"))
ROUNDS, SECONDS, MOST = (2, 0.001, 64) if QUICK else (7, 0.03, 20_000)
CHECKED = 8  # steps that are compared with NumPy
ALLOWED = {"float32": 1e-3, "tf32": 2e-2, "bf16": 1e-1}  # relative errors of the losses


def device_facts() -> dict[str, Any]:
    """Return the GPU, versions and the date."""
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    return {
        "device": properties["name"].decode(),
        "compute_capability": cupy.cuda.Device(0).compute_capability,
        "multiprocessors": properties["multiProcessorCount"],
        "shared_memory": properties["sharedMemPerBlockOptin"],
        "memory": properties["totalGlobalMem"],
        "driver": cupy.cuda.runtime.driverGetVersion(),
        "runtime": cupy.cuda.runtime.runtimeGetVersion(),
        "cupy": cupy.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def microseconds(run: Any, n: int) -> list[float]:
    """Return the time of each of n units of work, by the GPU's own clock, in several rounds."""
    taken = []
    for _ in range(ROUNDS):
        before, after = cupy.cuda.Event(), cupy.cuda.Event()
        before.record()
        run()
        after.record()
        after.synchronize()
        taken.append(1000 * cupy.cuda.get_elapsed_time(before, after) / n)
    return sorted(taken)


def rung(workload: Workload, precision: str) -> dict[str, Any]:
    """Train a workload: its first losses beside NumPy's, and its time a step."""
    backend = get_backend(f"gpu@{precision}")
    data, optimizer = make_data(workload), get_optimizer(workload.optimizer)
    order = np.concatenate(list(orders(workload, 0, -(-CHECKED // workload.steps))))[:CHECKED]

    def started(each: Any) -> Any:
        params = workload.network.init(0, each, "float32").vector
        state = init_state(workload.network, optimizer, params, 0, each)
        rate = each.asarray(np.asarray(workload.learning_rate, dtype=np.float32))
        state = state._replace(optimizer=state.optimizer._replace(learning_rate=rate))
        return params, state, (each.asarray(data.x), each.asarray(data.y))

    host = get_backend("cpu")
    with host.scope("float32"):
        step = make_step(workload.network, optimizer, host)
        *_, expected = run_steps(host.xp, step, *started(host), order)
    with backend.scope("float32"):
        params, state, arrays = started(backend)
        run = backend.compile(make_step(workload.network, optimizer, backend), MANY)
        began = time.perf_counter()
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", XpnetWarning)
            params, state, losses = run(params, state, arrays, backend.asarray(order[:1]))
        cupy.cuda.Device().synchronize()
        first = time.perf_counter() - began
        params, state, rest = run(params, state, arrays, backend.asarray(order[1:]))
        found = np.concatenate([backend.to_numpy(losses), backend.to_numpy(rest)])
        error = float(np.max(np.abs(found - expected) / np.abs(expected)))
        program = next(iter(run._programs.values()), None)  # type: ignore[attr-defined]
        values: dict[str, Any] = {
            "error": "" if error <= ALLOWED[precision] else f"losses differ by {error:.2g}",
            "difference": error,
            "first_step_s": round(first, 3),
            "program": type(program).__name__,
            "warnings": [str(each.message) for each in warned],  # which way of running steps failed, and why
            "launches": len(getattr(program, "_launches", ())),
        }

        def train(rows: Any) -> None:
            nonlocal params, state
            params, state, _ = run(params, state, arrays, rows)

        rows = order[np.arange(64) % len(order)]
        some = backend.asarray(rows)
        train(some)
        guess = microseconds(lambda: train(some), 64)[0]
        n = int(min(MOST, max(64, 1e6 * SECONDS / max(guess, 0.1))))
        many = backend.asarray(rows[np.arange(n) % len(rows)])
        taken = microseconds(lambda: train(many), n)
        values |= {"us_per_step": taken[len(taken) // 2], "fastest": taken[0], "slowest": taken[-1], "steps": n}
        values["finite"] = all(bool(np.isfinite(backend.to_numpy(each)).all()) for each in arrays_in(params))
        products = device_products(workload, backend)
        products(1)
        taken = microseconds(lambda: products(16), 16)
        values |= {"products_us": taken[len(taken) // 2]}
    tflops = workload.flops / values["us_per_step"] / 1e6
    return values | {"tflops": round(tflops, 3), "share_of_products": values["products_us"] / values["us_per_step"]}


def case(name: str, optimizer: str, dtype: str, **options: Any) -> dict[str, Any]:
    """Hold a kind of step to NumPy."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", XpnetWarning)  # a step that runs uncompiled warns
        backend = get_backend("gpu")
        with backend.scope(dtype):
            steps = Steps(backend, name, optimizer, dtype, **options)
        steps.check(19)
        steps.check(2, batch=5)
    return {"error": ""}


def main() -> None:
    """Measure what is named on the command line: ``device``, workloads, ``cases``."""
    rungs = {**WORKLOADS, **NARROW_WORKLOADS}
    wanted = sys.argv[1:]
    if "device" in wanted:
        item("device", device_facts)
    for precision in ("float32", "tf32"):
        for name in [name for name in wanted if name in rungs]:
            workload = rungs[name].quick() if QUICK else rungs[name]
            item(f"{name} {precision}", lambda w=workload, p=precision: rung(w, p))  # type: ignore[misc]
    if "cases" not in wanted:
        return
    for dtype in ("float32", "float64"):
        for name in list(CASES)[: 2 if QUICK else None]:
            item(f"case {name} {dtype}", lambda n=name, d=dtype: case(n, "momentum", d))  # type: ignore[misc]
    for name in [] if QUICK else [*sorted(set(OPTIMIZERS) - {"rmsprop"}), "rmsprop:epsilon=0.01"]:
        item(f"optimizer {name}", lambda n=name: case("long rows", n, "float64", clip_norm=3.0))  # type: ignore[misc]


if __name__ == "__main__":
    main()
