"""Peak memory of an implementation, measured in a process of its own: ``python -m xpnet.bench.peak_memory``.

Simpler measurements do not cover every library. `tracemalloc` counts only what NumPy allocates, and a process that has
worked before reuses freed memory without a trace. ``ru_maxrss`` starts at the peak of the parent process, so the peak
is read from ``/proc`` where it exists.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from xpnet import memory
from xpnet.bench.implementations import Implementation, peer, xpnet_on
from xpnet.bench.workloads import Workload, make_data, orders
from xpnet.errors import XpnetError
from xpnet.nn.optimizers import get_optimizer

__all__ = ["expected_bytes", "n_slots", "peak_bytes"]

_RESET = Path("/proc/self/clear_refs")
_FLOAT = 4  # bytes
_PEER_PREFIX = "peer "


def expected_bytes(workload: Workload) -> int:
    """Return the expected memory in bytes, see `Workload.memory`."""
    return workload.memory(n_slots(workload))


def n_slots(workload: Workload) -> int:
    """Return how many vectors of the parameters' size the workload's optimizer keeps."""
    return len(get_optimizer(workload.optimizer).slots)


def peak_bytes(workload: Workload, implementation: Implementation) -> int | None:
    """Return the peak of the host memory during an epoch, including the data; None for a GPU.

    Results below a few MiB mean little, because the process has free pages. A fit needs memory for the parameters once
    more, to restore those of the last good epoch if the next one diverges.

    Raises
    ------
    XpnetError
        The process failed.
    """
    if implementation.kind != "cpu":
        return None  # the memory of a device does not count as memory of the process
    path = os.pathsep.join(filter(None, sys.path))
    task = json.dumps([workload._asdict(), implementation.name])
    done = subprocess.run(
        [sys.executable, "-P", "-m", "xpnet.bench.peak_memory", task],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise XpnetError(
            f"cannot measure the memory of {implementation.name} on {workload.name}: expected a number of bytes; "
            f"received: {last}. Run `xpnet bench {workload.name}` with this device alone to see the error."
        )
    return int(done.stdout)


def _measure(workload: Workload, name: str) -> int:
    """Train an epoch, and return its peak of memory without what the libraries allocate once."""
    is_peer = name.startswith(_PEER_PREFIX)
    implementation = peer(name.removeprefix(_PEER_PREFIX)) if is_peer else xpnet_on(name)
    # Imports, threads, compilers and the workspaces of BLAS take memory once.
    _multiply(workload)
    small = workload._replace(sizes=(8, *(8 for _ in workload.sizes[2:]), 4), batch=8, steps=2)
    implementation.start(make_data(small))(orders(small, 0, 1), 0)
    if _RESET.exists():
        _RESET.write_text("5")  # resets the peak
    before = memory.current_bytes()
    implementation.start(make_data(workload))(orders(workload, 0, 1), 0)
    return max(memory.peak_bytes() - before, 0)


def _multiply(workload: Workload) -> None:
    """Do the products of a step and of the data, in mapped memory that is returned to the system afterwards."""

    def empty(*shape: int) -> np.ndarray:
        return np.ndarray(shape, np.float32, mmap.mmap(-1, _FLOAT * math.prod(shape)))

    of_data = (workload.n_samples, workload.sizes[0], workload.sizes[-1])  # the product that gives the classes
    for m, k, n in (*workload.products, of_data):
        np.matmul(empty(m, k), empty(k, n), out=empty(m, n))


if __name__ == "__main__":
    values, name = json.loads(sys.argv[1])
    print(_measure(Workload(**{**values, "sizes": tuple(values["sizes"])}), name))
