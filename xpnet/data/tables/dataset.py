"""Tables for the library: features and targets of a file, as numbers where all features are numbers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from xpnet.data.readers.common import Array, RawData, ReadOptions, join_names, naming
from xpnet.data.streams.source import Source
from xpnet.data.streams.table import TableSource
from xpnet.data.tables.files import TableFile, TableOptions
from xpnet.data.tables.summary import ColumnSummary, TableSummary, column_groups
from xpnet.data.tables.survey import describe_rows, find_target, no_target
from xpnet.data.tables.target import plan_target
from xpnet.data.tables.values import as_numbers, as_values, decimal_sign
from xpnet.errors import DataError, XpnetWarning

__all__ = ["open_table_source", "read_table_file"]


def read_table_file(path: Path, options: ReadOptions) -> RawData:
    """Read a table.

    The features are an array if all of them are finite numbers, else an Arrow table; for a model with known features
    they must be numbers. Rows without a target are left out with a warning.

    Raises
    ------
    DataError
        There are no rows, no features or no target, a column is missing, or a feature is no number where it must be.
    """
    wanted = frozenset(filter(None, (options.target, *(options.feature_names or ()))))
    file = TableFile(path, TableOptions(names=wanted))
    with naming(path):
        target = find_target(file.schema.names, options.target) if options.training or options.target else None
        if target is None and options.training:
            raise no_target(file.schema.names, options.target)
        names = _features(file, target, options)
        if not names:
            raise DataError(
                f"no features: expected at least one column beside the target; received only "
                f"{join_names(file.schema.names)}"
            )
        table = file.read([*names, *([] if target is None else [target])])
        summary = TableSummary()
        summary.add(table)
        columns = {column.name: column for column in summary.columns}
        y = None
        if target is not None and columns[target].n_present:
            plan = plan_target(columns[target])
            y, keep = plan.read(table.column(target), decimal_sign(table.schema))
            if not keep.all():
                table = table.filter(pa.array(keep))
                warnings.warn(f"{path}: {describe_rows(plan, file.where)}", XpnetWarning, stacklevel=2)
        features = table.select(names)
        flaw = next((flaw for name in names if (flaw := _flaw(columns[name], file))), None)
        if flaw is not None and not options.training:
            raise DataError(flaw)
        x = features if flaw is not None else _matrix(features, [columns[name] for name in names])
        feature_names = tuple(names) if file.has_header else None
        return RawData(x, y, feature_names, target if y is not None else None)


def _features(file: TableFile, target: str | None, options: ReadOptions) -> list[str]:
    """Return the columns of the features: the model's, by name or by position, or all but the target."""
    names = file.schema.names
    others = [name for name in names if name != target]
    if options.training:
        return others
    wanted = options.feature_names
    if wanted is not None and set(wanted) <= set(names):
        return list(wanted)
    n = options.n_features if wanted is None else len(wanted)
    if wanted is None or not file.has_header:
        for chosen in (names, others):
            if n is None or len(chosen) == n:
                return list(chosen if n is not None else others)
        raise DataError(f"features: expected {n}, as in training; received {len(others)} columns: {join_names(names)}")
    known = set(names)
    missing = [name for name in wanted if name not in known]
    raise DataError(
        f"columns: expected the model's features {join_names(wanted)}; received a table without {join_names(missing)}; "
        "rename or add columns"
    )


def _flaw(column: ColumnSummary, file: TableFile) -> str | None:
    """Return what keeps a column from being finite numbers, or None."""
    totals = column.totals
    where, received = None, ""
    if column.n_missing:
        where, received = column.first_missing, "a missing value"
    elif column.reading.kind not in ("number", "boolean"):
        where, received = 0, repr(column.examples(1)[0])
    elif totals.n_unread:
        text, (_, where) = next(iter(totals.unread.items()))
        received = repr(text)
    elif not np.isfinite([totals.low, totals.high]).all():
        received = "infinity"
    if not received:
        return None
    place = "" if where is None else f"{file.where(where)}, "
    return f"{place}column {column.name!r:.60}: expected finite numbers; received {received:.60}"


def _matrix(table: pa.Table, columns: Sequence[ColumnSummary]) -> Array:
    """Return a table of numbers as an array; float32 if all columns are, else float64."""
    single = all(pa.types.is_float32(kind) for kind in table.schema.types)
    x: Array = np.empty(table.shape, dtype=np.float32 if single else np.float64)
    names = table.column_names
    for group in column_groups(table.schema):
        readings = {column.reading for column in columns[group]}
        parts = [group] if len(readings) == 1 else [slice(i, i + 1) for i in range(group.start, group.stop)]
        for part in parts:
            values = as_values(table.columns[part], names[part])
            numbers = as_numbers(values, columns[part.start].reading)
            if columns[part.start].reading.kind == "boolean":
                numbers = numbers > 0
            x[:, part] = numbers.reshape(part.stop - part.start, -1).T
    return x


def open_table_source(path: Path, target: str | None) -> Source:
    """Open a table of numbers, to read it in pieces.

    Raises
    ------
    DataError
        As for `read_table_file`; a feature that is no finite number is an error.
    """
    file = TableFile(path, TableOptions(names=frozenset([target] if target else [])))
    with naming(path):
        name = find_target(file.schema.names, target)
        if name is None:
            raise no_target(file.schema.names, target)
        summary = TableSummary()
        for block in range(len(file.block_sizes())):
            summary.add(file.read_block(block))
        columns = {column.name: column for column in summary.columns}
        plan = plan_target(columns.pop(name))
        if not columns:
            raise DataError(f"no features: expected at least one column beside the target; received only {name!r:.60}")
        for column in columns.values():
            if flaw := _flaw(column, file):
                raise DataError(f"{flaw}; to train on columns of any type: xpnet train, or xpnet.TabularClassifier")
    source = TableSource(file, list(columns), plan, complete=not plan.n_left_out)
    chosen = list(columns.values())

    def numbers(x: Any, y: Array) -> tuple[Array, Array]:
        return _matrix(x, chosen), y

    numeric = source.map(numbers)
    if not file.has_header:
        numeric.feature_names = None
    return numeric
