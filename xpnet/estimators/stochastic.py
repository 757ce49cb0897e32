"""The stochastic solvers: scikit-learn's procedure on top of `xpnet.Trainer`."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

from sklearn.exceptions import ConvergenceWarning

from xpnet.data.split import draw_rows
from xpnet.errors import DivergenceError
from xpnet.estimators.fitting import NOT_FINITE, Fit, FitData
from xpnet.estimators.inputs import take_rows
from xpnet.estimators.monitoring import EpochEvaluator, VerboseCallback, named_scorers, training_curves
from xpnet.estimators.solvers import (
    AdaptivePlateau,
    Plateau,
    adaptive,
    inverse_scaling,
    learning_rate_rule,
    optimizer_spec,
    shuffled,
)
from xpnet.training.callbacks import Interrupt
from xpnet.training.early_stopping import StoppingState
from xpnet.training.evaluation import metric_name
from xpnet.training.schedules import Schedule, get_schedule
from xpnet.training.state import Run
from xpnet.training.trainer import Trainer

__all__ = ["fit_stochastic"]

_AUTO_BATCH_SIZE = 200


def fit_stochastic(fit: Fit) -> None:
    """Train by mini-batches, and set the fitted attributes of the estimator."""
    est = fit.estimator
    if est.early_stopping and fit.incremental:
        raise ValueError("partial_fit does not support early_stopping=True")
    if est.early_stopping and fit.validation is None:
        fit = _split(fit)
    n_samples = fit.training.x.shape[0]
    scorers = named_scorers(est.scoring)
    metric = next(iter(scorers), metric_name(fit.network, fit.training.y.ndim))
    stopping = _stopping(fit, metric)
    optimizer = optimizer_spec(vars(est))
    # The moments of one optimizer mean nothing to another.
    kept = est._state if fit.incremental and getattr(est, "_optimizer", None) == _name(optimizer) else None
    stopping_state = _stopping_state(fit, stopping)
    # Draw a seed only if it is needed: otherwise the generator would be ahead of scikit-learn's.
    seed = int(fit.rng.randint(2**31 - 1)) if fit.network.is_random else 0
    with Interrupt() as interrupt:
        watched = metric if est.early_stopping else None
        verbose = [VerboseCallback(est, watched, fit.scale, stopping)] if est.verbose else []
        trainer = Trainer(
            fit.network,
            optimizer=optimizer,
            learning_rate=float(est.learning_rate_init),
            schedule=_schedule(fit, stopping, stopping_state, fresh=kept is None),
            clip_norm=est.clip_norm,
            batch_size=_batch_size(est.batch_size, n_samples),
            epochs=fit.epochs,
            early_stopping=stopping,
            shuffle=shuffled(fit.rng) if est.shuffle else False,
            seed=seed,
            dtype=fit.dtype,
            device=fit.backend,
            callbacks=[*fit.callbacks, *verbose, interrupt],
        )
        state = trainer.initial_state(fit.backend, est._parameters())
        state = state._replace(stopping=stopping_state)
        if kept is not None:
            same = len(kept.schedule) == len(state.schedule)  # else `learning_rate` is another rule now
            state = state._replace(step=kept.step, schedule=kept.schedule if same else state.schedule)
        if est.early_stopping:
            with fit.backend.scope(fit.dtype):
                state = state._replace(best=fit.backend.xp.asarray(state.params, copy=True))
        evaluator = None
        if fit.validation is not None or scorers:
            evaluator = EpochEvaluator(fit, scorers)
        diverged = None
        try:
            x, y, _, sample_weight = fit.training
            run = trainer.fit(x, y, sample_weight=sample_weight, validation=evaluator, state=state)
        except DivergenceError as exc:
            run, diverged = exc.run, exc
    _record(fit, run, metric)
    if diverged is not None:
        _after_divergence(fit, diverged)
    elif interrupt.requested:
        warnings.warn("Training interrupted by user.", stacklevel=5)
    elif run.stopped == "epochs" and not fit.incremental:
        warnings.warn(
            f"Stochastic Optimizer: Maximum iterations ({fit.epochs}) reached and the optimization hasn't converged "
            "yet.",
            ConvergenceWarning,
            stacklevel=5,
        )
    est._store_fitted(run.params, fit.backend, fit.data_backend)
    est._optimizer = _name(optimizer)
    # A later epoch needs the rest of the state only.
    est._state = run.state._replace(params=None, best=None, history=(), start=None, rollback=None)  # type: ignore[arg-type]


def _name(optimizer: str) -> str:
    return optimizer.partition(":")[0]


def _split(fit: Fit) -> Fit:
    """Split off a validation part as scikit-learn does: stratified for two classes only."""
    est, (x, y, raw_y, sample_weight) = fit.estimator, fit.training
    binary = y.ndim == 1 and y.dtype.kind == "i" and est.n_outputs_ == 1
    rows = draw_rows(x.shape[0], est.validation_fraction, y.astype(bool)[:, None] if binary else None, fit.rng)
    if len(rows[1]) < 2:
        raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")
    training, validation = (
        FitData(take_rows(x, part), y[part], raw_y[part], None if sample_weight is None else sample_weight[part])
        for part in rows
    )
    return replace(fit, training=training, validation=validation)


def _batch_size(batch_size: int | str, n_samples: int) -> int:
    if batch_size == "auto":
        return min(_AUTO_BATCH_SIZE, n_samples)
    if int(batch_size) > n_samples:
        warnings.warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=6
        )
    return min(int(batch_size), n_samples)


def _stopping(fit: Fit, metric: str) -> Plateau:
    est = fit.estimator
    rule = AdaptivePlateau if learning_rate_rule(vars(est)) == "adaptive" else Plateau
    patience = est.n_iter_no_change + 1  # scikit-learn stops after more than `n_iter_no_change` epochs
    if est.early_stopping:
        return rule(metric, patience, est.tol)
    return rule("training_loss", patience, est.tol / fit.scale)


def _stopping_state(fit: Fit, stopping: Plateau) -> StoppingState:
    """Return the state that an earlier fit left; a warm start continues with it."""
    est = fit.estimator
    best = est.best_validation_score_ if est.early_stopping else -est.best_loss_ / fit.scale
    # Below the patience, because otherwise the run would end before it begins.
    return StoppingState(best, best, min(est._no_improvement_count, stopping.patience - 1))


def _schedule(fit: Fit, stopping: Plateau, state: StoppingState, *, fresh: bool) -> Schedule:
    """Return the schedule: scikit-learn's ``"invscaling"`` and ``"adaptive"``, or one of this library."""
    est = fit.estimator
    name = learning_rate_rule(vars(est))
    if name == "invscaling":
        return inverse_scaling(est.power_t, est.t_, fit.training.x.shape[0], fresh=fresh)
    return adaptive(stopping, state) if name == "adaptive" else get_schedule(name)


def _record(fit: Fit, run: Run, metric: str) -> None:
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


def _after_divergence(fit: Fit, exc: DivergenceError) -> None:
    if not fit.estimator.early_stopping:
        raise ValueError(f"{NOT_FINITE} {exc}") from exc
    fit.estimator.validation_scores_.append(float("nan"))
    warnings.warn(f"{exc} The parameters of the best epoch are restored.", ConvergenceWarning, stacklevel=6)
