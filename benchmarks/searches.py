"""Compare grid searches on two workers with those on one: ``python benchmarks/searches.py [ENGINE ...] [--out DIR]``.

The engines are joblib's own processes, dask and ray; default: those that are installed. The networks are the workloads
tiny and digits. A search has some fits that take equally long. Searches on one and on two workers take turns. The time
of a whole search includes the start of workers, where the engine starts them anew. The time of its fits runs from the
beginning of the first to the end of the last. One worker of joblib or ray is the process itself: they start no other.
Where a fit takes longer on two workers, but not more time of the processor, something else has used the processors.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from joblib import parallel_config
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from writing import show, write

from xpnet import MLPClassifier
from xpnet.bench.report import TextTable
from xpnet.bench.timing import Spread, seconds, spread, take_turns
from xpnet.bench.workloads import WORKLOADS, Workload, make_data

NETWORKS, WORKERS, GOAL = ("tiny", "digits"), (1, 2), 1.8
EPOCHS = 10, 110  # of the two fits whose difference is the time of an epoch

Rounds = list[dict[str, float]]


class Timed(MLPClassifier):
    """Note the time of the processor that a fit takes."""

    def fit(self, X: Any, y: Any) -> Timed:
        """Fit as usual."""
        begun = time.process_time()
        super().fit(X, y)
        self.processor_ = time.process_time() - begun
        return self


def times(estimator: Timed, x: Any, y: Any) -> dict[str, float]:
    """Return, in place of scores, when a fit has ended and the time of the processor that it took."""
    return {"end": time.time(), "processor": estimator.processor_}


@contextmanager
def with_joblib(workers: int) -> Iterator[None]:
    """Search on joblib's processes, which start with the first search."""
    with parallel_config("loky", n_jobs=workers):
        yield


@contextmanager
def with_dask(client: Any) -> Iterator[None]:
    """Search on the workers of a client."""
    with client.as_current(), parallel_config("dask"):
        yield


@contextmanager
def with_ray(workers: int) -> Iterator[None]:
    """Search on ray's workers, which start with each search."""
    with parallel_config("ray", n_jobs=workers):
        yield


@contextmanager
def started(engine: str) -> Iterator[list[partial[AbstractContextManager[None]]]]:
    """Start an engine, and yield what makes it the engine of searches on each number of workers."""
    with ExitStack() as stack:
        if engine == "dask":
            from dask.distributed import Client

            options = {"threads_per_worker": 1, "dashboard_address": None, "set_as_default": False}
            clients = [stack.enter_context(Client(n_workers=workers, **options)) for workers in WORKERS]
            yield [partial(with_dask, client) for client in clients]
        elif engine == "ray":
            import ray
            from ray.util.joblib import register_ray

            ray.init(address="local", num_cpus=max(WORKERS), include_dashboard=False, log_to_driver=False)
            stack.callback(ray.shutdown)
            register_ray()
            yield [partial(with_ray, workers) for workers in WORKERS]
        else:
            yield [partial(with_joblib, workers) for workers in WORKERS]


def search_of(workload: Workload, n_fits: int, length: float) -> tuple[GridSearchCV, Any, Any]:
    """Return a search whose fits take some seconds each, and its data."""
    work = make_data(workload)
    network = partial(
        Timed,
        workload.sizes[1:-1],
        {"sigmoid": "logistic"}.get(workload.activation, workload.activation),
        solver=workload.optimizer,
        batch_size=workload.batch,
        learning_rate_init=workload.learning_rate,
        tol=0.0,
        n_iter_no_change=np.inf,
        random_state=0,
    )
    few, many = (seconds(partial(network(max_iter=epochs).fit, work.x, work.y)) for epochs in EPOCHS)
    epochs = round(length * (EPOCHS[1] - EPOCHS[0]) / (many - few))
    grid = {"alpha": np.geomspace(1e-6, 1e-4, n_fits)}
    split = ShuffleSplit(1, test_size=10, random_state=0)
    estimator = network(max_iter=max(EPOCHS[0], epochs))
    return GridSearchCV(estimator, grid, scoring=times, cv=split, refit=False), work.x, work.y


def measure(search: GridSearchCV, x: Any, y: Any) -> dict[str, float]:
    """Search, and return the seconds of the whole, of its fits together, of one fit, and of a fit's processor time."""
    whole = seconds(lambda: search.fit(x, y))
    found = search.cv_results_
    ends, fits, processor = (found[f"mean_{name}"] for name in ("test_end", "fit_time", "test_processor"))
    return {
        "whole": whole,
        "fits": float(ends.max() - (ends - fits).min()),
        "fit": float(np.median(fits)),
        "processor": float(np.median(processor)),
    }


def compare(engine: str, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the rounds of each number of workers, for each network."""
    with started(engine) as configs:
        for name in NETWORKS:
            task = search_of(WORKLOADS[name], given.fits, given.length)

            def on(config: partial[AbstractContextManager[None]], _: int, task: Any = task) -> dict[str, float]:
                with config():
                    return measure(*task)

            calls = [partial(on, config) for config in configs]
            take_turns(calls, 1)  # the workers start, import and compile
            rounds = take_turns(calls, given.rounds)
            yield {"engine": engine, "network": name, "rounds": dict(zip(map(str, WORKERS), rounds, strict=True))}


def speedup(result: dict[str, Any], what: str) -> Spread:
    """Return how many times as fast two workers are, by round."""
    one, two = (result["rounds"][str(workers)] for workers in WORKERS)
    return spread([a[what] / b[what] for a, b in zip(one, two, strict=True)])


def row(result: dict[str, Any]) -> tuple[str, ...]:
    """Return the cells of a result."""

    def medians(what: str) -> list[float]:
        return [float(np.median([each[what] for each in rounds])) for rounds in result["rounds"].values()]

    cells = [f"{1e3 * value:,.0f}" for what in ("fit", "processor") for value in medians(what)]
    cells += [f"{value:.2f}" for value in medians("whole")]
    for what in ("whole", "fits"):
        found = speedup(result, what)
        cells.append(f"{found.median:.2f} ({found.low:.2f} to {found.high:.2f})")
    return (result["engine"], result["network"], *cells)


def main() -> None:
    """Print a line for each engine and network."""
    engines = {"joblib": "joblib", "dask": "distributed", "ray": "ray"}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="*", metavar="ENGINE", help=f"of {', '.join(engines)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fits", type=int, default=6, help="of a search")
    parser.add_argument("--length", type=float, default=0.25, help="seconds of a fit")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    os.environ["PYTHONWARNINGS"] = "ignore::UserWarning"  # in workers: that a fit of few epochs has not converged
    warnings.simplefilter("ignore", ConvergenceWarning)
    installed = [name for name, module in engines.items() if find_spec(module)]
    results = [result for engine in given.engines or installed for result in compare(engine, given)]
    columns = ["engine", "network"]
    for what in ("ms of a fit", "processor ms of a fit", "s of a search"):
        columns += [f"{what} on {workers}" for workers in WORKERS]
    columns += ["searches, times as fast", "fits, times as fast"]
    table = TextTable("grid searches on one and on two workers", tuple(columns), [row(result) for result in results])
    show(table)
    missed = [f"{result['engine']}, {result['network']}" for result in results if speedup(result, "fits").median < GOAL]
    remark = f"Fits on two workers less than {GOAL} times as fast as on one: {'; '.join(missed) or 'none'}."
    options = {name: getattr(given, name) for name in ("rounds", "fits", "length")}
    write(given.out, "searches", [table], [remark], {**options, "results": results})


if __name__ == "__main__":
    main()
