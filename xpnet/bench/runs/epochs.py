"""Whole epochs of full data: `Trainer.fit` and peers that shuffle and read the loss as their users do, interleaved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from xpnet.bench.caches import samples_place
from xpnet.bench.implementations import Implementation
from xpnet.bench.matmul_bound import numpy_products
from xpnet.bench.results import agrees
from xpnet.bench.runs.request import Request
from xpnet.bench.runs.results import Column, RunResults, RunRow, as_loss, as_ratio, as_time
from xpnet.bench.runs.whole import WholeRun, epochs_for, short_steps, whole_run
from xpnet.bench.timing import seconds, take_turns
from xpnet.bench.workloads import Workload, get_workloads, make_data, orders

__all__ = ["COLUMNS", "measure"]

COLUMNS = (
    Column("to_first", "x first device", as_ratio, "time of a step relative to the first device of xpnet"),
    Column(
        "of_numpy", "fastest NumPy device / this row", as_ratio,
        "time of the fastest xpnet device on NumPy arrays relative to this row (below 1: xpnet is faster)",
    ),
    Column("to_products", "x products", as_ratio, "time of a step relative to its matrix products alone, with NumPy"),
    Column("to_short", "x short", as_ratio, "time of a step relative to that in the short runs of `xpnet bench`"),
    Column(
        "start", "start", as_time,
        "seconds of the first epoch in the process beyond those of a later one: imports, data, compilation",
    ),
    Column("loss", "loss", as_loss, "mean loss of an epoch in the same order for all; it must be equal"),
)  # fmt: skip
_TURN = 0.25  # seconds, at least, that each implementation trains in a round


def measure(request: Request[Implementation]) -> RunResults:
    """Time whole runs of each workload, interleaved with the peers and the products."""
    workloads = [each.quick() if request.quick else each.full() for each in get_workloads(request.cases)]
    rows = [row for workload in workloads for row in _rows(workload, request)]
    remarks = tuple(samples_place(each) for each in workloads)
    return request.results(
        run="epochs",
        title="whole epochs of full data, through Trainer.fit",
        case="workload",
        timed="per step",
        columns=COLUMNS,
        rows=rows,
        remarks=remarks,
    )


def _rows(workload: Workload, request: Request[Implementation]) -> Iterator[RunRow]:
    found = request.available
    if not found:
        return
    data, order = make_data(workload), orders(workload, 0, 1)
    runs: list[WholeRun] = []
    losses: list[float] = []

    def train_first(implementation: Implementation) -> None:
        runs.append(whole_run(implementation, data))
        losses.append(runs[-1].loss(order, 0))

    firsts = [seconds(partial(train_first, each)) for each in found]
    least = 0.0 if request.quick else _TURN
    products = numpy_products(workload)
    calls: list[Callable[[int], float]] = [partial(_step, run, epochs_for(run, workload, least)) for run in runs]
    calls.append(lambda turn: seconds(partial(products, workload.steps)) / workload.steps)
    *taken, multiplied = take_turns(calls, request.rounds)
    short_run = workload if request.quick else get_workloads((workload.name,))[0]
    short = short_steps(short_run, found, quick=request.quick)

    steps = [float(np.median(own)) for own in taken]
    first = next((step for each, step in zip(found, steps, strict=True) if each.backend), steps[0])
    on_numpy = [step for each, step in zip(found, steps, strict=True) if _is_on_numpy(each)]
    alone = float(np.median(multiplied))
    for i, each in enumerate(found):
        figures = {
            "to_first": steps[i] / first,
            "of_numpy": min(on_numpy) / steps[i] if on_numpy else None,
            "to_products": steps[i] / alone if each.kind == "cpu" else None,
            "to_short": steps[i] / short[i],
            "start": max(firsts[i] - steps[i] * workload.steps, 0.0),
            "loss": losses[i],
        }
        precision = each.backend.precision if each.backend else "float32"
        yield RunRow(workload.name, each.name, tuple(taken[i]), figures, agrees(losses[i], losses[0], precision))
    yield RunRow(workload.name, "products alone", tuple(multiplied))


def _step(run: WholeRun, epochs: int, turn: int) -> float:
    return run.step(epochs, 1 + turn)


def _is_on_numpy(implementation: Implementation) -> bool:
    """Return whether it is xpnet, with data in NumPy arrays."""
    backend = implementation.backend
    return backend is not None and isinstance(backend.asarray(np.zeros(1, np.float32)), np.ndarray)
