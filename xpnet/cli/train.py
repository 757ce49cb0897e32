"""``xpnet train`` and ``xpnet resume``: train, show progress, and write the files. Their options are in `options`."""

from __future__ import annotations

import dataclasses
import shlex
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter

from xpnet.backend import to_host
from xpnet.cli import job as jobs
from xpnet.cli import plots
from xpnet.cli.config import read_config, write_config
from xpnet.cli.folder import (
    CHECKPOINTS,
    CONFIG,
    CONFUSION,
    CURVES,
    FINGERPRINT,
    METRICS,
    MODEL,
    RunFolder,
    choose_folder,
)
from xpnet.cli.job import Confusion, Job, prepare
from xpnet.cli.options import ResumeOptions, TrainOptions
from xpnet.cli.summary import print_summary
from xpnet.cli.unchanged import check_unchanged, fingerprint_file
from xpnet.data.named import DATASETS
from xpnet.errors import DataError, DivergenceError, InvalidParameterError
from xpnet.files import write_atomically
from xpnet.json_text import json_text
from xpnet.memory import peak_bytes
from xpnet.model.model import Model
from xpnet.model.model_file import save_model
from xpnet.threads import limit_threads
from xpnet.training.callbacks import Callback, Interrupt
from xpnet.training.checkpoint import Checkpoint
from xpnet.training.metrics_file import MetricsFile
from xpnet.training.progress import Progress
from xpnet.training.state import Run

__all__ = ["resume", "train"]

_DEFAULTS, _RESUME_DEFAULTS = TrainOptions(), ResumeOptions()
# These end a run between two batches: Ctrl-C, a pre-emption, a terminal that closes.
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def train(data: str = "digits", *, options: TrainOptions = _DEFAULTS) -> int:
    """Train a network, and write model, metrics, configuration and plots into a folder.

    Parameters
    ----------
    data : str
        A name that `xpnet datasets` lists; a .csv, .npz, .npy, .parquet, .arrow, .feather, .libsvm, .svm or .svmlight
        file; a folder of IDX files; or a folder of .csv, .npz, .parquet, .arrow or .feather files, all of one kind,
        which are read in pieces.
    """
    with limit_threads(options.threads):
        job = prepare(data, options)
        _say_notes(job)
        with choose_folder(options.out, job.data.name) as folder:
            folder.files = _files(data, job, options)
            return _run(job, options, folder)


def resume(path: Annotated[Path, Parameter(name="--run")], *, options: ResumeOptions = _RESUME_DEFAULTS) -> int:
    """Continue a run that was killed or interrupted from its newest checkpoint, as if it had never stopped.

    Parameters
    ----------
    path : Path
        Folder of a run that was trained with --checkpoint-every.
    """
    data, configured = read_config(path / CONFIG)
    if options.device is not None and configured.memory_limit is not None:
        raise InvalidParameterError(
            "device: expected none for a run with --memory-limit, because the order of its samples depends on the "
            f"memory of the device's library; received {options.device!r}. Resume on the device of the run."
        )
    given = {name: value for name, value in vars(options).items() if value is not None}
    data = given.pop("data", data)
    configured = dataclasses.replace(configured, **given)
    if configured.checkpoint_every is None:
        raise InvalidParameterError(
            f"{path}: expected a run with checkpoints; received one without. Train with --checkpoint-every."
        )
    with limit_threads(options.threads):
        job = _prepare_again(data, configured, path)
        _say_notes(job)
        with RunFolder(path, is_new=False) as folder:
            folder.files = _files(data, job, configured)
            folder.lock()
            check_unchanged(path, data, job.data.fingerprint, folder.files[CONFIG])
            checkpoints = path / CHECKPOINTS
            # A run that was killed before its first checkpoint starts again, with the same result.
            return _run(job, configured, folder, checkpoints if any(checkpoints.glob("*.safetensors")) else None)


def _say_notes(job: Job) -> None:
    """Say what became of the data, also with --quiet: nobody should learn later that a column was left out."""
    with suppress(OSError):
        for note in job.data.notes:
            print(f"xpnet: {note}", file=sys.stderr)


def _prepare_again(data: str, options: TrainOptions, folder: Path) -> Job:
    """Prepare a job that has begun before; its data may have moved."""
    if data not in DATASETS and not Path(data).exists():
        raise DataError(
            f"{data}: expected the data of the run {folder}; received no such file or folder. "
            "If the data have moved, say where they are with --data PATH."
        )
    target = options.target
    if target is not None and target.endswith(".npy") and not Path(target).exists():  # moved with the data
        options = dataclasses.replace(options, target=str(Path(data).with_name(Path(target).name)))
    return prepare(data, options)


