"""``xpnet train``: the run, what it shows and what it leaves."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import time
from pathlib import Path

from xpnet.callbacks import Callback, Interrupt
from xpnet.cli import plots
from xpnet.cli.job import Job
from xpnet.cli.options import TrainOptions, write_config
from xpnet.cli.progress import print_summary
from xpnet.cli.stream_job import StreamJob, prepare_within
from xpnet.errors import DivergenceError, InvalidParameterError, XpnetError
from xpnet.files import write_atomically
from xpnet.memory import peak_bytes
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
        A name that `xpnet datasets` lists; a .csv, .npz, .npy, .parquet, .arrow or .libsvm file; a folder of IDX
        files, or of files of one of these kinds, which are read in pieces.
    """
    job = prepare_within(data, options)
    folder = _choose_folder(options.out, job.name)
    config = write_config(data, dataclasses.replace(options, device=job.backend.name, backend=None))
    # The first listens before the second writes; the third writes into what the second has made.
    callbacks: list[Callback] = [Interrupt(), RunFolder(folder, config), MetricsFile(folder / "metrics.jsonl")]
    if not options.quiet:
        callbacks.append(Progress(job.n_samples))
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
        "epochs": len(run.history),
        "seconds": seconds,
        "samples_per_second": job.n_samples * len(run.history) / seconds,
        "model": str(path),
        "stopped": run.stopped,
    } | job.scores(model)
    pictures = _draw(job, model, run, folder)
    summary["peak_memory"] = peak_bytes()
    if options.json:
        print(json.dumps(summary))
    elif not options.quiet:
        sizes = "-".join(map(str, model.network.layer_sizes))
        title = f"{job.name}: {model.task}, {sizes}, {model.network.n_parameters:,} parameters"
        print_summary(title, summary, run, [path, *pictures], options.memory_limit)
    return Interrupt.exit_code if run.stopped == "interrupted" else 0


def _draw(job: Job | StreamJob, model: Model, run: Run, folder: Path) -> list[Path]:
    """Draw the curves and, for classes, the confusion matrix of the test part or of what there is in its place."""
    # For the library that draws takes more memory than a run with a limit may have left.
    if isinstance(job, StreamJob) or not plots.is_available() or not run.history:
        return []
    pictures = {"curves.png": plots.curves_png(run.history, model.metric)}
    if model.classes is not None:
        name, labels, predicted = job.confusion(model)
        pictures["confusion.png"] = plots.confusion_matrix_png(labels, predicted, model.classes, name)
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
