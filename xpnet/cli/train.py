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
from xpnet.early_stopping import get_early_stopping
from xpnet.errors import DivergenceError, InvalidParameterError, XpnetError
from xpnet.files import write_atomically
from xpnet.metrics_file import MetricsFile
from xpnet.model import Model
from xpnet.model_io import save_model
from xpnet.progress import Progress
from xpnet.threads import threads_limited
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
    with threads_limited(options.threads):
        return _train(data, options, prepare(data, options))


def _train(data: str, options: TrainOptions, job: Job) -> int:
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
    scores, predicted = _assess(job, model, run)
    summary = {
        "task": model.task,
        "device": job.backend.name,
        "precision": job.trainer.dtype if job.trainer.dtype == "float64" else job.backend.precision,
        "epochs": len(run.history),
        "seconds": seconds,
        "samples_per_second": len(job.parts.x_train) * len(run.history) / seconds,
        "model": str(path),
        "stopped": run.stopped,
    } | scores
    pictures = _draw(job, model, run, folder, predicted)
    if options.json:
        print(json.dumps(summary))
    elif not options.quiet:
        sizes = "-".join(map(str, model.network.layer_sizes))
        title = f"{job.dataset.name}: {model.task}, {sizes}, {model.network.n_parameters:,} parameters"
        print_summary(title, summary, run, [path, *pictures])
    return Interrupt.exit_code if run.stopped == "interrupted" else 0


def _assess(job: Job, model: Model, run: Run) -> tuple[dict[str, dict[str, float] | None], dict[str, Any]]:
    """Return the scores of each part, and what is predicted for those that were asked about here."""
    scores: dict[str, dict[str, float] | None] = {"train": None, "validation": _validation(job, run), "test": None}
    predicted: dict[str, Any] = {}
    parts = _parts(job)
    for name, x, y in parts:
        if scores[name] is None or name == parts[-1][0]:  # of the last the confusion matrix is drawn
            scores[name], predicted[name] = model.assess(x, y, job.backend)
    return scores, predicted


def _parts(job: Job) -> list[tuple[str, Any, Any]]:
    parts = job.parts
    found = [
        ("train", parts.x_train, parts.y_train),
        ("validation", parts.x_validation, parts.y_validation),
        ("test", parts.x_test, parts.y_test),
    ]
    return [part for part in found if part[1] is not None]


def _validation(job: Job, run: Run) -> dict[str, float] | None:
    """Return the validation scores of the parameters that training gave, where it has taken them."""
    if run.state.best is not None:
        stopping = get_early_stopping(job.trainer.early_stopping or "loss")
        return max(run.history, key=stopping.value).validation  # the first of equals, as in training
    return run.history[-1].validation if run.history and run.state.position == 0 else None


def _draw(job: Job, model: Model, run: Run, folder: Path, predicted: dict[str, Any]) -> list[Path]:
    """Draw the curves and, for classes, the confusion matrix of the test part or of what there is in its place."""
    if not plots.is_available() or not run.history:
        return []
    pictures = {"curves.png": plots.curves_png(run.history, model.metric)}
    if model.classes is not None:
        name, _, y = _parts(job)[-1]
        title = {"train": "training"}.get(name, name)
        true = model.classes[model.targets(y)]
        pictures["confusion.png"] = plots.confusion_matrix_png(true, predicted[name], model.classes, title)
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
