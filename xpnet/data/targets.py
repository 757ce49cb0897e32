"""Targets: which task they make, and what a loss takes in their place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xpnet.data.scaling import row_blocks
from xpnet.errors import DataError, UnknownNameError

__all__ = ["TargetSummary", "Task", "check_finite", "encode_targets", "infer_task", "target_array"]

Array: TypeAlias = NDArray[Any]
Task: TypeAlias = Literal["classification", "regression", "multilabel"]

# Integer targets with more distinct values than both of these are counts or prices, not classes.
_MANY_VALUES = 20
_MANY_VALUES_FRACTION = 0.1
_MANY_LABELS = 1 << 16  # gathered before they are counted


def infer_task(y: ArrayLike) -> Task:
    """Tell the task from the type and the values of the targets.

    Strings and booleans are classes. Whole numbers (also when stored as floats) are classes, unless there are more
    than 20 distinct values and they are more than 10 % of the samples, or no two of three or more samples share one:
    then they are a quantity, as are all other floats. A matrix of two columns or more is multilabel when it is boolean
    or holds integers 0 and 1 only, else regression with several outputs.

    Parameters
    ----------
    y : array_like, shape (n_samples,) or (n_samples, n_outputs)

    Raises
    ------
    DataError
        When `y` is empty, has more than two dimensions, or mixes types.

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
    return _whole_task(np.unique(values).size, values.size)


def _whole_task(distinct: int, n: int) -> Task:
    """Tell the task of `n` whole numbers."""
    # Nor are they classes where no two samples share one.
    many = (distinct > _MANY_VALUES and distinct > _MANY_VALUES_FRACTION * n) or 2 < distinct == n
    return "regression" if many else "classification"


class TargetSummary:
    """What targets are, told from some at a time, as `infer_task` tells it from all of them.

    Attributes
    ----------
    n_outputs : int
        Columns, 1 for a vector.
    """

    def __init__(self) -> None:
        self.n_outputs = 0
        self._n = 0
        self._kinds: set[str] = set()  # of the pieces: tasks, where that follows from a piece alone
        self._labels: Array | None = None
        self._pending: list[Array] = []

    def add(self, y: Array) -> None:
        """Take targets in."""
        values = target_array(y)
        self.n_outputs = 1 if values.ndim == 1 else values.shape[1]
        self._n += len(values)
        if values.ndim == 2 or (values.dtype.kind == "f" and not _all_whole(values)):
            self._kinds.add(infer_task(values))
        elif "regression" not in self._kinds:
            self._kinds.add("text" if values.dtype.kind in "USTOb" else "whole")
            self._pending.append(values)
            if sum(map(len, self._pending)) >= _MANY_LABELS:
                self._merge()

    def _merge(self) -> None:
        known = [] if self._labels is None else [self._labels]
        self._labels = np.unique(np.concatenate([*known, *self._pending]))
        self._pending = []

    @property
    def task(self) -> Task:
        """The task that these targets make."""
        if "regression" in self._kinds or "multilabel" in self._kinds:
            return "regression" if "regression" in self._kinds else "multilabel"
        labels = self.labels
        return "classification" if "text" in self._kinds else _whole_task(labels.size, self._n)

    @property
    def labels(self) -> Array:
        """The distinct values, sorted."""
        if self._pending:
            self._merge()
        return np.empty(0) if self._labels is None else self._labels


def encode_targets(y: ArrayLike, task: Task, classes: ArrayLike | None = None) -> tuple[Array, Array | None]:
    """Turn raw targets into what a loss takes.

    Parameters
    ----------
    y : array_like, shape (n_samples,) or (n_samples, n_outputs)
    task : {"classification", "regression", "multilabel"}
    classes : array_like, shape (n_classes,), optional
        The sorted labels of a trained model; without them they are taken from `y`.

    Returns
    -------
    encoded : ndarray
        int32 class indices of shape (n_samples,), or float64 of shape (n_samples, n_outputs).
    classes : ndarray or None
        The sorted class labels; None unless the task is classification.

    Raises
    ------
    DataError
        One class only; a label that is not in `classes`; targets that do not fit the task.

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
        raise DataError(f"{task} targets: expected numbers; received text such as {values.flat[0]!r:.60}")
    check_finite(values, "targets", None)
    matrix = values.reshape(len(values), -1).astype(np.float64)
    if task == "multilabel" and not np.isin(matrix, (0.0, 1.0)).all():
        row = int(np.argmin(np.isin(matrix, (0.0, 1.0)).all(axis=1)))
        raise DataError(f"multilabel targets: expected 0 and 1 only; received {matrix[row].tolist()} in row {row + 1}")
    return matrix, None


def target_array(y: ArrayLike) -> Array:
    """Return `y` as an array of shape (n,) or (n, k > 1), objects turned into the type that they are."""
    try:
        values = np.asarray(y)
        if values.dtype.kind == "O" and not all(isinstance(value, str) for value in values.flat):
            values = np.asarray(values.tolist())
            if values.dtype.kind in "SU":
                raise DataError("targets: expected text or numbers; received both in one column")
    except (ValueError, OverflowError) as exc:
        if isinstance(exc, DataError):
            raise
        raise DataError("targets: expected one value a sample; received sequences of unequal length") from exc
    if values.ndim not in (1, 2) or (values.ndim == 2 and values.shape[1] == 0):
        raise DataError(f"targets: expected shape (n_samples,) or (n_samples, n_outputs); received {values.shape}")
    if len(values) == 0:
        raise DataError("no samples: expected at least one target; received none")
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "backslashreplace")
    if values.dtype.kind not in "biufUST" and not isinstance(values.flat[0], str):
        raise DataError(f"targets: expected numbers or text; received {values.flat[0]!r:.60} (dtype {values.dtype})")
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def check_finite(values: Array, what: str, names: Sequence[str] | None) -> None:
    """Name the first NaN or infinity, by row and then by column."""
    if values.dtype.kind != "f":
        return
    for rows in row_blocks(values):
        finite = np.isfinite(values[rows])
        if not finite.all():
            row, *column = (int(i) for i in np.argwhere(~finite)[0])
            value = values[rows][(row, *column)]
            where = ""
            if column:
                where = f"column {names[column[0]]!r:.60}, " if names is not None else f"column {column[0] + 1}, "
            raise DataError(
                f"{what}: expected finite numbers; received {value} in {where}row {rows.start + row + 1}; "
                f"remove the row or fill in the value"
            )


def _encode_labels(values: Array, classes: Array | None) -> tuple[Array, Array]:
    if values.ndim == 2:
        raise DataError(f"class labels: expected one column; received {values.shape[1]}; is the task multilabel?")
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
            raise DataError(f"one class: expected at least two classes to tell apart; received only {classes[0]!r:.60}")
    if _is_text(classes) and not _is_text(values):
        # A file whose labels happen to be all numbers, for a model whose labels were not.
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
            f"unknown label: expected one of {listed:.200}; received {str(values[row])!r:.60} in row {row + 1}"
        )
    return indices.astype(np.int32), classes


def _is_text(values: Array) -> bool:
    return values.dtype.kind in "USTO"


def _all_whole(values: Array) -> bool:
    return bool((values == np.floor(values)).all())
