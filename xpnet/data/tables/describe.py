"""What users are told about the columns of a table: what is left out, what cannot be read, and what is wrong."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Sequence

from xpnet.data.tables.columns import ColumnPlan
from xpnet.errors import DataError

__all__ = ["check_features", "describe_left_out", "describe_missing", "describe_unparsed"]

_LISTED = 12  # columns named in one line
_LOCATED = 4  # columns whose first missing value is located, which may take a scan of the text


def describe_left_out(plans: Iterable[ColumnPlan]) -> str:
    """Return one line on the columns that are left out, empty if there are none.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from xpnet.data.tables.columns import plan_columns
    >>> from xpnet.data.tables.summary import TableSummary
    >>> summary = TableSummary()
    >>> summary.add(pa.table({"Unnamed: 0": ["0", "1", "2"], "a": ["5", "7", "5"], "b": ["x", "x", "x"]}))
    >>> describe_left_out(plan_columns(summary))
    "left out: 'Unnamed: 0' (row numbers), 'b' (one value, x)"
    """
    return _listed("left out: ", [f"{plan.name!r:.60} ({plan.reason})" for plan in plans if plan.kind == "left out"])


def describe_missing(plans: Iterable[ColumnPlan], where: Callable[[int], str]) -> str:
    """Return one line on the features with missing values, empty if there are none.

    Parameters
    ----------
    plans : iterable of ColumnPlan
    where : callable
        Returns the place of a row, counted from 0.
    """
    gaps = [plan.summary for plan in plans if plan.is_feature and plan.summary.n_missing]
    named = [
        f"{gap.name!r:.60} ({gap.n_missing:,} row{'s' * (gap.n_missing > 1)}, the first in {where(gap.first_missing)})"
        for gap in gaps[:_LOCATED]
        if gap.first_missing is not None
    ]
    return _listed("missing values filled in: ", named + [f"{gap.name!r:.60}" for gap in gaps[_LOCATED:]])


def describe_unparsed(plans: Iterable[ColumnPlan], where: Callable[[int], str]) -> str:
    """Return one line on the values of number and date columns that cannot be read, empty if there are none.

    Parameters
    ----------
    plans : iterable of ColumnPlan
    where : callable
        Returns the place of a row, counted from 0.
    """
    unread = [
        (value, plan.name, n, first)
        for plan in plans
        if plan.kind in ("number", "date") and plan.reading == plan.summary.reading
        for value, (n, first) in plan.summary.totals.unread.items()
    ]
    located = [
        f"{value!r:.40} in column {name!r:.60} ({n:,} row{'s' * (n > 1)}, the first in {where(first)})"
        for value, name, n, first in unread[:_LOCATED]
    ]
    others = [f"{value!r:.40} in column {name!r:.60}" for value, name, _, _ in unread[_LOCATED:]]
    return _listed("taken as missing: ", located + others)


def _listed(start: str, parts: list[str]) -> str:
    more = f", and {len(parts) - _LISTED:,} more" if len(parts) > _LISTED else ""
    return start + ", ".join(parts[:_LISTED]) + more if parts else ""


def check_features(
    plans: Sequence[ColumnPlan],
    where: Callable[[int], str] = lambda row: f"row {row + 1}",
    option: Callable[[str, str], str] = lambda parameter, name: f"--{parameter} {shlex.quote(name)}",
) -> None:
    """Check that there are features, that no column is refused, and that no number is lost without a word.

    In a column of numbers, a value with digits that is no number, such as ``"<1.0"``, may be a number in another
    notation. It is refused unless the user says that the column is numeric; then it is missing.

    Parameters
    ----------
    plans : sequence of ColumnPlan
    where : callable
        Returns the place of a row, counted from 0, for the message.
    option : callable
        Returns how users give a column to a parameter: ``"drop"`` and a name to ``"--drop NAME"``.

    Raises
    ------
    DataError
    """
    for plan in plans:
        if plan.kind == "refused":
            raise DataError(
                f"column {plan.name!r:.60}: expected numbers, categories or dates; received free text such as "
                f"{plan.summary.examples(1)[0]!r:.40}; leave it out with {option('drop', plan.name)}, or take each "
                f"text as a category with {option('categorical', plan.name)}"
            )
        if plan.kind == "number" and plan.summary.totals.infinite is not None:
            raise DataError(
                f"column {plan.name!r:.60}: expected finite numbers; received an infinite one in "
                f"{where(plan.summary.totals.infinite)}; remove the row or fill in the value"
            )
        if plan.kind == "number":
            _check_numbers(plan, where, option)
    if any(plan.is_feature for plan in plans):
        return
    causes = [_cause(plan, where) for plan in plans[:_LISTED]]
    names = " or ".join(option(kind, plans[0].name if plans else "NAME") for kind in ("numeric", "categorical"))
    raise DataError(
        f"no features: expected a column that differs between rows and says more than which row it is; received "
        f"{'; '.join(causes) or 'none besides the target'}. To use one, name it, as in {names}"
    )


def _check_numbers(plan: ColumnPlan, where: Callable[[int], str], option: Callable[[str, str], str]) -> None:
    totals = plan.summary.totals
    if totals.infinite is not None:
        raise DataError(
            f"column {plan.name!r:.60}: expected finite numbers; received an infinite one in "
            f"{where(totals.infinite)}; remove the row or fill in the value"
        )
    doubtful = [(row, value) for value, (_, row) in totals.unread.items() if re.search(r"\d", value)]
    if doubtful and not plan.is_told:
        row, value = min(doubtful)
        raise DataError(
            f"column {plan.name!r:.60}: expected numbers; received {value!r:.40} in {where(row)}; correct it, count "
            f"such values as missing with {option('numeric', plan.name)}, or take all as categories with "
            f"{option('categorical', plan.name)}"
        )


def _cause(plan: ColumnPlan, where: Callable[[int], str]) -> str:
    first = plan.summary.first_missing
    place = f" in {where(first)}" if first is not None and plan.summary.n_present else ""
    return f"column {plan.name!r:.60}: {plan.reason}{place}"
