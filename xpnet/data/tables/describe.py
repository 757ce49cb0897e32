"""What users are told about the columns of a table: what is left out, what cannot be read, and what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from xpnet.data.tables.columns import ColumnPlan
from xpnet.errors import DataError

__all__ = ["check_features", "describe_left_out", "describe_unparsed"]

_LISTED = 12  # columns named in one line


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


def describe_unparsed(plans: Iterable[ColumnPlan]) -> str:
    """Return one line on the values of number and date columns that cannot be read, empty if there are none."""
    unread = [
        f"{value!r:.40} in column {plan.name!r:.60} ({n:,} row{'s' * (n > 1)})"
        for plan in plans
        if plan.kind in ("number", "date") and plan.reading == plan.summary.reading
        for value, (n, _) in plan.summary.totals.unread.items()
    ]
    return _listed("taken as missing: ", unread)


def _listed(start: str, parts: list[str]) -> str:
    more = f", and {len(parts) - _LISTED:,} more" if len(parts) > _LISTED else ""
    return start + ", ".join(parts[:_LISTED]) + more if parts else ""


def check_features(plans: Sequence[ColumnPlan], where: Callable[[int], str] = lambda row: f"row {row + 1}") -> None:
    """Check that there are features, that their numbers are finite, and that no column is refused.

    Parameters
    ----------
    plans : sequence of ColumnPlan
    where : callable
        Returns the place of a row, counted from 0, for the message.

    Raises
    ------
    DataError
    """
    for plan in plans:
        if plan.kind == "refused":
            raise DataError(
                f"column {plan.name!r:.60}: expected numbers, categories or dates; received free text such as "
                f"{plan.summary.examples(1)[0]!r:.40}; leave it out with --drop {plan.name!r:.60}, or take each text "
                f"as a category with --categorical {plan.name!r:.60}"
            )
        if plan.kind == "number" and plan.summary.totals.infinite is not None:
            raise DataError(
                f"column {plan.name!r:.60}: expected finite numbers; received an infinite one in "
                f"{where(plan.summary.totals.infinite)}; remove the row or fill in the value"
            )
    if any(plan.is_feature for plan in plans):
        return
    causes = [_cause(plan, where) for plan in plans[:_LISTED]]
    raise DataError(
        f"no features: expected a column that differs between rows and says more than which row it is; received "
        f"{'; '.join(causes) or 'none besides the target'}. To use one, name it with --numeric or --categorical"
    )


def _cause(plan: ColumnPlan, where: Callable[[int], str]) -> str:
    first = plan.summary.first_missing
    place = f" in {where(first)}" if first is not None and plan.summary.n_present else ""
    return f"column {plan.name!r:.60}: {plan.reason}{place}"
