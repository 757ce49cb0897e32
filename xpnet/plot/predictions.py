"""What a model says about samples whose targets are known, computed once for all pictures and scores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from xpnet.data.checks import check_lengths, feature_array, target_array
from xpnet.data.targets import encode_targets
from xpnet.errors import InvalidParameterError
from xpnet.model.model import Model
from xpnet.plot.fitted import as_model

__all__ = [
    "Calibration",
    "Predictions",
    "WrongSample",
    "calibration",
    "class_labels",
    "encoded_targets",
    "event",
    "expected_calibration_error",
    "most_wrong",
    "raw_features",
    "spread_rows",
    "taken",
]

MOST_SAMPLES = 10_000  # of a part, in a picture


def class_labels(model: Model) -> np.ndarray:
    """Return the label of each class: its index, if the model has no labels."""
    return np.arange(max(model.network.layer_sizes[-1], 2)) if model.classes is None else model.classes


def encoded_targets(model: Model, y: np.ndarray) -> np.ndarray:
    """Return raw targets as class indices, (n,), or as 0/1 labels or unscaled values, (n, n_outputs)."""
    return encode_targets(y, model.task, class_labels(model))[0]


def raw_features(model: Model, x: Any) -> Any:
    """Return raw features in a form whose rows can be taken: an Arrow table for an encoding, else an array."""
    if model.encoding is not None:
        from xpnet.data.tables.frames import as_table

        return as_table(x)
    return feature_array(x, model.feature_names)


def spread_rows(n_samples: int, most: int = MOST_SAMPLES) -> np.ndarray:
    """Return the indices of at most so many rows, evenly spaced."""
    if n_samples <= most:
        return np.arange(n_samples)
    return np.linspace(0, n_samples - 1, most).astype(np.int64)


def taken(x: Any, rows: np.ndarray) -> Any:
    """Return rows of what `raw_features` returns."""
    return x.take(rows) if hasattr(x, "column_names") else x[rows]


@dataclass(frozen=True, eq=False)
class Predictions:
    """The outputs of a model for samples whose targets are known.

    Attributes
    ----------
    model : Model
    x : Arrow table or (n_samples, n_features) ndarray
        Raw features.
    rows : (n_samples,) ndarray of int
        The row of each sample in the data: of more than 10,000 samples, evenly spaced ones are taken.
    true : (n_samples,) or (n_samples, n_outputs) ndarray
        Class indices; or labels, 0 or 1; or raw values.
    output : (n_samples, n_out) ndarray
        The network's output.
    """

    model: Model
    x: Any
    rows: np.ndarray
    true: np.ndarray
    output: np.ndarray

    @classmethod
    def of(cls, model: Any, x: Any, y: Any, most: int = MOST_SAMPLES) -> Predictions:
        """Predict for raw features with known raw targets.

        Parameters
        ----------
        model : Model or fitted estimator
        x, y
            Raw features and raw targets, as `Model.evaluate` takes them.
        most : int
            Largest number of samples.

        Raises
        ------
        DataError
            Features or targets do not fit the model, or differ in length.
        """
        model = as_model(model)
        x, y = raw_features(model, x), target_array(y)
        check_lengths(np.empty((len(x), 0)), y)
        rows = spread_rows(len(x), most)
        x = taken(x, rows)
        return cls(model, x, rows, encoded_targets(model, y[rows]), model.outputs(x))

    def to_model(self) -> Model:
        """Return the model: pictures of a model take predictions too."""
        return self.model

    def some(self, most: int) -> Predictions:
        """Return at most so many of the samples, evenly spaced."""
        rows = spread_rows(len(self.rows), most)
        return Predictions(self.model, taken(self.x, rows), self.rows[rows], self.true[rows], self.output[rows])

    @property
    def targets(self) -> np.ndarray:
        """The targets as the loss takes them; see `Model.targets`."""
        return self.true if self.model.task == "classification" else self.model.targets(self.true)

    @property
    def labels(self) -> np.ndarray:
        """The label of each class, or the number of each label of a multilabel task, counted from 1."""
        labels = class_labels(self.model)
        return np.arange(1, 1 + self.output.shape[1]) if self.model.task == "multilabel" else labels

    @cached_property
    def by_class(self) -> np.ndarray:
        """The output for each class, (n_samples, n_classes): probabilities, if the model gives them."""
        two = self.model.task == "classification" and self.output.shape[1] == 1
        return np.hstack([1 - self.output, self.output]) if two else self.output

    @property
    def probabilities(self) -> np.ndarray:
        """The probability of each class or label; an `InvalidParameterError` if the model gives none."""
        return self.model.probabilities(self.output)

    @cached_property
    def predicted(self) -> np.ndarray:
        """The predictions in the form of `true`."""
        if self.model.task == "classification":
            predicted: np.ndarray = np.argmax(self.by_class, axis=1)
            return predicted
        decided = self.model.decide(self.output)
        return decided.reshape(self.true.shape)

    @cached_property
    def confidence(self) -> np.ndarray:
        """The output of the predicted class, (n_samples,): its probability, if the model gives probabilities."""
        largest: np.ndarray = self.by_class.max(axis=1)
        return largest

    def check_task(self, what: str, *tasks: str) -> None:
        """Check that the model is for one of these tasks; else raise an `InvalidParameterError`."""
        if self.model.task not in tasks:
            raise InvalidParameterError(
                f"{what}: expected a model for {' or '.join(tasks)}; received one for {self.model.task}."
            )

    def of_second_class(self, what: str) -> tuple[np.ndarray, np.ndarray]:
        """Return whether each sample is of the second class, and the output for this class; both (n_samples,).

        Raises
        ------
        InvalidParameterError
            The model is not one of two classes.
        """
        self.check_task(what, "classification")
        if len(self.labels) != 2:
            raise InvalidParameterError(f"{what}: expected a model of two classes; received {len(self.labels)}.")
        return self.true == 1, self.by_class[:, 1]


class WrongSample(NamedTuple):
    """A sample for which the wrong class is predicted.

    Attributes
    ----------
    row : int
        Index of the sample in the data.
    true, predicted : str, int, float or bool
        Labels.
    confidence : float
        Probability of the predicted class, or its output if the model gives no probabilities.
    """

    row: int
    true: Any
    predicted: Any
    confidence: float


def most_wrong(model: Any, x: Any = None, y: Any = None, n: int = 12) -> list[WrongSample]:
    """Return the samples for which the wrong class is predicted with the highest confidence, the highest first.

    Parameters
    ----------
    model : Model, fitted estimator, or Predictions
        With `Predictions`, `x` and `y` are not needed.
    x, y
        Raw features and raw class labels.
    n : int
        Largest number of samples.

    Raises
    ------
    InvalidParameterError
        The model is not for classification.

    Examples
    --------
    >>> import numpy as np, xpnet
    >>> network = xpnet.Network((1, 2))
    >>> params = network.pack([(np.asarray([[0.0, 1.0]]), np.zeros(2))])
    >>> model = xpnet.Model(network, params.vector, "classification", np.asarray(["no", "yes"]))
    >>> (wrong,) = most_wrong(model, [[-1.0], [5.0], [1.0]], np.asarray(["no", "no", "yes"]))
    >>> wrong.row, wrong.predicted, round(wrong.confidence, 3)
    (1, 'yes', 0.993)
    """
    each = model if isinstance(model, Predictions) else Predictions.of(model, x, y)
    each.check_task("most_wrong", "classification")
    wrong = np.flatnonzero(each.predicted != each.true)
    wrong = wrong[np.argsort(-each.confidence[wrong], kind="stable")[:n]]
    true, predicted = (each.labels[indices[wrong]].tolist() for indices in (each.true, each.predicted))
    confidence = each.confidence[wrong].tolist()
    return list(map(WrongSample, each.rows[wrong].tolist(), true, predicted, confidence))


class Calibration(NamedTuple):
    """Probabilities in bins of equal width, beside what happened; bins without samples are left out.

    Attributes
    ----------
    predicted : (n,) ndarray
        Mean of the probabilities in each bin.
    happened : (n,) ndarray
        Fraction of the samples in the bin for which the event happened.
    counts : (n,) ndarray of int
        Samples in the bin.
    """

    predicted: np.ndarray
    happened: np.ndarray
    counts: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error: the mean of ``|happened - predicted|``, weighted by the counts."""
        return float(np.average(np.abs(self.happened - self.predicted), weights=self.counts))


