"""``xpnet train``: the run, what it shows and what it leaves."""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from xpnet.callbacks import Callback, Interrupt
from xpnet.checkpoint import Checkpoint
from xpnet.cli import plots
from xpnet.cli.folder import RunFolder, choose_folder
from xpnet.cli.job import Job, prepare
from xpnet.cli.options import ResumeOptions, TrainOptions, read_config, write_config
from xpnet.cli.progress import print_summary
from xpnet.early_stopping import get_early_stopping
from xpnet.errors import DivergenceError, InvalidParameterError
from xpnet.files import write_atomically
from xpnet.metrics_file import MetricsFile
from xpnet.model import Model
from xpnet.model_io import save_model
from xpnet.progress import Progress
from xpnet.threads import threads_limited
from xpnet.trainer import Run

__all__ = ["resume", "train"]

_DEFAULTS, _RESUME_DEFAULTS = TrainOptions(), ResumeOptions()
_CHECKPOINTS = "checkpoints"
# What ends a run between two batches: Ctrl-C, a pre-emption, a terminal that goes.
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def train(data: str = "digits", *, options: TrainOptions = _DEFAULTS) -> int:
    """Train a network, and leave model, metrics, configuration and pictures in a folder.

    Parameters
    ----------
    data : str
        A name that `xpnet datasets` lists; a .csv, .npz, .npy, .parquet or .libsvm file; or a folder of IDX files.
    """
    with threads_limited(options.threads):
        job = prepare(data, options)
        with RunFolder(choose_folder(options.out, job.dataset.name), _config(data, job, options)) as folder:
            return _run(job, options, folder)


def resume(run: Path, *, options: ResumeOptions = _RESUME_DEFAULTS) -> int:
    """Go on with a run that was killed or interrupted, from its newest checkpoint, as if it had never stopped.

    Parameters
    ----------
    run : Path
        The run's folder; it was trained with --checkpoint-every.
    """
    data, configured = read_config(run / "config.toml")
    given = {name: value for name, value in vars(options).items() if value is not None}
    configured = dataclasses.replace(configured, **given)
    if configured.checkpoint_every is None:
        raise InvalidParameterError(
            f"{run}: expected a run with checkpoints; received one without. Train with --checkpoint-every."
        )
    with threads_limited(options.threads):
        job = prepare(data, configured)
        with RunFolder(run, _config(data, job, configured)) as folder:
            folder.lock()
            checkpoints = run / _CHECKPOINTS
            # A run that was killed before its first checkpoint begins anew, which comes to the same.
            return _run(job, configured, folder, checkpoints if any(checkpoints.glob("*.safetensors")) else None)


def _config(data: str, job: Job, options: TrainOptions) -> bytes:
    return write_config(data, dataclasses.replace(options, device=job.backend.name, backend=None, precision=None))


def _run(job: Job, options: TrainOptions, folder: RunFolder, checkpoints: Path | None = None) -> int:
    interrupt = Interrupt(*_SIGNALS)
    # The first listens before the second writes; the others write into what the second has made.
    callbacks: list[Callback] = [interrupt, folder, MetricsFile(folder.path / "metrics.jsonl")]
    if options.checkpoint_every is not None:
        callbacks.append(Checkpoint(folder.path / _CHECKPOINTS, options.checkpoint_every, options.keep))
    if not options.quiet:
        callbacks.append(Progress(len(job.parts.x_train)))
    started = time.perf_counter()
    failure = None
    path = folder.path / "model.safetensors"
    with interrupt:
        try:
            run = job.run(*callbacks, checkpoints=checkpoints)
        except DivergenceError as exc:
            run, failure = exc.run, exc
        seconds = time.perf_counter() - started
        model = job.trained(run)
        save_model(path, model)
    if failure is not None:
        raise DivergenceError(f"{failure} Saved as {path}.", run) from failure
    code = interrupt.exit_code if run.stopped == "interrupted" else 0
    if code and interrupt.received != signal.SIGINT:  # nobody waits for a summary
        hint = f" To go on: xpnet resume {folder.path}" if options.checkpoint_every is not None else ""
        with suppress(OSError):
            print(f"xpnet: stopped in epoch {run.state.epoch + 1}; saved as {path}.{hint}", file=sys.stderr)
        return code
    trained = len(job.parts.x_train) * (len(run.history) - folder.epochs_before)
    scores, predicted = _assess(job, model, run)
    summary = {
        "task": model.task,
        "device": job.backend.name,
        "precision": job.trainer.dtype if job.trainer.dtype == "float64" else job.backend.precision,
        "epochs": len(run.history),
        "seconds": seconds,
        "samples_per_second": trained / seconds,
        "model": str(path),
        "stopped": run.stopped,
    } | scores
    pictures = _draw(job, model, run, folder.path, predicted)
    if options.json:
        print(json.dumps(summary))
    elif not options.quiet:
        sizes = "-".join(map(str, model.network.layer_sizes))
        title = f"{job.dataset.name}: {model.task}, {sizes}, {model.network.n_parameters:,} parameters"
        print_summary(title, summary, run, [path, *pictures])
    return code


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
