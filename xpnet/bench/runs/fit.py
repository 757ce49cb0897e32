"""Estimators beside scikit-learn's, over a grid of shapes and solvers, and fitted one row at a time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from xpnet.bench.caches import place
from xpnet.bench.implementations import Implementation, peer
from xpnet.bench.runs.request import Request
from xpnet.bench.runs.results import Column, RunResults, RunRow, as_count, as_loss, as_ratio
from xpnet.bench.sklearn_peers import make_estimator
from xpnet.bench.timing import interleave

__all__ = ["COLUMNS", "SHAPES", "SOLVERS", "Shape", "measure"]

COLUMNS = (
    Column("speed_up", "speed-up", as_ratio, "time of scikit-learn's estimator relative to the row (above 1: faster)"),
    Column("iterations", "iterations", as_count, "epochs, iterations of L-BFGS, or rows; the same for both"),
    Column("loss", "loss", as_loss, "loss at the end; it must equal that of scikit-learn"),
)


class Shape(NamedTuple):
    """A size of data and network."""

    n_features: int
    n_samples: int
    n_hidden: int
    n_classes: int = 10

    def __str__(self) -> str:
        return f"{self.n_features} features, {self.n_samples:,} samples, {self.n_hidden} units"

    @property
    def flops(self) -> int:
        """Floating-point operations of an epoch."""
        return 6 * self.n_samples * self.n_hidden * (self.n_features + self.n_classes)


SHAPES = (
    Shape(2, 150, 10, 3),
    Shape(4, 150, 100, 3),
    Shape(2, 1_000, 10, 2),
    Shape(13, 500, 100, 3),
    Shape(30, 600, 512, 2),
    Shape(64, 1_797, 100),
    Shape(64, 1_797, 512),
    Shape(20, 10_000, 50, 2),
    Shape(10, 60_000, 10, 2),
    Shape(100, 20_000, 100),
    Shape(784, 6_000, 256),
    Shape(784, 60_000, 512),
)
SOLVERS = ("sgd", "adam", "lbfgs")
_ROWS = Shape(64, 1_797, 100)  # for `partial_fit` with one row at a time
_N_ROWS, _QUICK_ROWS = 300, 5

_SECONDS = 0.2  # that a fit takes, as estimated from what follows
_PER_STEP, _PER_OPERATION = 2e-4, 1 / 5e10
_BATCH = 200  # samples, at most: the estimators' default
_MOST_ITERATIONS = {"sgd": 200, "adam": 200, "lbfgs": 20}
_QUICK_SAMPLES, _QUICK_ITERATIONS = 200, 2
# Relative and absolute tolerance for the loss: rounding decides how a line search of L-BFGS ends.
_TOLERANCE = 2e-3


def measure(request: Request[Implementation]) -> RunResults:
    """Fit both estimators on each shape with each solver, interleaved."""
    rows: list[RunRow] = []
    for shape in SHAPES:
        if request.quick:
            shape = shape._replace(n_samples=min(shape.n_samples, _QUICK_SAMPLES))
        x, y = _data(shape)
        for solver in SOLVERS:
            n = _iterations(shape, solver, quick=request.quick)
            rows += _rows(f"{shape}, {solver}", request, partial(_fit, x, y, shape, solver, n), n)
    x, y = _data(_ROWS)
    n = _QUICK_ROWS if request.quick else _N_ROWS
    rows += _rows(f"{_ROWS}, a row at a time", request, partial(_partial_fit, x, y, _ROWS, n), n)
    largest = max(SHAPES, key=lambda shape: shape.n_samples * shape.n_features)
    remarks = (f"data in float32; the largest: {place(4 * largest.n_samples * largest.n_features)}",)
    return request.results(
        run="fit",
        title="estimators beside scikit-learn's",
        case="data and network",
        timed="per fit",
        columns=COLUMNS,
        rows=rows,
        remarks=remarks,
    )


def _data(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((shape.n_samples, shape.n_features), dtype=np.float32)
    scores = x @ rng.standard_normal((shape.n_features, shape.n_classes), dtype=np.float32)
    scores += rng.standard_normal(scores.shape, dtype=np.float32)
    y = np.argmax(scores, axis=1)
    y[: shape.n_classes] = np.arange(shape.n_classes)
    return x, y


def _iterations(shape: Shape, solver: str, *, quick: bool) -> int:
    if quick:
        return _QUICK_ITERATIONS
    epoch = _PER_STEP * math.ceil(shape.n_samples / _BATCH) + _PER_OPERATION * shape.flops
    return min(max(2, math.ceil(_SECONDS / epoch)), _MOST_ITERATIONS[solver])


# Fits a new estimator of a class and returns its loss.
_FitOnce = Callable[[Callable[..., Any]], float]


def _fit(x: np.ndarray, y: np.ndarray, shape: Shape, solver: str, iterations: int, make: Callable[..., Any]) -> float:
    model = make(
        hidden_layer_sizes=(shape.n_hidden,),
        solver=solver,
        max_iter=iterations,
        tol=0.0,
        n_iter_no_change=np.inf,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # all iterations are run, as intended
        model.fit(x, y)
    return float(model.loss_)


def _partial_fit(x: np.ndarray, y: np.ndarray, shape: Shape, n_rows: int, make: Callable[..., Any]) -> float:
    model = make(hidden_layer_sizes=(shape.n_hidden,), random_state=0)
    classes = np.arange(shape.n_classes)
    for i in range(n_rows):
        model.partial_fit(x[i : i + 1], y[i : i + 1], classes=classes)
    return float(model.loss_)


def _rows(case: str, request: Request[Implementation], fit: _FitOnce, iterations: int) -> Iterator[RunRow]:
    found = [each for each in request.available if each.backend is not None]
    reference = peer("sklearn")
    makes = [_class_of(each) for each in (*found, reference)]
    losses = [fit(make) for make in makes]
    *taken, theirs = interleave([lambda turn, make=make: fit(make) for make in makes], request.rounds)  # type: ignore[misc]
    *own, loss = losses
    figures = {"iterations": float(iterations)}
    for each, seconds, own_loss in zip(found, taken, own, strict=True):
        speed_up = float(np.median(theirs) / np.median(seconds))
        yield RunRow(
            case, each.name, tuple(seconds), {**figures, "speed_up": speed_up, "loss": own_loss},
            math.isclose(own_loss, loss, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE),
        )  # fmt: skip
    yield RunRow(case, reference.name, tuple(theirs), {**figures, "loss": loss})


def _class_of(implementation: Implementation) -> Callable[..., Any]:
    if implementation.estimator is not None:
        return implementation.estimator
    return make_estimator(implementation.name)
