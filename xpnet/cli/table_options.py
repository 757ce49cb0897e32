"""Options of every command that reads a table: how it is read, and what its columns are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter, Token

from xpnet.data.tables.files import TableFile, TableOptions

if TYPE_CHECKING:
    from xpnet.data.tables.survey import ColumnChoices

__all__ = ["DATA", "TABLE", "ColumnOptions", "ReadingOptions", "column_choices", "open_table", "option", "parse_int"]

DATA = Group("Data", sort_key=2)
TABLE = Group("Tables", sort_key=3)


def option(group: Group, help_: str, **keywords: Any) -> Parameter:
    """Describe an option."""
    return Parameter(group=group, help=help_, **keywords)


def parse_int(_: Any, tokens: Sequence[Token], expected: str = "a whole number") -> int:
    """Convert to an integer; cyclopts by itself would round 1.5 epochs to 2."""
    text = tokens[0].value
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise ValueError(f"expected {expected}; received {text!r}.")
    return int(text)


@Parameter(name="*")
@dataclass(frozen=True)
class ReadingOptions:
    """How a table in a text file is read; None leaves the choice to the file."""

    delimiter: Annotated[str | None, option(TABLE, "one character, or tab [default: found in the file]")] = None
    decimal: Annotated[Literal[".", ","] | None, option(TABLE, "decimal sign [default: found in the file]")] = None
    encoding: Annotated[str | None, option(TABLE, "such as utf-8, utf-16, cp1252 [default: found in the file]")] = None
    header: Annotated[
        bool | None,
        option(TABLE, "whether the first row has the names [default: found in the file]", negative="--no-header"),
    ] = None
    missing: Annotated[
        tuple[str, ...],
        option(
            TABLE,
            "another marker of a missing value, beside NA, nan, null, ? and so on; repeat for more",
            show_default=False,
        ),
    ] = ()


@Parameter(name="*")
@dataclass(frozen=True)
class ColumnOptions(ReadingOptions):
    """What the columns of a table are taken for."""

    target: Annotated[str | None, option(DATA, "target column, key or file")] = None
    task: Annotated[
        Literal["classification", "regression", "multilabel"] | None,
        option(DATA, "[default: from the type of the target]"),
    ] = None
    categorical: Annotated[
        tuple[str, ...],
        option(TABLE, "take a column for categories; repeat the option, or separate by commas", show_default=False),
    ] = ()
    numeric: Annotated[tuple[str, ...], option(TABLE, "take a column for numbers", show_default=False)] = ()
    date: Annotated[tuple[str, ...], option(TABLE, "take a column for dates", show_default=False)] = ()
    drop: Annotated[tuple[str, ...], option(TABLE, "leave a column out", show_default=False)] = ()


def open_table(data: str, options: ReadingOptions, names: frozenset[str] = frozenset()) -> TableFile:
    """Open a table as the options say; `names` are columns that it should have."""
    return TableFile(
        data,
        TableOptions(options.delimiter, options.decimal, options.encoding, options.header, options.missing, names),
    )


def column_choices(options: ColumnOptions, *other_uses: str | None) -> ColumnChoices:
    """Return what the options decide about columns; columns of other uses are no features."""
    from xpnet.data.tables.survey import ColumnChoices

    return ColumnChoices(
        options.target,
        options.task,
        options.categorical,
        options.numeric,
        options.date,
        options.drop,
        tuple(name for name in other_uses if name is not None),
    )
