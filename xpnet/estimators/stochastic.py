"""The stochastic solvers: scikit-learn's procedure on top of `xpnet.Trainer`."""

from __future__ import annotations

import warnings
from dataclasses import replace

from sklearn.exceptions import ConvergenceWarning

from xpnet.data.split import draw_rows
from xpnet.errors import DivergenceError
from xpnet.estimators.course import batch_size_of, course_of, keep_state, record_course, trainer_of
from xpnet.estimators.fitting import NOT_FINITE, Fit, FitData
from xpnet.estimators.inputs import take_rows
from xpnet.estimators.monitoring import EpochEvaluator, VerboseCallback, named_scorers
from xpnet.training.callbacks import Interrupt
from xpnet.training.metrics import metric_name

__all__ = ["fit_stochastic"]


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
    course, seed = course_of(fit, metric), fit.seed()
    with Interrupt() as interrupt:
        watched = metric if est.early_stopping else None
        verbose = [VerboseCallback(est, watched, fit.scale, course.stopping)] if est.verbose else []
        batch_size, callbacks = batch_size_of(est.batch_size, n_samples), [*fit.callbacks, *verbose, interrupt]
        trainer = trainer_of(fit, course, batch_size=batch_size, seed=seed, callbacks=callbacks)
        state = trainer.initial_state(fit.backend, est._parameters())
        state = state._replace(stopping=course.before, schedule=course.schedule_state)
        if course.kept is not None:
            state = state._replace(step=course.kept.step)
        if est.early_stopping:
            with fit.backend.scope(fit.dtype):
                state = state._replace(best=fit.backend.xp.asarray(state.params, copy=True))
        evaluator = None
        if fit.validation is not None or scorers:
            evaluator = EpochEvaluator(fit, scorers)
        diverged = None
        try:
            run = trainer.fit(fit.samples(fit.dtype), validation=evaluator, state=state)
        except DivergenceError as exc:
            run, diverged = exc.run, exc
    record_course(fit, run, metric)
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
    keep_state(fit, course, run.state)


def _split(fit: Fit) -> Fit:
    """Split off a validation part as scikit-learn does: stratified for two classes only."""
    est, (x, y, raw_y, sample_weight) = fit.estimator, fit.training
    binary = y.ndim == 1 and y.dtype.kind == "i" and est.n_outputs_ == 1
    rows = draw_rows(x.shape[0], est.validation_fraction, y.astype(bool)[:, None] if binary else None, fit.rng())
    if len(rows[1]) < 2:
        raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")
    training, validation = (
        FitData(take_rows(x, part), y[part], raw_y[part], None if sample_weight is None else sample_weight[part])
        for part in rows
    )
    return replace(fit, training=training, validation=validation)


def _after_divergence(fit: Fit, exc: DivergenceError) -> None:
    if not fit.estimator.early_stopping:
        raise ValueError(f"{NOT_FINITE} {exc}") from exc
    fit.estimator.validation_scores_.append(float("nan"))
    warnings.warn(f"{exc} The parameters of the best epoch are restored.", ConvergenceWarning, stacklevel=6)
