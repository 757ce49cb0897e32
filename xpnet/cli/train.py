"""``xpnet train``: the run, what it shows and what it leaves."""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from xpnet.cli import plots
from xpnet.cli.folder import RunFolder, choose_folder
from xpnet.cli.job import Confusion, Job
from xpnet.cli.options import ResumeOptions, TrainOptions, read_config, write_config
from xpnet.cli.progress import print_summary
from xpnet.cli.stream_job import StreamJob, prepare_within
from xpnet.errors import DivergenceError, InvalidParameterError
from xpnet.files import write_atomically
from xpnet.memory import peak_bytes
from xpnet.model.model import Model
from xpnet.model.model_file import save_model
from xpnet.threads import limit_threads
from xpnet.training.callbacks import Callback, Interrupt
from xpnet.training.checkpoint import Checkpoint
from xpnet.training.metrics_file import MetricsFile
from xpnet.training.progress import Progress
from xpnet.training.trainer import Run

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
        A name that `xpnet datasets` lists; a .csv, .npz, .npy, .parquet, .arrow or .libsvm file; a folder of IDX
        files, or of files of one of these kinds, which are read in pieces.
    """
    with limit_threads(options.threads):
        job = prepare_within(data, options)
        with RunFolder(choose_folder(options.out, job.name), _config(data, job, options)) as folder:
            return _run(job, options, folder)


def resume(run: Path, *, options: ResumeOptions = _RESUME_DEFAULTS) -> int:
    """Go on with a run that was killed or interrupted, from its newest checkpoint, as if it had never stopped.

    Parameters
    ----------
    run : Path
        The run's folder; it was trained with --checkpoint-every.
    """
    data, configured = read_config(run / "config.toml")
    if options.device is not None and configured.memory_limit is not None:
        raise InvalidParameterError(
            "device: expected none for a run with --memory-limit, whose parts and order depend on what the libraries "
            f"of its device leave; received {options.device!r}."
        )
    given = {name: value for name, value in vars(options).items() if value is not None}
    configured = dataclasses.replace(configured, **given)
    if configured.checkpoint_every is None:
        raise InvalidParameterError(
            f"{run}: expected a run with checkpoints; received one without. Train with --checkpoint-every."
        )
    with limit_threads(options.threads):
        job = prepare_within(data, configured)
        with RunFolder(run, _config(data, job, configured)) as folder:
            folder.lock()
            checkpoints = run / _CHECKPOINTS
            # A run that was killed before its first checkpoint begins anew, which comes to the same.
            return _run(job, configured, folder, checkpoints if any(checkpoints.glob("*.safetensors")) else None)


def _config(data: str, job: Job | StreamJob, options: TrainOptions) -> bytes:
    return write_config(data, dataclasses.replace(options, device=job.backend.name, backend=None, precision=None))


def _run(job: Job | StreamJob, options: TrainOptions, folder: RunFolder, checkpoints: Path | None = None) -> int:
    interrupt = Interrupt(*_SIGNALS)
    # The first listens before the second writes; the others write into what the second has made.
    callbacks: list[Callback] = [interrupt, folder, MetricsFile(folder.path / "metrics.jsonl")]
    if options.checkpoint_every is not None:
        callbacks.append(Checkpoint(folder.path / _CHECKPOINTS, options.checkpoint_every, options.keep))
    if not options.quiet:
        callbacks.append(Progress(job.n_samples))
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
    trained = job.n_samples * (len(run.history) - folder.epochs_before)
    scores, confusion = job.assess(model, run)
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
    # The library that draws takes more memory than a run with a limit may have left.
    pictures = [] if isinstance(job, StreamJob) else _draw(run, model, confusion, folder.path)
    summary["peak_memory"] = peak_bytes()
    if options.json:
        print(json.dumps(summary))
    elif not options.quiet:
        sizes = "-".join(map(str, model.network.layer_sizes))
        title = f"{job.name}: {model.task}, {sizes}, {model.network.n_parameters:,} parameters"
        print_summary(title, summary, run, [path, *pictures], options.memory_limit)
    return code


def _draw(run: Run, model: Model, confusion: Confusion | None, folder: Path) -> list[Path]:
    """Draw the curves and, for classes, the confusion matrix."""
    if not plots.is_available() or not run.history:
        return []
    pictures = {"curves.png": plots.curves_png(run.history, model.metric)}
    if confusion is not None and model.classes is not None:
        title = {"train": "training"}.get(confusion.part, confusion.part)
        pictures["confusion.png"] = plots.confusion_matrix_png(
            confusion.labels, confusion.predicted, model.classes, title
        )
    for file, png in pictures.items():
        write_atomically(folder / file, png)
    return [folder / file for file in pictures]
