"""A busy machine: whole runs while another process occupies one core, beside quiet ones and those of one thread."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path

import numpy as np

from xpnet.bench.caches import samples_place
from xpnet.bench.implementations import Implementation
from xpnet.bench.runs.request import Request
from xpnet.bench.runs.results import Column, RunResults, RunRow, as_ratio, as_time
from xpnet.bench.runs.whole import WholeRun, epochs_for, short_steps, whole_run
from xpnet.bench.timing import take_turns
from xpnet.bench.workloads import Workload, get_workloads, make_data, orders
from xpnet.threads import limit_threads

__all__ = ["COLUMNS", "measure", "occupied_core", "one_core"]

COLUMNS = (
    Column("quiet", "quiet", as_time, "time of a step without the other process"),
    Column("single", "one thread, quiet", as_time, "time of a step on one core, without the other process"),
    Column("to_single", "x one thread", as_ratio, "busy time relative to that of one thread on a quiet machine"),
    Column("to_quiet", "x quiet", as_ratio, "busy time relative to the quiet time"),
    Column("to_short", "x short", as_ratio, "busy time relative to the short runs of `xpnet bench`"),
)
_TURN = 0.25  # seconds, at least, that each implementation trains in a round
# It ends with the process that started it, also if that one is killed.
_SPIN = """
import os
parent = os.getppid()
print(flush=True)
while os.getppid() == parent:
    for _ in range(1_000_000):
        pass
"""


@contextmanager
def occupied_core() -> Iterator[int]:
    """Let another process occupy a core; yields its number, and always ends it."""
    process = subprocess.Popen([sys.executable, "-P", "-c", _SPIN], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        process.stdout.readline()  # it runs
        yield process.pid
    finally:
        process.kill()
        process.communicate()


@contextmanager
def one_core() -> Iterator[None]:
    """Limit all libraries to one thread and, on Linux, all threads of this process to one core.

    `limit_threads` reaches the libraries that can be limited. A thread pool that cannot has one core here.
    """
    with limit_threads(1), ExitStack() as stack:
        for task in Path("/proc/self/task").glob("*"):
            thread = int(task.name)
            with suppress(OSError):  # the thread has ended
                before = os.sched_getaffinity(thread)
                os.sched_setaffinity(thread, os.sched_getaffinity(0))
                stack.callback(_bind, thread, before)
        yield


def _bind(thread: int, cores: set[int]) -> None:
    with suppress(OSError):
        os.sched_setaffinity(thread, cores)


_CONDITIONS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "busy": occupied_core,
    "quiet": nullcontext,
    "single": one_core,
}


def measure(request: Request[Implementation]) -> RunResults:
    """Time whole runs of each workload in each condition, interleaved."""
    workloads = [each.quick() if request.quick else each for each in get_workloads(request.cases)]
    rows = [row for workload in workloads for row in _rows(workload, request)]
    remarks = tuple(samples_place(each) for each in workloads)
    return request.results(
        run="busy",
        title="another process occupies one core",
        case="workload",
        timed="per step, busy",
        columns=COLUMNS,
        rows=rows,
        remarks=remarks,
    )


def _rows(workload: Workload, request: Request[Implementation]) -> Iterator[RunRow]:
    found = request.available
    data, order = make_data(workload), orders(workload, 0, 1)
    runs = [whole_run(each, data) for each in found]
    for run in runs:
        run.loss(order, 0)
    least = 0.0 if request.quick else _TURN
    epochs = [epochs_for(run, workload, least) for run in runs]
    calls = [
        partial(_step, enter, run, n)
        for enter in _CONDITIONS.values()
        for run, n in zip(runs, epochs, strict=True)
    ]  # fmt: skip
    taken = take_turns(calls, request.rounds)
    short = short_steps(workload, found, quick=request.quick) if found else []
    for i, each in enumerate(found):
        of = {condition: taken[position * len(found) + i] for position, condition in enumerate(_CONDITIONS)}
        busy, quiet, single = (float(np.median(seconds)) for seconds in of.values())
        figures = {
            "quiet": quiet,
            "single": single,
            "to_single": busy / single,
            "to_quiet": busy / quiet,
            "to_short": busy / short[i],
        }
        yield RunRow(workload.name, each.name, tuple(of["busy"]), figures)


def _step(enter: Callable[[], AbstractContextManager[object]], run: WholeRun, epochs: int, turn: int) -> float:
    with enter():
        return run.step(epochs, 1 + turn)
