"""Targets: the task that they define, and their encoding for a loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xpnet.data.checks import check_finite, target_array
from xpnet.errors import DataError, UnknownNameError, shown

__all__ = [
    "TargetSummary",
    "Task",
    "check_label_lengths",
    "describe_classes",
    "describe_rare_classes",
    "encode_targets",
    "infer_task",
    "whole_task",
]

Array: TypeAlias = NDArray[Any]
Task: TypeAlias = Literal["classification", "regression", "multilabel"]

# Integer targets with more distinct values than both limits are quantities, such as counts or prices, not classes.
_MANY_VALUES = 20
_MANY_VALUES_FRACTION = 0.1
_PENDING_LABELS = 1 << 16  # labels collected before duplicates are removed
_MOST_SHOWN = 5  # labels in a line
_MAX_LABEL = 1000  # characters; NumPy stores each prediction as wide as the longest label


def infer_task(y: ArrayLike) -> Task:
    """Infer the task from the type and the values of the targets.

    Strings and booleans are classes. Whole numbers, also when stored as floats, are classes too, with two exceptions:
    if there are more than 20 distinct values and their number exceeds 10 % of the samples, or if at least three samples
    all have different values, the task is regression. Other floats mean regression. A matrix with at least two columns
    is multilabel if it is boolean or holds only the integers 0 and 1, else regression with several outputs.

    Parameters
    ----------
    y : array_like, shape (n_samples,) or (n_samples, n_outputs)

    Raises
    ------
    DataError
        `y` is empty, has more than two dimensions, or mixes types.

    Examples
    --------
    >>> infer_task(["cat", "dog", "cat"])
    'classification'
    >>> infer_task([0.5, 1.25, 2.0])
    'regression'
    >>> infer_task([[0, 1], [1, 1]])
    'multilabel'
    """
    values = target_array(y)
    if values.ndim == 2:
        if values.dtype.kind in "USTO":
            raise DataError(f"text targets: expected one column; received {values.shape[1]}; choose one as the target")
        binary = values.dtype.kind in "biu" and bool(np.isin(values, (0, 1)).all())
        return "multilabel" if binary else "regression"
    if values.dtype.kind in "USTOb":
        return "classification"
    if values.dtype.kind == "f" and not _all_whole(values):
        return "regression"
    return whole_task(np.unique(values).size, values.size)


def whole_task(distinct: int, n: int) -> Task:
    """Return the task of `n` whole numbers with that many distinct values; see `infer_task`."""
    many = (distinct > _MANY_VALUES and distinct > _MANY_VALUES_FRACTION * n) or 2 < distinct == n
    return "regression" if many else "classification"


def describe_classes(chosen: Task | None, inferred: Task, n_classes: int) -> str:
    """Return one line on numbers that are classes only because the user says so; empty for other targets."""
    if (chosen, inferred) != ("classification", "regression"):
        return ""
    return (
        f"warning: the target has {n_classes:,} different numbers, and --task classification takes each for a class; "
        "to predict numbers use --task regression"
    )


def describe_rare_classes(classes: Array, training: Array, others: Sequence[Array]) -> list[str]:
    """Return lines on classes that cannot be learned well: without a training sample, or with a single one of all.

    Parameters
    ----------
    classes : (n_classes,)
    training : (n_samples,)
        Labels of the training part.
    others : sequence of arrays
        Labels of the other parts.
    """
    labels = training, np.concatenate([training, *others])
    learned, counts = (np.bincount(np.searchsorted(classes, each), minlength=len(classes)) for each in labels)
    found = {
        "classes without a sample in the training part, which are not learned": classes[learned == 0],
        "classes with a single sample": classes[(counts == 1) & (learned == 1)],
    }
    return [f"{what}: {_some(rare.tolist())}" for what, rare in found.items() if len(rare)]


def _some(labels: list[Any]) -> str:
    more = f" and {len(labels) - _MOST_SHOWN:,} more" if len(labels) > _MOST_SHOWN else ""
    return ", ".join(f"{shown(label):.40}" for label in labels[:_MOST_SHOWN]) + more


class TargetSummary:
    """Task and labels of targets that arrive in blocks; the result is that of `infer_task` for all of them.

    Attributes
    ----------
    n_outputs : int
        Number of columns, 1 for a vector.
    """

    def __init__(self) -> None:
        self.n_outputs = 0
        self._n = 0
        self._kinds: set[str] = set()  # of the blocks: a task, where one block decides it, else "text" or "whole"
        self._labels: Array | None = None
        self._pending: list[Array] = []

    def add(self, y: Array) -> None:
        """Include a block of targets, of shape (n,) or (n, n_outputs)."""
        values = target_array(y)
        self.n_outputs = 1 if values.ndim == 1 else values.shape[1]
        self._n += len(values)
        if values.ndim == 2 or (values.dtype.kind == "f" and not _all_whole(values)):
            self._kinds.add(infer_task(values))
        elif "regression" not in self._kinds:
            self._kinds.add("text" if values.dtype.kind in "USTOb" else "whole")
            self._pending.append(values)
            if sum(map(len, self._pending)) >= _PENDING_LABELS:
                self._merge()

    def _merge(self) -> None:
        known = [] if self._labels is None else [self._labels]
        self._labels = np.unique(np.concatenate([*known, *self._pending]))
        self._pending = []

    @property
    def task(self) -> Task:
        """The task of the targets so far."""
        if "regression" in self._kinds or "multilabel" in self._kinds:
            return "regression" if "regression" in self._kinds else "multilabel"
        labels = self.labels
        return "classification" if "text" in self._kinds else whole_task(labels.size, self._n)

    @property
    def labels(self) -> Array:
        """The distinct values so far, sorted."""
        if self._pending:
            self._merge()
        return np.empty(0) if self._labels is None else self._labels


def encode_targets(y: ArrayLike, task: Task, classes: ArrayLike | None = None) -> tuple[Array, Array | None]:
    """Encode raw targets for a loss.

    Parameters
    ----------
    y : array_like, shape (n_samples,) or (n_samples, n_outputs)
    task : {"classification", "regression", "multilabel"}
    classes : array_like, shape (n_classes,), optional
        The sorted labels of a trained model; by default those of `y`.

    Returns
    -------
    encoded : ndarray
        int32 class indices of shape (n_samples,), or float64 of shape (n_samples, n_outputs).
    classes : ndarray or None
        The sorted class labels; None unless the task is classification.

    Raises
    ------
    DataError
        There is only one class, a label is not in `classes`, or the targets do not fit the task.

    Examples
    --------
    >>> encoded, classes = encode_targets(["cat", "dog", "cat"], "classification")
    >>> encoded.tolist(), classes.tolist()
    ([0, 1, 0], ['cat', 'dog'])
    """
    if task not in ("classification", "regression", "multilabel"):
        raise UnknownNameError.among("task", task, ("classification", "regression", "multilabel"))
    values = target_array(y)
    if task == "classification":
        return _encode_labels(values, None if classes is None else np.asarray(classes))
    if values.dtype.kind in "USTO":
        raise DataError(f"{task} targets: expected numbers; received text such as {shown(values.flat[0]):.60}")
    check_finite(values, "targets", None)
    matrix = values.reshape(len(values), -1).astype(np.float64)
    if task == "multilabel" and not np.isin(matrix, (0.0, 1.0)).all():
        row = int(np.argmin(np.isin(matrix, (0.0, 1.0)).all(axis=1)))
        raise DataError(f"multilabel targets: expected 0 and 1 only; received {matrix[row].tolist()} in row {row + 1}")
    return matrix, None


def _encode_labels(values: Array, classes: Array | None) -> tuple[Array, Array]:
    if values.ndim == 2:
        raise DataError(
            f"class labels: expected one column; received {values.shape[1]} columns; is the task multilabel?"
        )
    check_finite(values, "targets", None)
    if values.dtype.kind == "f" and not _all_whole(values):
        row = int(np.argmax(values != np.floor(values)))
        raise DataError(
            f"class labels: expected text or whole numbers; received {values[row]} in row {row + 1}; "
            "is the task regression?"
        )
    if classes is None:
        classes = np.unique(values)
        if classes.size < 2:
            raise DataError(f"one class: expected at least two classes; received only {shown(classes[0]):.60}")
        if _is_text(classes):
            check_label_lengths(classes.tolist())
    if _is_text(classes) and not _is_text(values):
        # The model has text labels, and this file happens to hold only those that look like numbers.
        values = (values.astype(np.int64) if np.abs(values).max() < 2**53 else values).astype(str)
    if _is_text(classes) != _is_text(values):
        known, indices = np.zeros(len(values), dtype=bool), np.zeros(len(values), dtype=np.int64)
    else:
        indices = np.minimum(np.searchsorted(classes, values), classes.size - 1)
        known = classes[indices] == values
    if not known.all():
        row = int(np.argmin(known))
        listed = ", ".join(str(label) for label in classes[:20]) + (", ..." if classes.size > 20 else "")
        raise DataError(
            f"unknown label: expected one of {listed:.200}; received {shown(str(values[row])):.60} in row {row + 1}"
        )
    return indices.astype(np.int32), classes


def check_label_lengths(labels: Sequence[str]) -> None:
    """Check that text is short enough for labels of classes.

    Raises
    ------
    DataError
        A label has more than 1,000 characters.
    """
    longest = max(labels, key=len, default="")
    if len(longest) > _MAX_LABEL:
        raise DataError(
            f"class labels: expected at most {_MAX_LABEL:,} characters; received {len(longest):,} in "
            f"{longest[:40] + '...'!r}; shorten the labels, or choose another target"
        )


def _is_text(values: Array) -> bool:
    return values.dtype.kind in "USTO"


def _all_whole(values: Array) -> bool:
    return bool((values == np.floor(values)).all())
