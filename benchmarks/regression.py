"""Compare the speed of two git revisions; exit 1 if the second is slower.

``python benchmarks/regression.py A B [WORKLOAD ...] [--device cpu] [--device numba:cpu]``

Each revision is checked out in a temporary folder and trains in a process of its own. The two take turns, round by
round, and their ratio is taken in each round: the load of the machine changes too much for times of separate runs to
be compared. This script's code does the timing for both.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from xpnet.bench.timing import spread
from xpnet.bench.workloads import Workload, get_workloads

ROUNDS, TOLERANCE = 15, 1.03
ROOT = Path(__file__).resolve().parents[1]

# The child needs only what old revisions have too; before the folders by subject, `xpnet.nn` was `xpnet`.
CHILD = """
import ast, inspect, sys, time
import numpy as np
from xpnet import Network, get_backend
try:
    from xpnet.nn.optimizers import get_optimizer
    from xpnet.nn.step import init_state, make_step
except ModuleNotFoundError:
    from xpnet.optimizers import get_optimizer
    from xpnet.step import init_state, make_step

sizes, activation, batch, name, steps = ast.literal_eval(sys.argv[1])
backend, network, optimizer = get_backend(sys.argv[2]), Network(sizes, activation=activation), get_optimizer(name)
rng = np.random.default_rng(0)
with backend.scope("float32"):
    params = network.init(0, backend, "float32").vector
    state = init_state(network, optimizer, params, 0, backend)
    rate = backend.asarray(np.asarray(0.001, dtype=np.float32))
    state = state._replace(optimizer=state.optimizer._replace(learning_rate=rate))
    known = "n_steps" in inspect.signature(backend.compile).parameters  # not in an old revision
    run_steps = backend.compile(make_step(network, optimizer, backend), **({"n_steps": 10**6} if known else {}))
    data = (backend.asarray(rng.standard_normal((steps * batch, sizes[0]), dtype=np.float32)),
            backend.asarray(rng.integers(0, sizes[-1], steps * batch, dtype=np.int32)))
    order = backend.asarray(rng.permutation(steps * batch).reshape(steps, batch).astype(np.int32))
    for line in sys.stdin:  # a line is a request: how many epochs; the answer is their seconds
        started = time.perf_counter()
        for _ in range(int(line)):
            params, state, losses = run_steps(params, state, data, order)
        backend.to_numpy(losses)
        print(time.perf_counter() - started, flush=True)
"""


class Child:
    """A process that trains with one revision when it is asked to."""

    def __init__(self, tree: Path, task: tuple[object, ...], device: str) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tree), str(tree / "backends")])}
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD, repr(task), device], cwd=tree, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def seconds(self, epochs: int) -> float:
        """Train some epochs and return their seconds, while the other process waits."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{epochs}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def compare(trees: list[Path], workload: Workload, device: str) -> bool:
    """Print a line for a workload on a device, and tell whether B is not slower than the tolerance allows."""
    task = (workload.sizes, workload.activation, workload.batch, workload.optimizer, workload.steps)
    children = [Child(tree, task, device) for tree in trees]
    try:
        for child in children:
            child.seconds(1)  # compiles
        epochs = max(1, int(0.05 / max(child.seconds(1) for child in children)))
        ratios, times = [], []
        for turn in range(ROUNDS):
            taken = [0.0, 0.0]
            for i in (0, 1) if turn % 2 == 0 else (1, 0):
                taken[i] = children[i].seconds(epochs)
            ratios.append(taken[1] / taken[0])
            times.append([t / (epochs * workload.steps) * 1e6 for t in taken])
    finally:
        for child in children:
            child.close()
    a, b = (spread(column).median for column in zip(*times, strict=True))
    found = spread(ratios)
    slower = found.low > 1 and found.median > TOLERANCE
    print(
        f"{workload.name:12} {device:10}  A {a:,.1f} us  B {b:,.1f} us  "
        f"B/A {found.median:.3f} ({found.low:.3f} to {found.high:.3f})" + ("  SLOWER" if slower else ""),
        flush=True,
    )
    return not slower


def main() -> int:
    """Check the revisions out, compare them workload by workload, and remove them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revisions", nargs=2, metavar="REVISION")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="default: all")
    parser.add_argument("--device", action="append", help="may be repeated [default: cpu]")
    arguments = parser.parse_args()
    revisions, devices = arguments.revisions, arguments.device or ["cpu"]
    workloads = get_workloads(tuple(arguments.workloads))
    with tempfile.TemporaryDirectory() as folder:
        trees = [Path(folder) / "a", Path(folder) / "b"]
        git = ["git", "-C", str(ROOT), "worktree"]
        try:
            for tree, revision in zip(trees, revisions, strict=True):
                subprocess.run([*git, "add", "--quiet", "--detach", str(tree), revision], check=True)
            passed = [compare(trees, workload, device) for device in devices for workload in workloads]
        finally:
            for tree in trees:
                if tree.exists():
                    subprocess.run([*git, "remove", "--force", str(tree)], check=True)
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
