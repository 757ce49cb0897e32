"""``xpnet runs``: compare runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeAlias

from xpnet.cli.console import make_console
from xpnet.cli.latest_run import RUNS, run_folder
from xpnet.cli.run_record import RunRecord, is_run, read_record
from xpnet.errors import InvalidParameterError
from xpnet.json_text import json_text
from xpnet.training.metrics import fitting_metrics, is_lower_better, metric_label
from xpnet.training.progress import figure

__all__ = ["runs"]

_NameOf: TypeAlias = Callable[[Path], str]

_NAME = 32  # characters of a name that stays in one line


def runs(*folders: Path, json: bool = False) -> int:
    """Compare runs: scores, epochs, seconds, and the options in which they differ, best first.

    Parameters
    ----------
    folders : tuple of Path
        Folders with runs in them, or runs [default: runs]
    json : bool
        Print one JSON object on stdout.
    """
    records = [read_record(folder) for given in folders or (RUNS,) for folder in _runs_in(given)]
    whole = [record for record in records if not record.problem]
    groups: dict[tuple[str, str], list[RunRecord]] = {}
    for record in sorted(whole, key=lambda each: (each.name, each.task)):
        groups.setdefault((str(record.settings.get("data", record.name)), record.task), []).append(record)
    compared = [_compared(group) for group in groups.values()]
    others = [record for record in records if record.problem]
    if json:
        print(json_text({"runs": [row for rows in compared for row in rows] + [_row(each) for each in others]}))
        return 0
    show_name = str if len(folders) > 1 else attrgetter("name")
    _print(compared, others, show_name)
    if not records:
        print(f"{', '.join(map(str, folders or (RUNS,)))}: no runs")
    return 0


def _runs_in(given: Path) -> list[Path]:
    """Return the runs in a folder, or the folder if it is a run. Links, as ``runs/latest``, are left out."""
    folder = run_folder(given)
    if not folder.is_dir():
        raise InvalidParameterError(
            f"FOLDER: expected a folder with runs, or a run; received {given}, which is none. "
            "`xpnet train` makes one in runs."
        )
    if is_run(folder):
        return [folder]
    return sorted(each for each in folder.iterdir() if each.is_dir() and not each.is_symlink() and is_run(each))


def _compared(group: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Return the rows of runs on the same data, best first, with the options in which they differ."""
    names = dict.fromkeys(name for record in group for name in record.settings)
    differing = [name for name in names if any(r.settings.get(name) != group[0].settings.get(name) for r in group)]
    metrics = {record.metric for record in group}
    metric = metrics.pop() if len(metrics) == 1 else fitting_metrics(group[0].task)[0]  # type: ignore[arg-type]

    def rank(row: Mapping[str, Any]) -> tuple[float, ...]:
        scores = ((row[part] or {}).get(metric, math.nan) for part in ("validation", "test"))
        return tuple(
            math.inf if math.isnan(score) else score if is_lower_better(metric) else -score for score in scores
        )

    rows = [_row(record, differing, metric) for record in group]
    return sorted(rows, key=rank)  # a run without a validation part stands behind all others


def _row(record: RunRecord, differing: Sequence[str] = (), metric: str | None = None) -> dict[str, Any]:
    """Return what is shown of a run, as JSON shows it."""
    scores = record.scores
    return {
        "run": str(record.folder),
        "name": record.name,
        "data": record.settings.get("data"),
        "task": record.task,
        "problem": record.problem or None,
        "stopped": record.summary.get("stopped"),
        "epochs": record.number("epochs"),
        "kept_epoch": record.number("kept_epoch"),
        "seconds": record.number("seconds"),
        "metric": metric or record.metric,
        "validation": scores.get("validation"),
        "test": scores.get("test"),
        "differs": {name: record.settings[name] for name in differing if name in record.settings},
        "settings": record.settings,
    }


def _print(compared: Sequence[Sequence[Mapping[str, Any]]], others: Sequence[RunRecord], name_of: _NameOf) -> None:
    """Print a table for each group of runs, and one for the runs without scores."""
    from rich import box
    from rich.table import Column, Table
    from rich.text import Text

    console = make_console()
    for rows in compared:
        names = [name_of(Path(row["run"])) for row in rows]
        table = Table(
            Column("run", overflow="fold", no_wrap=max(map(len, names)) <= _NAME),
            *(Column(name, justify="right", no_wrap=True) for name in ("epochs", "s", "validation", "test")),
            Column("differs in", overflow="fold"),
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
        )
        for name, row in zip(names, rows, strict=True):
            table.add_row(*map(Text, (name, *_cells(row))))
        label = metric_label(rows[0]["metric"])
        console.print(Text(f"{rows[0]['name']}: {rows[0]['task']}; best {label} of the validation part first"))
        console.print(table)
    if others:
        table = Table(Column("run", overflow="fold"), Column("without scores", overflow="fold"), box=box.SIMPLE_HEAD)
        for record in others:
            table.add_row(Text(name_of(record.folder)), Text(record.problem))
        console.print(table)


def _cells(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield epochs and the one that was kept, seconds, both scores, and the options in which a run differs."""
    kept = "" if row["kept_epoch"] in (None, row["epochs"]) else f" ({row['kept_epoch']})"
    yield "" if row["epochs"] is None else f"{row['epochs']}{kept}"
    yield "" if row["seconds"] is None else f"{row['seconds']:,.1f}"
    for part in ("validation", "test"):
        score = (row[part] or {}).get(row["metric"])
        yield "" if score is None else figure(score)
    yield " ".join(f"{name}={_value(value)}" for name, value in row["differs"].items())


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_value, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
