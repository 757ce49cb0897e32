"""Scores of a network, computed in chunks of samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np

from xpnet.backend import Array, Backend, namespace_of
from xpnet.communicator import Communicator
from xpnet.data.checks import check_lengths
from xpnet.data.shared_rows import SharedRows
from xpnet.errors import InvalidParameterError, shown
from xpnet.nn.network import Network, Parameters
from xpnet.training.history import Scores
from xpnet.training.input_rows import InputRows, input_chunks
from xpnet.training.metrics import (
    DEFAULT_SCORING,
    METRICS,
    Scoring,
    decisions,
    fitting_metrics,
    is_correct,
    task_of,
)
from xpnet.training.outputs import Members, joined, logits, on_host, sample_chunks
from xpnet.training.tally import make_tally

__all__ = ["assess", "evaluate", "evaluate_chunks"]

# What the host needs of each sample for its scores, beside the loss: whether it is correct, or its target with the
# network's decision or output.
_Needed: TypeAlias = Literal["correct", "decisions", "outputs"]


def evaluate(
    network: Network,
    params: Members,
    x: Array | InputRows,
    y: Array,
    backend: Backend,
    sample_weight: np.ndarray | None = None,
    *,
    scoring: Scoring = DEFAULT_SCORING,
    repeated: bool = False,
    communicator: Communicator | None = None,
) -> Scores:
    """Return the mean loss without penalties, the accuracy or R2, and further metrics.

    Parameters
    ----------
    x : (n_samples, n_in)
        On the backend's device, or InputRows. Of `SharedRows` each rank evaluates its own.
    y : (n_samples,) int32 or (n_samples, n_out)
        Class indices, or targets; on the device, or on the host.
    sample_weight : (n_samples,) on the host, optional
    scoring : Scoring
        Further metrics.
    repeated : bool
        Whether the network is evaluated often, so that compiling the evaluation pays.
    communicator : Communicator, optional
        The samples are then the part of this rank, and the scores those of all ranks' samples in order.

    Returns
    -------
    scores : dict
        ``loss``, and ``accuracy`` for classes or ``r2`` for values; then the other metrics. With several labels a
        sample counts as correct if all its labels are.

    Raises
    ------
    DataError
        `x` and `y` differ in length.
    """
    x, y, communicator = _own(x, y, communicator)
    names = _names(network, y.ndim, scoring)
    needed = joined(_needed(network, params, x, y, backend, _kind(network, y.ndim, names), repeated=repeated))
    if communicator is not None:
        needed = joined(communicator.gather(needed))
    return _scores(network, y.ndim, needed, names, sample_weight, scoring.unit)


def assess(
    network: Network,
    params: Members,
    x: Array | InputRows,
    y: Array,
    backend: Backend,
    decide: Callable[[np.ndarray], np.ndarray] | None = None,
    *,
    scoring: Scoring = DEFAULT_SCORING,
) -> tuple[Scores, np.ndarray]:
    """Return the scores of `evaluate`, and the outputs or what `decide` makes of them, in one pass over the samples.

    Parameters
    ----------
    decide : callable
        As for `host_outputs`.
    scoring
        As for `evaluate`.
    """
    x, y, communicator = _own(x, y)
    names = _names(network, y.ndim, scoring)
    copied = on_host(backend, _forward(network, params, x, y, backend, _kind(network, y.ndim, names)))
    pairs = zip(*((needed, decide(output) if decide else output) for needed, output in copied), strict=True)
    needed, decided = map(joined, pairs)
    if communicator is not None:
        needed, decided = (joined(communicator.gather(each)) for each in (needed, decided))
    return _scores(network, y.ndim, needed, names, None, scoring.unit), decided


def _own(
    x: Array | InputRows, y: Array, communicator: Communicator | None = None
) -> tuple[Array | InputRows, Array, Communicator | None]:
    """Return the samples that this rank evaluates, and the communicator by which it gets the results of others."""
    if not (isinstance(x, InputRows) and isinstance(x.values, SharedRows)):
        return x, y, communicator
    return x.own(), y[x.values.positions, ...], x.values.communicator


def _names(network: Network, y_ndim: int, scoring: Scoring) -> list[str]:
    """Return the names of the metrics, the default metric first; refuse those that do not fit the targets."""
    fitting = fitting_metrics(task := task_of(network, y_ndim))
    if unknown := [name for name in scoring.metrics if name not in fitting]:
        raise InvalidParameterError(
            f"metrics: expected some of {', '.join(fitting)} for {task}; received {shown(unknown[0])}."
        )
    return list(dict.fromkeys([fitting[0], *scoring.metrics]))


def _kind(network: Network, y_ndim: int, names: Sequence[str]) -> _Needed:
    if task_of(network, y_ndim) == "regression" or any(METRICS[name].needs == "outputs" for name in names):
        return "outputs"
    return "correct" if names == ["accuracy"] else "decisions"


def _scores(
    network: Network,
    y_ndim: int,
    needed: np.ndarray,
    names: Sequence[str],
    weight: np.ndarray | None,
    unit: np.ndarray | None,
) -> Scores:
    """Return the scores from what `_needed` yields for all samples."""
    losses, columns = _columns(needed)
    scores = {"loss": float(np.average(losses, weights=weight))}
    if _kind(network, y_ndim, names) == "correct":
        return scores | {"accuracy": float(np.average(columns[:, 0], weights=weight))}
    given, decided, y = _predictions(network, y_ndim, columns)
    for name in names:
        metric = METRICS[name]
        factor = unit if unit is not None and metric.is_error else 1.0
        predictions = given if metric.needs == "outputs" else decided
        scores[name] = metric.score(predictions * factor, y * factor, weight)
    return scores


def _predictions(network: Network, y_ndim: int, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the predictions that were copied to the host, decisions or outputs; the decisions; and the targets."""
    n_true = 1 if y_ndim == 1 else network.layer_sizes[-1]
    given, y = columns[:, :-n_true], columns[:, -n_true:]
    is_decided = given.shape[1] < network.layer_sizes[-1]  # class indices; labels that are decided stay as they are
    decided = given[:, 0] if is_decided else decisions(namespace_of(given), given, task_of(network, y_ndim))
    return given, decided, y[:, 0] if y_ndim == 1 else y


