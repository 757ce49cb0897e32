"""L-BFGS by SciPy on the host, the objective and its gradient on the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from xpnet.backend import Backend
from xpnet.batches import Samples
from xpnet.evaluation import chunks
from xpnet.network import Network

__all__ = ["minimize", "objective"]


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
        value, gradient = network.penalty(xp, params)
        for rows in chunks(network, n_samples):
            batch = tuple(array[rows, ...] for array in samples.arrays[1:])
            part, slope = summed.value_and_gradient(xp, backend.kernels, params, (samples.x[rows, :], *batch))
            value, gradient = value + part, gradient + slope
        return float(backend.to_numpy(value)) / weight, backend.to_numpy(gradient).astype(np.float64) / weight

    return evaluate


def minimize(
    function: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: np.ndarray,
    *,
    max_iter: int,
    max_fun: int,
    tol: float,
    on_iteration: Callable[[np.ndarray, float], bool],
) -> Any:
    """Minimise from a parameter vector: Byrd, Lu, Nocedal, Zhu (1995), SIAM J. Sci. Comput. 16, 1190-1208.

    Parameters
    ----------
    on_iteration : callable
        Told the parameters and the objective after each iteration; it returns whether to stop.

    Returns
    -------
    scipy.optimize.OptimizeResult
    """
    from scipy.optimize import minimize as scipy_minimize

    def callback(intermediate_result: Any) -> None:
        if on_iteration(intermediate_result.x, intermediate_result.fun):
            raise StopIteration

    return scipy_minimize(
        function,
        start.astype(np.float64),
        method="L-BFGS-B",
        jac=True,
        callback=callback,
        options={"maxfun": max_fun, "maxiter": max_iter, "gtol": tol},
    )
