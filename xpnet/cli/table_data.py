"""The data of a training run that is a table in a file: what its columns are, and its parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet.cli.job_data import PARTS, JobData, RowKeys, moments_of
from xpnet.cli.memory_limit import MemoryLimit
from xpnet.cli.options import TrainOptions
from xpnet.cli.table_options import column_choices, open_table
from xpnet.communicator import Communicator, agreed, in_turn
from xpnet.data.readers.common import join_names, naming
from xpnet.data.scaling import Moments
from xpnet.data.shared_rows import SharedRows, take_rows
from xpnet.data.split import split_rows
from xpnet.data.streams import own_blocks, split_source
from xpnet.data.tables.files import TableFile
from xpnet.data.targets import encode_targets
from xpnet.errors import DataError, InvalidParameterError

if TYPE_CHECKING:
    import pyarrow as pa

    from xpnet.data.row_sample import RowSample
    from xpnet.data.tables.encoding import TableEncoding
    from xpnet.data.tables.survey import Survey

__all__ = ["read_table"]

# Memory of a table and its parts, as a multiple of the table: the table, its parts, and the columns that are encoded.
_COPIES = 3


def read_table(
    data: str,
    options: TrainOptions,
    scale: str | None,
    limit: MemoryLimit | None,
    communicator: Communicator | None = None,
) -> JobData:
    """Read a table into memory, or in pieces if memory would exceed the limit.

    A folder of tables is always read in pieces. Each of several ranks reads its blocks: row groups of a Parquet file,
    batches of an Arrow file, and stretches of a text, which each rank also reads as a whole once, to find them.

    Raises
    ------
    XpnetError
        The table cannot be read or used.
    """
    from xpnet.data.tables.survey import survey_table

    names = frozenset(name for name in (options.target, options.weight, options.group, options.time) if name)
    file = agreed(communicator, lambda: open_table(data, options, names))
    for option in ("weight", "group", "time"):
        if (column := getattr(options, option)) is not None and column not in file.schema.names:
            raise InvalidParameterError(
                f"{option}: expected one of the columns {join_names(file.schema.names)}; received {column!r:.60}."
            )
    in_pieces = file.path.is_dir() or (limit is not None and not limit.fits(_COPIES * file.n_bytes))
    table = None if in_pieces else agreed(communicator, lambda: _read_own(file, communicator))
    with naming(file.path):
        survey = survey_table(
            _blocks(file, agreed(communicator, lambda: _own(file, communicator))) if table is None else [table],
            file.schema.names,
            column_choices(options, options.weight, options.group),
            duplicates=file.duplicates,
            where=file.where,
            fingerprinted=options.checkpoint_every is not None,
            communicator=communicator,
        )
        scale = scale or "standard"
        read = (
            _in_pieces(file, survey, options, scale, communicator)
            if table is None
            else _at_once(file, table, survey, options, scale, communicator)
        )
    return read if survey.fingerprint is None else replace(read, fingerprint={"data": survey.fingerprint})


def _own(file: TableFile, communicator: Communicator | None) -> range:
    return own_blocks(file.block_sizes(), communicator)


def _blocks(file: TableFile, blocks: range) -> Iterator[pa.Table]:
    return (file.read_block(block) for block in blocks)


def _read_own(file: TableFile, communicator: Communicator | None) -> pa.Table:
    """Return the rows of this rank."""
    if communicator is None:
        return file.read()
    import pyarrow as pa

    return pa.concat_tables([file.schema.empty_table(), *_blocks(file, _own(file, communicator))])


def _whole(table: pa.Table, columns: list[str | None], communicator: Communicator | None) -> pa.Table:
    """Return some columns with the rows of all ranks."""
    if communicator is None:
        return table
    import pyarrow as pa

    return pa.concat_tables(communicator.gather(table.select(list(dict.fromkeys(filter(None, columns))))))


def _at_once(
    file: TableFile,
    own: pa.Table,
    survey: Survey,
    options: TrainOptions,
    scale: str,
    communicator: Communicator | None,
) -> JobData:
    import pyarrow as pa

    from xpnet.data.tables.values import decimal_sign

    assert survey.target is not None
    table = _whole(own, [survey.target.name, options.group, options.time, options.weight], communicator)
    y, keep = survey.target.read(table.column(survey.target.name), decimal_sign(table.schema))
    features: Any = own.select(survey.feature_names)
    if communicator is not None:
        features = SharedRows(features, communicator)
    if not keep.all():
        table = table.filter(pa.array(keep))
        shared = isinstance(features, SharedRows)
        features = take_rows(features, np.flatnonzero(keep)) if shared else table.select(survey.feature_names)
    keys = RowKeys(
        None if options.weight is None else _numbers(table, "weight", options.weight, ("number",)),
        None if options.group is None else _codes(table.column(options.group)),
        None if options.time is None else _numbers(table, "time", options.time, ("number", "date")),
    )
    train, validation, test = split_rows(
        y,
        validation_fraction=options.val_fraction,
        test_fraction=options.test_fraction,
        stratify=survey.target.task == "classification",
        seed=options.seed,
        groups=keys.groups,
        times=keys.times,
    )
    encoded, classes = encode_targets(y, survey.target.task)
    rows = dict(zip(PARTS, (train, validation, test), strict=True))
    tables = {name: take_rows(features, chosen) for name, chosen in rows.items() if len(chosen)}
    return JobData(
        name=file.name,
        parts={name: (tables[name], y[chosen]) for name, chosen in rows.items() if len(chosen)},
        task=survey.target.task,
        classes=classes,
        n_outputs=1,
        scale=scale,
        fit_features=lambda x: _fit_encoding(survey, x, scale),
        target_moments=lambda: moments_of(encoded[train]),
        feature_names=survey.feature_names,
        target_name=survey.target.name,
        weights=keys.take(train).weights,
        keys=keys.take(np.concatenate([train, validation])),
        notes=survey.notes,
        columns=survey.columns,
        communicator=communicator,
    )


def _fit_encoding(survey: Survey, x: Any, scale: str) -> TableEncoding:
    from xpnet.data.tables.fitting import feature_sample, fit_encoding, fit_to_sample

    if not isinstance(x, SharedRows):
        return fit_encoding(survey.columns, [x], scale=scale)
    encoding: TableEncoding = in_turn(
        x.communicator,
        feature_sample(survey.columns),
        lambda sample: sample.add(x.own),
        lambda sample: fit_to_sample(survey.columns, sample, scale),
    )
    return encoding


def _in_pieces(
    file: TableFile, survey: Survey, options: TrainOptions, scale: str, communicator: Communicator | None
) -> JobData:
    """Read the training part once more, for the encoding of the features and the moments of the targets."""
    from xpnet.data.streams.table import TableSource
    from xpnet.data.tables.fitting import feature_sample, fit_to_sample

    assert survey.target is not None
    for name in ("weight", "group", "time"):
        if (column := getattr(options, name)) is not None:
            raise InvalidParameterError(
                f"{name}: expected none for a table that is read in pieces; received {column!r}. "
                "Read it at once: give one file, and leave --memory-limit out."
            )
    target = survey.target
    source = agreed(
        communicator, lambda: TableSource(file, survey.feature_names, target, complete=not target.n_left_out)
    )
    split = split_source(
        source,
        validation_fraction=options.val_fraction,
        test_fraction=options.test_fraction,
        seed=options.seed,
    )
    blocks = own_blocks(split.training.sizes, communicator)

    def add(found: tuple[RowSample, Moments]) -> None:
        sample, moments = found
        reader = split.training.reader()
        for block in blocks:
            if split.training.sizes[block]:
                table, y = reader.read(block)
                sample.add(table)
                if y.dtype.kind in "biuf":
                    moments.add(y[:, None])

    encoding, moments = in_turn(
        communicator,
        (feature_sample(survey.columns), Moments(1)),
        add,
        lambda found: (fit_to_sample(survey.columns, found[0], scale), found[1]),
    )
    by_name = {"train": split.training, "validation": split.validation, "test": split.test}
    return JobData(
        name=file.name,
        parts={name: part for name, part in by_name.items() if part is not None},
        task=survey.target.task,
        classes=survey.labels,
        n_outputs=1,
        scale=scale,
        fit_features=lambda _: encoding,
        target_moments=lambda: moments,
        feature_names=survey.feature_names,
        target_name=survey.target.name,
        notes=survey.notes,
        columns=survey.columns,
        communicator=communicator,
    )


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """Return a number for each different value of a column; missing ones have one number too."""
    codes = column.combine_chunks().dictionary_encode().indices.fill_null(-1)
    return np.asarray(codes.to_numpy(zero_copy_only=False))


def _numbers(table: pa.Table, option: str, name: str, kinds: tuple[str, ...]) -> np.ndarray:
    """Return a column as numbers; dates are numbers too, and missing values NaN."""
    from xpnet.data.tables.summary import TableSummary
    from xpnet.data.tables.values import as_numbers, as_values

    summary = TableSummary()
    summary.add(table.select([name]))
    reading = summary.columns[0].reading
    if reading.kind not in kinds:
        examples = ", ".join(summary.columns[0].examples())
        raise InvalidParameterError(
            f"{option}: expected a column of {' or '.join(kinds)}s; received {name!r:.60} with {examples:.80}."
        )
    numbers = as_numbers(as_values([table.column(name)], [name]), reading)
    if option == "weight" and not (np.isfinite(numbers).all() and (numbers >= 0).all()):
        raise DataError(f"column {name!r:.60}: expected weights of at least 0 in each row; received others")
    return numbers
