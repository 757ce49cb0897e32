"""Values of a table that training did not have: how many there are in each column, and whether to say so."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from xpnet.data.tables.encoders import CategoryColumn, Column, Read
from xpnet.data.tables.values import as_keys
from xpnet.errors import UnknownValuesWarning

__all__ = ["UnknownValues"]

# A new category in a few rows is what any new data have, and no mistake. From this share on, the column is probably
# written in another way than at training.
_MANY = 0.05
# A column with rare categories at training does not know them one by one: its unknown values may be those, also all
# of a few rows. Of more rows it is improbable that none has a frequent one.
_FEW_ROWS = 20
_EXAMPLES = 3  # values, and columns


@dataclass
class _Tally:
    """Values of a column that are unknown, and all that are not missing; of the unknown ones, the first few."""

    unknown: int = 0
    present: int = 0
    examples: list[str] = field(default_factory=list)


class UnknownValues:
    """A count of the values that training did not have, over the blocks of a table.

    They are categories that are not known, and values that cannot be read and could be at training.
    """

    def __init__(self) -> None:
        self._tallies: dict[Column, _Tally] = {}

    def add(self, columns: Sequence[Column], read: Read, values: pa.Array, gaps: Mapping[str, Collection[str]]) -> None:
        """Add a block of neighbouring columns that were read together.

        Parameters
        ----------
        columns : sequence of Column
        read : Read
            What was read.
        values : pyarrow.Array
            From what it was read: one column after the other.
        gaps : mapping of str to collection of str
            Values of columns that could not be read at training either.
        """
        is_category = isinstance(columns[0], CategoryColumn)
        if not is_category and not read.unread.any():
            return
        n = len(values) // len(columns)
        unknown = (read.unread if read.unknown is None else read.unknown).reshape(-1, n)
        for index, column in enumerate(columns):
            tally = self._tallies.setdefault(column, _Tally())
            own = values.slice(index * n, n)
            tally.present += n - own.null_count
            if not unknown[index].any():
                continue
            counted = own.filter(pa.array(unknown[index])).value_counts()
            texts, counts = as_keys(counted.field("values")), counted.field("counts")
            if not is_category and (known := gaps.get(column.name)):
                is_new = pc.invert(pc.is_in(texts, pa.array(known, pa.string())))
                texts, counts = texts.filter(is_new), counts.filter(is_new)
            tally.unknown += pc.sum(counts).as_py() or 0
            new = (text for text in texts.slice(0, 2 * _EXAMPLES).to_pylist() if text not in tally.examples)
            tally.examples += list(new)[: _EXAMPLES - len(tally.examples)]

    def warn(self) -> None:
        """Give one warning of all columns that have many unknown categories, or values that cannot be read."""
        said = [line for column, tally in self._tallies.items() if (line := _line(column, tally))]
        if said:
            more = len(said) - _EXAMPLES
            rest = [f"and so in {more:,} more column{'s' * (more > 1)}"] * (more > 0)
            warnings.warn("; ".join([*said[:_EXAMPLES], *rest]) + ".", UnknownValuesWarning, stacklevel=2)


def _line(column: Column, tally: _Tally) -> str:
    """Return what is to say about a column, or nothing."""
    if not tally.unknown:
        return ""
    examples = ", ".join(f"{text!r:.40}" for text in tally.examples)
    name = f"column {column.name!r:.60}"
    if not isinstance(column, CategoryColumn):
        values, are = ("value", "is") if tally.unknown == 1 else ("values", "are")
        what = f"cannot be read as {column.expects} and {are} taken as missing"
        return f"{name}: {tally.unknown:,} {values} {what}: {examples}"
    of = f"{tally.unknown:,} of {tally.present:,} values"
    if not column.pool:
        if tally.unknown < _MANY * tally.present:
            return ""
        return f"{name}: {of} did not occur in training, taken for no known category: {examples}"
    if tally.unknown < tally.present or tally.present < _FEW_ROWS or not column.categories:
        return ""
    return f"{name}: {of} are no frequent category of training, taken for rare ones: {examples}"
