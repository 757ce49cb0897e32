"""``xpnet evaluate``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from cyclopts import Parameter

from xpnet.backend import Backend, get_backend
from xpnet.cli.console import make_console, say, show_unknown_values
from xpnet.cli.latest_run import run_folder
from xpnet.cli.model_data import labelled_data, rows_in_memory
from xpnet.cli.run_files import CONFIG, SUMMARY
from xpnet.cli.table_options import ReadingOptions, parse_int
from xpnet.data.readers.common import naming
from xpnet.data.streams import Source
from xpnet.errors import InvalidParameterError, XpnetError, printable
from xpnet.json_text import json_text
from xpnet.model.model import Model
from xpnet.model.model_file import load_model, model_path
from xpnet.plot.predictions import class_labels, encoded_targets
from xpnet.threads import limit_threads
from xpnet.training.history import Scores
from xpnet.training.metric_functions import class_counts
from xpnet.training.metrics import baseline_scores

__all__ = ["evaluate"]

_READING = ReadingOptions()
_BY_CLASS = ("precision", "recall", "f1", "support")
_MOST_CLASSES = 30  # in a table on the screen
_MOST_BYTES = 64 << 20  # of a part that is read in pieces, to hold it in memory


class _Assessed(NamedTuple):
    """What the model does on some samples: their number, its scores, and those by class of a classification."""

    n_samples: int
    scores: Scores
    classes: Mapping[Any, Mapping[str, float]]

    def record(self) -> dict[str, Any]:
        return {"samples": self.n_samples, **self.scores}


def evaluate(
    model: Path,
    data: str | None = None,
    *,
    part: Literal["train", "validation", "test"] | None = None,
    device: str = "cpu",
    threads: Annotated[int | None, Parameter(converter=parse_int)] = None,
    data_dir: Path | None = None,
    json: bool = False,
    reading: ReadingOptions = _READING,
) -> int:
    """Evaluate a trained model on each part of its run, or on other data.

    Parameters
    ----------
    model : Path
        Folder of a run, or its file model.safetensors.
    data : str
        A file with features and target, or a named data set; of data with a test part of their own only that is taken.
        Rows of a table without a target are left out. [default: the data of the run, by part]
    part : str
        One part of the run only [default: each]
    device : str
        [backend:]cpu|gpu|auto[:index]
    threads : int
        Threads for BLAS and everything else [default: all processors]
    data_dir : Path
        Folder with the IDX files of mnist or fashion-mnist.
    json : bool
        Print one JSON object on stdout.
    """
    if data is not None and part is not None:
        raise InvalidParameterError(
            f"--part: expected none with other data, which have no parts; received {part!r}. "
            f"A part of the run: xpnet evaluate RUN --part {part}"
        )
    with limit_threads(threads):
        run = run_folder(model)  # for the data
        file = model if model.is_file() else model_path(run)
        loaded, backend = load_model(file), get_backend(device)
        if data is None:
            shown = _evaluate_run(loaded, run, part, data_dir, backend)
        else:
            shown = _evaluate_data(loaded, run, data, data_dir, reading, backend)
    title, record, rows, classes = shown
    if json:
        print(json_text({"task": loaded.task, "device": backend.name, **record, "classes": classes}))
    else:
        _print(title, rows, classes)
    return 0


class _Shown(NamedTuple):
    """What is printed: as JSON; or a title, the rows of scores by name, and those by class."""

    title: str
    record: dict[str, Any]
    rows: dict[str, Mapping[str, Any]]
    classes: list[dict[str, Any]]


def _evaluate_data(
    model: Model, run: Path, data: str, data_dir: Path | None, reading: ReadingOptions, backend: Backend
) -> _Shown:
    """Evaluate a model on data that are no part of a run."""
    given, what = labelled_data(model, data, data_dir, reading)
    show_unknown_values()
    with naming(Path(data)):
        each = _assess(model, given, backend, by_class=True)
    if what != "test samples":
        _warn_of_training_data(run, data)
    record = {"samples": each.n_samples, "part": what, **each.scores}
    return _Shown(f"{data}: {each.n_samples:,} {what}", record, {"": each.scores}, _class_records(each))


def _evaluate_run(model: Model, run: Path, part: str | None, data_dir: Path | None, backend: Backend) -> _Shown:
    """Evaluate a model on the parts of its run, beside the trivial baseline on the last of them."""
    if not (run / CONFIG).exists():
        raise InvalidParameterError(
            f"DATA: expected data, for there is no {CONFIG} of a run beside the model in {run}; received none."
        )
    from xpnet.cli.finished_run import run_parts  # the library of training takes long to import

    name, parts = run_parts(run, data_dir)
    if part is not None and part not in parts:
        raise InvalidParameterError(f"--part: expected a part of the run, {', '.join(parts)}; received {part!r}.")
    chosen = {each: rows for each, rows in parts.items() if part in (None, each)}
    last = list(chosen)[-1]
    assessed = {each: _assess(model, rows, backend, by_class=each == last) for each, rows in chosen.items()}
    records = {each: found.record() for each, found in assessed.items()}
    rows: dict[str, Mapping[str, Any]] = dict(records)
    record: dict[str, Any] = {"name": name, "parts": records}
    targets, training = (_targets(model, parts[each]) for each in (last, "train"))
    if targets is not None and training is not None:
        baseline = baseline_scores(model.task, training, targets)
        record["baseline"] = {"part": last, **baseline}
        rows[baseline.pop("name")] = baseline
    return _Shown(f"{name}: {model.task}", record, rows, _class_records(assessed[last], last))


def _assess(model: Model, part: Any, backend: Backend, *, by_class: bool) -> _Assessed:
    """Evaluate a model on a part, in memory or as a source; by class only where it fits into memory."""
    if isinstance(part, Source) and _is_small(part):
        part = rows_in_memory(part, part.n_samples)
    if isinstance(part, Source):
        return _Assessed(part.n_samples, model.evaluate(part, None, backend), {})
    x, y = part
    if not by_class or model.task == "regression":
        return _Assessed(len(y), model.evaluate(x, y, backend), {})
    scores, predicted = model.assess(x, y, backend)
    labels = np.arange(1, 1 + predicted.shape[1]) if model.task == "multilabel" else class_labels(model)
    counts = class_counts(encoded_targets(model, predicted), encoded_targets(model, y), len(labels))
    columns = (counts.precision, counts.recall, counts.f1, counts.support.astype(np.int64))
    rows = zip(labels.tolist(), *(column.tolist() for column in columns), strict=True)
    return _Assessed(len(y), scores, {label: dict(zip(_BY_CLASS, row, strict=True)) for label, *row in rows})


def _is_small(source: Source) -> bool:
    return source.n_samples * source.row_bytes <= _MOST_BYTES


def _targets(model: Model, part: Any) -> np.ndarray | None:
    """Return the targets of a part as class indices, 0/1 labels or values; None if they do not fit into memory."""
    if not isinstance(part, Source):
        return encoded_targets(model, part[1])
    return encoded_targets(model, np.concatenate([y for _, y in part])) if _is_small(part) else None


def _class_records(each: _Assessed, part: str | None = None) -> list[dict[str, Any]]:
    """Return the scores by class for JSON, with the part of a run that they are of."""
    of = {} if part is None else {"part": part}
    return [{"class": label, **of, **scores} for label, scores in each.classes.items()]


def _warn_of_training_data(run: Path, data: str) -> None:
    """Say so if the data are those of which the model has seen a part in training."""
    if not (run / CONFIG).is_file():
        return
    from xpnet.cli.config import read_settings
    from xpnet.cli.run_summary import read_summary

    try:
        own, samples = str(read_settings(run / CONFIG).get("data")), read_summary(run / SUMMARY).get("samples")
    except (XpnetError, OSError):  # the model is evaluated all the same
        return
    if data != own and str(Path(data).resolve()) != own:
        return
    parts = list(samples) if isinstance(samples, dict) else ["test"]
    advice = (
        f" Those that it has not seen: xpnet evaluate {quote(str(run))} --part {parts[-1]}"
        if parts[-1:] != ["train"]
        else ""
    )
    say(printable(f"{data}: the samples include those with which the model was trained.{advice}"))


def _print(title: str, rows: Mapping[str, Mapping[str, Any]], classes: Sequence[Mapping[str, Any]]) -> None:
    """Print the scores as a table, and those by class as another one."""
    from xpnet.cli.score_table import score_table

    console = make_console()
    console.print(title, soft_wrap=True)
    console.print(score_table(None if [*rows] == [""] else "part", rows, console.width))
    if not classes:
        return
    if len(classes) > _MOST_CLASSES:
        console.print(f"{len(classes)} classes: their precision, recall and F1 are in --json")
        return
    part = classes[0].get("part")
    names = {"precision": "precision", "recall": "recall", "f1": "F1", "support": "support"}
    by_class = {str(each["class"]): {title: each[name] for name, title in names.items()} for each in classes}
    console.print(score_table(f"class ({part})" if part else "class", by_class, console.width))
