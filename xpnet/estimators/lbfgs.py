"""The solver L-BFGS: SciPy works on the host; the objective and its gradient are computed on the device."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.utils.optimize import _check_optimize_result

from xpnet.backend import NUMPY, Array, Backend, Namespace, Step
from xpnet.errors import InvalidParameterError
from xpnet.estimators.fitting import NOT_FINITE, Fit
from xpnet.estimators.inputs import widest_float
from xpnet.estimators.monitoring import VerboseCallback
from xpnet.estimators.solvers import in_order
from xpnet.nn.backprop import objective_and_gradient, penalty
from xpnet.nn.network import Network, Parameters
from xpnet.training.auto_threads import AutoThreads
from xpnet.training.batch_source import MemoryBatches
from xpnet.training.callback_list import CallbackList
from xpnet.training.callbacks import Interrupt, StopTraining
from xpnet.training.history import EpochRecord
from xpnet.training.input_rows import InputRows
from xpnet.training.outputs import sample_chunks
from xpnet.training.samples import Samples
from xpnet.training.state import Run, RunState
from xpnet.training.trainer import Trainer

__all__ = ["fit_lbfgs", "objective"]

_CALLS_AN_ITERATION = 3  # of the objective, at most on average


def fit_lbfgs(fit: Fit) -> None:
    """Minimize over all samples at once: Byrd, Lu, Nocedal, Zhu (1995), SIAM J. Sci. Comput. 16, 1190-1208."""
    est, network, backend, n_samples = fit.estimator, fit.network, fit.backend, fit.training.x.shape[0]
    for name, given in (("dropout", network.is_random), ("eval_set", fit.validation), ("scoring", est.scoring)):
        if given:
            raise InvalidParameterError(
                f"{name} cannot be used with solver='lbfgs': expected none; received one. Choose another solver."
            )
    wide = est.dtype or widest_float(backend.xp, backend.device)  # the line search needs the digits
    verbose = [VerboseCallback(est, None, fit.scale)] if est.verbose else []
    n_calls = min(est.max_fun, _CALLS_AN_ITERATION * est.max_iter)
    with (
        Interrupt() as interrupt,
        backend.scope(wide),
        CallbackList([*fit.callbacks, *verbose, interrupt]) as callbacks,
        AutoThreads(network, backend, _chunk_size(network, backend, n_samples), n_calls, wide) as threads,
    ):
        samples = fit.samples(wide)
        state = Trainer(network, dtype=wide).initial_state(backend, est._parameters())
        iterations = _Iterations(fit, state, callbacks if fit.callbacks or verbose else None, interrupt)
        try:
            callbacks.on_start(1, fit.epochs)
            callbacks.on_state(Run(Parameters(state.params, network), state, "running", network))
            result = minimize(
                partial(threads.call, 1, objective(network, backend, wide, samples, n_calls)),
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
    """Report each iteration to the callbacks as an epoch of one step. The learning rate of a callback has no effect.

    Parameters
    ----------
    fit : Fit
    state : RunState
    callbacks : CallbackList or None
        None if there is none but the interrupt, which needs no report.
    interrupt : Interrupt
    """

    def __init__(self, fit: Fit, state: RunState, callbacks: CallbackList | None, interrupt: Interrupt) -> None:
        self._fit, self._state, self._callbacks, self._interrupt = fit, state, callbacks, interrupt
        self.stopped = False

    def __call__(self, intermediate_result: Any) -> None:  # SciPy demands this name
        try:
            if self._callbacks is None:
                self._interrupt.on_steps(0, 1)
            else:
                self._report(self._callbacks, intermediate_result.x, float(intermediate_result.fun))
        except StopTraining:
            self.stopped = True
            raise StopIteration from None  # this stops SciPy

    def _report(self, callbacks: CallbackList, vector: np.ndarray, loss: float) -> None:
        backend, network, state = self._fit.backend, self._fit.network, self._state
        params = Parameters(backend.asarray(vector.astype(self._fit.dtype)), network)
        epoch = state.epoch + 1
        record = EpochRecord(epoch, loss, None, math.nan, math.nan, math.nan)
        done = Run(params, state._replace(params=params.vector, position=1), "running", network)
        self._state = done.state._replace(epoch=epoch, position=0, history=(*state.history, record))
        callbacks.learning_rate(epoch, 1.0)
        callbacks.on_steps(done)
        callbacks.on_epoch(record, done._replace(state=self._state))


def objective(
    network: Network, backend: Backend, dtype: str, samples: Samples, n_calls: int = 1
) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """Return the function from a parameter vector to the objective and its gradient, on the host.

    It computes the samples in chunks, so that memory does not grow with their number.

    Parameters
    ----------
    n_calls : int
        How often the function will be called, at most; the backend tells from it whether compiling pays.
    """
    n_samples, given = samples.x.shape[0], samples.sample_weight
    total_weight = n_samples if given is None else float(backend.to_numpy(backend.xp.sum(given)))
    size = _chunk_size(network, backend, n_samples)
    chunks = MemoryBatches(network, backend, samples, size, in_order)
    kept = None if isinstance(samples.x, InputRows) else list(chunks.epoch(0, 0))
    run_steps = backend.compile(_chunk_step(network, backend), n_calls * chunks.steps_per_epoch)

    def evaluate(vector: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = penalty(network, NUMPY, vector)
        params, total = (backend.asarray(array) for array in (vector.astype(dtype), np.zeros(vector.size, dtype)))
        for data, rows, _ in kept or chunks.epoch(0, 0):
            params, total, values = run_steps(params, total, data, rows)
            value = value + backend.to_numpy(values).sum(dtype=np.float64)
        return float(value) / total_weight, (gradient + backend.to_numpy(total)) / total_weight

    return evaluate


def _chunk_size(network: Network, backend: Backend, n_samples: int) -> int:
    """Return the samples of a chunk; the last may have fewer."""
    return math.ceil(n_samples / sum(1 for _ in sample_chunks(network, n_samples, backend)))


@lru_cache(maxsize=16)
def _chunk_step(network: Network, backend: Backend) -> Step:
    """Return the step that adds a chunk's gradient, without penalties, to a sum. The same arguments give the same step.

    Its state is the sum; the parameters stay as they are.
    """
    summed = replace(network, reduction="sum", l2=0.0, l1=0.0)

    def step(
        params: Array, total: Array, batch: tuple[Array, ...], xp: Namespace = backend.xp
    ) -> tuple[Array, Array, Array]:
        value, gradient = objective_and_gradient(summed, xp, params, batch)
        total += gradient
        return params, total, value

    return step