def _files(data: str, job: Job, options: TrainOptions) -> dict[str, bytes]:
    """Return the files that a run writes when it starts."""
    chosen = dataclasses.replace(options, device=job.backend.name, backend=None, precision=None, preset=job.preset)
    config = write_config(data, chosen)
    if options.checkpoint_every is None:
        return {CONFIG: config}
    return {FINGERPRINT: fingerprint_file(job.data.fingerprint, config), CONFIG: config}


def _run(job: Job, options: TrainOptions, folder: RunFolder, checkpoints: Path | None = None) -> int:
    """Train from the start or from the newest checkpoint, save the model, report, and return the exit code."""
    interrupt = Interrupt(*_SIGNALS)
    started = time.perf_counter()
    failure, n_epochs, vectors = None, 0, []
    path = folder.path / MODEL
    with interrupt:
        try:
            for number in range(options.ensemble):
                callbacks = _callbacks(job, options, folder, interrupt, number)
                run = jobs.train(job.member(number) if number else job, callbacks, checkpoints)
                n_epochs += len(run.history)
                if run.stopped == "interrupted" and vectors:  # the finished members are a model
                    break
                vectors.append(run.params.vector)
                if run.stopped == "interrupted":
                    break
        except KeyboardInterrupt:  # a second Ctrl-C
            _say_stopped("stopped", options, folder.path)
            raise
        except DivergenceError as exc:
            run, failure = exc.run, exc
        seconds = time.perf_counter() - started
        vectors = [to_host(vector) for vector in vectors or [run.params.vector]]
        model = dataclasses.replace(job.model, vector=np.stack(vectors) if len(vectors) > 1 else vectors[0])
        save_model(path, model)
    if failure is not None:
        raise DivergenceError(f"{failure} Saved as {path}.", run) from failure
    code = interrupt.exit_code if run.stopped == "interrupted" else 0
    if code:
        _say_stopped(f"stopped in epoch {run.state.epoch + 1}; saved as {path}", options, folder.path)
    if code and interrupt.received != signal.SIGINT:  # nobody waits for a summary
        return code
    scores, confusion = job.assess(model, run)
    # The plotting library may take more memory than the limit of a run that reads its data in pieces.
    pictures = _draw(run, model, confusion, folder.path) if job.is_in_memory else []
    trained = job.data.n_samples * (n_epochs - folder.epochs_before)
    summary = {
        "task": model.task,
        "device": job.backend.name,
        "precision": job.trainer.dtype if job.trainer.dtype == "float64" else job.backend.precision,
        "epochs": n_epochs,
        "seconds": seconds,
        "samples_per_second": trained / seconds,
        "model": str(path),
        "stopped": run.stopped,
        **scores,
        "peak_memory": peak_bytes(),
    }
    _report(job, options, summary, run, [path, *pictures])
    return code


def _say_stopped(what: str, options: TrainOptions, folder: Path) -> None:
    resumable = options.checkpoint_every is not None and any((folder / CHECKPOINTS).glob("*.safetensors"))
    hint = f" To continue: xpnet resume {shlex.quote(str(folder))}" if resumable else ""
    with suppress(OSError):
        print(f"xpnet: {what}.{hint}", file=sys.stderr)


def _callbacks(job: Job, options: TrainOptions, folder: RunFolder, interrupt: Interrupt, member: int) -> list[Callback]:
    """Return the callbacks of a member of an ensemble, counted from 0; each has metrics of its own."""
    # The order matters: install signal handlers before the folder is created. The other callbacks write into it.
    metrics = folder.path / METRICS
    own = metrics if member == 0 else metrics.with_stem(f"{metrics.stem}-{member + 1}")
    callbacks: list[Callback] = [interrupt, *([folder] if member == 0 else []), MetricsFile(own)]
    if options.checkpoint_every is not None:
        callbacks.append(Checkpoint(folder.path / CHECKPOINTS, options.checkpoint_every, options.keep))
    if not options.quiet:
        callbacks.append(Progress(job.data.n_samples))
    return callbacks


def _report(job: Job, options: TrainOptions, summary: dict[str, Any], run: Run, files: list[Path]) -> None:
    if options.json:
        print(json_text(summary))
    elif not options.quiet:
        network = job.model.network
        sizes = "-".join(map(str, network.layer_sizes))
        title = f"{job.data.name}: {job.model.task}, {sizes}, {network.n_parameters:,} parameters"
        print_summary(title, summary, run, files, options.memory_limit)


def _draw(run: Run, model: Model, confusion: Confusion | None, folder: Path) -> list[Path]:
    """Draw the curves and, for classes, the confusion matrix."""
    if not plots.is_available() or not run.history:
        return []
    pictures = {CURVES: plots.curves_png(run.history, model.metric)}
    if confusion is not None and model.classes is not None:
        title = {"train": "training"}.get(confusion.part, confusion.part)
        pictures[CONFUSION] = plots.confusion_matrix_png(confusion.labels, confusion.predicted, model.classes, title)
    for file, png in pictures.items():
        write_atomically(folder / file, png)
    return [folder / file for file in pictures]
