"""``xpnet inspect``: what the columns of a table are, and what a training run will do with each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xpnet.cli.console import make_console
from xpnet.cli.table_options import ColumnOptions, column_choices, open_table
from xpnet.data.readers.common import naming
from xpnet.json_text import json_text
from xpnet.markdown import TextTable

if TYPE_CHECKING:
    from xpnet.data.tables.columns import ColumnPlan
    from xpnet.data.tables.target import TargetPlan

__all__ = ["columns_table", "inspect"]

_DEFAULTS = ColumnOptions()


def inspect(data: str, *, options: ColumnOptions = _DEFAULTS, json: bool = False) -> int:
    """Show what the columns of a table are, what training will do with each, and why.

    Parameters
    ----------
    data : str
        A table: text such as .csv, .tsv or .csv.gz, Parquet, Arrow, a folder of these, or - for standard input.
    json : bool
        Print one JSON object on stdout.
    """
    from xpnet.data.tables.survey import survey_table  # pyarrow is slow to import

    file = open_table(data, options, frozenset(filter(None, [options.target])))
    with naming(file.path):
        survey = survey_table(
            (file.read_block(block) for block in range(len(file.block_sizes()))),
            file.schema.names,
            column_choices(options),
            duplicates=file.duplicates,
            where=file.where,
            needs_target=False,
        )
    task = "no target yet: name a column with --target" if survey.target is None else _task(survey.target)
    table = columns_table(survey.columns)
    if json:
        rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        found = {"rows": survey.n_rows, "task": survey.target and survey.target.task, "columns": rows}
        print(json_text({**found, "notes": survey.notes}))
        return 0
    from rich import box
    from rich.table import Column, Table
    from rich.text import Text

    console = make_console(wide=True)
    console.print(Text(f"{file.path}: {survey.n_rows:,} rows, {len(file.schema.names):,} columns; {task}"))
    # On a narrow terminal text is folded and never cut: names that begin alike could not be told apart.
    columns = (Column(each, overflow="fold") for each in table.columns)
    shown = Table(*columns, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for row in table.rows:
        shown.add_row(*map(Text, row))
    console.print(shown)
    for note in survey.notes:
        console.print(Text(note), soft_wrap=True)
    return 0


def columns_table(plans: tuple[ColumnPlan, ...]) -> TextTable:
    """Return a table with one row for each column: what it is taken for, what is done with it, and why."""
    rows: list[tuple[str, ...]] = [
        (
            plan.name,
            str(plan.kind),
            f"{plan.summary.missing_share:.1%}" if plan.summary.n_missing else "",
            plan.summary.distinct,
            ", ".join(f"{example:.20}" for example in plan.summary.examples()),
            plan.action,
            plan.reason,
        )
        for plan in plans
    ]
    return TextTable("Columns", ("column", "taken as", "missing", "distinct", "examples", "becomes", "why"), rows)


def _task(target: TargetPlan) -> str:
    left_out = f", {target.n_left_out:,} rows without it left out" if target.n_left_out else ""
    return f"{target.task} of {target.name!r:.60} ({target.reason}{left_out})"
