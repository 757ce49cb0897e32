"""What is done with each column of a table, and why."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import pyarrow.compute as pc
import pyarrow.types as pt

from xpnet.data.tables.parse import Reading, find_reading
from xpnet.data.tables.summary import ColumnSummary, TableSummary
from xpnet.data.tables.values import as_numbers, is_supported
from xpnet.errors import InvalidParameterError, shown

__all__ = ["ColumnKind", "ColumnPlan", "frequent_categories", "plan_columns"]

ColumnKind: TypeAlias = Literal["number", "boolean", "category", "ordered", "date", "left out", "refused"]

_MAX_CATEGORIES = 256  # with a feature of their own; in long tables fewer, for they take memory
_MIN_CATEGORIES = 64
_MAX_INDICATORS = 1 << 25
_MIN_ROWS = 3  # that a category has for a feature of its own, if any category has so many
_UNIQUE = 0.95  # share of distinct texts above which a column says nothing about other rows
_FREE_TEXT = 30, 4  # mean characters and spaces above which a text is a sentence, not a name

_ROW_NUMBERS = "they count the rows"
_NAMELESS = re.compile(r"\s*|Unnamed: [0-9.]+|__index_level_[0-9]+__")
_ID_WORDS = {"id", "ids", "key", "pk", "no", "nr", "num", "number", "index", "idx", "row", "rows", "uuid", "guid"}
_ID_NAMES = re.compile(
    r"row(id|num|number|names?)|(passenger|customer|user|client|order|patient|record|item|case|person)id"
)
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


@dataclass(frozen=True)
class ColumnPlan:
    """What is done with a column.

    Attributes
    ----------
    name : str
    kind : {"number", "boolean", "category", "ordered", "date", "left out", "refused"}
        "refused": free text, for which the user has to decide.
    reason : str
        What the column is taken for, and why: ``"numbers, 3 % missing"``, ``"row numbers"``.
    action : str
        What is done with it: ``"median, missing flag, scaled"``.
    reading : Reading
        How its text is read.
    summary : ColumnSummary
        What the column holds.
    is_told : bool
        Whether the user has decided the kind.
    """

    name: str
    kind: ColumnKind
    reason: str
    action: str
    reading: Reading
    summary: ColumnSummary
    is_told: bool = False

    @property
    def is_feature(self) -> bool:
        """Whether the column is encoded."""
        return self.kind not in ("left out", "refused")


def plan_columns(
    summary: TableSummary,
    *,
    categorical: Sequence[str] = (),
    numeric: Sequence[str] = (),
    date: Sequence[str] = (),
    drop: Sequence[str] = (),
    exclude: Collection[str] = (),
) -> tuple[ColumnPlan, ...]:
    """Decide what is done with each column.

    Parameters
    ----------
    summary : TableSummary
    categorical, numeric, date : sequence of str
        Columns that are taken as such, whatever they hold.
    drop : sequence of str
        Columns to leave out.
    exclude : collection of str
        Columns that have another use, such as the target; they get no plan.

    Returns
    -------
    tuple of ColumnPlan
        In the order of the table.

    Raises
    ------
    InvalidParameterError
        A column does not exist, or is named twice, or no value can be read as the parameter says.
    """
    columns = [column for column in summary.columns if column.name not in exclude]
    wishes = _wishes([column.name for column in columns], categorical, numeric, date, drop)
    plans = [_wished(column, wishes[column.name]) if column.name in wishes else _usual(column) for column in columns]
    if not any(plan.is_feature for plan in plans):
        # Numbers that happen to count the rows are better than no feature, unless the name says that they do only that.
        plans = [_number(plan.summary) if plan.reason == _ROW_NUMBERS else plan for plan in plans]
    return tuple(plans)


def _wishes(names: Sequence[str], *wished: Sequence[str]) -> dict[str, str]:
    wishes: dict[str, str] = {}
    known = set(names)
    for kind, chosen in zip(("categorical", "numeric", "date", "drop"), wished, strict=True):
        if isinstance(chosen, str):
            raise InvalidParameterError(f"{kind}: expected a sequence of names; received the text {shown(chosen):.60}")
        for name in chosen:
            if name not in known:
                near = difflib.get_close_matches(name, names, n=1) if len(names) <= 10_000 else []
                hint = f". Did you mean {shown(near[0])}?" if near else ""
                raise InvalidParameterError(f"{kind}: expected a column of features; received {shown(name):.60}{hint}")
            if wishes.setdefault(name, kind) != kind:
                raise InvalidParameterError(
                    f"{kind}: expected a column that no other parameter names; received {shown(name):.60}, named in "
                    f"{wishes[name]} too"
                )
    return wishes


def _wished(column: ColumnSummary, wish: str) -> ColumnPlan:
    if wish == "drop":
        return replace(_left_out(column, "as told"), is_told=True)
    if column.n_present == 0 or not is_supported(column.kind):
        raise InvalidParameterError(
            f"{wish}: expected a column with values; received {shown(column.name):.60}, which has none"
        )
    if wish == "categorical":
        return replace(_category(column, "categories, as told"), is_told=True)
    kind: Literal["number", "date"] = "number" if wish == "numeric" else "date"
    reading = Reading(kind)
    if pt.is_string(column.values.type):
        reading = find_reading(column.values, _weights(column), column.decimal, among=(kind,))
    if reading.kind != kind:
        raise InvalidParameterError(
            f"date: column {shown(column.name):.60}: day and month cannot be told apart; expected dates such as "
            f"2012-01-31; received {shown(column.examples(1)[0]):.40}"
        )
    if np.isnan(as_numbers(column.values, reading)).all():
        raise InvalidParameterError(
            f"{wish}: column {shown(column.name):.60}: expected {kind}s; received {shown(column.examples(1)[0]):.40}"
        )
    plan = _number(column, reading) if kind == "number" else _date(column, reading)
    return replace(plan, reason=f"{plan.reason}, as told", is_told=True)


def _weights(column: ColumnSummary) -> np.ndarray:
    return column.counts if column.is_complete else np.ones_like(column.counts)


def _usual(column: ColumnSummary) -> ColumnPlan:
    if not is_supported(column.kind):
        return _left_out(column, f"{column.kind}, which cannot be encoded"[:60])
    if column.n_present == 0:
        return _left_out(column, "no values")
    if _NAMELESS.fullmatch(column.name):
        return _left_out(column, "row numbers" if column.is_row_number else "a column without a name")
    if column.is_row_number and column.n_rows > 2:
        return _left_out(column, "row numbers" if _is_id(column.name) else _ROW_NUMBERS)
    if pt.is_dictionary(column.kind):
        return _ordered(column) if column.levels else _text(column, "categories")
    reading, totals = column.reading, column.totals
    one = column.is_complete and (column.n_distinct == 1 or (totals.low == totals.high and not totals.n_unread))
    if one and (column.n_missing == 0 or reading.kind in ("number", "date")):
        return _left_out(column, f"one value, {column.examples(1)[0]:.40}{', else missing' * bool(column.n_missing)}")
    if reading.kind == "number" and not (totals.n_unread and totals.low == totals.high) and not _is_code(column):
        return _number_or_id(column)
    if reading.kind == "date":
        return _date(column, reading)
    if reading.kind == "boolean":
        return ColumnPlan(
            column.name,
            "boolean",
            f"true or false{_missing(column)}",
            "one column of -1 and 1" + ", missing 0" * bool(column.n_missing),
            reading,
            column,
        )
    if reading.order is None:
        return _left_out(column, "dates whose day and month cannot be told apart; write 2012-01-31")
    return _text(column, "codes with zeros in front" if reading.kind == "number" and _is_code(column) else "text")


def _left_out(column: ColumnSummary, reason: str) -> ColumnPlan:
    return ColumnPlan(column.name, "left out", reason, "left out", column.reading, column)


def _is_id(name: str) -> bool:
    words = {word.lower() for word in _WORDS.findall(name)}
    return bool(words & _ID_WORDS) or bool(_ID_NAMES.fullmatch(name.lower()))


def _is_code(column: ColumnSummary) -> bool:
    """Return True for digits of one length with zeros in front, such as postal codes."""
    return column.has_codes and pc.count_distinct(pc.utf8_length(column.values)).as_py() == 1


def _missing(column: ColumnSummary) -> str:
    if not column.n_missing:
        return ""
    percent = 100 * column.missing_share
    return f", {'less than 1' if percent < 1 else f'{min(percent, 99):.0f}'} % missing"


def _number_or_id(column: ColumnSummary) -> ColumnPlan:
    whole = column.totals.n_whole == column.n_rows
    if whole and column.is_unique and column.n_rows > 10 and _is_id(column.name):
        return _left_out(column, "whole numbers unique to each row")
    return _number(column)


def _number(column: ColumnSummary, reading: Reading | None = None) -> ColumnPlan:
    reading = reading or column.reading
    unread = column.totals.n_unread if reading == column.reading else 1
    noted = f", {unread:,} not a number" if column.totals.n_unread and reading == column.reading else ""
    filled = "median, missing flag, scaled" if column.n_missing or unread else "scaled"
    words = "per cent" if reading.percent else "numbers"
    return ColumnPlan(column.name, "number", f"{words}{_missing(column)}{noted}", filled, reading, column)


def _ordered(column: ColumnSummary) -> ColumnPlan:
    levels = column.levels or ()
    return ColumnPlan(
        column.name,
        "ordered",
        f"ordered categories{_missing(column)}",
        f"rank among {len(levels)}, scaled",
        Reading("text"),
        column,
    )


def _date(column: ColumnSummary, reading: Reading) -> ColumnPlan:
    action = "elapsed days; year, month, weekday and hour where they vary"
    return ColumnPlan(column.name, "date", f"dates{_missing(column)}", action, reading, column)


def _text(column: ColumnSummary, words: str) -> ColumnPlan:
    if not column.is_complete:
        return _left_out(column, f"{column.distinct} different texts")
    if column.n_distinct > 2 and column.n_distinct >= _UNIQUE * column.n_present:
        return _left_out(column, "a value unique to each row")
    if column.n_distinct > _MIN_CATEGORIES and pt.is_string(column.values.type):
        length = pc.mean(pc.utf8_length(column.values)).as_py()
        spaces = pc.mean(pc.count_substring(column.values, " ")).as_py()
        if length >= _FREE_TEXT[0] and spaces >= _FREE_TEXT[1]:
            action = "refused: drop it, or take it as categorical"
            return ColumnPlan(column.name, "refused", "free text", action, Reading("text"), column)
    return _category(column, words)


def _category(column: ColumnSummary, words: str) -> ColumnPlan:
    n, frequent = column.n_distinct, int(frequent_categories(_weights(column), column.n_rows).sum())
    if n == 2:
        action = "one column of -1 and 1" + ", missing 0" * bool(column.n_missing)
    else:
        pooled = f"{frequent} values of {column.distinct}, the rare ones pooled"
        action = f"one-hot, {pooled if frequent < n else f'{n} value' + 's' * (n > 1)}"
        action += ", missing as one more" * bool(column.n_missing and n > 1)
    return ColumnPlan(column.name, "category", f"{words}{_missing(column)}", action, Reading("text"), column)


def frequent_categories(counts: np.ndarray, n_rows: int) -> np.ndarray:
    """Return which categories get a feature of their own, given the rows of each and of the whole table.

    They are those with at least 3 rows, or 2 if none has more; at most 256, and fewer in tables with more than 131,072
    rows, but not fewer than 64.
    """
    limit = max(_MIN_CATEGORIES, min(_MAX_CATEGORIES, _MAX_INDICATORS // max(1, n_rows)))
    frequent = counts >= min(_MIN_ROWS, max(2, int(counts.max(initial=0))))
    if len(counts) <= 2:
        return np.ones(len(counts), dtype=bool)
    ranks = np.empty(len(counts), dtype=np.int64)
    ranks[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return np.asarray(frequent & (ranks < limit))
