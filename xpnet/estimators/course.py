"""scikit-learn's rules for the course of training, as the trainer takes them, and the attributes that record it."""

from __future__ import annotations

import math
import warnings

from xpnet.estimators.fitting import Fit
from xpnet.estimators.monitoring import training_curves
from xpnet.estimators.solvers import AdaptivePlateau, Plateau, adaptive, inverse_scaling, learning_rate_rule
from xpnet.training.early_stopping import StoppingState
from xpnet.training.schedules import Schedule, get_schedule
from xpnet.training.state import Run, RunState

__all__ = ["batch_size_of", "kept_state", "optimizer_name", "record_course", "schedule_of", "stopping_of", "stopping_state"]

_AUTO_BATCH_SIZE = 200


def kept_state(fit: Fit, optimizer: str) -> RunState | None:
    """Return the state that `partial_fit` goes on with; the moments of one optimizer mean nothing to another."""
    est = fit.estimator
    return est._state if fit.incremental and getattr(est, "_optimizer", None) == optimizer_name(optimizer) else None


def optimizer_name(optimizer: str) -> str:
    """Return the name of an optimizer without its options."""
    return optimizer.partition(":")[0]


def batch_size_of(batch_size: int | str, n_samples: int) -> int:
    """Return the batch size for a number of samples; a larger one is clipped with a warning."""
    if batch_size == "auto":
        return min(_AUTO_BATCH_SIZE, n_samples)
    if int(batch_size) > n_samples:
        warnings.warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=6
        )
    return min(int(batch_size), n_samples)


def stopping_of(fit: Fit, metric: str) -> Plateau:
    """Return scikit-learn's stopping rule, on a metric with early stopping and else on the training loss."""
    est = fit.estimator
    rule = AdaptivePlateau if learning_rate_rule(vars(est)) == "adaptive" else Plateau
    patience = est.n_iter_no_change + 1  # scikit-learn stops after more than `n_iter_no_change` epochs
    if est.early_stopping:
        return rule(metric, patience, est.tol)
    return rule("training_loss", patience, est.tol / fit.scale)


def stopping_state(fit: Fit, stopping: Plateau) -> StoppingState:
    """Return the state that an earlier fit left; a warm start continues with it."""
    est = fit.estimator
    best = est.best_validation_score_ if est.early_stopping else -est.best_loss_ / fit.scale
    # Below the patience, because otherwise the run would end before it begins.
    return StoppingState(best, best, min(est._no_improvement_count, stopping.patience - 1))


def schedule_of(fit: Fit, stopping: Plateau, state: StoppingState, *, fresh: bool) -> Schedule:
    """Return the schedule: scikit-learn's ``"invscaling"`` and ``"adaptive"``, or one of this library."""
    est = fit.estimator
    name = learning_rate_rule(vars(est))
    if name == "invscaling":
        return inverse_scaling(est.power_t, est.t_, fit.training.x.shape[0], fresh=fresh)
    return adaptive(stopping, state) if name == "adaptive" else get_schedule(name)


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
