"""``xpnet parity``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from xpnet.backend import Backend, get_backend
from xpnet.bench.implementations import Unavailable, resolve
from xpnet.bench.parity import TOLERANCES, Case, Comparison, compare, sweep_cases
from xpnet.bench.pictures import parity_png
from xpnet.bench.rank_parity import compare_ranks
from xpnet.cli.job import prepare
from xpnet.cli.options import TrainOptions, parse_int
from xpnet.cli.tables import open_results, say, show, write_results
from xpnet.data.streams import Source
from xpnet.errors import DataError, DeviceUnavailableError, InvalidParameterError
from xpnet.json_text import json_text
from xpnet.markdown import TextTable

__all__ = ["parity"]

_DISAGREES = 1
_DEVICES = "cpu,gpu"
_MEASURE = "max |a - b| / max |b|, where b is"


def parity(
    data: str = "digits",
    *,
    devices: str = _DEVICES,
    epochs: Annotated[int, Parameter(converter=parse_int)] = 3,
    seed: Annotated[int, Parameter(converter=parse_int)] = 0,
    data_dir: Path | None = None,
    ranks: str = "",
    json: Annotated[bool, Parameter(show_default=False)] = False,
    out: Path | None = None,
) -> int:
    """Train the same run on each device, and show how much each result differs from the first device's.

    The command trains one run of several epochs, and small runs that cover every activation, loss and optimizer, and
    dropout. All of them are trained in float64 and in float32. The exit code is 1 if a difference exceeds its
    tolerance.

    Parameters
    ----------
    data : str
        A name that `xpnet datasets` lists, or a file or folder
    devices : str
        [backend:]cpu|gpu|auto[:index], joined by commas; the others are compared with the first.
    epochs : int
        Epochs of the longer run. The tolerances are meant for a few epochs, because training amplifies rounding.
    seed : int
        Random seed for weights, shuffling and dropout
    data_dir : Path
        Folder with the IDX files of mnist or fashion-mnist
    ranks : str
        Numbers of processes joined by commas, such as 2,4; MPI starts them, and they are compared with one process.
    json : bool
        Print one JSON object instead of tables.
    out : Path
        Folder for parity.json, parity.md and, with the extra plot, parity.png
    """
    names = list(filter(None, devices.split(",")))
    if not names:
        raise InvalidParameterError(
            f"--devices: expected devices joined by commas, such as cpu,gpu; received {devices!r}."
        )
    n_ranks = _numbers_of_ranks(ranks)
    if n_ranks and devices == _DEVICES:
        names = names[:1]  # the question is about ranks
    first, *others = names
    reference = get_backend(first)  # without it there is nothing to compare with, so its errors are raised
    found = resolve(others, ())
    missing = [each for each in found if isinstance(each, Unavailable)]
    backends = [reference, *(each.backend for each in found if not isinstance(each, Unavailable) and each.backend)]
    job = prepare(data, TrainOptions(device=first, epochs=epochs, seed=seed, data_dir=data_dir))
    part = job.parts["train"]
    if isinstance(part, Source):
        raise DataError(
            f"{data}: expected data that is read into memory; received a folder that is read in pieces. "
            "Give one of its files."
        )
    open_results(out, "parity")
    x, y = job.model.encode(part)
    main = Case(job.data.name, replace(job.trainer, batch_size="auto", early_stopping=None), x, y, is_compiled=True)
    cases = list(sweep_cases(x, y, seed))
    # The longer run shows how the differences grow from epoch to epoch; a small run gives one number for each device.
    by_dtype = {dtype: list(compare(main, backends, dtype)) for dtype in TOLERANCES}
    swept = {dtype: [[*compare(case, backends, dtype)] for case in cases] for dtype in TOLERANCES}
    for n in n_ranks:
        for dtype, (of_main, *of_cases) in compare_ranks([main, *cases], reference, n).items():
            by_dtype[dtype].append(of_main)
            for rows, row in zip(swept[dtype], of_cases, strict=True):
                rows.append(row)
    tables = [_main_table(main, reference, dtype, rows, missing) for dtype, rows in by_dtype.items()]
    tables += [_sweep_table(reference, dtype, rows) for dtype, rows in swept.items()]
    compared = [row for rows in by_dtype.values() for row in rows]
    compared += [row for rows in swept.values() for each in rows for row in each]
    verdict = _verdict(compared, missing)
    values = _as_json(main, reference, compared, missing)
    if json:
        print(json_text(values))
    else:
        for table in tables:
            if table.rows:
                show(table)
        say([verdict])
    picture = parity_png(by_dtype) if out and compared else None
    write_results(out, "parity", values, [table for table in tables if table.rows], [verdict], picture)
    if not compared:
        raise DeviceUnavailableError(
            f"nothing was compared: expected a usable device besides {reference.name}; received --devices {devices}. "
            "Run `xpnet devices` to list the devices."
        )
    return 0 if all(row.agrees for row in compared) else _DISAGREES


def _main_table(
    main: Case, reference: Backend, dtype: str, rows: list[Comparison], missing: list[Unavailable]
) -> TextTable:
    network, trainer = main.trainer.network, main.trainer
    sizes = "-".join(map(str, network.layer_sizes))
    title = (
        f"{main.name}: {sizes} {network.activation}, {network.loss}, {trainer.optimizer}, seed {trainer.seed}, "
        f"{dtype}, {_MEASURE} {reference.name}; tolerance {TOLERANCES[dtype]:g}"
    )
    cells: list[tuple[str, ...]] = []
    for row in rows:
        if row.reason:
            cells.append((row.device, row.reason))
        for epoch, each in enumerate(row.differences, 1):
            verdict = "ok" if max(each) <= row.tolerance else "FAILED"
            cells.append((row.device, str(epoch), *(f"{value:.1e}" for value in each), verdict))
    cells += [(each.name, each.reason) for each in missing]
    return TextTable(title, ("device", "epoch", "loss curve", "parameters", "predictions", ""), cells)


def _numbers_of_ranks(text: str) -> list[int]:
    """Return the numbers of ranks that are compared with a single process."""
    numbers = [each.strip() for each in text.split(",") if each.strip()]
    if not all(each.isdecimal() and int(each) > 0 for each in numbers):
        raise InvalidParameterError(f"--ranks: expected numbers above 0 joined by commas, as 2,4; received {text!r}.")
    return [n for n in dict.fromkeys(map(int, numbers)) if n > 1]


def _sweep_table(reference: Backend, dtype: str, cases: list[list[Comparison]]) -> TextTable:
    title = (
        f"one epoch each, {dtype}, largest difference of loss, parameters and predictions, {_MEASURE} {reference.name}"
    )
    cells: list[tuple[str, ...]] = []
    for rows in filter(None, cases):
        found = (row.reason or f"{row.worst:.1e}" + ("" if row.agrees else " FAILED") for row in rows)
        cells.append((rows[0].case, *found))
    return TextTable(title, ("run", *(row.device for row in cases[0])), cells)


def _verdict(compared: list[Comparison], missing: list[Unavailable]) -> str:
    agree = sum(row.agrees for row in compared)
    limits = ", ".join(f"{limit:g} in {dtype}" for dtype, limit in TOLERANCES.items())
    absent = f"; {len(missing)} devices are not available" if missing else ""
    return f"{agree} of {len(compared)} runs agree with the first device within {limits}{absent}"


def _as_json(main: Case, reference: Backend, compared: list[Comparison], missing: list[Unavailable]) -> dict[str, Any]:
    def plain(value: float) -> float | str:
        return value if value < float("inf") else "inf"  # JSON has no infinity

    rows = [
        row._asdict()
        | {"differences": [{k: plain(v) for k, v in each._asdict().items()} for each in row.differences]}
        | {"agrees": row.agrees}
        for row in compared
    ]
    trainer = main.trainer
    return {
        "data": main.name,
        "network": trainer.network.to_dict(),
        "optimizer": trainer.optimizer,
        "epochs": trainer.epochs,
        "seed": trainer.seed,
        "reference": reference.name,
        "definition": f"{_MEASURE} the reference",
        "comparisons": rows,
        "missing": [each._asdict() for each in missing],
    }
