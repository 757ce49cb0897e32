"""Show where the time of a step on NumPy goes: ``python benchmarks/step_profile.py [WORKLOAD ...]``.

Each call of the compiled step is timed by itself, in the order of the step, and the medians are added up by kind. They
include the time of the clock, some tens of nanoseconds a call.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from typing import Any

import numpy as np

from xpnet.backend import arrays_in, get_backend
from xpnet.bench.workloads import Workload, get_workloads, make_data
from xpnet.nn.optimizers import get_optimizer
from xpnet.nn.step import init_state, make_step
from xpnet_backends.compiler.ir import Group
from xpnet_backends.compiler.numpy_codegen import NumpyProgram
from xpnet_backends.compiler.ops import Op
from xpnet_backends.compiler.trace import trace

_STEPS = 200
KINDS = ("gathering the batch", "products", "activations, loss, sums", "updating the parameters")


def profile(workload: Workload) -> dict[str, float]:
    """Return the seconds of a step by kind of work."""
    backend, optimizer, work = get_backend("cpu"), get_optimizer(workload.optimizer), make_data(workload)
    params = workload.network.init(0, backend, "float32").vector
    state = init_state(workload.network, optimizer, params, 0, backend)
    state = state._replace(optimizer=state.optimizer._replace(learning_rate=np.asarray(workload.learning_rate, "f4")))
    batch = tuple(array[: workload.batch].copy() for array in (work.x, work.y))
    program = trace(make_step(workload.network, optimizer, backend), params, state, batch)
    compiled = NumpyProgram(program, arrays_in((params, state)))
    pieces = [(_kind(group, params.size), compile(text, "<step>", "exec")) for group, text in compiled.texts]
    rows = np.random.default_rng(0).permutation(workload.n_samples)[: workload.batch]
    times: dict[int, list[float]] = defaultdict(list)
    names: dict[str, Any] = dict(compiled.names)
    for _ in range(_STEPS):
        started = time.perf_counter()
        for data, each in zip((work.x, work.y), batch, strict=True):
            data.take(rows, 0, each, "clip")
        times[-1].append(time.perf_counter() - started)
        for k, (_, code) in enumerate(pieces):
            started = time.perf_counter()
            exec(code, names)
            times[k].append(time.perf_counter() - started)
    totals = dict.fromkeys(KINDS, 0.0)
    totals[KINDS[0]] = float(np.median(times[-1]))
    for k, (kind, _) in enumerate(pieces):
        totals[kind] += float(np.median(times[k]))
    return totals


def _kind(group: Group, n_parameters: int) -> str:
    """Return the kind of work of a group of instructions."""
    instruction = group.loops[0].instructions[0]
    if instruction.op is Op.MATMUL and all(len(value.shape) == 2 for value in instruction.reads):
        return KINDS[1]
    return KINDS[3] if instruction.out.size == n_parameters else KINDS[2]


def main() -> None:
    """Print a table of the workloads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", help="[default: tiny to mnist-large]")
    arguments = parser.parse_args()
    for workload in get_workloads(arguments.workloads or ("tiny", "digits", "mnist-small", "mnist-large")):
        totals = profile(workload)
        whole = sum(totals.values())
        print(f"{workload.name}: {1e6 * whole:,.0f} us a step, call by call")
        for kind, seconds in totals.items():
            print(f"  {kind:<26}{1e6 * seconds:>10,.1f} us  {seconds / whole:>4.0%}")


if __name__ == "__main__":
    main()