def evaluate_chunks(
    network: Network,
    params: Members,
    chunks: Iterable[tuple[Array | InputRows, Array]],
    backend: Backend,
    *,
    scoring: Scoring = DEFAULT_SCORING,
) -> Scores:
    """Return the scores of `evaluate` for samples that come in chunks ``(x, y)``.

    With a metric that does not follow from sums, the decisions or outputs of all samples are held on the host.
    """
    n, loss, right, tally, kept = 0, 0.0, 0.0, None, []
    names: list[str] = []
    kind, y_ndim = "", 0
    for x, y in chunks:
        x, y, communicator = _own(x, y)
        y_ndim = y.ndim
        names = _names(network, y_ndim, scoring)
        kind = _kind(network, y_ndim, names)
        tally = tally or make_tally(task_of(network, y_ndim), network.layer_sizes[-1])
        keeps = not {*names} <= {*tally.names}
        of_chunk: Iterable[np.ndarray] = _needed(network, params, x, y, backend, kind)
        if communicator is not None:
            of_chunk = communicator.gather(joined(of_chunk))
        for needed in of_chunk:
            if keeps:
                kept.append(needed)
                continue
            losses, columns = _columns(needed)
            n, loss = n + len(losses), loss + float(losses.sum())
            if kind == "correct":
                right += float(columns.sum())
            else:
                _, decided, true = _predictions(network, y_ndim, columns)
                tally.add(decided, true)
    if kept:
        return _scores(network, y_ndim, joined(kept), names, None, scoring.unit)
    assert tally is not None  # there is at least one sample
    scores = {"accuracy": right / n} if kind == "correct" else tally.scores(scoring.unit)
    return {"loss": loss / n, **{name: scores[name] for name in names}}


def _needed(
    network: Network,
    params: Members,
    x: Array | InputRows,
    y: Array,
    backend: Backend,
    kind: _Needed,
    *,
    repeated: bool = False,
) -> Iterator[np.ndarray]:
    """Yield on the host what the scores of some samples at a time need; see `_forward`."""
    chunks = _forward(network, params, x, y, backend, kind, repeated=repeated)
    return (needed for (needed,) in on_host(backend, ((needed,) for needed, _ in chunks)))


def _forward(
    network: Network,
    params: Members,
    x: Array | InputRows,
    y: Array,
    backend: Backend,
    kind: _Needed,
    *,
    repeated: bool = False,
) -> Iterator[tuple[Array, Array]]:
    """Yield for each chunk of samples what their scores need, and their outputs.

    The first column of what the scores need is the loss; then follows whether a sample is correct, or its decision or
    output, and its target.
    """
    check_lengths(x, y)
    vectors = tuple([each.vector for each in ((params,) if isinstance(params, Parameters) else params)])
    losses, needed = _compiled(network, backend, kind, repeated)
    slices = list(sample_chunks(network, x.shape[0], backend))
    for rows, chunk in zip(slices, input_chunks(x, slices), strict=True):
        true = y[rows, ...]
        true = backend.asarray(true) if isinstance(true, np.ndarray) else true
        value, result = losses(vectors, chunk, true)
        (columns,) = needed(value, result, true)
        yield columns, result


def _columns(needed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the loss of each sample and the columns for its score, in float64."""
    host = needed.astype(np.float64)
    return host[:, 0], host[:, 1:]


@lru_cache(maxsize=16)
def _compiled(
    network: Network, backend: Backend, kind: _Needed, repeated: bool
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    losses, needed = _functions(network, backend, kind)
    return backend.jit(losses, repeated=repeated), backend.jit(needed, repeated=repeated)


@lru_cache(maxsize=16)
def _functions(network: Network, backend: Backend, kind: _Needed) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return a function for the losses and the outputs of a chunk of samples, and one for what their scores need."""
    xp, loss = backend.xp, network.loss_function
    # A reduced precision (TF32, bf16) rounds the factors of products, and evaluation does not.
    products = xp if backend.precision == Backend.precision else None

    def losses(vectors: tuple[Array, ...], x: Array, y: Array) -> tuple[Array, Array]:
        members = tuple(Parameters(vector, network) for vector in vectors)
        a = logits(network, members, x, products)
        value, _ = loss.value_and_gradient(xp, a, network.targets(xp, y, a.dtype, smooth=False))
        return value, network.outputs(a)

    def needed(value: Array, result: Array, y: Array) -> tuple[Array]:
        if kind == "correct":
            scored = [is_correct(xp, result, y)]
        else:
            given = decisions(xp, result, task_of(network, y.ndim)) if kind == "decisions" else result
            scored = [given, y if y.ndim == 1 else xp.reshape(y, result.shape)]
        columns = [each if each.ndim == 2 else each[:, None] for each in (value, *scored)]
        return (xp.concat([xp.astype(each, value.dtype, copy=False) for each in columns], axis=1),)

    return losses, needed
