"""Metrics of samples that come in chunks: sums over the samples, from which the metrics follow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from xpnet.data.scaling import Moments
from xpnet.data.targets import Task
from xpnet.training.metric_functions import ClassCounts, class_counts, r2_of_squares

__all__ = ["Tally", "make_tally"]


class Tally(ABC):
    """Sums over samples.

    Attributes
    ----------
    names : tuple of str
        The metrics that follow from the sums.
    """

    names: ClassVar[tuple[str, ...]]

    @abstractmethod
    def add(self, decided: np.ndarray, y: np.ndarray) -> None:
        """Include samples: class indices, (n_samples,), 0/1 labels or values, (n_samples, n_out), in float64."""

    @abstractmethod
    def scores(self, unit: np.ndarray | None) -> dict[str, float]:
        """Return the metrics of `names`; errors are multiplied by `unit`."""


def make_tally(task: Task, n_out: int) -> Tally:
    """Return the empty tally of a task, for a network with that many outputs."""
    if task == "regression":
        return _Values(n_out)
    return _Classes(max(n_out, 2)) if task == "classification" else _Labels(n_out)


class _Classes(Tally):
    names: ClassVar[tuple[str, ...]] = ("accuracy", "balanced_accuracy", "f1")

    def __init__(self, n_classes: int) -> None:
        self._counts = ClassCounts(*np.zeros((3, n_classes)))

    def add(self, decided: np.ndarray, y: np.ndarray) -> None:
        added = class_counts(decided, y, len(self._counts.hits))
        self._counts = ClassCounts(*(before + more for before, more in zip(self._counts, added, strict=True)))

    def scores(self, unit: np.ndarray | None) -> dict[str, float]:
        counts = self._counts
        accuracy = float(counts.hits.sum() / counts.support.sum())
        return {"accuracy": accuracy, "balanced_accuracy": counts.mean_recall, "f1": counts.mean_f1}


class _Labels(_Classes):
    names: ClassVar[tuple[str, ...]] = ("accuracy", "f1")

    def __init__(self, n_labels: int) -> None:
        super().__init__(n_labels)
        self._n = self._right = 0

    def add(self, decided: np.ndarray, y: np.ndarray) -> None:
        super().add(decided, y)
        self._n, self._right = self._n + len(y), self._right + int((decided == y).all(axis=1).sum())

    def scores(self, unit: np.ndarray | None) -> dict[str, float]:
        return {"accuracy": self._right / self._n, "f1": float(self._counts.f1.mean())}


class _Values(Tally):
    names = ("r2", "rmse", "mae")

    def __init__(self, n_out: int) -> None:
        self._squares, self._sizes = np.zeros((2, n_out))  # of the errors
        self._targets = Moments(n_out)

    def add(self, decided: np.ndarray, y: np.ndarray) -> None:
        errors = decided - y
        self._squares += (errors**2).sum(axis=0)
        self._sizes += np.abs(errors).sum(axis=0)
        self._targets.add(y)

    def scores(self, unit: np.ndarray | None) -> dict[str, float]:
        targets, unit = self._targets, np.ones(len(self._sizes)) if unit is None else unit
        return {
            "r2": r2_of_squares(self._squares, targets.squares, targets.is_constant),
            "rmse": float((np.sqrt(self._squares / targets.n) * unit).mean()),
            "mae": float((self._sizes / targets.n * unit).mean()),
        }
