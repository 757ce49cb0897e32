"""``xpnet bench`` and ``xpnet bench compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from xpnet.backend.costs import save_costs
from xpnet.bench.caches import samples_place
from xpnet.bench.calibrate import measure_costs
from xpnet.bench.implementations import Implementation, Unavailable, resolve
from xpnet.bench.peak_memory import expected_bytes, peak_bytes
from xpnet.bench.pictures import sweeps_png, workloads_png
from xpnet.bench.report import (
    COLUMN_MEANINGS,
    comparison_table,
    costs_table,
    crossing_lines,
    memory_table,
    run_comparison_table,
    sweep_table,
    workload_table,
)
from xpnet.bench.results import WorkloadResults, load, measure, to_json
from xpnet.bench.runs import RUNS
from xpnet.bench.runs.results import load_runs
from xpnet.bench.step_times import Settings
from xpnet.bench.sweep import Sweep, sweep
from xpnet.bench.workloads import Workload, get_workloads
from xpnet.cli.bench_runs import choose, measure_runs, resolve_runs
from xpnet.cli.console import HELP_EPILOGUE
from xpnet.cli.options import parse_int
from xpnet.cli.tables import open_results, say, show, write_results
from xpnet.constraints import integer
from xpnet.errors import InvalidParameterError
from xpnet.threads import limit_threads

__all__ = ["app"]

app = App(
    name="bench",
    help="Compare the speed of training on devices and with peers, which are other libraries.",
    help_epilogue="\n\n".join(
        ("Runs as users have them:", *(f"{name}: {run.summary}" for name, run in RUNS.items()), HELP_EPILOGUE)
    ),
)

_QUICK = Settings(rounds=3, min_seconds=0.005)
_DISAGREES = 1


@app.default
def bench(
    *names: str,
    device: Annotated[tuple[str, ...], Parameter(show_default=lambda _: "cpu")] = (),
    peers: Annotated[str, Parameter(show_default=False)] = "",
    sweep_: Annotated[Literal["batch-size", "width"] | None, Parameter(name="--sweep")] = None,
    memory: Annotated[bool, Parameter(show_default=False)] = False,
    calibrate: Annotated[bool, Parameter(show_default=False)] = False,
    threads: Annotated[int | None, Parameter(converter=parse_int)] = None,
    rounds: Annotated[int | None, Parameter(converter=parse_int)] = None,
    quick: Annotated[bool, Parameter(show_default=False)] = False,
    data_dir: Path | None = None,
    out: Path | None = None,
) -> int:
    """Train each workload on each device and print a table of step times.

    All rows train the same network on the same batches. The exit code is 1 if a loss differs from that of the
    first row that ran. The column "matmul share" compares a step with the time of its matrix products alone.
    With the name of a run, such as ``long``, measure that run on the workloads instead of short runs.

    Parameters
    ----------
    names : str
        Workloads: tiny, digits, mnist-small, mnist-large, wide [default: all of these]; narrow-1k, narrow-64k. Runs as
        users have them: epochs, long, busy, small, fit, predict, start; see below.
    device : str
        [backend:]cpu|gpu|auto[:index][@precision]; repeat the option to compare devices with the first one.
    peers : str
        Peers to compare with, joined by commas: sklearn, torch, torch-compile, torch-graph (GPU only), jax, jax-jit;
        estimator for xpnet's own MLPClassifier; eager:DEVICE for xpnet without compiled steps; onnxruntime with the run
        predict. Append :gpu for a GPU, as in torch:gpu.
    sweep_ : str
        Measure samples per second for a range of batch sizes or widths, and show from where on a device is faster than
        the first [default workload: mnist-large].
    memory : bool
        Measure only the peak memory, beside its expected value.
    calibrate : bool
        Measure what a step costs on the CPU and on the GPU, and keep it: --device auto chooses by it.
    threads : int
        Limit BLAS and all other libraries to this number of threads, on as many processors.
    rounds : int
        Number of interleaved rounds of timing [default: 9; for a run as users have them 1 to 9; with --quick 3 or 1]
    quick : bool
        Use short epochs, narrow hidden layers and few rounds: for a test, not for results.
    data_dir : Path
        Folder of Fashion-MNIST, for the run long instead of generated images
    out : Path
        Folder for bench.json, bench.md and, with the extra plot, bench.png
    """
    if rounds is not None and not integer(1).holds(rounds):
        raise InvalidParameterError(f"--rounds: expected an integer of at least 1; received {rounds}.")
    if memory and sweep_:
        raise InvalidParameterError("--memory: must be omitted when --sweep is given; received both. Choose one.")
    if calibrate and (names or device or peers or memory or sweep_ or out):
        raise InvalidParameterError(
            "--calibrate: expected no other option than --threads and --quick, because it measures the devices that "
            "auto chooses from; received another."
        )
    if calibrate:
        with limit_threads(threads):
            return _calibrate(quick=quick)
    chosen = choose(names)
    if chosen.runs and (memory or sweep_):
        option = "--memory" if memory else "--sweep"
        raise InvalidParameterError(f"{option}: must be omitted with the run {next(iter(chosen.runs))}; received both.")
    if data_dir is not None and "long" not in chosen.runs:
        raise InvalidParameterError(f"--data-dir: expected the run long; received {data_dir} without it.")
    peer_names = tuple(filter(None, peers.split(",")))
    # Some libraries count the processors when they are loaded, so the limit is set before. The second one then reaches
    # the thread pools of the loaded libraries.
    with limit_threads(threads):
        if chosen.runs:
            resolved = resolve_runs(chosen, device, peer_names)
            open_results(out, "bench")
            with limit_threads(threads):
                agree = measure_runs(chosen, resolved, rounds=rounds, quick=quick, data_dir=data_dir, out=out)
            return 0 if agree else _DISAGREES
        workloads = get_workloads(chosen.cases or (("mnist-large",) if sweep_ else ()))
        workloads = [workload.quick() for workload in workloads] if quick else workloads
        settings = (_QUICK if quick else Settings())._replace(**({"rounds": rounds} if rounds else {}))
        found = resolve(device or ("cpu",), peer_names)
        open_results(out, "bench")
        with limit_threads(threads):
            if memory:
                return _run_memory(workloads, found, out)
            if sweep_:
                return _run_sweep(workloads, found, settings, sweep_, quick, out)
            return _run_workloads(workloads, found, settings, out)


def _run_workloads(
    workloads: list[Workload], found: list[Implementation | Unavailable], settings: Settings, out: Path | None
) -> int:
    results: list[WorkloadResults] = []
    for workload in workloads:
        results.append(measure(workload, found, settings))
        show(workload_table(results[-1]))
        say([samples_place(workload)])
    drawn = out and any(row.seconds for each in results for row in each.rows)
    picture = workloads_png(results) if drawn else None
    tables = [workload_table(each) for each in results]
    remarks = [*COLUMN_MEANINGS, *(f"- {samples_place(workload)}" for workload in workloads)]
    write_results(out, "bench", to_json(results, settings), tables, remarks, picture)
    return 0 if all(row.agrees for each in results for row in each.rows) else _DISAGREES


def _run_memory(workloads: list[Workload], found: list[Implementation | Unavailable], out: Path | None) -> int:
    available, reasons = _split(found)
    rows = [
        (workload, each.name, peak_bytes(workload, each), expected_bytes(workload))
        for workload in workloads
        for each in available
    ]
    show(memory_table(rows))
    say(reasons)
    values = [{"rung": w.name, "device": n, "measured": m, "expected": e} for w, n, m, e in rows]
    write_results(out, "bench", {"memory": values}, [memory_table(rows)], reasons, None)
    return 0


def _run_sweep(
    workloads: list[Workload],
    found: list[Implementation | Unavailable],
    settings: Settings,
    axis: str,
    quick: bool,
    out: Path | None,
) -> int:
    available, reasons = _split(found)
    sweeps: list[Sweep] = []
    for workload in workloads if available else ():
        sweeps.append(sweep(workload, axis, available, settings, quick=quick))
        show(sweep_table(sweeps[-1]))
        say([*crossing_lines(sweeps[-1])])
    say(reasons)
    if not available:
        return 0
    remarks = [line for each in sweeps for line in crossing_lines(each)] + reasons
    picture = sweeps_png(sweeps) if out else None
    values = {"sweeps": [each.as_json() for each in sweeps]}
    write_results(out, "bench", values, [sweep_table(each) for each in sweeps], remarks, picture)
    return 0


def _calibrate(*, quick: bool) -> int:
    found, reasons = _split(resolve(("cpu", "gpu"), ()))
    costs = {each.kind: measure_costs(each, quick=quick) for each in found}
    show(costs_table(costs))
    say(reasons)
    if not quick:
        say([f"kept in {save_costs(costs)}"])
    return 0


def _split(found: list[Implementation | Unavailable]) -> tuple[list[Implementation], list[str]]:
    """Return the implementations that can run, and a line for each of the others."""
    available = [each for each in found if isinstance(each, Implementation)]
    return available, [f"{each.name}: {each.reason}" for each in found if isinstance(each, Unavailable)]


def compare(a: Path, b: Path) -> int:
    """Print the time of B relative to A for each row, with quartiles over all pairs of rounds.

    Parameters
    ----------
    a : Path
        A file bench.json
    b : Path
        The file bench.json to compare with it
    """
    steps, runs = (load(a), load(b)), (load_runs(a), load_runs(b))
    if any(steps) or not any(runs):
        show(comparison_table(*steps))
    if any(runs):
        show(run_comparison_table(*runs))
    return 0


app.command(compare, help_epilogue=HELP_EPILOGUE)
