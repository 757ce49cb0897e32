"""Predictions: rows a second for single rows and for batches, from features to probabilities, both on the host."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import numpy as np

from xpnet.bench.caches import place
from xpnet.bench.predictors import Predict, Predictor
from xpnet.bench.runs.request import Request
from xpnet.bench.runs.results import Column, RunResults, RunRow, as_count, as_ratio
from xpnet.bench.timing import interleave, seconds
from xpnet.bench.workloads import Workload, get_workloads

__all__ = ["COLUMNS", "measure"]

COLUMNS = (
    Column("rows", "rows/s", as_count, "predicted rows in a second"),
    Column("to_first", "x first device", as_ratio, "time relative to the first row (above 1: slower)"),
    Column("error", "largest difference", "{:.0e}".format, "of a probability from that of the first row"),
)
_WORKLOADS = ("digits", "mnist-small")
_BATCHES, _QUICK_BATCHES = (1, 100, 100_000), (1, 20)
_TURN = 0.05  # seconds, at least, that each predictor works in a round
_MOST_CALLS = 5_000
_TOLERANCE = 1e-4


def measure(request: Request[Predictor]) -> RunResults:
    """Time predictions on batches of each size, interleaved."""
    batches = _QUICK_BATCHES if request.quick else _BATCHES
    rows: list[RunRow] = []
    remarks: list[str] = []
    for workload in get_workloads(request.cases or _WORKLOADS):
        x = np.random.default_rng(0).standard_normal((batches[-1], workload.sizes[0]), dtype=np.float32)
        remarks.append(f"{workload.name}: {batches[-1]:,} rows are {place(x.nbytes)}")
        predictors = [each.start(workload) for each in request.available]
        for batch in batches:
            rows += _rows(workload, x[:batch], predictors, request)
    return request.results(
        run="predict",
        title="predictions, from features to probabilities on the host",
        case="network and batch",
        timed="per call",
        columns=COLUMNS,
        rows=rows,
        remarks=tuple(remarks),
    )


def _rows(
    workload: Workload, x: np.ndarray, predictors: list[Predict], request: Request[Predictor]
) -> Iterator[RunRow]:
    case = f"{workload.name}, {len(x):,}"
    results = [np.asarray(predict(x)) for predict in predictors]
    counts = [_calls(predict, x, 0.0 if request.quick else _TURN) for predict in predictors]
    calls = [partial(_repeat, predict, x, n) for predict, n in zip(predictors, counts, strict=True)]
    taken = interleave(calls, request.rounds)
    per_call = [tuple(t / n for t in row) for row, n in zip(taken, counts, strict=True)]
    for each, own, result in zip(request.available, per_call, results, strict=True):
        error = float(np.abs(result - results[0]).max())
        step = float(np.median(own))
        figures = {"rows": len(x) / step, "to_first": step / float(np.median(per_call[0])), "error": error}
        yield RunRow(case, each.name, own, figures, error <= _TOLERANCE)


def _calls(predict: Predict, x: np.ndarray, min_seconds: float) -> int:
    once = min(seconds(partial(predict, x)) for _ in range(2))
    return min(max(1, math.ceil(min_seconds / once)), _MOST_CALLS)


def _repeat(predict: Predict, x: np.ndarray, n: int, turn: int) -> None:
    for _ in range(n):
        predict(x)
