"""Peak memory of a contender, measured in a process of its own: ``python -m xpnet.bench.memory``.

Nothing less is true of every library: `tracemalloc` sees what NumPy allocates only, and in a process that has worked
before, freed memory is used again unseen. ``ru_maxrss`` begins at what the parent process had, so the peak is read
from ``/proc`` where there is one.
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
from xpnet.bench.contenders import Contender, device, peer
from xpnet.bench.workloads import Rung, make_work, orders
from xpnet.errors import XpnetError
from xpnet.nn.optimizers import get_optimizer

__all__ = ["expected_bytes", "n_slots", "peak_bytes"]

_CLEAR = Path("/proc/self/clear_refs")
_FLOAT = 4  # bytes


def expected_bytes(rung: Rung) -> int:
    """Return the bytes of the rule: parameters x (2 + optimizer slots) + activations of one batch + the data once."""
    return rung.memory(n_slots(rung))


def n_slots(rung: Rung) -> int:
    """Return how many vectors of the parameters' size the rung's optimizer keeps."""
    return len(get_optimizer(rung.optimizer).slots)


def peak_bytes(rung: Rung, contender: Contender) -> int | None:
    """Return the host memory that an epoch takes at most, from the drawing of the data on; None on a GPU.

    Below some MiB it says little: the process has pages to spare. A fit keeps the parameters once more, to return
    those of the last good epoch should the next diverge.

    Raises
    ------
    XpnetError
        The process failed.
    """
    if contender.kind != "cpu":
        return None  # what lies on the device is not in the process
    path = os.pathsep.join(filter(None, sys.path))
    task = json.dumps([rung._asdict(), contender.name])
    done = subprocess.run(
        [sys.executable, "-m", "xpnet.bench.memory", task],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise XpnetError(
            f"measuring the memory of {contender.name} on {rung.name}: expected a figure; received: {last}"
        )
    return int(done.stdout)


def _measure(rung: Rung, name: str) -> int:
    """Train an epoch, and return the bytes that it took at most beyond what the libraries themselves take."""
    prefix = "peer "
    contender = peer(name.removeprefix(prefix)) if name.startswith(prefix) else device(name)
    # Imports, threads and compilers take memory of their own, once; so does BLAS, for its threads to work in.
    _multiply(rung)
    small = rung._replace(sizes=(8, *(8 for _ in rung.sizes[2:]), 4), batch=8, steps=2)
    contender.start(make_work(small))(orders(small, 0, 1), 0)
    if _CLEAR.exists():
        _CLEAR.write_text("5")  # the peak begins anew
    before = memory.current_bytes()
    contender.start(make_work(rung))(orders(rung, 0, 1), 0)
    return max(memory.peak_bytes() - before, 0)


def _multiply(rung: Rung) -> None:
    """Do the products of a step and of the data, in memory that goes back to the system: none is used again unseen."""

    def room(*shape: int) -> np.ndarray:
        return np.ndarray(shape, np.float32, mmap.mmap(-1, _FLOAT * math.prod(shape)))

    for m, k, n in (*rung.products, (rung.n_samples, rung.sizes[0], rung.sizes[-1])):  # the last draws the classes
        np.matmul(room(m, k), room(k, n), out=room(m, n))


if __name__ == "__main__":
    values, name = json.loads(sys.argv[1])
    print(_measure(Rung(**{**values, "sizes": tuple(values["sizes"])}), name))
