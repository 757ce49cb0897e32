"""The survey of a table: its target, and what is done with each other column, from one pass over all rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xpnet.communicator import Communicator, in_turn
from xpnet.data.fingerprint import Fingerprint
from xpnet.data.readers.common import TARGET_NAMES, join_names
from xpnet.data.row_sample import RowSample
from xpnet.data.tables.columns import ColumnPlan, plan_columns
from xpnet.data.tables.describe import check_features, describe_left_out, describe_missing, describe_unparsed
from xpnet.data.tables.leaks import LEAK_ROWS, find_leaks
from xpnet.data.tables.parse import Reading
from xpnet.data.tables.summary import TableSummary
from xpnet.data.tables.target import TargetKind, TargetPlan, plan_target
from xpnet.data.targets import Task, describe_classes
from xpnet.errors import DataError, InvalidParameterError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "ColumnChoices",
    "Survey",
    "describe_rows",
    "find_target",
    "no_target",
    "plan_known_target",
    "survey_table",
]


@dataclass(frozen=True)
class ColumnChoices:
    """What a user decides about columns; everything else follows from the table.

    Attributes
    ----------
    target : str or None
        None: the column called target, label, class or y.
    task : Task or None
    categorical, numeric, date, drop : tuple of str
        Columns that are taken for categories, numbers or dates, or left out; a name may be several, with commas.
    other_uses : tuple of str
        Columns that are no features because they have another use, such as weights.
    """

    target: str | None = None
    task: Task | None = None
    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    date: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    other_uses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Survey:
    """What is known about a table.

    Attributes
    ----------
    n_rows : int
    columns : tuple of ColumnPlan
        What is done with each column beside the target and those of other uses.
    target : TargetPlan or None
    labels : ndarray or None
        The different labels of a target that is classes, sorted.
    notes : tuple of str
        What a user should know, one line each.
    fingerprint : dict or None
        `Fingerprint.to_dict` of all rows, if it was asked for.
    """

    n_rows: int
    columns: tuple[ColumnPlan, ...]
    target: TargetPlan | None
    labels: NDArray[Any] | None
    notes: tuple[str, ...] = field(default=())
    fingerprint: dict[str, Any] | None = None

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Columns that are encoded."""
        return tuple(plan.name for plan in self.columns if plan.is_feature)


def find_target(names: Sequence[str], target: str | None) -> str | None:
    """Return the column of the target: the given one, or the one with a usual name; None if there is none."""
    if target is not None:
        return target if target in names else None
    lowered = {name.strip().lower(): name for name in reversed(names)}
    return next((lowered[name] for name in TARGET_NAMES if name in lowered), None)


def no_target(names: Sequence[str], target: str | None) -> DataError:
    """Return the error for a table without the target."""
    usual = f"a column called {', '.join(TARGET_NAMES[:-1])} or {TARGET_NAMES[-1]}"
    near = next((name for name in names if target is not None and name.lower() == target.lower()), None)
    return DataError(
        f"no target: expected {usual if target is None else f'a column {target!r:.60}'}; received the columns "
        f"{join_names(names)}; name one of them as the target"
        + (f". Did you mean {near!r:.60}?" if near is not None else "")
    )


def survey_table(
    tables: Iterable[pa.Table],
    names: Sequence[str],
    choices: ColumnChoices,
    *,
    duplicates: Sequence[str] = (),
    where: Callable[[int], str] = lambda row: f"row {row + 1}",
    needs_target: bool = True,
    fingerprinted: bool = False,
    communicator: Communicator | None = None,
) -> Survey:
    """Look at all rows of a table, and decide what is done with each column.

    Parameters
    ----------
    tables : iterable of pyarrow.Table
        The table, in one piece or in several.
    names : sequence of str
        Its columns.
    choices : ColumnChoices
    duplicates : sequence of str
        Names of which only the first column is read.
    where : callable
        Returns the place of a row, counted from 0, for messages.
    needs_target : bool
        Whether a table without a target is refused.
    fingerprinted : bool
        Whether the rows are fingerprinted too.
    communicator : Communicator, optional
        The tables are then the part of this rank. The survey is that of all rows, without the values of the columns.

    Raises
    ------
    DataError
        There is no target, no feature is left, or a column is free text.
    InvalidParameterError
        A chosen column does not exist or cannot be taken as chosen.
    """
    target_name = find_target(names, choices.target)
    if target_name is None and (needs_target or choices.target is not None):
        raise no_target(names, choices.target)
    if target_name in duplicates:
        raise DataError(f"target: expected one column {target_name!r:.60}; received several; rename the others")
    for name in choices.other_uses:
        if name not in names:
            raise InvalidParameterError(f"expected one of the columns {join_names(names)}; received {name!r:.60}.")
    import pyarrow as pa

    def add(seen: _Seen) -> None:
        for table in tables:
            seen.summary.add(table)
            seen.sample.add(table)
            if seen.fingerprint is not None:
                seen.fingerprint.add(*table.columns)

    def decide(seen: _Seen) -> Survey:
        survey = _decide(seen, names, choices, target_name, duplicates, where)
        return survey if communicator is None else _without_values(survey)

    seen = _Seen(TableSummary(), RowSample(LEAK_ROWS, pa.concat_tables), Fingerprint(names) if fingerprinted else None)
    survey: Survey = in_turn(communicator, seen, add, decide)
    return survey


