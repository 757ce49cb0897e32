"""Tables for the library: features and targets of a file, as numbers where all features are numbers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from xpnet.data.readers.common import Array, RawData, ReadOptions, join_names, naming
from xpnet.data.streams.source import Source
from xpnet.data.streams.table import TableSource
from xpnet.data.tables.files import TableFile, TableOptions
from xpnet.data.tables.parse import Reading
from xpnet.data.tables.summary import ColumnSummary, TableSummary, column_groups
from xpnet.data.tables.survey import describe_rows, find_target, no_target
from xpnet.data.tables.target import TargetPlan, plan_target
from xpnet.data.tables.values import as_numbers, as_values, decimal_sign, value_text
from xpnet.errors import DataError, XpnetWarning, shown

__all__ = ["open_table_source", "read_table_file"]


def read_table_file(path: Path, options: ReadOptions) -> RawData:
    """Read a table.

    The features are an array if all of them are finite numbers, else an Arrow table; for a model they must be numbers.
    For training, rows without a target are left out with a warning; for a prediction all rows are kept, and targets are
    returned only if each row has one.

    Raises
    ------
    DataError
        There are no rows, no features or no target, a column is missing, or a feature is no number where it must be.
    """
    is_nameless = not options.training and options.feature_names is None  # then the target's name is a number
    file = _open(path, None if is_nameless else options.target, options.feature_names or ())
    with naming(path):
        target, names = _columns(file, options)
        table = file.read(names if target is None else [*names, target])
        features, y = table.select(names), None
        kept: Array = np.arange(len(table))
        if target is not None:
            try:
                plan = _plan_target([table.select([target])], file.where)
                y, keep = plan.read(table.column(target), decimal_sign(table.schema))
                if not keep.all():
                    if not options.training:
                        raise DataError(f"expected a target in each row; {describe_rows(plan, file.where)}")
                    warnings.warn(f"{path}: {describe_rows(plan, file.where)}", XpnetWarning, stacklevel=2)
                    features, kept = features.filter(pa.array(keep)), np.flatnonzero(keep)
            except DataError as exc:
                if options.training:
                    raise
                y = None
                warnings.warn(f"{path}: the targets are not read: {exc}", XpnetWarning, stacklevel=2)
        x: Any
        x, others = _matrix(features)
        if others:
            readings, flaw = _find_readings(lambda: [features.select(others)], lambda row: file.where(int(kept[row])))
            if flaw and not options.training:
                raise DataError(flaw)
            x = features if flaw else _matrix(features, readings)[0]
        feature_names = tuple(names) if file.has_header else None
        return RawData(x, y, feature_names, target if y is not None else None)


def open_table_source(path: Path, target: str | None) -> Source:
    """Open a table of numbers, to read it in pieces; rows without a target are left out with a warning.

    Raises
    ------
    DataError
        As for `read_table_file`; a feature that is no finite number is an error.
    """
    file = _open(path, target)
    with naming(path):
        name, names = _columns(file, ReadOptions(training=True, target=target))
        assert name is not None
        plan = _plan_target((file.read_block(block, [name]) for block in range(len(file.block_sizes()))), file.where)
        if plan.n_left_out:
            warnings.warn(f"{path}: {describe_rows(plan, file.where)}", XpnetWarning, stacklevel=2)
        source = TableSource(file, names, plan, complete=not plan.n_left_out)
        others = {column for features, _ in source for column in _matrix(features)[1]}
        readings: Mapping[str, Reading] = {}
        if others:
            chosen = [column for column in names if column in others]
            readings, flaw = _find_readings(lambda: (x.select(chosen) for x, _ in source), source.where_row)
            if flaw:
                raise DataError(f"{flaw}; to train on columns of any type: xpnet train, or xpnet.TabularClassifier")
    numeric = source.map(lambda features, y: (_matrix(features, readings)[0], y))
    numeric.row_bytes = len(names) * _dtype(file.schema, names).itemsize
    if not file.has_header:
        numeric.feature_names = None
    return numeric


def _open(path: Path, target: str | None, names: Iterable[str] = ()) -> TableFile:
    """Open a table whose header should have the given names."""
    return TableFile(path, TableOptions(names=frozenset(names) | (frozenset() if target is None else {target})))


def _columns(file: TableFile, options: ReadOptions) -> tuple[str | None, list[str]]:
    """Return the columns of the target and of the features: the model's, by name or by position, or all others."""
    names, wanted = file.schema.names, options.feature_names
    target = find_target(names, options.target) if options.training or options.target else None
    others = [name for name in names if name != target]
    n = options.n_features if wanted is None else len(wanted)
    if options.training:
        if target is None:
            raise no_target(names, options.target)
        if target in file.duplicates:
            raise DataError(f"target: expected one column {shown(target):.60}; received several; rename the others")
        chosen = others
    elif wanted is not None and file.has_header:
        known = set(names)
        if missing := [name for name in wanted if name not in known]:
            raise DataError(
                f"columns: expected the model's features {join_names(wanted)}; received a table without "
                f"{join_names(missing)}; rename or add columns"
            )
        chosen = list(wanted)
    elif n == len(names):
        target, chosen = None, names
    elif n is None or n == len(others):
        chosen = others
    else:
        raise DataError(f"features: expected {n}, as in training; received {len(others)} columns: {join_names(others)}")
    if not chosen:
        raise DataError(
            f"no features: expected at least one column beside the target; received only {join_names(names)}"
        )
    return target, chosen


