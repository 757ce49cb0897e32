"""The trials of ``xpnet tune``: options that are drawn at random, and how well a training with them does."""

from __future__ import annotations

import dataclasses
import math
import shlex
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from xpnet.cli.config import option_words
from xpnet.cli.console import say
from xpnet.cli.cross_validation import Interrupted, cross_validate, fit, summarize
from xpnet.cli.job import Job, make_job
from xpnet.cli.options import TrainOptions
from xpnet.cli.presets import PRESETS
from xpnet.errors import DivergenceError, InvalidParameterError
from xpnet.json_text import json_text
from xpnet.nn.optimizers import get_optimizer
from xpnet.seeds import Purpose, seed_sequence
from xpnet.training.callbacks import Interrupt
from xpnet.training.history import Scores
from xpnet.training.metrics import is_lower_better, metric_label
from xpnet.training.progress import figure
from xpnet.training.recipes import Recipe
from xpnet.training.search_spaces import Choice, LogUniform, Space

__all__ = ["Trial", "best_of", "criterion", "draw_options", "open_space", "search", "trials_file"]

_MOST_DRAWS = 100  # for each trial, until its options differ from those of all others; a small space has few


class Trial(NamedTuple):
    """A training with some options.

    Attributes
    ----------
    number : int
        Counted from 1.
    options : TrainOptions
    scores : dict
        Of the validation part, or the means over the folds; none if training diverged.
    seconds : float
    folds : list of dict
        Scores of each fold.
    """

    number: int
    options: TrainOptions
    scores: Scores
    seconds: float
    folds: list[Scores]


def criterion(job: Job) -> str:
    """Return the name of the metric by which trials are compared."""
    return job.trainer.metrics[0] if job.trainer.metrics else job.model.metric


def best_of(trials: list[Trial], metric: str) -> Trial:
    """Return the trial with the best score, the first of equal ones; no score is the worst."""

    def rank(trial: Trial) -> float:
        score = trial.scores.get(metric, math.nan)
        return -math.inf if math.isnan(score) else -score if is_lower_better(metric) else score

    return max(trials, key=rank)


def draw_options(options: TrainOptions, space: Space, trials: int) -> Iterator[TrainOptions]:
    """Yield the options of each trial, which differ: first those that are given, then others drawn with their seed."""
    from sklearn.model_selection import ParameterSampler  # slow to import

    yield options
    seen = {options}
    (state,) = seed_sequence(options.seed, Purpose.TRIALS).generate_state(1)
    for drawn in ParameterSampler(space, n_iter=_MOST_DRAWS * trials, random_state=int(state)):
        if len(seen) == trials:
            return
        if (chosen := dataclasses.replace(options, **drawn)) not in seen:
            seen.add(chosen)
            yield chosen


def open_space(options: TrainOptions, recipe: Recipe, n_samples: int) -> Space:
    """Return the distributions of the options that are not given, and that go with those that are.

    Parameters
    ----------
    options : TrainOptions
    recipe : Recipe
    n_samples : int
        Number of training samples; the largest batch has a tenth of them, or less with many folds.

    Raises
    ------
    InvalidParameterError
        Every option of the search space is given.
    """
    space = {name: each for name, each in recipe.search_space.items() if getattr(options, name) is None}
    if not space:
        raise InvalidParameterError(
            f"xpnet tune: expected options to choose; received all of {', '.join(recipe.search_space)}. Leave some "
            "out, or train with them."
        )
    if len(options.activation or ()) > 1:  # one for each hidden layer
        space.pop("hidden", None)
    if options.lr_factors is not None:  # they may name the factors of the inputs
        space.pop("input_scale", None)
    if "lr" in space and options.optimizer not in (None, recipe.trainer["optimizer"]):
        rate = get_optimizer(options.optimizer).learning_rate  # the recipe's space is for its own optimizer
        space["lr"] = LogUniform(rate / 10, rate * 10)
    if isinstance(sizes := space.pop("batch_size", None), Choice):
        most = n_samples // max(10, 2 * (options.cv or 0))
        if fitting := tuple(size for size in sizes.values if size <= most):
            space["batch_size"] = Choice(fitting)
    return space


def search(
    data: str, job: Job, options: TrainOptions, trials: int, interrupt: Interrupt, seconds: float = math.inf
) -> list[Trial]:
    """Train with several options, say how well each does, and return the trials that ended.

    A signal ends the search. After `seconds` no other trial starts.

    Parameters
    ----------
    data : str
        Name or path of the data.
    job : Job
        The job of `options`. Its test part is not used.
    options : TrainOptions
    trials : int
    interrupt : Interrupt
    seconds : float

    Raises
    ------
    DivergenceError
        Training diverged in all trials.
    """
    space = open_space(options, PRESETS[job.preset].recipe[job.data.task], job.data.n_samples)
    end = time.monotonic() + seconds
    done: list[Trial] = []
    diverged: DivergenceError | None = None
    with interrupt:
        for number, chosen in enumerate(draw_options(options, space, trials), start=1):
            if interrupt.requested or (done and time.monotonic() >= end):
                break
            started = time.monotonic()
            try:
                scores, folds = _try(data, job, chosen, interrupt)
            except Interrupted:
                break
            except DivergenceError as exc:
                diverged, scores, folds = exc, {}, []
            done.append(Trial(number, chosen, scores, time.monotonic() - started, folds))
            if not options.quiet:
                _say(done, job, options, trials)
    if interrupt.requested:
        say("stopped the search.")
    if diverged is not None and not any(trial.scores for trial in done):
        raise DivergenceError(f"all {len(done)} trials diverged, the last with: {diverged}", diverged.run)
    return done


def _try(data: str, job: Job, options: TrainOptions, interrupt: Interrupt) -> tuple[Scores, list[Scores]]:
    """Train with these options, and return the scores to compare, and those of the folds."""
    if options.cv is not None:
        folds = cross_validate(data, job, options, callbacks=(interrupt,))
        return summarize(folds)["mean"], folds
    trial = make_job(data, job.data, job.backend, job.preset, options)
    run = fit(trial, (interrupt,))
    model = dataclasses.replace(trial.model, vector=run.params.vector)
    validation: Any = trial.parts["validation"]
    return model.evaluate(validation[0], validation[1], trial.backend, metrics=trial.trainer.metrics), []


def _say(done: list[Trial], job: Job, options: TrainOptions, trials: int) -> None:
    metric, trial = criterion(job), done[-1]
    best = best_of(done, metric)
    words = shlex.join(option_words(trial.options, options)) or "the defaults"
    score = f"{metric_label(metric)} {figure(trial.scores[metric])}" if trial.scores else "diverged"
    so_far = ""
    if best.scores and best is not trial:
        so_far = f" (best {figure(best.scores[metric])} in trial {best.number})"
    say(f"trial {trial.number}/{trials}: {score}{so_far}: {words}")


def trials_file(done: list[Trial], options: TrainOptions) -> bytes:
    """Return the content of ``trials.jsonl``: a line for each trial, with the options that `options` left open."""
    records = (
        {
            "trial": trial.number,
            "options": option_words(trial.options, options),
            "scores": trial.scores or None,
            "folds": trial.folds,
            "seconds": trial.seconds,
        }
        for trial in done
    )
    return "".join(f"{json_text(record)}\n" for record in records).encode()
