"""Runs as users have them, beside the short ones: one module for each, and the table of all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from xpnet.bench.implementations import PEERS, PREDICTING_PEERS, Unavailable, resolve
from xpnet.bench.predictors import resolve_predictors
from xpnet.bench.runs import busy, epochs, fit, long, predict, small, start
from xpnet.bench.runs.request import Request
from xpnet.bench.runs.results import RunResults
from xpnet.bench.workloads import NARROW_WORKLOADS, WORKLOADS

__all__ = ["RUNS", "RealRun"]


class RealRun(NamedTuple):
    """An entry of the table of runs.

    Attributes
    ----------
    summary : str
        What it measures, in one line for the help.
    measure : callable
    cases : tuple of str
        The names that may be given with it: workloads or data sets. Empty if it has its own cases.
    rounds : int
        Default number of rounds.
    devices : bool
        Whether devices can be chosen.
    peers : tuple of str
        Names of the peers that it can be compared with.
    resolve : callable
        From devices and peers to what is measured.
    """

    summary: str
    measure: Callable[[Request[Any]], RunResults]
    cases: tuple[str, ...] = (*WORKLOADS, *NARROW_WORKLOADS)
    rounds: int = 5
    devices: bool = True
    peers: tuple[str, ...] = ()
    resolve: Callable[[Iterable[str], Iterable[str]], list[Any | Unavailable]] = resolve


_TRAINING = (*(each.name for each in PEERS), "eager")
RUNS: dict[str, RealRun] = {
    "epochs": RealRun("whole epochs of full data, through Trainer.fit", epochs.measure, peers=_TRAINING),
    "long": RealRun(
        "5,000 steps on images with many zero pixels: the first and the last tenth", long.measure, long.CASES,
        rounds=1, peers=_TRAINING,
    ),
    "busy": RealRun("another process occupies one core", busy.measure, peers=_TRAINING),
    "small": RealRun(
        "200 epochs on small data, from the first call to the fitted model", small.measure, small.CASES,
        peers=("sklearn", "estimator"),
    ),
    "fit": RealRun("estimators beside scikit-learn's, on 12 shapes with 3 solvers", fit.measure, (), rounds=3),
    "predict": RealRun(
        "rows a second for batches of 1, 100 and 100,000", predict.measure, rounds=9,
        peers=tuple(each.name for each in PREDICTING_PEERS), resolve=resolve_predictors,
    ),
    "start": RealRun("seconds from the shell to the end of a command", start.measure, (), devices=False),
}  # fmt: skip
"""The runs by name, in the order in which they are listed."""
