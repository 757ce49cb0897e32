"""Train a job in the folder of its run, write the files, and report."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from xpnet.backend import to_host
from xpnet.cli.config import settings_of
from xpnet.cli.console import say
from xpnet.cli.folder import CHECKPOINTS, CONFIG, MODEL, SUMMARY, RunFolder
from xpnet.cli.loggers import make_loggers
from xpnet.cli.options import TrainOptions
from xpnet.cli.ranks import speed_of_ranks
from xpnet.cli.run_files import CROSS_VALIDATION
from xpnet.cli.run_summary import describe_failure, provenance, summary_file
from xpnet.communicator import get_communicator, on_rank_0
from xpnet.errors import DivergenceError
from xpnet.json_text import json_text
from xpnet.memory import peak_bytes
from xpnet.model.model import Model
from xpnet.model.model_file import model_parts
from xpnet.report.finished_run import FinishedRun
from xpnet.training.callbacks import Callback, Interrupt
from xpnet.training.checkpoint import Checkpoint
from xpnet.training.metrics_file import MetricsFile
from xpnet.training.progress import Progress
from xpnet.training.run_logger import RunLogger
from xpnet.training.state import Run

if TYPE_CHECKING:
    from xpnet.cli.job import Assessment, Job
    from xpnet.training.history import EpochRecord

__all__ = ["SIGNALS", "train"]

# These end a run between two batches: Ctrl-C, a pre-emption, a terminal that closes. Of them mpirun passes on SIGUSR1
# alone; after the others it gives its ranks a quarter of a second.
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]


def train(job: Job, options: TrainOptions, folder: RunFolder | None, checkpoints: Path | None = None) -> int:
    """Train from the start or from the newest checkpoint, save the model, report, and return the exit code.

    Of several ranks, rank 0 alone has a folder; it decides for all when a signal ends the run.
    """
    ranks = get_communicator(job.trainer.communicator)
    interrupt = Interrupt(*SIGNALS)
    started = time.perf_counter()
    runs: list[Run] = []
    loggers = make_loggers(options, folder, 0) if folder else []
    failure = None
    with interrupt:
        try:
            for fit in _fits(job, options, folder, interrupt, loggers, checkpoints):
                runs.append(fit())
                if runs[-1].stopped == "interrupted":
                    break
        except KeyboardInterrupt:  # a second Ctrl-C
            if hint := _how_to_continue(options, folder):
                say(f"stopped.{hint}")
            raise
        except DivergenceError as exc:
            runs.append(exc.run)
            failure = exc
        seconds = time.perf_counter() - started
        run = runs[-1]
        finished = [each for each in runs if each.stopped not in ("interrupted", "diverged")] or [run]
        vectors = [to_host(each.params.vector) for each in finished]
        # One vector is not copied: the memory that a copy takes may be what is left to save it.
        model = dataclasses.replace(job.model, vector=np.stack(vectors) if len(vectors) > 1 else vectors[0])
        path = on_rank_0(ranks, lambda: folder and folder.write(MODEL, *model_parts(model)))
    if failure is not None:
        raise DivergenceError(f"{failure} Saved as {path}.", run) from failure
    if ranks is not None:
        interrupt.received = ranks.broadcast(interrupt.received)
    code = interrupt.exit_code if run.stopped == "interrupted" else 0
    hint = _how_to_continue(options, folder)
    if code and (hint or interrupt.received != signal.SIGINT):
        say(f"stopped in epoch {run.state.epoch + 1}; saved as {path}.{hint}")
    if code and interrupt.received != signal.SIGINT:  # nobody waits for a summary
        return code
    of_ranks = speed_of_ranks(ranks, seconds)
    ended = _Ended(runs, finished[0], model, str(path), seconds, job.assess(model), of_ranks)
    on_rank_0(ranks, lambda: _finish(job, options, folder, ended, loggers) if folder else None)
    return code


class _Ended(NamedTuple):
    """What training came to: all runs, and the run whose parameters the model has, or its first member."""

    runs: list[Run]
    finished: Run
    model: Model
    path: str
    seconds: float
    assessment: Assessment
    of_ranks: dict[str, Any]


def _finish(job: Job, options: TrainOptions, folder: RunFolder, ended: _Ended, loggers: list[RunLogger]) -> None:
    """Write the summary and the pictures, and show them."""
    runs, model = ended.runs, ended.model
    epochs = sum(len(each.history) for each in runs)
    speed = job.data.n_samples * (epochs - folder.epochs_before) / ended.seconds
    kept = job.kept(ended.finished) if len(runs) == 1 else None  # each network of an ensemble has its own
    summary = {
        "task": model.task,
        "device": job.backend.name,
        "precision": job.trainer.dtype if job.trainer.dtype == "float64" else job.backend.precision,
        "epochs": epochs,
        "seconds": ended.seconds,
        "samples_per_second": speed,
        **({"samples_per_second_per_rank": speed / ended.of_ranks["ranks"]} if ended.of_ranks else {}),
        **ended.of_ranks,
        "model": ended.path,
        "stopped": runs[-1].stopped,
        "threads": min((each.threads for each in runs if each.threads), default=None),
        **ended.assessment.scores,
        **({"cv": json.loads(folder.files[CROSS_VALIDATION])} if CROSS_VALIDATION in folder.files else {}),
        "baseline": ended.assessment.baseline or None,
        "metric": job.trainer.metrics[0] if job.trainer.metrics else model.metric,
        "kept_epoch": kept and kept.epoch,
        "peak_memory": peak_bytes(),
    }
    record = {**summary, **provenance(job)}
    folder.write(SUMMARY, summary_file(record))
    pictures = []
    try:
        _report(job, options, summary, runs[-1], kept)
        if warning := describe_failure(summary):
            say(warning)
    finally:  # pictures take longer than a short run, so they come last; also if nobody reads the summary
        # The plotting library may take more memory than the limit of a run that reads its data in pieces.
        if job.is_in_memory:
            from xpnet.cli.run_pictures import draw_pictures, write_report  # nothing before needs them

            pictures = draw_pictures(ended.finished.history, model, ended.assessment.confusion, folder)
            for logger, picture in itertools.product(loggers, pictures):
                logger.log_picture(picture)
            # Of the ranks none has all data; `xpnet report` reads them.
            if options.report and not options.quiet and not ended.of_ranks:
                settings = settings_of(folder.files[CONFIG])
                parts: Any = job.parts
                of_report = FinishedRun(job.data.name, model, parts, ended.finished.history, record, settings)
                pictures += write_report(of_report, folder)
    if not (options.json or options.quiet):
        from xpnet.cli.summary import print_files

        print_files([Path(ended.path), *pictures])


def _fits(
    job: Job,
    options: TrainOptions,
    folder: RunFolder | None,
    interrupt: Interrupt,
    loggers: list[RunLogger],
    checkpoints: Path | None,
) -> Iterator[Callable[[], Run]]:
    """Yield a function for each member of an ensemble, or for the only network, which trains it."""
    for number in range(options.ensemble):
        member = job.member(number) if number else job
        callbacks: list[Callback] = []
        if folder is not None:
            logs = make_loggers(options, folder, number) if number else loggers
            callbacks = [*_callbacks(job, options, folder, interrupt, number), *logs]
        trainer = dataclasses.replace(member.trainer, callbacks=callbacks)
        if checkpoints is None:
            yield partial(trainer.fit, **job.arguments(), params=member.model.params)
        else:
            yield partial(trainer.resume, checkpoints, **job.arguments())


def _how_to_continue(options: TrainOptions, folder: RunFolder | None) -> str:
    """Return the command that continues a run with a checkpoint, or how a run gets one, as a sentence."""
    if folder is None:
        return ""
    if options.checkpoint_every is None:
        return " To continue such a run with xpnet resume, train it with --checkpoint-every."
    if not any((folder.path / CHECKPOINTS).glob("*.safetensors")):
        return ""
    return f" To continue: xpnet resume {shlex.quote(str(folder.path))}"


def _callbacks(job: Job, options: TrainOptions, folder: RunFolder, interrupt: Interrupt, member: int) -> list[Callback]:
    """Return the callbacks of a member of an ensemble, counted from 0; each has metrics of its own."""
    # The order matters: install signal handlers before the folder is created. The other callbacks write into it.
    metrics = MetricsFile(folder.metrics(member), regular=True)
    callbacks: list[Callback] = [interrupt, *([folder] if member == 0 else []), metrics]
    if options.checkpoint_every is not None:
        callbacks.append(Checkpoint(folder.path / CHECKPOINTS, options.checkpoint_every, options.keep))
    if not options.quiet:
        callbacks.append(Progress(job.data.n_samples))
    return callbacks


def _report(job: Job, options: TrainOptions, summary: dict[str, Any], run: Run, kept: EpochRecord | None) -> None:
    if options.json:
        print(json_text(summary), flush=True)
    elif not options.quiet:
        from xpnet.cli.summary import print_summary  # rich is slow to import

        network = job.model.network
        sizes = "-".join(map(str, network.layer_sizes))
        title = f"{job.data.name}: {job.model.task}, {sizes}, {network.n_parameters:,} parameters"
        print_summary(title, summary, run, kept, job.chooses_by, options.memory_limit)
