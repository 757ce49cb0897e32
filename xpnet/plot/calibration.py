"""How far probabilities can be believed: calibration in bins, and the expected calibration error."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Calibration", "calibration", "event", "expected_calibration_error"]


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
