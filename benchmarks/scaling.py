"""Measure how training scales over ranks, and draw what a model expects of more of them.

Run it as ``python benchmarks/scaling.py [--ranks 2] [--rounds 3] [--device cpu] [--out FOLDER]``, with mpirun on the
path. Each rank is bound to a core and has one thread of BLAS. All rounds are interleaved: one rank and several, xpnet
and PyTorch's DistributedDataParallel with gloo, the same network, batches and precision.

- Strong scaling: the batch stays, and each rank has a part of it.
- Weak scaling: each rank has a whole batch of its own.

The model of more ranks is alpha-beta: the two halves of a ring's sum of n bytes over p ranks take
``2 (p - 1) (alpha + n beta / p)``: Thakur, Rabenseifner, Gropp (2005), IJHPCA 19, 49-66. Alpha and beta are fitted to
two ranks of this machine, and for a network beta is its rate and alpha is stated.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from writing import show, write

from xpnet.bench.report import TextTable
from xpnet.bench.workloads import Workload, get_workloads

RANK_SCRIPT = Path(__file__).with_name("scaling_rank.py")
SECONDS = 3.0  # of an epoch of one rank, about
NETWORKS = {"10 Gbit/s Ethernet": (20e-6, 0.8e-9), "100 Gbit/s InfiniBand": (2e-6, 0.08e-9)}  # alpha, beta
DRAWN = (1, 2, 4, 8, 16, 32, 64, 125, 250, 500, 1000)
_FLOAT = 4


def run(ranks: int, *arguments: str) -> dict[str, Any]:
    """Run the script of a rank on some ranks, and return what rank 0 measured."""
    mpirun = shutil.which("mpirun")
    if mpirun is None:
        raise SystemExit("mpirun: expected it on the path; received none. Install it: pip install 'xpnet[mpi]'")
    command = [mpirun, "-n", str(ranks), "--map-by", "core", "--bind-to", "core", sys.executable, str(RANK_SCRIPT)]
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    as_root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"} if os.geteuid() == 0 else {}
    done = subprocess.run(
        [*command, *arguments], env={**os.environ, **threads, **as_root}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} on {ranks} ranks: exit code {done.returncode}\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def epochs(implementation: str, workload: Workload, ranks: int, n_epochs: int) -> dict[str, Any]:
    """Return the seconds of some epochs, the share of communication and the last loss."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sizes = (workload.batch, workload.steps, n_epochs, port)
    return run(ranks, implementation, workload.name, *map(str, sizes))


def fitted(sums: dict[str, float]) -> tuple[float, float]:
    """Return alpha in seconds and beta in seconds a byte, from the times of sums over two ranks: 2 alpha + n beta."""
    n_bytes, seconds = np.asarray([(float(size), time) for size, time in sums.items()]).T
    # Relative errors: else the largest vector alone would count.
    alpha, beta = np.linalg.lstsq(np.column_stack([2 / seconds, n_bytes / seconds]), np.ones(len(seconds)))[0]
    return max(float(alpha), 0.0), float(beta)


def expected(step: float, n_bytes: int, ranks: int, alpha: float, beta: float, *, weak: bool) -> float:
    """Return the seconds of a step on some ranks by the model, from those of one rank."""
    return (step if weak else step / ranks) + 2 * (ranks - 1) * (alpha + n_bytes * beta / ranks)


def main() -> None:
    """Print the tables, and write them with the picture of the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--device", action="append", default=[])
    parser.add_argument("--workload", action="append", default=[])
    parser.add_argument("--no-torch", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    implementations = [*(given.device or ["cpu", "numba:cpu"]), *([] if given.no_torch else ["torch"])]
    workloads = get_workloads(tuple(given.workload or ("mnist-large", "wide")))
    alpha, beta = fitted(run(2, "sums", *["0"] * 5)["sums"])
    remarks = [f"A sum over two ranks of this machine: alpha {alpha * 1e6:.1f} us, {1e-9 / beta:.1f} GB/s."]
    tables, values = [], dict[str, Any](alpha=alpha, beta=beta)
    for weak in (False, True):
        kind = "weak" if weak else "strong"
        table = TextTable(
            f"{kind} scaling, 1 and {given.ranks} ranks, one thread each",
            ("workload", "by", "1 rank, ms a step", f"{given.ranks} ranks", "times as fast", "communication", "loss"),
            [],
        )
        for workload in workloads if not weak else workloads[:1]:
            found = defaultdict[tuple[str, int], list[dict[str, Any]]](list)
            shared = workload._replace(batch=workload.batch * given.ranks) if weak else workload
            for _ in range(given.rounds):
                for name in implementations:
                    found[name, 1].append(epochs(name, workload, 1, given.epochs))
                    found[name, given.ranks].append(epochs(name, shared, given.ranks, given.epochs))
            for name in implementations:
                one, more = (
                    statistics.median(s for each in found[name, n] for s in each["seconds"]) / workload.steps
                    for n in (1, given.ranks)
                )
                waits = [each["communication"] for each in found[name, given.ranks]]
                waited = "" if waits[0] is None else f"{statistics.median(waits):.0%}"
                faster = one / more * (given.ranks if weak else 1)
                losses = "{:.4f} {:.4f}".format(*(found[name, n][0]["loss"] for n in (1, given.ranks)))
                cells = (workload.name, name, f"{one * 1e3:.2f}", f"{more * 1e3:.2f}", f"{faster:.2f}", waited, losses)
                table.rows.append(cells)
                values[f"{kind} {workload.name} {name}"] = {"one": found[name, 1], "more": found[name, given.ranks]}
                if not weak and name == implementations[0]:
                    n_bytes = _FLOAT * workload.network.n_parameters
                    model = expected(one, n_bytes, given.ranks, alpha, beta, weak=False)
                    remarks.append(f"{workload.name}: the model expects {model * 1e3:.2f} ms on {given.ranks} ranks.")
                    values[f"step {workload.name}"] = one
        show(table)
        tables.append(table)

    def draw(figure: Any) -> None:
        axes = figure.subplots(1, len(workloads), squeeze=False)[0]
        for ax, workload in zip(axes, workloads, strict=True):
            one, n_bytes = values[f"step {workload.name}"], _FLOAT * workload.network.n_parameters
            for label, costs in NETWORKS.items():
                for weak, style in ((False, "-"), (True, "--")):
                    steps = [expected(one, n_bytes, p, *costs, weak=weak) for p in DRAWN]
                    speed = [one / step * (p if weak else 1) for p, step in zip(DRAWN, steps, strict=True)]
                    ax.loglog(DRAWN, speed, style, label=f"{label}, {'weak' if weak else 'strong'}")
            ax.loglog(DRAWN, DRAWN, ":", color="gray", label="ideal")
            ax.set(title=f"{workload.name}: expected, not measured", xlabel="ranks", ylabel="times as fast as one")
            ax.legend(fontsize=7)

    write(given.out, "scaling", tables, remarks, values, draw)


if __name__ == "__main__":
    main()
