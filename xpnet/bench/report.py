"""Results as tables of text, which the terminal and Markdown share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xpnet.backend.costs import Costs
from xpnet.bench.results import Row, WorkloadResults
from xpnet.bench.runs.results import RunResults, RunRow, as_time
from xpnet.bench.sweep import Sweep
from xpnet.bench.timing import Spread, ratio
from xpnet.bench.workloads import Workload
from xpnet.markdown import TextTable, markdown_lines

__all__ = [
    "COLUMN_MEANINGS",
    "TextTable",
    "comparison_table",
    "costs_table",
    "crossing_lines",
    "describe",
    "markdown",
    "markdown_lines",
    "memory_table",
    "run_comparison_table",
    "run_meanings",
    "run_table",
    "sweep_table",
    "workload_table",
]

COLUMN_MEANINGS = (
    "- us per step: median time of a training step, in microseconds (lower is faster)",
    "- matmul share: time of the step's matrix products alone, the lower bound, divided by the time of the step "
    "(higher is better; a compiled step may exceed 100%, because it saves the library's calls around the products)",
    "- traffic: time to move the least bytes that a step needs, at the bandwidth of a large copy",
    "- speed-up: step time of the first device divided by the step time of the row (higher is faster)",
    "- first step: time from the data on the host to the end of the first step, with transfer and compilation",
    "- overhead: share of a fit's time that is not spent in training steps",
    "- loss: mean loss of the second epoch; it must equal that of the first row that ran",
)
"""What the columns of `workload_table` mean, as lines of Markdown."""


def describe(workload: Workload) -> str:
    """Describe a workload in one line."""
    sizes = "-".join(map(str, workload.sizes))
    return (
        f"{workload.name}: {sizes} {workload.activation}, batch {workload.batch}, {workload.optimizer} "
        f"{workload.learning_rate:g}, {workload.flops / 1e6:,.3g} MFLOP per step"
    )


def workload_table(results: WorkloadResults) -> TextTable:
    """Return the table of a workload."""
    baseline = results.baseline
    columns = (
        "device", "us per step", "quartiles", "samples/s", "GFLOP/s", "matmul share", "traffic",
        "speed-up" if baseline is None else f"speed-up over {baseline.name}", "first step", "peak memory", "overhead",
        "loss",
    )  # fmt: skip
    return TextTable(describe(results.workload), columns, [_cells(results, row) for row in results.rows])


def _cells(results: WorkloadResults, row: Row) -> tuple[str, ...]:
    if row.reason:
        return row.name, row.reason
    metrics = {name: value for name, value in results.derived_metrics(row).items() if value is not None}
    overhead = "-"
    if row.overhead is not None and row.validation is not None:
        overhead = f"{row.overhead:.1%} ({row.validation:.1%} validation)"
    share = row.matmul_share
    return (
        row.name,
        _number(metrics["microseconds"]),
        f"{_number(metrics['lower_quartile'])} to {_number(metrics['upper_quartile'])}",
        f"{metrics['samples_per_second']:,.0f}",
        f"{metrics['gflops']:,.3g}",
        "-" if share is None else f"{share:.0%}",
        "-" if row.bandwidth_bound is None else f"{_number(row.bandwidth_bound * 1e6)} us",
        f"{metrics['speed_up']:.2f}x",
        f"{row.time_to_first_step * 1e3:,.1f} ms",
        "-" if row.peak is None else _mebibytes(row.peak),
        overhead,
        f"{row.loss:.5f}" + ("" if row.agrees else " DIFFERS"),
    )


def run_table(results: RunResults) -> TextTable:
    """Return the table of a run."""
    named = any(row.name for row in results.rows)  # else each case is run by one thing only
    columns = (
        results.case, *(("device",) if named else ()), results.timed, "quartiles",
        *(column.title for column in results.columns),
    )  # fmt: skip
    return TextTable(f"{results.run}: {results.title}", columns, [_run_cells(results, row) for row in results.rows])


def _run_cells(results: RunResults, row: RunRow) -> tuple[str, ...]:
    names = tuple(filter(None, (row.case, row.name)))
    if row.reason:
        return (*names, row.reason)
    values = ((column, row.figures.get(column.key)) for column in results.columns)
    *cells, last = ("-" if value is None else column.show(value) for column, value in values)
    quartiles = f"{as_time(row.time.low)} to {as_time(row.time.high)}"
    return (*names, as_time(row.time.median), quartiles, *cells, last + ("" if row.agrees else " DIFFERS"))


def run_meanings(results: RunResults) -> list[str]:
    """Return the facts about a run, and what its columns mean, as lines of Markdown."""
    columns = (f"- {column.title}: {column.meaning}" for column in results.columns)
    return [*(f"- {remark}" for remark in results.remarks), *columns]


def run_comparison_table(a: Sequence[RunResults], b: Sequence[RunResults]) -> TextTable:
    """Return the ratios of the times of runs in `b` to those in `a`, for the rows that both have."""
    before = {(each.run, row.case, row.name): (each, row) for each in a for row in each.rows}
    rows: list[tuple[str, ...]] = []
    for each in b:
        for row in each.rows:
            results, earlier = before.get((each.run, row.case, row.name), (None, None))
            case = f"{each.run}: {row.case}"
            if results is None or earlier is None:
                reason = "only in B"
            elif results.quick != each.quick:
                reason = "only one of them was made with --quick"
            else:
                reason = row.reason or earlier.reason
            if reason or earlier is None:
                rows.append((case, row.name, reason))
                continue
            found = ratio(earlier.seconds, row.seconds)
            times = (as_time(one.time.median) for one in (earlier, row))
            rows.append((case, row.name, *times, f"{found.median:.3f}", _range(found), _verdict(found)))
    return TextTable(
        "time of B relative to A, over all pairs of rounds (below 1: B is faster)",
        ("run", "device", "A", "B", "B / A", "quartiles", ""),
        rows,
    )


def memory_table(rows: Sequence[tuple[Workload, str, int | None, int]]) -> TextTable:
    """Return the table of measured and expected bytes; each row has workload, device, measured and expected."""
    cells: list[tuple[str, ...]] = []
    for workload, name, measured, expected in rows:
        share = "-" if measured is None else f"{measured / expected:.2f}"
        peak = "-" if measured is None else _mebibytes(measured)
        cells.append((workload.name, name, peak, _mebibytes(expected), share))
    return TextTable(
        "peak memory; expected: parameters x (2 + optimizer slots) + activations of one batch + the data once",
        ("workload", "device", "measured", "expected", "measured / expected"),
        cells,
    )


def costs_table(costs: Mapping[str, Costs]) -> TextTable:
    """Return the table of what a step costs on each kind of device."""
    cells: list[tuple[str, ...]] = [
        (
            kind,
            f"{each.start:.2f} s",
            f"{1e6 * each.step:.1f} us",
            f"{1e6 * each.layer:.1f} us",
            f"{each.flops / 1e9:,.0f}",
            f"{each.bytes / 1e9:,.1f}",
        )
        for kind, each in costs.items()
    ]
    return TextTable("costs of training", ("device", "start", "a step", "a layer", "GFLOP/s", "GB/s"), cells)


def sweep_table(found: Sweep) -> TextTable:
    """Return the table of a sweep: samples per second with quartiles."""
    rows: list[tuple[str, ...]] = []
    for i, value in enumerate(found.values):
        speeds = (row[i] for row in found.speeds.values())
        rows.append((f"{value:,}", *(f"{s.median:,.0f} ({s.low:,.0f} to {s.high:,.0f})" for s in speeds)))
    return TextTable(f"{found.workload}: samples/s by {found.axis}", (found.axis, *found.speeds), rows)


def crossing_lines(found: Sweep) -> Iterator[str]:
    """Yield a line for each implementation that says from where on it is faster than the first."""
    for first, other, at in found.crossings():
        if at is None:
            yield f"{other} does not overtake {first}"
        else:
            yield f"{other} is faster than {first} from a {found.axis.replace('-', ' ')} of about {at:,.0f} on"


def comparison_table(a: Sequence[WorkloadResults], b: Sequence[WorkloadResults]) -> TextTable:
    """Return the ratios of the step times in `b` to those in `a`, for the rows that both have."""
    before = {(results.workload.name, row.name): (results.workload, row) for results in a for row in results.rows}
    rows: list[tuple[str, ...]] = []
    for results in b:
        for row in results.rows:
            workload, earlier = before.get((results.workload.name, row.name), (None, None))
            reason = _reason_not_to_compare(results.workload, row, workload, earlier)
            if reason or earlier is None:
                rows.append((results.workload.name, row.name, reason))
                continue
            found = ratio(earlier.seconds, row.seconds)
            times = (f"{_number(each.step.median * 1e6)}" for each in (earlier, row))
            cells = (*times, f"{found.median:.3f}", _range(found), _verdict(found))
            rows.append((results.workload.name, row.name, *cells))
    return TextTable(
        "step time of B relative to A, over all pairs of rounds (below 1: B is faster)",
        ("workload", "device", "A, us", "B, us", "B / A", "quartiles", ""),
        rows,
    )


def _reason_not_to_compare(workload: Workload, row: Row, other_workload: Workload | None, other: Row | None) -> str:
    if other is None:
        return "only in B"
    if workload != other_workload:
        return "A has another workload of this name"
    return row.reason or other.reason


def _range(found: Spread) -> str:
    return f"{found.low:.3f} to {found.high:.3f}"


def _verdict(found: Spread) -> str:
    if found.high < 1:
        return "faster"
    return "slower" if found.low > 1 else "no clear difference"


def _number(microseconds: float) -> str:
    return f"{microseconds:,.1f}" if microseconds < 1000 else f"{microseconds:,.0f}"


def _mebibytes(n: int) -> str:
    return f"{n / 2**20:,.1f} MiB"


def markdown(title: str, machine: dict[str, Any], tables: Sequence[TextTable], remarks: Sequence[str]) -> str:
    """Return a report as Markdown: the machine, the tables, and lines of remarks."""
    blas = {f"{pool.get('internal_api')} {pool.get('version')} {pool.get('architecture') or ''}".strip()
            + f", {pool.get('num_threads')} threads"
            for pool in machine["threads"] if pool.get("user_api") == "blas"}  # fmt: skip
    caches = ", ".join(f"{name} {size // 1024:,} KiB" for name, size in machine.get("caches", {}).items())
    lines = [
        f"# {title}",
        "",
        f"{machine['processor']}, {machine['usable cpus']} of {machine['cpus']} processors, "
        f"caches: {caches or 'unknown'}, "
        f"GPU: {', '.join(machine['gpus']) or 'none'}. {machine['system']}, Python {machine['python']}.",
        "BLAS: " + "; ".join(sorted(blas)) + ". "
        + ", ".join(f"{name} {version}" for name, version in machine["versions"].items()) + ".",
        "Environment: "
        + (", ".join(f"{name}={value}" for name, value in machine["environment"].items() if value) or "nothing set")
        + ".",
        "Matrix products are in float32 unless the name of the device gives another precision, such as gpu@tf32.",
    ]  # fmt: skip
    for table in tables:
        lines += ["", *markdown_lines(table)]
    if remarks:
        lines += ["", *remarks]
    return "\n".join(lines) + "\n"
