"""The target of a table: what it is taken for, and its values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from xpnet.data.tables.json_form import checked_choice, checked_fields, checked_reading, checked_text, checked_truth
from xpnet.data.tables.parse import Reading
from xpnet.data.tables.summary import ColumnSummary
from xpnet.data.tables.values import as_labels, as_numbers, as_values, is_supported
from xpnet.data.targets import Task, whole_task
from xpnet.errors import DataError, InvalidParameterError

__all__ = ["TargetKind", "TargetPlan", "plan_target"]

Array: TypeAlias = NDArray[Any]
TargetKind: TypeAlias = Literal["text", "integer", "float", "boolean"]

_DTYPES = {"integer": np.int64, "float": np.float64, "boolean": np.bool_}
_FEW = 20  # distinct numbers that may be labels beside other texts
_MANY = 100  # distinct whole numbers above which they are quantities
_ALL_DIFFERENT = 10  # rows above which texts that are all different are no labels
_INTEGER = r"^(?:0|-?[1-9][0-9]{0,14})$"  # as Python writes it, and exact in float64


@dataclass(frozen=True)
class TargetPlan:
    """How the target is read.

    Attributes
    ----------
    name : str
    kind : {"text", "integer", "float", "boolean"}
        The type of the values: str, int64, float64 or bool.
    task : {"classification", "regression"}
    reading : Reading
        How text is read as numbers.
    follows : bool
        Whether the decimal sign is that of the table, whatever it is.
    n_missing : int
        Rows without a target, which are left out.
    unread : tuple of (str, int, int)
        The first values that are no numbers where numbers are expected: the text, its rows, the first of them, counted
        from 0. These rows are left out too.
    n_unread : int
    reason : str
        What the target is taken for, and why.
    """

    name: str
    kind: TargetKind
    task: Task
    reading: Reading
    follows: bool
    n_missing: int = 0
    unread: tuple[tuple[str, int, int], ...] = ()
    n_unread: int = 0
    reason: str = ""

    @property
    def n_left_out(self) -> int:
        """Rows without a usable target."""
        return self.n_missing + self.n_unread

    def read(
        self, column: pa.ChunkedArray | pa.Array, decimal: Any = ".", *, first_row: int = 0
    ) -> tuple[Array, Array]:
        """Return the values of a column, and which rows have one.

        Parameters
        ----------
        column : pyarrow.ChunkedArray or pyarrow.Array
            The target of a table or of a part of it.
        decimal : {".", ","}
            The decimal sign of the table.
        first_row : int
            The row of the whole table with which the column begins, for messages.

        Returns
        -------
        values : ndarray, shape (n_kept,)
        keep : ndarray of bool, shape (n_rows,)

        Raises
        ------
        DataError
            A number is infinite, or is no whole number where labels are.
        """
        chunked = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
        values = as_values([chunked], [self.name])
        keep = values.is_valid().to_numpy(zero_copy_only=False)
        if self.kind == "text":
            return as_labels(values.drop_null()), keep
        if self.kind == "integer" and pt.is_integer(values.type):
            return values.drop_null().to_numpy().astype(np.int64), keep
        numbers = as_numbers(values, replace(self.reading, decimal=decimal) if self.follows else self.reading)
        keep &= ~np.isnan(numbers)
        wrong = keep & (np.isinf(numbers) | (self.kind == "integer" and numbers != np.floor(numbers)))
        if wrong.any():
            row = int(wrong.argmax())
            expected = "whole numbers" if self.kind == "integer" else "finite numbers"
            raise DataError(
                f"target {self.name!r:.60}: expected {expected}; received {numbers[row]:g} in row {first_row + row + 1}"
            )
        known = (numbers[keep] + 1) / 2 if self.reading.kind == "boolean" else numbers[keep]
        return known.astype(_DTYPES[self.kind]), keep

    def to_dict(self) -> dict[str, Any]:
        """Return what `read` needs as plain JSON."""
        names = ("name", "kind", "task", "follows")
        return {**{name: getattr(self, name) for name in names}, "reading": asdict(self.reading)}

    @classmethod
    def from_dict(cls, content: Any) -> TargetPlan:
        """Return the plan that `to_dict` has written, without the counts.

        Raises
        ------
        DataError
            It is malformed.
        """
        found = checked_fields(content, "target", ("name", "kind", "task", "follows", "reading"))
        return cls(
            checked_text(found["name"], "target: name"),
            checked_choice(found["kind"], "target: kind", get_args(TargetKind)),
            checked_choice(found["task"], "target: task", get_args(Task)),
            checked_reading(found["reading"], "target: reading"),
            checked_truth(found["follows"], "target: follows"),
        )


def plan_target(
    column: ColumnSummary, task: Task | None = None, *, where: Callable[[int], str] = lambda row: f"row {row + 1}"
) -> TargetPlan:
    """Decide how a target is read, and the task.

    Text is numbers if at least 90 % of its rows are; the other rows are left out. Yet labels keep their text: if there
    are at most 20 distinct numbers beside other texts, if digits have zeros in front or there are more than 15 of them,
    and if they are dates. Whole numbers are quantities if more than 100 differ, or more than 20 and one is negative;
    else they are classes or quantities as `xpnet.data.targets.infer_task` decides.

    Parameters
    ----------
    column : ColumnSummary
    task : {"classification", "regression"}, optional
    where : callable
        Returns the place of a row, counted from 0, for the message.

    Raises
    ------
    DataError
        There is no target, a number is infinite, or there is another text in each row.
    InvalidParameterError
        `task` does not fit the values.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from xpnet.data.tables.summary import TableSummary
    >>> summary = TableSummary()
    >>> summary.add(pa.table({"price": ["1.5", "2.25", None, "3.75"]}))
    >>> plan = plan_target(summary.columns[0])
    >>> plan.kind, plan.task, plan.n_left_out
    ('float', 'regression', 1)
    """
    if not is_supported(column.kind):
        raise DataError(f"target {column.name!r:.60}: expected numbers or labels; received {column.kind}")
    if column.n_present == 0:
        raise DataError(f"target {column.name!r:.60}: expected values; received {column.n_rows:,} rows without any")
    plan = _plan(column, task)
    all_different = column.n_distinct == column.n_present > _ALL_DIFFERENT
    if plan.kind == "text" and (all_different or not column.is_complete):
        raise DataError(
            f"target {column.name!r:.60}: expected numbers, or labels that several rows share; received "
            f"{column.distinct} different texts in {column.n_present:,} rows, such as {column.examples(1)[0]!r:.40}"
        )
    if plan.kind in ("integer", "float") and column.totals.infinite is not None:
        raise DataError(
            f"target {column.name!r:.60}: expected finite numbers; received an infinite one in "
            f"{where(column.totals.infinite)}"
        )
    return plan


def _plan(column: ColumnSummary, task: Task | None) -> TargetPlan:
    is_text = pt.is_string(column.values.type)
    if pt.is_boolean(column.values.type) or (is_text and _is_python_truth(column.values)):
        if task == "regression":
            return _of_numbers(column, Reading("boolean"), task, "float")
        return _target(column, "boolean", "classification", Reading("boolean"), "true or false")
    if pt.is_timestamp(column.values.type):
        return _as_text(column, task, "dates")
    if not is_text:
        return _of_numbers(column, Reading("number"), task)
    if column.is_complete and _all_match(column.values, _INTEGER):
        return _of_numbers(column, Reading("number", column.decimal), task)
    if task != "regression" and column.is_complete and _all_match(column.values, r"^-?[0-9]+$"):
        zeros = not _all_match(column.values, r"^(?:0|-?[1-9][0-9]*)$")
        return _as_text(column, task, "digits with zeros in front" if zeros else "digits, too many for a number")
    reading, totals = column.reading, column.totals
    if task == "regression" and reading.kind != "number":
        raise InvalidParameterError(
            f"task: expected classification for text; received regression, but the target {column.name!r:.60} has "
            f"values such as {column.examples(1)[0]!r:.40}"
        )
    if reading.kind == "text" and task is None:
        _check_labels(column)
    if reading.kind != "number":
        return _as_text(column, task, "dates" if reading.kind == "date" else "text")
    labels = totals.n_unread and (task == "classification" or (task is None and _n_numbers(column) <= _FEW))
    return _as_text(column, task, "numbers and other texts") if labels else _of_numbers(column, reading, task)


def _check_labels(column: ColumnSummary) -> None:
    """Refuse texts most of which are different numbers: these are quantities, and the others no labels."""
    numbers = as_numbers(column.values, Reading("number", column.decimal))
    n = np.unique(numbers[~np.isnan(numbers)]).size
    if n > max(_FEW, column.n_distinct / 2):
        text = column.values[int(np.isnan(numbers).argmax())].as_py()
        raise DataError(
            f"target {column.name!r:.60}: expected numbers or labels; received {n:,} different numbers and texts such "
            f"as {text!r:.40}; leave the rows of a text out with --missing TEXT, or use --task classification"
        )


def _all_match(values: pa.Array, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(values, pattern)).as_py())


def _is_python_truth(values: pa.Array) -> bool:
    return set(values.slice(0, 3).to_pylist()) <= {"True", "False"} and len(values) <= 2


def _n_numbers(column: ColumnSummary) -> int:
    """Return the number of distinct numbers, as far as distinct values have been kept."""
    numbers = as_numbers(column.values, column.reading)
    return int(np.unique(numbers[~np.isnan(numbers)]).size)


def _as_text(column: ColumnSummary, task: Task | None, reason: str) -> TargetPlan:
    if task == "regression":
        raise InvalidParameterError(
            f"task: expected classification; received regression, but the target {column.name!r:.60} is {reason}"
        )
    return _target(column, "text", "classification", Reading("text"), reason)


def _of_numbers(
    column: ColumnSummary, reading: Reading, task: Task | None, kind: TargetKind | None = None
) -> TargetPlan:
    totals = column.totals
    whole = totals.n_whole == totals.n_read
    exact = whole and max(abs(totals.low), abs(totals.high)) < 2**63
    plain = pt.is_integer(column.values.type) or _all_match(column.values.cast(pa.string()), _INTEGER)
    if kind is None and pt.is_uint64(column.values.type) and not exact:
        return _as_text(column, task, "digits, too many for a number")
    kind = kind or ("integer" if exact and (plain or totals.n_unread) else "float")
    n = _n_numbers(column)
    usual = "regression" if not whole or _are_quantities(n, totals.low) else whole_task(n, totals.n_read)
    if task == "classification" and not whole:
        raise InvalidParameterError(
            f"task: expected regression for numbers with decimals; received classification for the target "
            f"{column.name!r:.60}"
        )
    words = "whole numbers" if whole else "numbers"
    distinct = f", {column.distinct} distinct" if whole and task is None else ""
    return _target(column, kind, task or usual, reading, words + distinct)


def _are_quantities(n_distinct: int, low: float) -> bool:
    """Return True for whole numbers that are counts, prices or differences, however many rows share each.

    Labels are few, and are not negative beyond the -1 of two classes.
    """
    return n_distinct > _MANY or (low < 0 and n_distinct > _FEW)


def _target(column: ColumnSummary, kind: TargetKind, task: Task, reading: Reading, reason: str) -> TargetPlan:
    numeric = kind in ("integer", "float")
    unread = tuple((value, n, row) for value, (n, row) in column.totals.unread.items()) if numeric else ()
    return TargetPlan(
        column.name,
        kind,
        task,
        reading,
        reading.decimal == column.decimal,
        column.n_missing,
        unread,
        column.totals.n_unread if numeric else 0,
        reason,
    )
