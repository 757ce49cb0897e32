"""scikit-learn's rules for the course of training, as the trainer takes them, and the attributes that record it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

from xpnet.backend.costs import Work
from xpnet.estimators.fitting import Fit
from xpnet.estimators.monitoring import training_curves
from xpnet.estimators.solvers import (
    AdaptivePlateau,
    Plateau,
    adaptive,
    inverse_scaling,
    learning_rate_rule,
    optimizer_name,
    optimizer_spec,
    shuffled,
)
from xpnet.training.callbacks import Callback
from xpnet.training.early_stopping import StoppingState
from xpnet.training.schedules import Schedule, ScheduleState, get_schedule
from xpnet.training.state import Run, RunState
from xpnet.training.trainer import Trainer

__all__ = ["Course", "batch_size_of", "course_of", "keep_state", "record_course", "trainer_of", "work_of"]

_AUTO_BATCH_SIZE = 200


class Course(NamedTuple):
    """The rules of a fit, and what it continues.

    Attributes
    ----------
    optimizer : str
        Spec of the optimizer.
    stopping : Plateau
    schedule : Schedule
    kept : RunState or None
        State of the earlier fit that `partial_fit` goes on with, if that had the same optimizer: the moments of one
        optimizer mean nothing to another.
    before : StoppingState
        State of the stopping rule that an earlier fit left; a warm start continues with it too.
    """

    optimizer: str
    stopping: Plateau
    schedule: Schedule
    kept: RunState | None
    before: StoppingState

    @property
    def schedule_state(self) -> ScheduleState:
        """The state of the schedule to begin with."""
        initial = self.schedule.initial
        # With another length `learning_rate` is another rule now.
        return self.kept.schedule if self.kept is not None and len(self.kept.schedule) == len(initial) else initial


def course_of(fit: Fit, metric: str) -> Course:
    """Return the course of a fit.

    Parameters
    ----------
    fit : Fit
    metric : str
        Score that early stopping watches; without early stopping it is the training loss.
    """
    est = fit.estimator
    optimizer, rate_rule = optimizer_spec(vars(est)), learning_rate_rule(vars(est))
    known = fit.incremental and getattr(est, "_optimizer", None) == optimizer_name(optimizer)
    kept = est._state if known else None

    rule = AdaptivePlateau if rate_rule == "adaptive" else Plateau
    patience = est.n_iter_no_change + 1  # scikit-learn stops after more than `n_iter_no_change` epochs
    if est.early_stopping:
        stopping, best = rule(metric, patience, est.tol), est.best_validation_score_
    else:
        stopping, best = rule("training_loss", patience, est.tol / fit.scale), -est.best_loss_ / fit.scale
    # Below the patience, because otherwise the run would end before it begins.
    before = StoppingState(best, best, min(est._no_improvement_count, patience - 1))

    if rate_rule == "invscaling":
        schedule = inverse_scaling(est.power_t, est.t_, fit.training.x.shape[0], fresh=kept is None)
    else:
        schedule = adaptive(stopping, before) if rate_rule == "adaptive" else get_schedule(rate_rule)
    return Course(optimizer, stopping, schedule, kept, before)


def batch_size_of(batch_size: int | str, n_samples: int) -> int:
    """Return the batch size for a number of samples; a larger one is clipped with a warning."""
    if batch_size == "auto":
        return min(_AUTO_BATCH_SIZE, n_samples)
    if int(batch_size) > n_samples:
        warnings.warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=6
        )
    return min(int(batch_size), n_samples)


def work_of(estimator: Any, shape: tuple[int, ...], hidden: tuple[int, ...]) -> Work:
    """Return the work of a fit to inputs of a shape, from which the device ``"auto"`` follows."""
    n_samples, n_features = shape
    batch_size = _AUTO_BATCH_SIZE if estimator.batch_size == "auto" else int(estimator.batch_size)
    rows = n_samples if estimator.solver == "lbfgs" else min(batch_size, n_samples)
    return Work.of((n_features, *hidden, estimator.n_outputs_), rows, estimator.max_iter * -(-n_samples // rows))


def trainer_of(fit: Fit, course: Course, *, batch_size: int, seed: int, callbacks: Sequence[Callback] = ()) -> Trainer:
    """Return the trainer of a fit.

    Raises
    ------
    InvalidParameterError
        A parameter that was set after the first call of `partial_fit` has an invalid value.
    """
    est = fit.estimator
    return Trainer(
        fit.network,
        optimizer=course.optimizer,
        learning_rate=float(est.learning_rate_init),
        schedule=course.schedule,
        clip_norm=est.clip_norm,
        batch_size=batch_size,
        epochs=fit.epochs,
        early_stopping=course.stopping,
        shuffle=shuffled(fit.rng()) if est.shuffle else False,
        seed=seed,
        dtype=fit.dtype,
        device=fit.backend,
        callbacks=callbacks,
    )


def record_course(fit: Fit, run: Run, metric: str) -> None:
    """Set the attributes that describe the course of training."""
    est, records = fit.estimator, run.history
    est.n_iter_ = len(records)
    est.t_ += fit.training.x.shape[0] * len(records)
    est.loss_curve_ += [record.loss * fit.scale for record in records]
    if est.loss_curve_:
        est.loss_ = est.loss_curve_[-1]
    history = vars(est).setdefault("history_", {})
    curves = training_curves(records, fit.scale)
    before = len(next(iter(history.values()), []))
    # All curves have one length, also if an earlier fit had no validation part.
    for name in {**history, **curves}:
        history.setdefault(name, [math.nan] * before).extend(curves.get(name, [math.nan] * len(records)))
    est._no_improvement_count = run.state.stopping.stale
    if est.early_stopping:
        est.validation_scores_ += [(record.validation or {})[metric] for record in records]
        est.best_validation_score_ = run.state.stopping.best
    else:
        est.best_loss_ = -run.state.stopping.best * fit.scale


def keep_state(fit: Fit, course: Course, state: RunState) -> None:
    """Keep in the estimator what a later epoch needs of the state: all but the parameters and the history."""
    fit.estimator._optimizer = optimizer_name(course.optimizer)
    fit.estimator._state = state._replace(params=None, best=None, history=(), start=None, rollback=None)  # type: ignore[arg-type]