def calibration(p: np.ndarray, happened: np.ndarray, n_bins: int = 15) -> Calibration:
    """Put the probabilities of an event into bins; see `Calibration`.

    Parameters
    ----------
    p : (n_samples,)
    happened : (n_samples,) bool
    n_bins : int
    """
    bins = np.searchsorted(np.linspace(0, 1, n_bins + 1)[1:-1], p)
    counts = np.bincount(bins, minlength=n_bins)
    used = counts > 0
    sums = (np.bincount(bins, values, minlength=n_bins)[used] for values in (p, happened))
    predicted, share = (total / counts[used] for total in sums)
    return Calibration(predicted, share, counts[used])


def event(p: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of the event that a calibration is about, and whether it happened; both (n_samples,).

    Of two classes, the event is the second class; of more, that the predicted class is right.

    Parameters
    ----------
    p : (n_samples, n_classes)
    y : (n_samples,) int
        Class indices.
    """
    return (p[:, 1], y == 1) if p.shape[1] == 2 else (p.max(axis=1), p.argmax(axis=1) == y)


def expected_calibration_error(p: np.ndarray, y: np.ndarray, n_bins: int = 15) -> float:
    """Return the expected calibration error of probabilities of classes.

    Samples are put into bins by the probability of the `event`. The error is the mean over the bins of the distance
    between this probability and the fraction of samples for which the event happened, weighted by their samples.
    Naeini, Cooper, Hauskrecht (2015), "Obtaining well calibrated probabilities using Bayesian binning"; Guo, Pleiss,
    Sun, Weinberger (2017), arXiv:1706.04599.

    Parameters
    ----------
    p : (n_samples, n_classes)
    y : (n_samples,) int
        Class indices.
    n_bins : int
        Bins of equal width.

    Examples
    --------
    >>> p = np.asarray([[0.1, 0.9], [0.1, 0.9], [0.8, 0.2], [0.8, 0.2]])
    >>> round(expected_calibration_error(p, np.asarray([1, 1, 0, 0])), 3)
    0.15
    """
    return calibration(*event(p, y), n_bins).error
