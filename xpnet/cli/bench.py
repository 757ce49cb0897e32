"""``xpnet bench`` and ``xpnet bench compare``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

import xpnet
from xpnet.bench.contenders import Contender, Missing, resolve
from xpnet.bench.ladder import Rung, get_rungs
from xpnet.bench.machine import machine
from xpnet.bench.memory import expected_bytes, peak_bytes
from xpnet.bench.race import Settings
from xpnet.bench.report import (
    Grid,
    comparison,
    crossing_lines,
    ladder_grid,
    markdown,
    memory_grid,
    sweep_grid,
)
from xpnet.bench.results import Table, load, measure, to_json
from xpnet.bench.sweep import Sweep, sweep
from xpnet.cli import plots
from xpnet.cli.options import whole
from xpnet.constraints import integer
from xpnet.errors import InvalidParameterError
from xpnet.files import write_atomically, writing
from xpnet.threads import threads_limited

__all__ = ["app"]

app = App(name="bench", help="Time training on each device, beside other libraries, and what the products alone take.")

_QUICK = Settings(rounds=3, least=0.005)
_WIDE = 240  # columns, where no terminal says how many: a file or a pipe has no edge
_DISAGREES = 1


@app.default
def bench(
    *rungs: str,
    device: Annotated[tuple[str, ...], Parameter(show_default=", ".join)] = ("cpu",),
    peers: Annotated[str, Parameter(show_default=False)] = "",
    sweep_: Annotated[Literal["batch-size", "width"] | None, Parameter(name="--sweep")] = None,
    memory: Annotated[bool, Parameter(show_default=False)] = False,
    threads: Annotated[int | None, Parameter(converter=whole)] = None,
    rounds: Annotated[int | None, Parameter(converter=whole)] = None,
    quick: Annotated[bool, Parameter(show_default=False)] = False,
    out: Path | None = None,
) -> int:
    """Train the rungs of the ladder on each device and print a table for each; exit 1 where a loss disagrees.

    Parameters
    ----------
    rungs : str
        tiny, digits, mnist-small, mnist-large, wide [default: all]
    device : str
        [backend:]cpu|gpu|auto[:index]; repeat it to compare. Speed-ups are those over the first.
    peers : str
        sklearn, torch, jax, or estimator for xpnet's own MLPClassifier, joined by commas; torch:gpu on a GPU
    sweep_ : str
        Samples/s by the batch size or the width of the rungs [default: mnist-large], and who overtakes whom.
    memory : bool
        Only peak memory, beside what the parameters, activations and data come to.
    threads : int
        Of BLAS and of all else; the process is bound to as many processors.
    rounds : int
        Interleaved rounds of timing [default: 9; 3 with --quick]
    quick : bool
        Short epochs and few rounds: to see that it works, not to quote.
    out : Path
        Folder for bench.json, bench.md and, with the extra plot, bench.png
    """
    if rounds is not None and not integer(1).holds(rounds):
        raise InvalidParameterError(f"--rounds: expected an integer of at least 1; received {rounds}.")
    if memory and sweep_:
        raise InvalidParameterError("--memory: expected it without --sweep; received both. Choose one.")
    chosen = get_rungs(rungs or (("mnist-large",) if sweep_ else ()))
    chosen = [rung.quick() for rung in chosen] if quick else chosen
    settings = (_QUICK if quick else Settings())._replace(**({"rounds": rounds} if rounds else {}))
    if out is not None and (out / "bench.json").exists():
        raise InvalidParameterError(f"--out: expected a folder without results; received {out}. Choose another.")
    names = tuple(filter(None, peers.split(",")))
    # The first limit stands before libraries are loaded that count the processors then, the second reaches their pools.
    with threads_limited(threads):
        found = resolve(device, names)
        if out is not None:  # now, not after all the work
            with writing(out):
                out.mkdir(parents=True, exist_ok=True)
        with threads_limited(threads):
            return _run(chosen, found, settings, sweep_=sweep_, memory=memory, quick=quick, out=out)


def _run(
    rungs: list[Rung],
    found: list[Contender | Missing],
    settings: Settings,
    *,
    sweep_: str | None,
    memory: bool,
    quick: bool,
    out: Path | None,
) -> int:
    ready = [each for each in found if isinstance(each, Contender)]
    missing = [f"{each.name}: {each.reason}" for each in found if isinstance(each, Missing)]
    if memory:
        rows = [(rung, each.name, peak_bytes(rung, each), expected_bytes(rung)) for rung in rungs for each in ready]
        _show(memory_grid(rows))
        _say(missing)
        values = [{"rung": r.name, "device": n, "measured": m, "expected": e} for r, n, m, e in rows]
        _write(out, {"memory": values}, [memory_grid(rows)], missing, None)
        return 0
    if sweep_:
        if not ready:
            _say(missing)
            return 0
        sweeps: list[Sweep] = []
        for rung in rungs:
            sweeps.append(sweep(rung, sweep_, ready, settings, quick=quick))
            _show(sweep_grid(sweeps[-1]))
            _say([*crossing_lines(sweeps[-1])])
        _say(missing)
        remarks = [line for each in sweeps for line in crossing_lines(each)] + missing
        picture = plots.sweeps_png(sweeps) if out and plots.is_available() else None
        _write(out, {"sweeps": [each.as_json() for each in sweeps]}, [sweep_grid(s) for s in sweeps], remarks, picture)
        return 0
    tables: list[Table] = []
    for rung in rungs:
        tables.append(measure(rung, found, settings))
        _show(ladder_grid(tables[-1]))
    picture = plots.ladder_png(tables) if out and plots.is_available() and ready else None
    _write(out, to_json(tables, settings), [ladder_grid(table) for table in tables], [], picture)
    return 0 if all(row.agrees for table in tables for row in table.rows) else _DISAGREES


def compare(a: Path, b: Path) -> int:
    """Print how many times the time of A the time of B is, row by row, with the quartiles over all pairs of rounds.

    Parameters
    ----------
    a, b : Path
        Two files bench.json.
    """
    _show(comparison(load(a), load(b)))
    return 0


app.command(compare)


def _show(grid: Grid) -> None:
    """Print a table, plain and as wide as it is where there is no terminal."""
    console = _console()
    table = RichTable(*grid.columns, box=box.SIMPLE_HEAD)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in grid.rows:
        if len(row) == len(grid.columns):
            table.add_row(*map(Text, row))
    console.print(Text(grid.title))
    console.print(table)
    for row in grid.rows:  # a reason would make a column as wide as itself
        if len(row) < len(grid.columns):
            console.print(Text("  " + ": ".join(row)), soft_wrap=True)


def _say(lines: list[str]) -> None:
    for line in lines:
        _console().print(Text(line), soft_wrap=True)


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDE)


def _write(
    out: Path | None, values: dict[str, object], grids: list[Grid], remarks: list[str], png: bytes | None
) -> None:
    if out is None:
        return
    about = machine()
    files = {
        "bench.json": json.dumps({**values, "xpnet": xpnet.__version__, "machine": about}, indent=1).encode(),
        "bench.md": markdown(about, grids, remarks).encode(),
    }
    if png is not None:
        files["bench.png"] = png
    for name, data in files.items():
        write_atomically(out / name, data)
        print(f"  {out / name}", file=sys.stderr)
