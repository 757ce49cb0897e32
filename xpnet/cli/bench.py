"""``xpnet bench`` and ``xpnet bench compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from xpnet.bench.contenders import Contender, Missing, resolve
from xpnet.bench.memory import expected_bytes, peak_bytes
from xpnet.bench.race import Settings
from xpnet.bench.report import comparison, crossing_lines, ladder_grid, memory_grid, sweep_grid
from xpnet.bench.results import Table, load, measure, to_json
from xpnet.bench.sweep import Sweep, sweep
from xpnet.bench.workloads import Rung, get_rungs
from xpnet.cli import plots
from xpnet.cli.options import whole
from xpnet.cli.tables import open_results, say, show, write_results
from xpnet.constraints import integer
from xpnet.errors import InvalidParameterError
from xpnet.threads import limit_threads

__all__ = ["app"]

app = App(name="bench", help="Time training on each device, beside other libraries, and what the products alone take.")

_QUICK = Settings(rounds=3, least=0.005)
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
        tiny, digits, mnist-small, mnist-large, wide [default: all of these]; narrow-1k, narrow-64k
    device : str
        [backend:]cpu|gpu|auto[:index][@precision]; repeat it to compare. Speed-ups are those over the first.
    peers : str
        sklearn, torch, torch-compile, torch-graph (GPU only), jax, jax-jit, estimator for xpnet's own MLPClassifier, or
        eager:DEVICE for xpnet with its steps done as they are, joined by commas; torch:gpu on a GPU
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
    names = tuple(filter(None, peers.split(",")))
    # The first limit stands before libraries are loaded that count the processors then, the second reaches their pools.
    with limit_threads(threads):
        found = resolve(device, names)
        open_results(out, "bench")
        with limit_threads(threads):
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
        show(memory_grid(rows))
        say(missing)
        values = [{"rung": r.name, "device": n, "measured": m, "expected": e} for r, n, m, e in rows]
        write_results(out, "bench", {"memory": values}, [memory_grid(rows)], missing, None)
        return 0
    if sweep_:
        if not ready:
            say(missing)
            return 0
        sweeps: list[Sweep] = []
        for rung in rungs:
            sweeps.append(sweep(rung, sweep_, ready, settings, quick=quick))
            show(sweep_grid(sweeps[-1]))
            say([*crossing_lines(sweeps[-1])])
        say(missing)
        remarks = [line for each in sweeps for line in crossing_lines(each)] + missing
        picture = plots.sweeps_png(sweeps) if out and plots.is_available() else None
        write_results(
            out,
            "bench",
            {"sweeps": [each.as_json() for each in sweeps]},
            [sweep_grid(s) for s in sweeps],
            remarks,
            picture,
        )
        return 0
    tables: list[Table] = []
    for rung in rungs:
        tables.append(measure(rung, found, settings))
        show(ladder_grid(tables[-1]))
    picture = plots.ladder_png(tables) if out and plots.is_available() and ready else None
    write_results(out, "bench", to_json(tables, settings), [ladder_grid(table) for table in tables], [], picture)
    return 0 if all(row.agrees for table in tables for row in table.rows) else _DISAGREES


def compare(a: Path, b: Path) -> int:
    """Print how many times the time of A the time of B is, row by row, with the quartiles over all pairs of rounds.

    Parameters
    ----------
    a, b : Path
        Two files bench.json.
    """
    show(comparison(load(a), load(b)))
    return 0


app.command(compare)
