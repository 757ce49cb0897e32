"""Monitoring of a fit: losses, the scores of scikit-learn's scorers, its callbacks, and its messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sklearn.callback import FitCallback
from sklearn.metrics import get_scorer

from xpnet.errors import InvalidParameterError, shown
from xpnet.estimators.fitting import Fit
from xpnet.estimators.inputs import host
from xpnet.estimators.solvers import learning_rate_rule
from xpnet.nn.network import Parameters
from xpnet.training.callbacks import Callback, StopTraining
from xpnet.training.early_stopping import EarlyStopping
from xpnet.training.evaluation import evaluate
from xpnet.training.history import EpochRecord, Scores
from xpnet.training.samples import Samples, to_samples
from xpnet.training.state import Run

__all__ = [
    "EpochEvaluator",
    "SklearnCallbackAdapter",
    "VerboseCallback",
    "named_scorers",
    "split_callbacks",
    "training_curves",
]

Scorer = Callable[..., Any]
_TRAINING = "train_"


def named_scorers(scoring: Any) -> dict[str, Scorer]:
    """Return scikit-learn's scorers by name.

    Parameters
    ----------
    scoring : str, callable, iterable of str, mapping of str to str or callable, or None

    Raises
    ------
    InvalidParameterError
        A scorer is neither a name nor callable.
    """
    given = scoring.values() if isinstance(scoring, Mapping) else scoring if isinstance(scoring, list | tuple) else ()
    for scorer in given:
        if not (isinstance(scorer, str) or (callable(scorer) and isinstance(scoring, Mapping))):
            raise InvalidParameterError(f"scoring: expected names of scorers; received {shown(scorer)}.")
    if scoring is None:
        return {}
    if isinstance(scoring, str):
        return {scoring: get_scorer(scoring)}
    if isinstance(scoring, Mapping):
        return {name: get_scorer(scorer) for name, scorer in scoring.items()}
    if callable(scoring):
        return {getattr(scoring, "__name__", "score"): scoring}
    return {name: get_scorer(name) for name in scoring}


class EpochEvaluator:
    """Evaluate parameters after an epoch.

    The scores are loss and accuracy or R2 of the validation part, and those of each scorer on both parts.

    Parameters
    ----------
    fit : Fit
    scorers : mapping of str to scorer
    """

    def __init__(self, fit: Fit, scorers: Mapping[str, Scorer]) -> None:
        self._fit, self._scorers = fit, scorers
        self._validation: Samples | None = None
        if fit.validation is not None:
            self._validation = to_samples(fit.network, fit.backend, fit.dtype, fit.validation.x, fit.validation.y)
        scored = {"": fit.validation, _TRAINING: fit.training} if scorers else {}
        # Scorers work on the host.
        self._scored = {prefix: data._replace(x=host(data.x)) for prefix, data in scored.items() if data is not None}

    def __call__(self, params: Parameters) -> Scores:
        """Return the scores by name. Names of scores on the training part begin with ``train_``."""
        fit, scores = self._fit, Scores()
        if self._validation is not None and fit.validation is not None:
            x, y, _ = self._validation
            with fit.backend.scope(fit.dtype):  # scorers run outside, in the user's state
                weight = fit.validation.sample_weight
                scores = evaluate(fit.network, params, x, y, fit.backend, weight, repeated=True)
        if self._scorers:
            estimator = fit.estimator._with_params(params, device=fit.backend)
            vars(estimator).pop("feature_names_in_", None)  # the data has no names any more
            for prefix, (x, _, raw_y, sample_weight) in self._scored.items():
                options = {} if sample_weight is None else {"sample_weight": sample_weight}
                for name, scorer in self._scorers.items():
                    scores[prefix + name] = float(scorer(estimator, x, raw_y, **options))
        return scores


def training_curves(records: Sequence[EpochRecord], scale: float) -> dict[str, list[float]]:
    """Return the curves of a run: ``train_loss``, ``validation_loss``, ``train_<score>`` ... and ``learning_rate``.

    Parameters
    ----------
    records : sequence of EpochRecord
    scale : float
        Factor on losses.
    """
    curves: dict[str, list[float]] = {"train_loss": [record.loss * scale for record in records]}
    for name in (records[0].validation or {}) if records else {}:
        values = [(record.validation or {})[name] for record in records]
        if name == "loss":
            values = [value * scale for value in values]
        curves[name if name.startswith(_TRAINING) else f"validation_{name}"] = values
    curves["learning_rate"] = [record.learning_rate for record in records]
    return curves


class VerboseCallback(Callback):
    """Print the messages that scikit-learn prints with ``verbose``.

    Parameters
    ----------
    estimator : BaseMLP
    metric : str or None
        Score of the validation part that ends training; None if the training loss does.
    scale : float
        Factor on losses.
    stopping : EarlyStopping or None
        The rule that ends training.
    """

    def __init__(self, estimator: Any, metric: str | None, scale: float, stopping: EarlyStopping | None = None) -> None:
        self._metric, self._scale, self._stopping = metric, scale, stopping
        self._initial_rate = float(estimator.learning_rate_init)
        self._adaptive = learning_rate_rule(vars(estimator)) == "adaptive"
        watched = "Training loss" if metric is None else "Validation score"
        self._stale = (
            f"{watched} did not improve more than tol={estimator.tol:f} for {estimator.n_iter_no_change} consecutive "
            "epochs."
        )

    def on_epoch(self, record: EpochRecord, run: Run) -> None:
        """Print the loss, with early stopping the validation score, and a message if it does not improve any more."""
        print(f"Iteration {record.epoch}, loss = {record.loss * self._scale:.8f}")
        if self._metric is not None:
            print(f"Validation score: {(record.validation or {})[self._metric]:f}")
        if self._stopping is not None and self._stopping.is_over(run.state.stopping):
            print(self._stale, "Learning rate too small. Stopping." if self._adaptive else "Stopping.")
        elif self._adaptive and (rate := self._initial_rate * run.state.schedule[0]) < record.learning_rate:
            print(f"{self._stale} Setting learning rate to {rate:f}")


def split_callbacks(callbacks: Iterable[Any] | None) -> tuple[list[Callback], list[Any]]:
    """Return the callbacks of this library, and those of scikit-learn's protocol.

    Raises
    ------
    TypeError
        A callback is neither.
    """
    xpnet_callbacks, sklearn_callbacks = [], []
    for callback in callbacks or ():
        if isinstance(callback, Callback):
            xpnet_callbacks.append(callback)
        elif isinstance(callback, FitCallback) and not isinstance(callback, type):
            sklearn_callbacks.append(callback)
        else:
            raise TypeError(
                "callbacks: expected instances of xpnet.Callback, or of scikit-learn's callback protocol; "
                f"received {shown(callback)}."
            )
    return xpnet_callbacks, sklearn_callbacks


class SklearnCallbackAdapter(Callback):
    """Report each epoch to the callbacks of scikit-learn's protocol.

    There an epoch is a task with a beginning and an end. It begins in `learning_rate`, because this is the only hook
    that is called before an epoch.
    """

    def __init__(self, estimator: Any, context: Any, fit_args: dict[str, Any]) -> None:
        self._estimator, self._context, self._fit_args = estimator, context, fit_args

    def learning_rate(self, epoch: int, rate: float) -> float:
        """Begin the task of an epoch, and return the learning rate unchanged."""
        self._epoch = self._context.subcontext(task_name="epoch")
        self._epoch.call_on_fit_task_begin(estimator=self._estimator, **self._fit_args)
        return rate

    def on_epoch(self, record: EpochRecord, run: Run) -> None:
        """End the task of an epoch, and stop training if a callback asks for it."""
        stop = self._epoch.call_on_fit_task_end(
            estimator=self._estimator,
            **self._fit_args,
            reconstruction_attributes=lambda: dict(vars(self._estimator._with_params(run.params))),
        )
        if stop:
            raise StopTraining
