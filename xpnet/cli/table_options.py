"""Options that say how a table is read and what its columns are, for every command that reads one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter

__all__ = ["DATA", "TABLE", "ColumnOptions", "ReadingOptions", "option"]

DATA = Group("Data", sort_key=2)
TABLE = Group("Tables", sort_key=3)


def option(group: Group, help_: str, **keywords: Any) -> Parameter:
    """Describe an option."""
    return Parameter(group=group, help=help_, **keywords)


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
