"""``xpnet train`` and ``xpnet resume``: train, show progress, and write the files. Their options are in `options`."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from xpnet.cli import job as jobs
from xpnet.cli.config import read_config, write_config
from xpnet.cli.console import say
from xpnet.cli.cross_validation import cross_validate, cross_validation_file
from xpnet.cli.folder import (
    CHECKPOINTS,
    COLUMNS,
    CONFIG,
    FINGERPRINT,
    RunFolder,
    choose_folder,
)
from xpnet.cli.inspect import columns_table
from xpnet.cli.job import Job, prepare
from xpnet.cli.latest_run import run_folder
from xpnet.cli.options import ResumeOptions, TrainOptions
from xpnet.cli.ranks import ranks
from xpnet.cli.run_files import CROSS_VALIDATION, exists
from xpnet.cli.unchanged import check_unchanged, fingerprint_file
from xpnet.communicator import on_rank_0
from xpnet.data.named import DATASETS
from xpnet.data.streams import Source
from xpnet.data.targets import describe_rare_classes
from xpnet.errors import DataError, InvalidParameterError, printable
from xpnet.files import open_file
from xpnet.markdown import markdown_lines
from xpnet.threads import limit_threads
from xpnet.training.history import Scores
from xpnet.training.metrics import metric_label
from xpnet.training.progress import figure

__all__ = ["files_of", "resume", "say_notes", "say_rare_classes", "train"]

_DEFAULTS, _RESUME_DEFAULTS = TrainOptions(), ResumeOptions()


def train(data: str = "digits", *, options: TrainOptions = _DEFAULTS) -> int:
    """Train a network, and write model, metrics, configuration and plots into a folder.

    Parameters
    ----------
    data : str
        A name that `xpnet datasets` lists; a table in a .csv, .tsv, .tab, .txt or .data file, also packed (.gz, .bz2
        or .zst), or in a .parquet, .arrow or .feather file, or - for standard input; an .npz, .npy, .libsvm, .svm or
        .svmlight file; a folder of IDX files; or a folder of tables or .npz files, all of one kind, which are read in
        pieces.
    """
    with ranks(options.distributed) as communicator, limit_threads(options.threads):
        job = prepare(data, options, communicator)
        say_notes(job, options)
        say_rare_classes(job)

        def choose() -> RunFolder:
            folder = choose_folder(options.out, job.data.name, options.ensemble)
            folder.files = files_of(data, job, options)
            return folder

        # Only rank 0 has a folder.
        with on_rank_0(communicator, choose) or nullcontext() as folder:
            if options.cv is not None:
                assert folder is not None  # several ranks are refused
                folder.files = {**folder.files, CROSS_VALIDATION: _cross_validate(data, job, options)}
            return jobs.train(job, options, folder)


def resume(path: Annotated[Path, Parameter(name="--run")], *, options: ResumeOptions = _RESUME_DEFAULTS) -> int:
    """Continue a run that was killed or interrupted from its newest checkpoint, as if it had never stopped.

    Parameters
    ----------
    path : Path
        Folder of a run that was trained with --checkpoint-every.
    """
    path = run_folder(path)
    with ranks(options.distributed) as communicator, ExitStack() as stack:

        def open_run() -> tuple[RunFolder, tuple[str, TrainOptions]]:
            folder = stack.enter_context(RunFolder(path, is_new=False))
            folder.open_run()
            return folder, _configured(path, options)

        opened = on_rank_0(communicator, open_run)
        folder, (data, configured) = opened or (None, ("", _DEFAULTS))
        if communicator is not None:
            data, configured = communicator.broadcast((data, configured))
        stack.enter_context(limit_threads(configured.threads))
        configured = _find_again(data, configured, path)
        job = prepare(data, configured, communicator)
        say_notes(job, configured)

        def check() -> Path | None:
            assert folder is not None
            folder.files = files_of(data, job, configured)
            if exists(path / CROSS_VALIDATION):  # the folds were trained before the run began
                with open_file(path / CROSS_VALIDATION) as file:
                    folder.files[CROSS_VALIDATION] = file.read()
            check_unchanged(path, data, job.data.fingerprint, folder.files[CONFIG])
            # A run that was killed before its first checkpoint starts again, with the same result.
            checkpoints = path / CHECKPOINTS
            return checkpoints if any(checkpoints.glob("*.safetensors")) else None

        checkpoints = on_rank_0(communicator, check)
        if communicator is not None:
            checkpoints = communicator.broadcast(checkpoints)
        return jobs.train(job, configured, folder, checkpoints)


def _cross_validate(data: str, job: Job, options: TrainOptions) -> bytes:
    """Train the folds of ``--cv``, say how well each does, and return the file with their scores."""

    def report(fold: int, scores: Scores) -> None:
        if not options.quiet:
            figures = ", ".join(f"{metric_label(name)} {figure(score)}" for name, score in scores.items())
            say(f"fold {fold}/{options.cv}: {figures}")

    return cross_validation_file(cross_validate(data, job, options, report))


def _configured(path: Path, options: ResumeOptions) -> tuple[str, TrainOptions]:
    """Return the data and the options of a run, of which the command line may change some."""
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
    return data, configured


def say_notes(job: Job, options: TrainOptions) -> None:
    """Say what became of the data, also with --quiet: nobody should learn later that a column was left out.

    Then say, without --quiet, why the device was chosen.
    """
    for note in job.data.notes:
        say(note)
    if job.device_reason and not options.quiet:
        say(job.device_reason)


def say_rare_classes(job: Job) -> None:
    """Say which classes cannot be learned well, when a run begins."""
    if job.data.classes is None or not job.is_in_memory:
        return
    training, *others = (part[1] for part in job.parts.values() if not isinstance(part, Source))
    for line in describe_rare_classes(job.data.classes, training, others):
        say(printable(line))


def _find_again(data: str, options: TrainOptions, folder: Path) -> TrainOptions:
    """Check that the data of a run are there, and return its options: a file with the target moves with the data."""
    if data not in DATASETS and not Path(data).exists():
        raise DataError(
            f"{data}: expected the data of the run {folder}; received no such file or folder. "
            "If the data have moved, say where they are with --data PATH."
        )
    target = options.target
    if target is not None and target.endswith(".npy") and not Path(target).exists():  # moved with the data
        return dataclasses.replace(options, target=str(Path(data).with_name(Path(target).name)))
    return options


def files_of(data: str, job: Job, options: TrainOptions) -> dict[str, bytes]:
    """Return the files that a run writes when it starts."""
    chosen = dataclasses.replace(options, device=job.backend.name, backend=None, precision=None, preset=job.preset)
    config = write_config(data, chosen)
    files = {CONFIG: config}  # first: with it a run that is killed while it starts can be resumed
    if options.checkpoint_every is not None:
        files[FINGERPRINT] = fingerprint_file(job.data.fingerprint, config)
    if job.data.columns:
        lines = [*markdown_lines(columns_table(job.data.columns)), "", *(f"- {note}" for note in job.data.notes)]
        files[COLUMNS] = "\n".join([*lines, ""]).encode()
    return files