@dataclass
class _Seen:
    """What a pass over all rows collects."""

    summary: TableSummary
    sample: RowSample
    fingerprint: Fingerprint | None


def _without_values(survey: Survey) -> Survey:
    """Return a survey that takes little memory, for each rank has one."""
    light = (
        replace(plan.summary, values=plan.summary.values[:0], counts=plan.summary.counts[:0]) for plan in survey.columns
    )
    columns = tuple(replace(plan, summary=summary) for plan, summary in zip(survey.columns, light, strict=True))
    return replace(survey, columns=columns)


def _decide(
    seen: _Seen,
    names: Sequence[str],
    choices: ColumnChoices,
    target_name: str | None,
    duplicates: Sequence[str],
    where: Callable[[int], str],
) -> Survey:
    summary = seen.summary
    plans = plan_columns(
        summary,
        categorical=_split(choices.categorical, names),
        numeric=_split(choices.numeric, names),
        date=_split(choices.date, names),
        drop=_split(choices.drop, names),
        exclude=[*choices.other_uses, *([] if target_name is None else [target_name])],
    )
    check_features(plans, where)
    target, labels = None, None
    notes = [describe_left_out(plans), describe_missing(plans, where), describe_unparsed(plans, where)]
    if duplicates:
        notes.append(f"left out: the second and later columns called {join_names(map(repr, duplicates))}")
    if target_name is not None:
        column = next(column for column in summary.columns if column.name == target_name)
        if choices.task == "multilabel":
            raise InvalidParameterError("task: expected classification or regression for a table; received multilabel.")
        target = plan_target(column, choices.task, where=where)
        notes.append(describe_rows(target, where))
        if target.task == "classification":
            labels = np.unique(target.read(column.values, column.decimal)[0])
            if target.kind != "text":
                notes.append(describe_classes(choices.task, plan_target(column, where=where).task, labels.size))
        notes += [
            f"warning: column {leak.name!r:.60} may give the target away: {leak.reason}; leave it out with --drop"
            for leak in find_leaks(seen.sample.rows(), plans, target, column)
        ]
    fingerprint = None if seen.fingerprint is None else seen.fingerprint.to_dict()
    return Survey(summary.n_rows, plans, target, labels, tuple(filter(None, notes)), fingerprint)


def describe_rows(target: TargetPlan, where: Callable[[int], str]) -> str:
    """Return one line on the rows without a usable target, empty if there are none."""
    if not target.n_left_out:
        return ""
    causes = [f"{target.n_missing:,} without a target"] if target.n_missing else []
    causes += [f"{n:,} with {text!r:.40} ({where(row)})" for text, n, row in target.unread[:3]]
    if target.n_unread > sum(n for _, n, _ in target.unread[:3]):
        causes.append("and more")
    rows = f"{target.n_left_out:,} row{'s' * (target.n_left_out > 1)}"
    return f"left out: {rows}, {', '.join(causes)} in column {target.name!r:.60}"


def _split(chosen: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return names of columns; one that is no column but has commas stands for several."""
    known = set(names)
    return [
        part.strip() if part not in known else part
        for name in chosen
        for part in ([name] if name in known or "," not in name else name.split(","))
    ]


def plan_known_target(name: str, task: Task, classes: NDArray[Any] | None) -> TargetPlan:
    """Return how the target of a trained model is read: as the labels of its classes, or as numbers.

    Parameters
    ----------
    name : str
    task : Task
    classes : (n_classes,) ndarray or None
    """
    kinds: dict[str, tuple[TargetKind, Reading]] = {
        "b": ("boolean", Reading("boolean")),
        "i": ("integer", Reading("number")),
        "u": ("integer", Reading("number")),
        "f": ("float", Reading("number")),
    }
    letter = "f" if classes is None else classes.dtype.kind
    kind, reading = kinds.get(letter, ("text", Reading("text")))
    return TargetPlan(name, kind, task, reading, follows=True)
