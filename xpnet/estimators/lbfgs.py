"""The solver L-BFGS: SciPy works on the host; the objective and its gradient are computed on the device."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.utils.optimize import _check_optimize_result

from xpnet.backend import Backend
from xpnet.errors import InvalidParameterError
from xpnet.estimators.fitting import NOT_FINITE, Fit
from xpnet.estimators.inputs import widest_float
from xpnet.estimators.monitoring import VerboseCallback
from xpnet.nn.backprop import objective_and_gradient, penalty
from xpnet.nn.network import Network, Parameters
from xpnet.training.auto_threads import AutoThreads
from xpnet.training.callback_list import CallbackList
from xpnet.training.callbacks import Interrupt, StopTraining
from xpnet.training.evaluation import sample_chunks
from xpnet.training.history import EpochRecord
from xpnet.training.sample_weights import add_sample_weights
from xpnet.training.samples import Samples, to_samples
from xpnet.training.state import Run, RunState
from xpnet.training.trainer import Trainer

__all__ = ["fit_lbfgs", "objective"]


def fit_lbfgs(fit: Fit) -> None:
    """Minimize over all samples at once: Byrd, Lu, Nocedal, Zhu (1995), SIAM J. Sci. Comput. 16, 1190-1208."""
    est, network, backend = fit.estimator, fit.network, fit.backend
    for name, given in (("dropout", network.is_random), ("eval_set", fit.validation), ("scoring", est.scoring)):
        if given:
            raise InvalidParameterError(
                f"{name} cannot be used with solver='lbfgs': expected none; received one. Choose another solver."
            )
    wide = est.dtype or widest_float(backend.xp, backend.device)  # the line search needs the digits
    verbose = [VerboseCallback(est, None, fit.scale)] if est.verbose else []
    with (
        Interrupt() as interrupt,
        backend.scope(wide),
        CallbackList([*fit.callbacks, *verbose, interrupt]) as callbacks,
        AutoThreads(network, backend, fit.training.x.shape[0], est.max_iter, wide) as threads,
    ):
        training = fit.training
        samples = to_samples(network, backend, wide, training.x, training.y)
        samples = add_sample_weights(network, backend, wide, samples, training.sample_weight)
        state = Trainer(network, dtype=wide).initial_state(backend, est._parameters())
        iterations = _Iterations(fit, state, callbacks)
        try:
            callbacks.on_start(1, fit.epochs)
            callbacks.on_state(Run(Parameters(state.params, network), state, "running", network))
            result = minimize(
                partial(threads.call, 1, objective(network, backend, wide, samples)),
                backend.to_numpy(state.params).astype(np.float64),
                method="L-BFGS-B",
                jac=True,
                callback=iterations,
                options={"maxfun": est.max_fun, "maxiter": est.max_iter, "gtol": est.tol},
            )
        except StopTraining:  # before the first iteration
            return
        vector = backend.asarray(result.x.astype(fit.dtype))
    if not (np.isfinite(result.x).all() and np.isfinite(result.fun)):
        raise ValueError(NOT_FINITE)
    if interrupt.requested:
        warnings.warn("Training interrupted by user.", stacklevel=5)
    est.n_iter_ = result.nit if iterations.stopped else _check_optimize_result("lbfgs", result, est.max_iter)
    est.loss_ = float(result.fun) * fit.scale
    est._store_fitted(Parameters(vector, network), backend, fit.data_backend)


class _Iterations:
    """Report each iteration to the callbacks as an epoch of one step. The learning rate of a callback has no effect."""

    def __init__(self, fit: Fit, state: RunState, callbacks: CallbackList) -> None:
        self._fit, self._state, self._callbacks = fit, state, callbacks
        self.stopped = False

    def __call__(self, intermediate_result: Any) -> None:  # SciPy demands this name
        backend, network, callbacks, state = self._fit.backend, self._fit.network, self._callbacks, self._state
        params = Parameters(backend.asarray(intermediate_result.x.astype(self._fit.dtype)), network)
        epoch = state.epoch + 1
        record = EpochRecord(epoch, float(intermediate_result.fun), None, math.nan, math.nan, math.nan)
        done = Run(params, state._replace(params=params.vector, position=1), "running", network)
        self._state = done.state._replace(epoch=epoch, position=0, history=(*state.history, record))
        try:
            callbacks.learning_rate(epoch, 1.0)
            callbacks.on_steps(done)
            callbacks.on_epoch(record, done._replace(state=self._state))
        except StopTraining:
            self.stopped = True
            raise StopIteration from None  # this stops SciPy


def objective(
    network: Network, backend: Backend, dtype: str, samples: Samples
) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """Return the function from a parameter vector to the objective and its gradient, on the host.

    It computes the samples in chunks, so that memory does not grow with their number.
    """
    xp = backend.xp
    summed = replace(network, reduction="sum", l2=0.0, l1=0.0)
    n_samples = samples.x.shape[0]
    given = samples.sample_weight
    total_weight = n_samples if given is None else float(backend.to_numpy(xp.sum(given)))

    def evaluate(vector: np.ndarray) -> tuple[float, np.ndarray]:
        params = backend.asarray(vector.astype(dtype))
        value, gradient = penalty(network, xp, params)
        for rows in sample_chunks(network, n_samples):
            batch = (samples.x[rows, :], *(array[rows, ...] for array in samples.arrays[1:]))
            more_value, more_gradient = objective_and_gradient(summed, xp, params, batch)
            value, gradient = value + more_value, gradient + more_gradient
        gradient = backend.to_numpy(gradient).astype(np.float64)
        return float(backend.to_numpy(value)) / total_weight, gradient / total_weight

    return evaluate
