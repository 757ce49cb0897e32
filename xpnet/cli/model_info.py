"""``xpnet info``: what a model is, and how its run went."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from xpnet.cli.console import make_console
from xpnet.cli.latest_run import run_folder
from xpnet.cli.run_files import CHECKPOINTS, CONFIG, IS_OWN, TENSORBOARD, exists
from xpnet.cli.run_record import RunRecord, is_run, numbers, read_record
from xpnet.errors import size_text
from xpnet.json_text import json_text
from xpnet.model.model import Model
from xpnet.model.model_file import FORMAT_VERSION, MODEL_FILE, load_model, model_path
from xpnet.nn.layer_table import COLUMNS, layer_rows

__all__ = ["info"]

_MOST_NAMES = 12  # of features or classes, on the page
_KINDS = {
    "number": "numbers",
    "ordered": "ordered categories",
    "boolean": "truth values",
    "category": "categories",
    "date": "dates",
}


def info(model: Path, *, json: bool = False) -> int:
    """Show what a model is, and how its run went: features, layers, scores, files.

    Parameters
    ----------
    model : Path
        Folder of a run, or a file model.safetensors.
    json : bool
        Print one JSON object on stdout.
    """
    folder = run_folder(model)
    record = read_record(folder) if folder.is_dir() and is_run(folder) else None
    if model.is_file():
        path: Path | None = model
    elif record is not None and not exists(folder / MODEL_FILE):  # the run has not ended
        path = None
    else:
        path = model_path(folder)
    loaded = None if path is None else load_model(path)
    about_model = None if path is None or loaded is None else _about_model(path, loaded)
    about_run = None if record is None else _about_run(record)
    if json:
        print(json_text({"model": about_model, "run": about_run}))
        return 0
    from rich import box
    from rich.table import Column, Table
    from rich.text import Text

    from xpnet.cli.score_table import score_table

    console = make_console()

    def show(lines: Iterable[tuple[str, str]]) -> None:
        grid = Table.grid(Column(no_wrap=True), Column(overflow="fold"), padding=(0, 2))
        for name, value in lines:
            grid.add_row(Text(f"  {name}"), Text(value))
        console.print(grid)

    console.print(Text(str(path or folder)), soft_wrap=True)
    if loaded is not None and about_model is not None:
        show(_model_lines(about_model))
        layers = Table(*(Column(name, justify="right") for name in COLUMNS), box=box.SIMPLE_HEAD)
        for layer in layer_rows(loaded.network):
            layers.add_row(*layer)
        console.print(layers)
    if about_run is not None:
        show(_run_lines(about_run))
        if parts := about_run["scores"]:
            console.print(score_table("part", parts, console.width))
        show([("files", ", ".join(about_run["files"]))])
    return 0


def _about_model(path: Path, model: Model) -> dict[str, Any]:
    network, encoding = model.network, model.encoding
    if encoding is not None:
        features = [{"name": column.name, "kind": column.kind} for column in encoding.columns]
    else:
        features = [{"name": name, "kind": "number"} for name in model.feature_names or ()]
    scaler = model.scaler if encoding is None else encoding.scaler
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "format_version": FORMAT_VERSION,  # which the file has, for it was read
        "task": model.task,
        "target": model.target_name,
        "outputs": network.layer_sizes[-1],
        "classes": None if model.classes is None else model.classes.tolist(),
        "n_features": len(features) or network.layer_sizes[0],
        "features": features,
        "image_shape": model.image_shape,
        "scaling": scaler and scaler.kind,
        "target_scaling": model.target_scaler and model.target_scaler.kind,
        "layers": [
            {"inputs": n_in, "units": n_out, "activation": activation, "dropout": float(dropout)}
            for (n_in, n_out), (_, _, _, activation, dropout, _) in zip(
                pairwise(network.layer_sizes), layer_rows(network), strict=True
            )
        ],
        "loss": network.loss,
        "parameters": network.n_parameters,
        "members": len(model.members),
        "dtype": str(model.vector.dtype),
    }


def _about_run(record: RunRecord) -> dict[str, Any]:
    summary, scores = record.summary, dict(record.scores)
    baseline = summary.get("baseline")
    if isinstance(baseline, dict):
        scores[str(baseline.get("name"))] = numbers(baseline)
    names = (*IS_OWN, CHECKPOINTS, TENSORBOARD)
    return {
        "folder": str(record.folder),
        "problem": record.problem or None,
        "data": record.settings.get("data"),
        "samples": summary.get("samples"),
        "command": summary.get("command"),
        "started": _time_of(record.folder / CONFIG),
        "device": summary.get("device") or record.settings.get("device"),
        "xpnet": summary.get("xpnet"),
        "epochs": record.number("epochs"),
        "kept_epoch": record.number("kept_epoch"),
        "seconds": record.number("seconds"),
        "stopped": summary.get("stopped"),
        "metric": record.metric,
        "scores": scores,
        "files": [name for name in names if (record.folder / name).exists()],
    }


def _time_of(path: Path) -> str | None:
    """Return when a file was written; the configuration is when a run begins."""
    if not path.exists():
        return None
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(path.stat().st_mtime))


def _model_lines(model: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what a page says of a model: names and values."""
    target = f" of {model['target']!r}" if model["target"] else ""
    yield "task", model["task"] + target
    if model["classes"] is not None:
        yield f"{len(model['classes']):,} classes", _some(model["classes"])
    yield "features", f"{model['n_features']:,}" + (f", images {model['image_shape']}" if model["image_shape"] else "")
    kinds = dict.fromkeys(feature["kind"] for feature in model["features"])
    for kind in kinds:
        names = [feature["name"] for feature in model["features"] if feature["kind"] == kind]
        yield f"  {_KINDS[kind]}", _some(names)
    target_scaling = f"; of the target {model['target_scaling']}" if model["target_scaling"] else ""
    yield "scaling", (model["scaling"] or "none") + target_scaling
    yield "loss", model["loss"]
    members = f", each of {model['members']} networks" if model["members"] > 1 else ""
    yield "parameters", f"{model['parameters']:,} in {model['dtype']}{members}"
    yield "file", f"{size_text(model['bytes'])}, format {model['format_version']}"


def _run_lines(run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what a page says of a run: names and values."""
    samples = run["samples"] if isinstance(run["samples"], dict) else {}
    counts = ", ".join(f"{part} {count}" for part, count in samples.items())
    yield "data", f"{run['data']}" + (f": {counts}" if counts else "")
    if run["problem"]:
        yield "state", run["problem"]
    for name in ("command", "started"):
        if run[name] is not None:
            yield name, str(run[name])
    version = f", xpnet {run['xpnet']}" if run["xpnet"] else ""
    yield "device", f"{run['device']}{version}"
    if run["epochs"] is not None:
        kept = "" if run["kept_epoch"] is None else f", kept epoch {run['kept_epoch']}"
        ended = "" if run["stopped"] in ("epochs", None) else f" ({run['stopped']})"
        seconds = "" if run["seconds"] is None else f", {run['seconds']:,.1f} s"
        yield "epochs", f"{run['epochs']}{ended}{kept}{seconds}"


def _some(names: list[Any]) -> str:
    """Return the first names, and the number of the others."""
    more = f", and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(map(str, names[:_MOST_NAMES])) + more
