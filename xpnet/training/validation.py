"""The validation part of a run: how it is evaluated, and early stopping on its scores."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from xpnet.backend import Backend
from xpnet.communicator import Communicator, share_of
from xpnet.data.shared_rows import SharedRows
from xpnet.data.streams import Source
from xpnet.errors import InvalidParameterError, shown
from xpnet.nn.network import Network
from xpnet.subnormals import in_user_state
from xpnet.training.early_stopping import EarlyStopping, get_early_stopping
from xpnet.training.evaluation import evaluate
from xpnet.training.input_rows import InputRows
from xpnet.training.loop import Evaluate
from xpnet.training.metrics import DEFAULT_SCORING, METRICS, Scoring, fitting_metrics, task_of
from xpnet.training.samples import Samples, to_samples
from xpnet.training.streaming import evaluate_source

__all__ = ["prepare_validation"]

_OFTEN = 32  # evaluations, from which on a compiled one pays


def prepare_validation(
    network: Network,
    backend: Backend,
    dtype: str,
    validation: tuple[Any, Any] | Source | Evaluate | None,
    early_stopping: str | EarlyStopping | None,
    epochs: int,
    scoring: Scoring = DEFAULT_SCORING,
    communicator: Communicator | None = None,
) -> tuple[Evaluate | None, EarlyStopping | None]:
    """Return the function that evaluates the validation part, and the early stopping, checked against its scores.

    The metric of early stopping is one of the scores, whether or not `scoring` has it.

    Raises
    ------
    InvalidParameterError
        A metric does not fit the targets, or there is no validation part to compute it for.
    """
    stopping = get_early_stopping(early_stopping) if early_stopping else None
    if stopping is not None and stopping.metric in METRICS:
        scoring = scoring._replace(metrics=tuple(dict.fromkeys([*scoring.metrics, stopping.metric])))
    known: list[str] | None = None  # the scores, if they are known before the first evaluation
    if isinstance(validation, Source):
        evaluation: Evaluate | None = partial(
            evaluate_source,
            network,
            source=validation,
            backend=backend,
            dtype=dtype,
            communicator=communicator,
            scoring=scoring,
        )
    elif callable(validation) or validation is None:
        evaluation = validation and in_user_state(validation)
        known = [] if validation is None else None
    elif not isinstance(validation, Sequence) or len(validation) != 2:
        raise InvalidParameterError(
            f"validation: expected (x, y), a Source or a function; received {shown(validation):.60}"
        )
    else:
        held_out = to_samples(network, backend, dtype, *validation)
        if communicator is not None:
            held_out = _own(held_out, communicator)
        evaluation = partial(
            evaluate,
            network,
            x=held_out.x,
            y=held_out.y,
            backend=backend,
            scoring=scoring,
            repeated=epochs >= _OFTEN,
            communicator=communicator,
        )
        known = ["loss", *fitting_metrics(task_of(network, held_out.y.ndim))]
    _check_known("early_stopping", [] if stopping is None else [stopping.metric], known, ["training_loss"])
    _check_known("metrics", scoring.metrics, known)
    return evaluation, stopping


def _check_known(name: str, given: Sequence[str], known: list[str] | None, others: Sequence[str] = ()) -> None:
    for metric in given:
        if known is None or metric in known or metric in others:
            continue
        if not known:
            raise InvalidParameterError(f"{name}: expected a validation part; received none.")
        expected = ", ".join([*others, *known])
        raise InvalidParameterError(f"{name}: expected one of {expected}; received {shown(metric)}.")


def _own(samples: Samples, communicator: Communicator) -> Samples:
    """Return the samples that this rank evaluates."""
    if isinstance(samples.x, InputRows) and isinstance(samples.x.values, SharedRows):
        return samples  # each rank evaluates those that it holds
    rows = share_of(samples.x.shape[0], communicator.rank, communicator.size)
    x = samples.x.part(rows) if isinstance(samples.x, InputRows) else samples.x[rows, :]
    return Samples(x, samples.y[rows, ...])
