"""What is watched in a fit: losses, scores by scikit-learn's scorers, its callbacks, and its messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.callback import FitCallback
from sklearn.metrics import get_scorer

from xpnet.backend import Backend, to_host
from xpnet.estimators.solvers import rate_rule
from xpnet.nn.network import Network, Parameters
from xpnet.training.callbacks import Callback, EpochRecord, StopTraining
from xpnet.training.early_stopping import EarlyStopping
from xpnet.training.evaluation import evaluate
from xpnet.training.samples import place
from xpnet.training.state import Run

__all__ = ["Bridge", "Monitor", "Part", "Verbose", "history_of", "named_scorers", "split_callbacks"]

Scorer = Callable[..., Any]
_TRAINING = "train_"


class Part(NamedTuple):
    """Samples to train on, or to validate with.

    Attributes
    ----------
    x : (n_samples, n_features)
        Where the user's data lies.
    y : ndarray, (n_samples,) int32 or (n_samples, n_outputs)
        As the loss takes it.
    labels : ndarray
        As the user has it.
    weight : (n_samples,) ndarray or None
    """

    x: Any
    y: np.ndarray
    labels: np.ndarray
    weight: np.ndarray | None


def named_scorers(scoring: Any) -> dict[str, Scorer]:
    """Return scikit-learn's scorers by name, from one name or function, several names, or a mapping."""
    if scoring is None:
        return {}
    if isinstance(scoring, str):
        return {scoring: get_scorer(scoring)}
    if isinstance(scoring, Mapping):
        return {name: get_scorer(scorer) for name, scorer in scoring.items()}
    if callable(scoring):
        return {getattr(scoring, "__name__", "score"): scoring}
    return {name: get_scorer(name) for name in scoring}


class Monitor:
    """Scores after an epoch: the validation part's loss and accuracy or R2, and each scorer's on both parts."""

    def __init__(
        self,
        network: Network,
        backend: Backend,
        dtype: str,
        training: Part,
        held_out: Part | None,
        scorers: Mapping[str, Scorer],
        fitted: Callable[[Parameters], Any],
    ) -> None:
        self._network, self._backend = network, backend
        self._placed = None if held_out is None else place(network, backend, dtype, held_out.x, held_out.y)
        self._weight = None if held_out is None else held_out.weight
        self._scorers = scorers
        self._fitted = fitted
        parts = {"": held_out, _TRAINING: training} if scorers else {}
        # Scorers work on the host, whatever the data's library is.
        self._parts = {
            prefix: part._replace(x=part.x if hasattr(part.x, "tocsr") else to_host(part.x))
            for prefix, part in parts.items()
            if part is not None
        }

    def __call__(self, params: Parameters) -> dict[str, float]:
        """Return the scores by name; those on the training part begin with ``train_``."""
        scores = {}
        if self._placed is not None:
            x, y, _ = self._placed
            scores = evaluate(self._network, params, x, y, self._backend, self._weight)
        if self._scorers:
            estimator = self._fitted(params)
            vars(estimator).pop("feature_names_in_", None)  # the parts have lost theirs
            for prefix, (x, _, labels, weight) in self._parts.items():
                options = {} if weight is None else {"sample_weight": weight}
                for name, scorer in self._scorers.items():
                    scores[prefix + name] = float(scorer(estimator, x, labels, **options))
        return scores


def history_of(records: Sequence[EpochRecord], scale: float) -> dict[str, list[float]]:
    """Return the curves of a run: ``train_loss``, ``validation_loss``, ``train_<score>`` and so on, and the rate.

    Parameters
    ----------
    scale : float
        What losses are multiplied by.
    """
    curves: dict[str, list[float]] = {"train_loss": [record.loss * scale for record in records]}
    for name in (records[0].validation or {}) if records else {}:
        values = [(record.validation or {})[name] for record in records]
        if name == "loss":
            values = [value * scale for value in values]
        curves[name if name.startswith(_TRAINING) else f"validation_{name}"] = values
    curves["learning_rate"] = [record.learning_rate for record in records]
    return curves


class Verbose(Callback):
    """Prints what scikit-learn prints.

    Parameters
    ----------
    metric : str or None
        The validation part's score, where that is watched instead of the training loss.
    scale : float
        What losses are multiplied by.
    stopping : EarlyStopping or None
        The rule that ends the training.
    """

    def __init__(self, estimator: Any, metric: str | None, scale: float, stopping: EarlyStopping | None = None) -> None:
        self._metric, self._scale, self._stopping = metric, scale, stopping
        self._initial_rate = float(estimator.learning_rate_init)
        self._adaptive = rate_rule(vars(estimator)) == "adaptive"
        watched = "Training loss" if metric is None else "Validation score"
        self._stale = (
            f"{watched} did not improve more than tol={estimator.tol:f} for {estimator.n_iter_no_change} consecutive "
            "epochs."
        )

    def on_epoch(self, record: EpochRecord, run: Run) -> None:
        """Print the loss, with early stopping the validation part's score, and what follows where it is stale."""
        print(f"Iteration {record.epoch}, loss = {record.loss * self._scale:.8f}")
        if self._metric is not None:
            print(f"Validation score: {(record.validation or {})[self._metric]:f}")
        if self._stopping is not None and run.state.stopping.stale >= self._stopping.patience:
            print(self._stale, "Learning rate too small. Stopping." if self._adaptive else "Stopping.")
        elif self._adaptive and (rate := self._initial_rate * run.state.schedule[0]) < record.learning_rate:
            print(f"{self._stale} Setting learning rate to {rate:f}")


def split_callbacks(callbacks: Iterable[Any] | None) -> tuple[list[Callback], list[Any]]:
    """Return the library's own callbacks, and those of scikit-learn's protocol.

    Raises
    ------
    TypeError
        One is neither.
    """
    own, scikit_learns = [], []
    for callback in callbacks or ():
        if isinstance(callback, Callback):
            own.append(callback)
        elif isinstance(callback, FitCallback) and not isinstance(callback, type):
            scikit_learns.append(callback)
        else:
            raise TypeError(
                "callbacks: expected instances of xpnet.Callback, or of scikit-learn's callback protocol; "
                f"received {callback!r}."
            )
    return own, scikit_learns


class Bridge(Callback):
    """Tells scikit-learn's callbacks of each epoch."""

    def __init__(self, estimator: Any, context: Any, training: dict[str, Any], fitted: Callable[[Any], dict[str, Any]]):
        self._estimator, self._context, self._training, self._fitted = estimator, context, training, fitted

    def learning_rate(self, epoch: int, rate: float) -> float:
        """Begin the task of an epoch."""
        self._epoch = self._context.subcontext(task_name="epoch")
        self._epoch.call_on_fit_task_begin(estimator=self._estimator, **self._training)
        return rate

    def on_epoch(self, record: EpochRecord, run: Run) -> None:
        """End the task of an epoch, and the fit where a callback asks for that."""
        stop = self._epoch.call_on_fit_task_end(
            estimator=self._estimator,
            **self._training,
            reconstruction_attributes=lambda: self._fitted(run.params),
        )
        if stop:
            raise StopTraining
