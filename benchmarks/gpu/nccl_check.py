"""Sum an array with NCCL on one GPU, plainly and captured in a CUDA graph, and compare: a line of JSON; then train so.

``mpirun -n 1 python benchmarks/gpu/nccl_check.py``, or without mpirun: a single rank makes a communicator by itself.
With more ranks, each takes a GPU of its own. The exit code is 1 if a sum is wrong.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from typing import Any

import cupy
import numpy as np
from cupy.cuda import nccl
from mpi4py import MPI

from xpnet.bench.workloads import WORKLOADS, make_data
from xpnet.training.trainer import Trainer
from xpnet_backends.cuda.nccl import NcclSum
from xpnet_backends.mpi import start

N = 1_000_000
LAUNCHES = 100


def measure() -> dict[str, Any]:
    """Return whether the sums are right, and the seconds of each."""
    ranks = MPI.COMM_WORLD
    rank, size = ranks.Get_rank(), ranks.Get_size()
    local = ranks.Split_type(MPI.COMM_TYPE_SHARED)
    cupy.cuda.Device(local.Get_rank()).use()
    started = time.perf_counter()
    total = NcclSum(rank, size, ranks.bcast)
    array = cupy.full(N, rank + 1.0, "float32")
    total(array)  # the first sum connects the ranks
    expected = size * (size + 1) / 2
    is_plain_right = bool((array == expected).all())
    connected = time.perf_counter() - started

    # Each launch doubles the array, on however many ranks: a kernel before the sum divides by their number.
    stream = cupy.cuda.Stream(non_blocking=True)
    cupy.cuda.get_current_stream().synchronize()
    with stream:
        array.fill(1.0)
        stream.synchronize()
        stream.begin_capture()
        cupy.multiply(array, 2.0 / size, out=array)
        total(array)
        graph = stream.end_capture()
        graph.launch()
        graph.launch()
        stream.synchronize()
    is_captured_right = bool((array.get() == np.float32(4.0)).all())

    with stream:
        array.fill(0.0)
        stream.synchronize()
        started = time.perf_counter()
        for _ in range(LAUNCHES):
            graph.launch()
        stream.synchronize()
        launch = (time.perf_counter() - started) / LAUNCHES
        started = time.perf_counter()
        for _ in range(LAUNCHES):
            total(array)
        stream.synchronize()
        plain = (time.perf_counter() - started) / LAUNCHES
    return {
        "rank": rank,
        "ranks": size,
        "gpu": cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode(),
        "cupy": cupy.__version__,
        "nccl": nccl.get_version(),
        "mpi": MPI.Get_library_version().partition(",")[0],
        "plain": is_plain_right,
        "captured": is_captured_right,
        "connect_seconds": round(connected, 3),
        "plain_microseconds": round(1e6 * plain, 1),
        "graph_microseconds": round(1e6 * launch, 1),
    }


def train() -> dict[str, Any]:
    """Train with sums by NCCL in the captured step, and alone, and return how far the two are apart."""
    communicator, (data, workload) = start(), (make_data(WORKLOADS["mnist-large"]), WORKLOADS["mnist-large"])
    found: dict[str, Any] = {"warnings": []}
    vectors = []
    for name, ranks in (("alone", None), ("ranks", communicator)):
        trainer = Trainer(workload.network, batch_size=workload.batch, epochs=6, device="gpu", communicator=ranks)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            run = trainer.fit(data.x, data.y)
        found["warnings"] += [str(each.message) for each in warned]
        found[f"{name}_us_per_step"] = round(1e6 * min(each.seconds for each in run.history) / workload.steps, 1)
        found[f"{name}_loss"] = run.history[-1].loss
        vectors.append(cupy.asnumpy(run.params.vector))
    found["difference"] = float(np.max(np.abs(vectors[0] - vectors[1])) / np.max(np.abs(vectors[0])))
    return found


if __name__ == "__main__":
    result = measure()
    print(json.dumps(result), flush=True)
    trained = train()
    print(json.dumps(trained), flush=True)
    sys.exit(not (result["plain"] and result["captured"] and trained["difference"] < 1e-3))
