"""Results as text: the cells of the tables, which the terminal and Markdown share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from xpnet.bench.results import Row, Table
from xpnet.bench.sweep import Sweep
from xpnet.bench.timing import Spread, ratio
from xpnet.bench.workloads import Rung

__all__ = ["Grid", "comparison", "crossing_lines", "describe", "ladder_grid", "markdown", "memory_grid", "sweep_grid"]

_COLUMNS = (
    "device", "us a step", "quartiles", "samples/s", "GFLOP/s", "of the floor", "traffic", "speed-up", "first step",
    "peak memory", "outside steps", "loss",
)  # fmt: skip


class Grid(NamedTuple):
    """A table as text; a row with one cell after its name is a remark."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def describe(rung: Rung) -> str:
    """Return the rung in a line."""
    sizes = "-".join(map(str, rung.sizes))
    return (
        f"{rung.name}: {sizes} {rung.activation}, batch {rung.batch}, {rung.optimizer} {rung.learning_rate:g}, "
        f"{rung.flops / 1e6:,.3g} MFLOP a step"
    )


def ladder_grid(table: Table) -> Grid:
    """Return a rung's table."""
    return Grid(describe(table.rung), _COLUMNS, [_cells(table, row) for row in table.rows])


def _cells(table: Table, row: Row) -> tuple[str, ...]:
    if row.reason:
        return row.name, row.reason
    figures = {name: value for name, value in table.figures(row).items() if value is not None}
    inner = "-"
    if row.outside is not None and row.validation is not None:
        inner = f"{row.outside:.1%} ({row.validation:.1%} validation)"
    share = figures.get("share_of_floor")
    return (
        row.name,
        _number(figures["microseconds"]),
        f"{_number(figures['lower_quartile'])} to {_number(figures['upper_quartile'])}",
        f"{figures['samples_per_second']:,.0f}",
        f"{figures['gflops']:,.3g}",
        "-" if share is None else f"{share:.0%}",
        "-" if row.copied is None else f"{_number(row.copied * 1e6)} us",
        f"{figures['speed_up']:.2f}x",
        f"{row.first * 1e3:,.1f} ms",
        "-" if row.peak is None else _mebibytes(row.peak),
        inner,
        f"{row.loss:.5f}" + ("" if row.agrees else " DIFFERS"),
    )


def memory_grid(rows: Sequence[tuple[Rung, str, int | None, int]]) -> Grid:
    """Return the table of measured against expected bytes."""
    cells: list[tuple[str, ...]] = []
    for rung, name, measured, expected in rows:
        share = "-" if measured is None else f"{measured / expected:.2f}"
        figure = "-" if measured is None else _mebibytes(measured)
        cells.append((rung.name, name, figure, _mebibytes(expected), share))
    return Grid(
        "peak memory, beside parameters x (2 + optimizer slots) + activations of one batch + the data once",
        ("rung", "device", "measured", "expected", "ratio"),
        cells,
    )


def sweep_grid(found: Sweep) -> Grid:
    """Return a sweep's table, with remarks on where one overtakes another."""
    rows: list[tuple[str, ...]] = []
    for i, value in enumerate(found.values):
        speeds = (row[i] for row in found.speeds.values())
        rows.append((f"{value:,}", *(f"{s.median:,.0f} ({s.low:,.0f} to {s.high:,.0f})" for s in speeds)))
    return Grid(f"{found.rung}: samples/s by {found.axis}", (found.axis, *found.speeds), rows)


def crossing_lines(found: Sweep) -> Iterator[str]:
    """Yield a line for each contender that may overtake the first."""
    for first, other, at in found.crossings():
        if at is None:
            yield f"{other} does not overtake {first}"
        else:
            yield f"{other} is faster than {first} from a {found.axis.replace('-', ' ')} of about {at:,.0f} on"


def comparison(a: Sequence[Table], b: Sequence[Table]) -> Grid:
    """Return the ratios of the times of b to those of a, where both have them."""
    before = {(table.rung.name, row.name): (table.rung, row) for table in a for row in table.rows}
    rows: list[tuple[str, ...]] = []
    for table in b:
        for row in table.rows:
            rung, earlier = before.get((table.rung.name, row.name), (None, None))
            reason = _incomparable(table.rung, row, rung, earlier)
            if reason or earlier is None:
                rows.append((table.rung.name, row.name, reason))
                continue
            found = ratio(earlier.seconds, row.seconds)
            times = (f"{_number(each.step.median * 1e6)}" for each in (earlier, row))
            rows.append((table.rung.name, row.name, *times, f"{found.median:.3f}", _range(found), _verdict(found)))
    return Grid(
        "time of B over time of A, by pairs of rounds",
        ("rung", "device", "A, us", "B, us", "ratio", "quartiles", ""),
        rows,
    )


def _incomparable(rung: Rung, row: Row, other_rung: Rung | None, other: Row | None) -> str:
    if other is None:
        return "only in B"
    if rung != other_rung:
        return "another rung of that name in A"
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


def markdown(title: str, machine: dict[str, Any], grids: Sequence[Grid], remarks: Sequence[str]) -> str:
    """Return the report as Markdown."""
    blas = {f"{pool.get('internal_api')} {pool.get('version')} {pool.get('architecture', '')}".strip()
            for pool in machine["threads"] if pool.get("user_api") == "blas"}  # fmt: skip
    lines = [
        f"# {title}",
        "",
        f"{machine['processor']}, {machine['usable cpus']} of {machine['cpus']} processors, "
        f"GPU: {', '.join(machine['gpus']) or 'none'}. {machine['system']}, Python {machine['python']}.",
        "BLAS: " + ", ".join(sorted(blas)) + ". "
        + ", ".join(f"{name} {version}" for name, version in machine["versions"].items()) + ".",
        "Environment: "
        + (", ".join(f"{name}={value}" for name, value in machine["environment"].items() if value) or "nothing set")
        + ".",
        "Products in float32, but where a device is named with another precision, as gpu@tf32.",
    ]  # fmt: skip
    for grid in grids:
        lines += ["", f"## {grid.title}", "", _line(grid.columns), _line(["---"] * len(grid.columns))]
        for row in grid.rows:
            lines.append(_line([*row, *[""] * (len(grid.columns) - len(row))]))
    if remarks:
        lines += ["", *remarks]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
