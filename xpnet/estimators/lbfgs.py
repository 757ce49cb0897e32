"""A fit by L-BFGS: SciPy on the host, the objective and its gradient on the device."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.utils.optimize import _check_optimize_result

from xpnet.backend import Backend
from xpnet.errors import InvalidParameterError
from xpnet.estimators.fitting import NOT_FINITE, Fit
from xpnet.estimators.monitoring import Verbose
from xpnet.nn.backprop import penalty, value_and_gradient
from xpnet.nn.network import Network, Parameters
from xpnet.training.callbacks import Callback, EpochRecord, Interrupt, StopTraining
from xpnet.training.evaluation import chunks
from xpnet.training.samples import Samples, place, weigh
from xpnet.training.state import Run, RunState
from xpnet.training.trainer import Trainer

__all__ = ["by_lbfgs", "objective"]


def by_lbfgs(fit: Fit) -> None:
    """Minimise over all samples at once: Byrd, Lu, Nocedal, Zhu (1995), SIAM J. Sci. Comput. 16, 1190-1208."""
    est, network, backend = fit.estimator, fit.network, fit.backend
    for name, given in (("dropout", network.is_random), ("eval_set", fit.held_out), ("scoring", est.scoring)):
        if given:
            raise InvalidParameterError(f"{name}: expected none with the solver 'lbfgs'; received one. Choose another.")
    wide = est.dtype or _widest(backend)
    with Interrupt() as interrupt, backend.scope(wide):
        samples = weigh(network, backend, wide, place(network, backend, wide, *fit.training[:2]), fit.training.weight)
        state = Trainer(network, dtype=wide).initial_state(backend, est._parameters())
        callbacks = [*fit.callbacks, *([Verbose(est, None, fit.scale)] if est.verbose else []), interrupt]
        watch = _Watch(fit, state, callbacks)
        result = None
        with ExitStack() as ends:  # it calls all of them, also where one raises
            try:
                for callback in callbacks:
                    ends.callback(callback.on_end)
                    callback.on_start(1, fit.epochs)
                run = Run(Parameters(state.params, network), state, "running", network)
                for callback in callbacks:
                    callback.on_state(run)
                result = minimize(
                    objective(network, backend, wide, samples),
                    backend.to_numpy(state.params).astype(np.float64),
                    method="L-BFGS-B",
                    jac=True,
                    callback=watch,
                    options={"maxfun": est.max_fun, "maxiter": est.max_iter, "gtol": est.tol},
                )
            except StopTraining:  # before the first iteration
                return
        vector = backend.asarray(result.x.astype(fit.dtype))
    if not (np.isfinite(result.x).all() and np.isfinite(result.fun)):
        raise ValueError(NOT_FINITE)
    if interrupt.requested:
        warnings.warn("Training interrupted by user.", stacklevel=5)
    est.n_iter_ = result.nit if watch.stopped else _check_optimize_result("lbfgs", result, est.max_iter)
    est.loss_ = float(result.fun) * fit.scale
    est._keep(Parameters(vector, network), backend, fit.home)


class _Watch:
    """Tells the callbacks of each iteration, as of an epoch of one step; there is no learning rate to change."""

    def __init__(self, fit: Fit, state: RunState, callbacks: Sequence[Callback]) -> None:
        self._fit, self._state, self._callbacks = fit, state, callbacks
        self._records: list[EpochRecord] = []
        self.stopped = False

    def __call__(self, intermediate_result: Any) -> None:
        backend, network = self._fit.backend, self._fit.network
        params = Parameters(backend.asarray(intermediate_result.x.astype(self._fit.dtype)), network)
        count = len(self._records) + 1
        record = EpochRecord(count, float(intermediate_result.fun), None, math.nan, math.nan, math.nan)
        self._records.append(record)
        state = self._state._replace(params=params.vector, epoch=count, history=tuple(self._records))
        run = Run(params, state, "running", network)
        try:
            for callback in self._callbacks:
                callback.learning_rate(count, 1.0)
                callback.on_steps(count, 1)
                callback.on_epoch(record, run)
            for callback in self._callbacks:
                callback.on_state(run)
        except StopTraining:
            self.stopped = True
            raise StopIteration from None  # SciPy's word for it


def objective(
    network: Network, backend: Backend, dtype: str, samples: Samples
) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """Return the function from a parameter vector to the objective over all samples and its gradient, on the host.

    The samples are taken a chunk at a time, so that the activations of only so many are held.
    """
    xp = backend.xp
    summed = replace(network, reduction="sum", l2=0.0, l1=0.0)
    n_samples = samples.x.shape[0]
    weight = n_samples if samples.weight is None else float(backend.to_numpy(xp.sum(samples.weight)))

    def evaluate(vector: np.ndarray) -> tuple[float, np.ndarray]:
        params = backend.asarray(vector.astype(dtype))
        value, gradient = penalty(network, xp, params)
        for rows in chunks(network, n_samples):
            batch = tuple(array[rows, ...] for array in samples.arrays[1:])
            more_value, more_gradient = value_and_gradient(summed, xp, params, (samples.x[rows, :], *batch))
            value, gradient = value + more_value, gradient + more_gradient
        return float(backend.to_numpy(value)) / weight, backend.to_numpy(gradient).astype(np.float64) / weight

    return evaluate


def _widest(backend: Backend) -> str:
    """Return the widest type of a device: the line search needs the digits."""
    types = backend.xp.__array_namespace_info__().dtypes(device=backend.device, kind="real floating")
    return "float64" if "float64" in types else "float32"