def _plan_target(tables: Iterable[pa.Table], where: Callable[[int], str]) -> TargetPlan:
    summary = TableSummary()
    for table in tables:
        summary.add(table)
    return plan_target(summary.columns[0], where=where)


def _matrix(table: pa.Table, readings: Mapping[str, Reading] | None = None) -> tuple[Array, list[str]]:
    """Return columns as an array, float32 if all of them are, else float64; and those that are no finite numbers.

    Columns are read as plain numbers, or as `readings` says; truth values are 0 and 1.
    """
    names, columns = table.column_names, table.columns
    plain, known = Reading("number", decimal_sign(table.schema)), readings or {}
    x: Array = np.empty(table.shape, dtype=_dtype(table.schema, names))
    others: list[str] = []
    for group in column_groups(table.schema):
        numbers = as_numbers(as_values(columns[group], names[group]), plain).reshape(group.stop - group.start, -1)
        others += [names[group.start + i] for i in np.flatnonzero(~np.isfinite(numbers).all(axis=1))]
        x[:, group] = numbers.T
    for name in known:
        index = names.index(name)
        numbers = as_numbers(as_values([columns[index]], [name]), known[name])
        x[:, index] = numbers > 0 if known[name].kind == "boolean" else numbers
    return x, others


def _dtype(schema: pa.Schema, names: Iterable[str]) -> np.dtype[Any]:
    return np.dtype(np.float32 if all(pt.is_float32(schema.field(name).type) for name in names) else np.float64)


def _find_readings(
    tables: Callable[[], Iterable[pa.Table]], where: Callable[[int], str]
) -> tuple[dict[str, Reading], str]:
    """Return how columns are read that are no plain numbers, and what is wrong if one is no finite numbers at all."""
    summary = TableSummary()
    for table in tables():
        summary.add(table)
    columns = summary.columns
    flaws = (_flaw(column, tables, where) for column in columns)
    return {column.name: column.reading for column in columns}, next(filter(None, flaws), "")


def _flaw(column: ColumnSummary, tables: Callable[[], Iterable[pa.Table]], where: Callable[[int], str]) -> str:
    """Return what keeps a column from being finite numbers, or nothing."""
    totals = column.totals
    row: int | None = None
    if column.n_missing:
        row, received = column.first_missing, "a missing value"
    elif column.reading.kind not in ("number", "boolean"):
        wrong = np.isnan(as_numbers(column.values, Reading("number", column.decimal)))
        index = int(wrong.argmax())
        value = column.values[index]
        row, received = _find_row(tables(), column.name, value), repr(value_text(column.values, index))
    elif totals.n_unread:
        text, (_, row) = next(iter(totals.unread.items()))
        received = repr(text)
    elif totals.infinite is not None:
        row, received = totals.infinite, "infinity"
    else:
        return ""
    place = "" if row is None else f"{where(row)}, "
    return f"{place}column {shown(column.name):.60}: expected finite numbers; received {received:.60}"


def _find_row(tables: Iterable[pa.Table], name: str, value: pa.Scalar) -> int | None:
    """Return the first row with a value."""
    first = 0
    for table in tables:
        found = pc.index(as_values([table.column(name)], [name]), value).as_py()
        if found >= 0:
            return first + int(found)
        first += len(table)
    return None
