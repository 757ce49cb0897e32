"""The runs of ``xpnet bench`` as users have them: which are asked for, and what they print and write."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xpnet.bench.implementations import Unavailable
from xpnet.bench.report import TextTable, run_meanings, run_table
from xpnet.bench.results import VERSION
from xpnet.bench.runs import RUNS, RealRun
from xpnet.bench.runs.request import Request
from xpnet.bench.workloads import NARROW_WORKLOADS, WORKLOADS
from xpnet.cli.tables import say, show, write_results
from xpnet.errors import InvalidParameterError, UnknownNameError

__all__ = ["Chosen", "choose", "measure_runs", "resolve_runs"]

_QUICK_ROUNDS = 1


class Chosen(NamedTuple):
    """What the names on the command line ask for.

    Attributes
    ----------
    runs : list of RealRun
        Empty for the short runs.
    cases : tuple of str
        Workloads and data sets.
    """

    runs: dict[str, RealRun]
    cases: tuple[str, ...]


def choose(names: Sequence[str]) -> Chosen:
    """Tell runs and workloads apart.

    Raises
    ------
    UnknownNameError
        A name is neither.
    InvalidParameterError
        A run does not take a workload that is named.
    """
    cases = {case for run in RUNS.values() for case in run.cases} | WORKLOADS.keys() | NARROW_WORKLOADS.keys()
    for name in names:
        if name not in RUNS and name not in cases:
            raise UnknownNameError.among("run or workload", name, [*RUNS, *sorted(cases)])
    chosen = Chosen(
        {name: RUNS[name] for name in names if name in RUNS},
        tuple(dict.fromkeys(name for name in names if name not in RUNS)),
    )
    for name, run in chosen.runs.items():
        for case in chosen.cases:
            if case not in run.cases:
                expected = f"one of {', '.join(run.cases)}" if run.cases else "no workload"
                raise InvalidParameterError(
                    f"the run {name}: expected {expected}; received {case!r}. Run it in a call of its own."
                )
    return chosen


def resolve_runs(chosen: Chosen, devices: tuple[str, ...], peers: Iterable[str]) -> dict[str, list[Any | Unavailable]]:
    """Return what each run measures.

    Raises
    ------
    InvalidParameterError
        A run takes no devices, or not these peers.
    """
    for name, run in chosen.runs.items():
        if devices and not run.devices:
            raise InvalidParameterError(
                f"--device: must be omitted with {name}, which times commands; received {devices[0]!r}."
            )
        for peer in peers:
            if peer.partition(":")[0] not in run.peers:
                expected = f"expected one of {', '.join(run.peers)}" if run.peers else "must be omitted"
                raise InvalidParameterError(f"--peers: {expected} with {name}; received {peer!r}.")
    return {name: run.resolve(devices or ("cpu",), peers) if run.devices else [] for name, run in chosen.runs.items()}


def measure_runs(
    chosen: Chosen,
    found: dict[str, list[Any | Unavailable]],
    *,
    rounds: int | None,
    quick: bool,
    data_dir: Path | None,
    out: Path | None,
) -> bool:
    """Make the runs, and return whether all results agree.

    The table of a run is printed, and the files are written, before the next one begins, which may be interrupted.
    """
    results, remarks = [], []
    tables: list[TextTable] = []
    for name, run in chosen.runs.items():
        default = _QUICK_ROUNDS if quick else run.rounds
        results.append(run.measure(Request(chosen.cases, found[name], rounds or default, quick, data_dir)))
        tables.append(run_table(results[-1]))
        show(tables[-1])
        say(results[-1].remarks)
        remarks += [f"{name}:", "", *run_meanings(results[-1]), ""]
        values = {"version": VERSION, "rungs": [], "runs": [each.as_json() for each in results]}
        write_results(out, "bench", values, tables, remarks[:-1], None, exclusive=len(results) == 1)
    return all(each.agrees for each in results)
