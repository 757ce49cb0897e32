"""``xpnet train``: the run, what it shows and what it leaves."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import time
from pathlib import Path
from typing import Any

from xpnet.callbacks import Callback, Interrupt
from xpnet.cli import plots
from xpnet.cli.job import Job, prepare
from xpnet.cli.options import TrainOptions, write_config
from xpnet.cli.progress import print_summary
from xpnet.errors import DivergenceError, InvalidParameterError, XpnetError
from xpnet.files import write_atomically
from xpnet.metrics_file import MetricsFile
from xpnet.model import Model
from xpnet.model_io import save_model
from xpnet.progress import Progress
from xpnet.trainer import Run

__all__ = ["train"]

_DEFAULTS = TrainOptions()


def train(data: str = "digits", *, options: TrainOptions = _DEFAULTS) -> int:
    """Train a network, and leave model, metrics, configuration and pictures in a folder.

    Parameters
    ----------
    data : str
        A name that `xpnet datasets` lists; a .csv, .npz, .npy, .parquet or .libsvm file; or a folder of IDX files.
    """
    job = prepare(data, options)
    folder = _choose_folder(options.out, job.dataset.name)
    config = write_config(data, dataclasses.replace(options, device=job.backend.name, backend=None, precision=None))
    # The first listens before the second writes; the third writes into what the second has made.
    callbacks: list[Callback] = [Interrupt(), RunFolder(folder, config), MetricsFile(folder / "metrics.jsonl")]
    if not options.quiet:
        callbacks.append(Progress(len(job.parts.x_train)))
    started = time.perf_counter()
    failure = None
    try:
        run = job.run(*callbacks)
    except DivergenceError as exc:
        run, failure = exc.run, exc
    seconds = time.perf_counter() - started
    model = job.trained(run)
    path = folder / "model.safetensors"
    save_model(path, model)
    if failure is not None:
        raise DivergenceError(f"{failure} Saved as {path}.", run) from failure
    summary = {
        "task": model.task,
        "device": job.backend.name,
        "precision": job.trainer.dtype if job.trainer.dtype == "float64" else job.backend.precision,
        "epochs": len(run.history),
        "seconds": seconds,
        "samples_per_second": len(job.parts.x_train) * len(run.history) / seconds,
        "model": str(path),
        "stopped": run.stopped,
    } | _scores(job, model)
    pictures = _draw(job, model, run, folder)
    if options.json:
        print(json.dumps(summary))
    elif not options.quiet:
        sizes = "-".join(map(str, model.network.layer_sizes))
        title = f"{job.dataset.name}: {model.task}, {sizes}, {model.network.n_parameters:,} parameters"
        print_summary(title, summary, run, [path, *pictures])
    return Interrupt.exit_code if run.stopped == "interrupted" else 0


def _scores(job: Job, model: Model) -> dict[str, dict[str, float] | None]:
    parts = job.parts
    return {
        "train": model.evaluate(parts.x_train, parts.y_train, job.backend),
        "validation": _score(job, model, parts.x_validation, parts.y_validation),
        "test": _score(job, model, parts.x_test, parts.y_test),
    }


def _score(job: Job, model: Model, x: Any, y: Any) -> dict[str, float] | None:
    return None if x is None else model.evaluate(x, y, job.backend)


def _draw(job: Job, model: Model, run: Run, folder: Path) -> list[Path]:
    """Draw the curves and, for classes, the confusion matrix of the test part or of what there is in its place."""
    if not plots.is_available() or not run.history:
        return []
    pictures = {"curves.png": plots.curves_png(run.history, model.metric)}
    if model.classes is not None:
        parts = job.parts
        candidates: dict[str, tuple[Any, Any]] = {
            "test": (parts.x_test, parts.y_test),
            "validation": (parts.x_validation, parts.y_validation),
            "training": (parts.x_train, parts.y_train),
        }
        name, (x, y) = next((name, part) for name, part in candidates.items() if part[0] is not None)
        indices = model.targets(y)
        predicted = model.predict(x, job.backend)
        pictures["confusion.png"] = plots.confusion_matrix_png(model.classes[indices], predicted, model.classes, name)
    for file, png in pictures.items():
        write_atomically(folder / file, png)
    return [folder / file for file in pictures]


def _choose_folder(out: Path | None, name: str) -> Path:
    """Choose the run's folder; one that holds a run already is refused, for nothing is ever overwritten."""
    if out is not None:
        try:
            taken = any((out / name).exists() for name in ("model.safetensors", "config.toml"))
        except OSError as exc:
            raise _cannot_make(out, exc) from exc
        if taken:
            raise InvalidParameterError(f"--out: expected a folder without a run; received {out}. Choose another.")
        return out
    stem = re.sub(r"[^\w.-]+", "-", name)
    first = Path("runs") / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    others = (first.with_name(f"{first.name}-{i}") for i in itertools.count(2))  # several may start in one second
    return next(folder for folder in itertools.chain([first], others) if not folder.exists())


def _cannot_make(folder: Path, exc: OSError) -> XpnetError:
    return XpnetError(f"cannot make the folder {folder}: {exc.strerror}. Choose another with --out.")


class RunFolder(Callback):
    """Leaves the configuration; made at the first step, so that bad input leaves nothing."""

    def __init__(self, folder: Path, config: bytes) -> None:
        self._folder = folder
        self._config = config

    def on_start(self, n_steps: int, epochs: int) -> None:
        """Make the folder."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise _cannot_make(self._folder, exc) from exc
        write_atomically(self._folder / "config.toml", self._config)
