"""``xpnet predict``."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TextIO

import numpy as np
from cyclopts import Parameter

from xpnet.backend import get_backend
from xpnet.cli.console import say, show_unknown_values
from xpnet.cli.model_data import has_rows_of_table, needed_columns, open_table_of, read_arrays
from xpnet.cli.table_options import ReadingOptions, parse_int
from xpnet.data.readers.common import join_names, naming
from xpnet.data.scaling import row_blocks
from xpnet.data.tables.files import TableFile
from xpnet.errors import InvalidParameterError, printable
from xpnet.files import open_output
from xpnet.model.model import Model
from xpnet.model.model_file import load_model
from xpnet.threads import limit_threads

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["predict"]

_READING = ReadingOptions()
_OUTPUT_VALUES = 1 << 22  # of the network that are held at once
_ALL = "all"  # columns to keep


class _Rows(NamedTuple):
    """Raw features of some rows, the number of rows before them, and the columns that are kept, as text."""

    x: Any
    first: int
    kept: Mapping[str, Sequence[str | None]]


class _UnixLines:
    """A file for `csv.writer`, which quotes a carriage return in a cell only if its own lines end with one."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, row: str) -> int:
        return self._file.write(row.removesuffix("\r\n") + "\n")


def predict(
    model: Path,
    data: str,
    *,
    out: Path | None = None,
    probabilities: Annotated[bool | None, Parameter(negative="--no-probabilities")] = None,
    keep: tuple[str, ...] = (),
    device: str = "cpu",
    threads: Annotated[int | None, Parameter(converter=parse_int)] = None,
    data_dir: Path | None = None,
    reading: ReadingOptions = _READING,
) -> int:
    """Predict with a trained model, and write a CSV file with one row for each sample.

    Parameters
    ----------
    model : Path
        Folder of a run, or its file model.safetensors.
    data : str
        A file with the features of the training data, with or without the target; or a named data set. Columns of a
        table are found by their names; - reads a table from standard input. Of data with a test part of their own,
        only that is predicted.
    out : Path
        CSV file to write [default: stdout]
    probabilities : bool
        Add a column with the probability of each class or label [default: for models of tables]
    keep : tuple of str
        Columns of the table to write in front of the prediction, or all; repeat the option, or separate by commas.
    device : str
        [backend:]cpu|gpu|auto[:index]
    threads : int
        Threads for BLAS and everything else [default: all processors]
    data_dir : Path
        Folder with the IDX files of mnist or fashion-mnist.
    """
    with limit_threads(threads):
        loaded = load_model(model)
        backend = get_backend(device)
        if probabilities is None:
            probabilities = loaded.encoding is not None and loaded.gives_probabilities
        n_rows = 0
        unknown = None
        if loaded.encoding is not None:
            from xpnet.data.tables.unknown import UnknownValues

            unknown = UnknownValues()
            show_unknown_values()
        with open_output(out) as file, naming(Path(data)):
            writer = csv.writer(_UnixLines(file))
            for number, rows in enumerate(_rows(loaded, data, data_dir, keep, reading)):
                output = loaded.outputs(rows.x, backend, first_row=rows.first, unknown=unknown)
                n_rows += len(output)
                columns = _columns("prediction", loaded.decide(output))
                if probabilities:
                    p = loaded.probabilities(output)
                    labels = range(p.shape[1]) if loaded.classes is None else loaded.classes
                    columns |= {f"probability_{label}": p[:, i] for i, label in enumerate(labels)}
                if number == 0:
                    _check_kept(rows.kept, columns)
                    writer.writerow([*rows.kept, *columns])
                # NumPy's text of a float32 is the shortest one that reads back as the same number.
                texts = (map(str, column) for column in columns.values())
                writer.writerows(zip(*rows.kept.values(), *texts, strict=True))
    if unknown is not None:
        unknown.warn()
    if out is not None:
        say(f"wrote {n_rows:,} prediction{'s' * (n_rows != 1)} to {printable(str(out))}")
    return 0


def _rows(
    model: Model, data: str, data_dir: Path | None, keep: tuple[str, ...], reading: ReadingOptions
) -> Iterator[_Rows]:
    """Yield the rows in pieces: the blocks of a table, or slices of an array."""
    if has_rows_of_table(model, data):
        return _rows_of_table(open_table_of(model, data, reading), model, keep)
    if keep:
        raise InvalidParameterError(
            f"keep: expected none for data and a model without named columns; received {join_names(keep)}."
        )
    x, _, _ = read_arrays(model, data, data_dir)
    return (
        _Rows(x[outer][inner], outer.start + inner.start, {})
        for outer in row_blocks(x)
        for inner in _pieces(model, outer.stop - outer.start)
    )


def _pieces(model: Model, n_rows: int) -> Iterator[slice]:
    """Yield slices of rows whose outputs fit into memory also where there are many classes."""
    size = max(1, _OUTPUT_VALUES // model.network.layer_sizes[-1])
    return (slice(start, min(start + size, n_rows)) for start in range(0, max(n_rows, 1), size))


def _rows_of_table(file: TableFile, model: Model, keep: tuple[str, ...]) -> Iterator[_Rows]:
    names = file.schema.names
    kept = [name for name in names if name not in file.duplicates] if keep == (_ALL,) else _given(keep, names)
    needed = set(needed_columns(model, names)).union(kept)
    columns = [name for name in names if name in needed]
    with naming(file.path):
        first = 0
        for block in range(len(file.block_sizes())):
            table = file.read_block(block, columns)
            for rows in _pieces(model, len(table)):
                piece = table.slice(rows.start, rows.stop - rows.start)
                texts = {name: _text(piece.column(name), name).to_pylist() for name in kept}
                yield _Rows(piece, first + rows.start, texts)
            first += len(table)


def _text(column: pa.ChunkedArray, name: str) -> pa.Array:
    """Return a column as text: that of a text file as it is there."""
    import pyarrow as pa

    from xpnet.data.tables.values import as_keys, as_values

    values = as_values([column], [name])
    return values if pa.types.is_string(values.type) else as_keys(values)


def _given(keep: tuple[str, ...], names: Sequence[str]) -> list[str]:
    keep = tuple(part for name in keep for part in ([name] if name in names else name.split(",")))
    for name in keep:
        if name not in names:
            raise InvalidParameterError(f"keep: expected columns among {join_names(names)}, or all; received {name!r}.")
    return list(keep)


def _check_kept(kept: Mapping[str, Any], columns: Mapping[str, Any]) -> None:
    if both := sorted(set(kept) & set(columns)):
        raise InvalidParameterError(
            f"keep: expected columns with names unlike those of the predictions; received {join_names(both)}. "
            "Rename them, or keep others."
        )


def _columns(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    if values.ndim == 1:
        return {name: values}
    return {f"{name}_{i}": values[:, i] for i in range(values.shape[1])}
