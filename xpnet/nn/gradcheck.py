"""The gradient check: backpropagation against central differences of the objective, in float64 on the host."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from xpnet.backend import Array, to_host
from xpnet.nn.activations import ACTIVATIONS
from xpnet.nn.losses import LOSSES, Targets
from xpnet.nn.network import Network
from xpnet.nn.parameters import Parameters

__all__ = ["Entry", "GradientCheck", "Row", "check_gradients", "gradcheck_table", "relative_error"]


class Entry(NamedTuple):
    """The derivative with respect to one parameter.

    Attributes
    ----------
    name : str
        Layer, kind of parameter in `xpnet.nn.parameters.KINDS`, and position: ``"layer 0 weights[2, 1]"``.
    analytic, numeric : float
        By backpropagation, and by central differences.
    """

    name: str
    analytic: float
    numeric: float


class GradientCheck(NamedTuple):
    """Result of a gradient check.

    Attributes
    ----------
    relative_error : float
        ``||numeric - analytic|| / (||numeric|| + ||analytic||)`` over all parameters that were checked. Correct
        formulas give about 1e-9, wrong ones rarely less than 1e-3.
    layers : tuple of float
        The same for each layer's parameters.
    worst : Entry
        The parameter whose two derivatives differ most.
    """

    relative_error: float
    layers: tuple[float, ...]
    worst: Entry


class Row(NamedTuple):
    """One line of `gradcheck_table`."""

    activation: str
    loss: str
    relative_error: float


def relative_error(analytic: np.ndarray, numeric: np.ndarray) -> float:
    """Return ``||numeric - analytic|| / (||numeric|| + ||analytic||)``, and 0 where both are zero."""
    scale = np.linalg.norm(numeric) + np.linalg.norm(analytic)
    return float(np.linalg.norm(numeric - analytic) / scale) if scale > 0 else 0.0


_BATCH = 7


def check_gradients(
    network: Network,
    params: Sequence[tuple[Array, Array]] | None = None,
    x: Array | None = None,
    y: Array | None = None,
    *,
    epsilon: float = 1e-6,
    seed: int = 0,
    entries: int = 200,
) -> GradientCheck:
    """Compare a network's gradient with central differences of its objective.

    The error of central differences is about ``epsilon**2`` plus the rounding of the loss divided by `epsilon`; 1e-6
    balances the two. At the kink of an activation (ReLU at 0) the comparison fails. Random numbers come within
    `epsilon` of a kink about once in a million; inputs or biases of exactly 0 may lie on it.

    Parameters
    ----------
    network : Network
        The objective includes the penalties, but no dropout and no random slopes.
    params : Parameters or sequence of (W, b), optional
        Arrays of any backend; by default random, also biases, slopes and input scale.
    x : (batch, n_in), optional
        Standard normal by default.
    y : (batch,) or (batch, n_out), optional
        As the loss takes it; by default random.
    epsilon : float
        Half the difference between the two values of a parameter.
    seed : int
        Random seed for parameters, batch and choice of entries.
    entries : int
        Most entries that are checked of each array (a segment of the parameter vector); of a larger array they are
        drawn at random.

    Returns
    -------
    GradientCheck

    References
    ----------
    Bishop, *Pattern Recognition and Machine Learning* (2006), section 5.3.3.

    Examples
    --------
    >>> from xpnet.nn.gradcheck import check_gradients
    >>> from xpnet.nn.network import Network
    >>> check = check_gradients(Network([4, 5, 3], activation="tanh", l2=0.1))
    >>> check.relative_error < 1e-6
    True
    >>> len(check.layers)
    2
    """
    rng = np.random.default_rng(seed)
    if params is None:
        vector = to_host(network.init(seed).vector)
        vector += 0.1 * rng.standard_normal(vector.shape)
    else:
        vector = np.array(to_host(network.pack(params).vector), dtype=np.float64)
    if x is None:
        x = rng.standard_normal((_BATCH if y is None else y.shape[0], network.layer_sizes[0]))
    x = np.asarray(to_host(x), dtype=np.float64)
    if y is None:
        y = _draw_targets(network.loss_function.targets, rng, x.shape[0], network.layer_sizes[-1])
    y = to_host(y)

    def objective(vector: np.ndarray) -> tuple[float, np.ndarray]:
        loss, grads = network.loss_and_grads(Parameters(vector, network), x, y)
        return float(loss), to_host(grads.vector)

    _, gradient = objective(vector)
    found: list[tuple[int, Entry]] = []
    start = 0
    for segment in network.segments:
        layer, n = segment.layer, segment.size
        chosen = np.arange(n) if n <= entries else np.sort(rng.choice(n, entries, replace=False))
        for offset in chosen:
            i = start + int(offset)
            kept = vector[i]
            above, below = kept + epsilon, kept - epsilon
            vector[i] = above
            upper, _ = objective(vector)
            vector[i] = below
            lower, _ = objective(vector)
            vector[i] = kept
            place = ", ".join(str(int(k)) for k in np.unravel_index(offset, segment.shape))
            name = f"layer {layer} {segment.kind}[{place}]"
            found.append((layer, Entry(name, float(gradient[i]), (upper - lower) / float(above - below))))
        start += n

    def error(entries: list[Entry]) -> float:
        return relative_error(np.asarray([e.analytic for e in entries]), np.asarray([e.numeric for e in entries]))

    return GradientCheck(
        error([entry for _, entry in found]),
        tuple(error([entry for layer, entry in found if layer == k]) for k in range(network.n_layers)),
        max((entry for _, entry in found), key=lambda entry: abs(entry.numeric - entry.analytic)),
    )


def _draw_targets(targets: Targets, rng: np.random.Generator, batch: int, n_out: int) -> np.ndarray:
    """Draw targets that a loss takes: class indices, (batch,), or numbers, (batch, n_out)."""
    if targets.sum_to_one:
        return rng.integers(0, n_out, batch)
    if math.isinf(targets.lowest):
        return rng.standard_normal((batch, n_out))
    if math.isinf(targets.highest):
        return targets.lowest + rng.poisson(2.0, (batch, n_out)).astype(np.float64)
    return rng.integers(int(targets.lowest), int(targets.highest) + 1, (batch, n_out)).astype(np.float64)


def gradcheck_table(*, seed: int = 0) -> list[Row]:
    """Check every activation with every loss on a small network with two hidden layers.

    Returns
    -------
    list of Row
        ``(activation, loss, relative_error)``; each error is below 1e-6.

    Examples
    --------
    >>> from xpnet.nn.gradcheck import gradcheck_table
    >>> max(row.relative_error for row in gradcheck_table()) < 1e-6
    True
    """
    return [
        Row(activation, loss, check_gradients(_small(activation, loss), seed=seed).relative_error)
        for activation in ACTIVATIONS
        for loss in LOSSES
    ]


def _small(activation: str, loss: str) -> Network:
    return Network([3, 5, 4, 3], activation=activation, loss=loss)
