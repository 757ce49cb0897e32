"""``--cv``: one network for each fold of the rows outside the test part, scored on the rows that the fold holds out."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from xpnet.cli.job import Job, make_job
from xpnet.cli.job_data import JobData, moments_of
from xpnet.cli.options import TrainOptions
from xpnet.data.folds import fold_rows
from xpnet.data.scaling import Moments
from xpnet.data.shared_rows import take_rows
from xpnet.data.split import split_rows
from xpnet.data.targets import Task, encode_targets
from xpnet.errors import DivergenceError, InvalidParameterError, XpnetWarning
from xpnet.json_text import json_text
from xpnet.training.callbacks import Callback
from xpnet.training.history import Scores
from xpnet.training.state import Run

__all__ = ["Interrupted", "cross_validate", "cross_validation_file", "fit", "summarize"]


class Interrupted(Exception):  # noqa: N818 - a request, like KeyboardInterrupt
    """A callback stopped the training of a fold or a trial."""


def cross_validate(
    data: str,
    job: Job,
    options: TrainOptions,
    report: Callable[[int, Scores], None] = lambda fold, scores: None,
    callbacks: tuple[Callback, ...] = (),
) -> list[Scores]:
    """Train a network for each fold, and return their scores on the rows that were held out.

    Parameters
    ----------
    data : str
        Name or path of the data.
    job : Job
        Its test part is used by no fold.
    options : TrainOptions
    report : (fold, scores) -> None
        Called after each fold; they are counted from 1.
    callbacks : tuple of Callback
        Of each training.

    Raises
    ------
    InvalidParameterError
        There are not enough rows for the folds, or the data are read in pieces.
    DivergenceError
        Training diverged; the message names the fold.
    Interrupted
        A callback stopped training.
    """
    if not job.is_in_memory:
        raise InvalidParameterError(
            f"cv: expected none for data that are read in pieces; received {options.cv}. Read them at once: give one "
            "file, and leave --memory-limit out."
        )
    scores = []
    for number, fold in enumerate(_folds(job.data, options), start=1):
        each = make_job(data, fold, job.backend, job.preset, options)
        try:
            run = fit(each, callbacks)
        except DivergenceError as exc:
            raise DivergenceError(f"fold {number} of {options.cv}: {exc}", exc.run) from exc
        model = dataclasses.replace(each.model, vector=run.params.vector)
        held_out: Any = each.parts["test"]
        scores.append(model.evaluate(held_out[0], held_out[1], each.backend, metrics=each.trainer.metrics))
        report(number, scores[-1])
    return scores


def fit(job: Job, callbacks: tuple[Callback, ...] = ()) -> Run:
    """Train a job that is not the user's last, and write nothing; warnings are left to the last.

    Raises
    ------
    DivergenceError
    Interrupted
        A callback stopped training.
    """
    trainer = dataclasses.replace(job.trainer, callbacks=[*callbacks])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XpnetWarning)
        run = trainer.fit(**job.arguments(), params=job.model.params)
    if run.stopped == "interrupted":
        raise Interrupted
    return run


def summarize(folds: list[Scores]) -> dict[str, Any]:
    """Return the scores of the folds, and the mean and the standard deviation of each."""
    columns = {name: [scores[name] for scores in folds] for name in folds[0]}
    return {
        "folds": folds,
        "mean": {name: float(np.mean(values)) for name, values in columns.items()},
        "std": {name: float(np.std(values)) for name, values in columns.items()},
    }


def cross_validation_file(folds: list[Scores]) -> bytes:
    """Return the content of ``cv.json``."""
    return f"{json_text(summarize(folds))}\n".encode()


def _folds(data: JobData, options: TrainOptions) -> Iterator[JobData]:
    """Yield the data of each fold: what is held out is its test part, and scaling or encoding is fitted in the fold."""
    parts: list[Any] = [data.parts[name] for name in ("train", "validation") if name in data.parts]
    x, y = _joined([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    stratify = data.task == "classification"
    assert options.cv is not None
    folds = fold_rows(
        y, options.cv, stratify=stratify, seed=options.seed, groups=data.keys.groups, times=data.keys.times
    )
    for outside, held_out in folds:
        keys = data.keys.take(outside)
        train, validation, _ = (
            outside[rows]
            for rows in split_rows(
                y[outside],
                validation_fraction=options.val_fraction,
                test_fraction=0.0,
                stratify=stratify,
                seed=options.seed,
                groups=keys.groups,
                times=keys.times,
            )
        )
        rows = {"train": train, "validation": validation, "test": held_out}
        yield dataclasses.replace(
            data,
            parts={name: (take_rows(x, each), y[each]) for name, each in rows.items() if len(each)},
            target_moments=partial(_target_moments, y[train], data.task),
            weights=data.keys.take(train).weights,
        )


def _target_moments(y: np.ndarray, task: Task) -> Moments:
    return moments_of(encode_targets(y, task)[0])


def _joined(parts: list[Any]) -> Any:
    """Return the rows of arrays or of Arrow tables, one after the other."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    import pyarrow as pa

    return pa.concat_tables(parts)
