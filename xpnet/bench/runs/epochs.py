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
from xpnet.bench.runs.whole import Turn, WholeRun, epochs_for, short_steps, whole_run
from xpnet.bench.timing import seconds, take_turns
from xpnet.bench.workloads import Workload, get_workloads, make_data, orders

__all__ = ["COLUMNS", "measure"]

COLUMNS = (
    Column("to_first", "x first device", as_ratio, "time of a step relative to the first device of xpnet"),
    Column(
        "of_numpy", "best on NumPy / row", as_ratio,
        "time of the fastest xpnet device on NumPy arrays relative to the row (below 1: xpnet is faster)",
    ),
    Column("to_products", "x products", as_ratio, "time of a step relative to its matrix products alone, with NumPy"),
    Column("to_short", "x short", as_ratio, "time of a step relative to that in the short runs of `xpnet bench`"),
    Column("start", "start", as_time, "time before the first epoch: data, weights and compilation"),
    Column("loss", "loss", as_loss, "mean loss of an epoch in the same order for all; it must be equal"),
)  # fmt: skip
_TURN = 0.25  # seconds, at least, that each implementation trains in a round


def measure(request: Request[Implementation]) -> RunResults:
    """Time whole runs of each workload, interleaved with the peers and the products."""
    workloads = [each.quick() if request.quick else each.full() for each in get_workloads(request.cases)]
    rows = [row for workload in workloads for row in _rows(workload, request)]
    remarks = tuple(samples_place(each) for each in workloads)
    return RunResults(
        run="epochs",
        title="whole epochs of full data, through Trainer.fit",
        case="workload",
        timed="per step",
        columns=COLUMNS,
        rows=(*rows, *request.missing),
        remarks=remarks,
        quick=request.quick,
    )


def _rows(workload: Workload, request: Request[Implementation]) -> Iterator[RunRow]:
    found = request.available
    if not found:
        return
    data, order = make_data(workload), orders(workload, 0, 1)
    runs = [whole_run(each, data) for each in found]
    losses = [run.loss(order, 0) for run in runs]
    least = 0.0 if request.quick else _TURN
    products = numpy_products(workload)
    calls: list[Callable[[int], Turn]] = [partial(_turn, run, epochs_for(run, workload, least)) for run in runs]
    calls.append(lambda turn: Turn(seconds(partial(products, workload.steps)) / workload.steps, 0.0))
    *taken, multiplied = take_turns(calls, request.rounds)
    short = short_steps(get_workloads((workload.name,))[0], found, quick=request.quick)

    steps = [float(np.median([each.step for each in turns])) for turns in taken]
    first = next((step for each, step in zip(found, steps, strict=True) if each.backend), steps[0])
    on_numpy = [step for each, step in zip(found, steps, strict=True) if _is_on_numpy(each)]
    alone = float(np.median([each.step for each in multiplied]))
    for each, turns, step, own_short, loss in zip(found, taken, steps, short, losses, strict=True):
        figures = {
            "to_first": step / first,
            "of_numpy": min(on_numpy) / step if on_numpy else None,
            "to_products": step / alone if each.kind == "cpu" else None,
            "to_short": step / own_short,
            "start": float(np.median([turn.start for turn in turns])),
            "loss": loss,
        }
        precision = each.backend.precision if each.backend else "float32"
        yield RunRow(
            workload.name, each.name, tuple(turn.step for turn in turns), figures,
            agrees(loss, losses[0], precision),
        )  # fmt: skip
    yield RunRow(workload.name, "products alone", tuple(each.step for each in multiplied))


def _turn(run: WholeRun, epochs: int, turn: int) -> Turn:
    return run.turn(epochs, 1 + turn)


def _is_on_numpy(implementation: Implementation) -> bool:
    """Return whether it is xpnet, with data in NumPy arrays."""
    backend = implementation.backend
    return backend is not None and isinstance(backend.asarray(np.zeros(1, np.float32)), np.ndarray)
