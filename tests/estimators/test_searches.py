"""Fits in the workers of several engines: each has its share of the processors, and what it has fitted comes back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from xpnet.threads import THREAD_VARIABLES, process_cpu_count

pytestmark = pytest.mark.slow

# A network that has work for four threads where it is alone. It is trained by a script, because the tests' own process
# limits BLAS to one thread, and because workers may import the main module.
SCRIPT = """
import json, os, sys
from contextlib import ExitStack
import joblib, numpy as np
from sklearn.model_selection import cross_validate
from threadpoolctl import threadpool_info
import xpnet
from xpnet import threads


def blas():
    return [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]


class Seen(xpnet.Callback):
    def on_start(self, n_steps, epochs):
        self.process, self.threads, self.fits = os.getpid(), 0, 0

    def on_epoch(self, record, run):
        with threads._BLAS._lock:  # no fit begins or ends meanwhile
            most = max(blas())
            fits = threads._BLAS.n_runs
        self.threads, self.fits = max(self.threads, most * fits), max(self.fits, fits)


def start(name, stack):
    if name == "dask":
        from dask.distributed import Client

        stack.enter_context(Client(n_workers=2, threads_per_worker=1, dashboard_address=None))
    elif name == "dask, threads":
        from dask.distributed import Client

        stack.enter_context(Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None))
    elif name == "ray":
        import ray
        from ray.util.joblib import register_ray

        ray.init(address="local", num_cpus=2, include_dashboard=False)
        register_ray()
    engine = name.partition(",")[0]
    stack.enter_context(joblib.parallel_config(engine, n_jobs=2))


if __name__ == "__main__":
    before = blas()
    x = np.random.default_rng(0).standard_normal((256, 256))
    y = (x[:, 0] > 0).astype(int)
    network = xpnet.MLPClassifier((512,), batch_size=128, max_iter=20, tol=0, callbacks=[Seen()], random_state=0)
    with ExitStack() as stack:
        start(sys.argv[1], stack)
        fitted = cross_validate(network, x, y, cv=8, return_estimator=True)
    seen = [vars(each.callbacks[0]) for each in fitted["estimator"]]
    scores = [each.score(x, y) for each in fitted["estimator"]]
    print(json.dumps({"seen": seen, "scores": scores, "before": max(before), "after": max(blas())}))
"""


@pytest.mark.parametrize(
    ("engine", "n_processes"),
    [
        ("loky", 2),
        ("threading", 1),
        pytest.param("dask", 2, marks=pytest.mark.needs("distributed")),
        pytest.param("dask, threads", 1, marks=pytest.mark.needs("distributed")),
        pytest.param("ray", 2, marks=pytest.mark.needs("ray")),
    ],
)
def test_each_fit_has_its_share_of_the_processors(
    engine: str, n_processes: int, tmp_path: Path, environment: dict[str, str]
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    free = {name: value for name, value in environment.items() if name not in THREAD_VARIABLES}
    free["PYTHONWARNINGS"] = "ignore"
    command = [sys.executable, str(script), engine]
    done = subprocess.run(command, env=free, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("{"))  # ray may say more, at any time
    result = json.loads(line)
    seen = result["seen"]
    processes = {each["process"] for each in seen}
    assert len(processes) == n_processes
    # Several fits of one process have the processors together, so that more of them have fewer threads each.
    assert max(each["fits"] for each in seen) == 2 // n_processes
    assert all(1 <= each["threads"] <= max(2, process_cpu_count()) // n_processes for each in seen)
    assert min(result["scores"]) > 0.9
    assert result["after"] == result["before"]
