"""Data for a trained model: a table whose columns the model finds by their names, or arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.cli.table_options import ReadingOptions, open_table
from xpnet.data.named import DATASETS, load_dataset
from xpnet.data.readers import read_features
from xpnet.data.readers.common import join_names, naming
from xpnet.data.row_sample import RowSample
from xpnet.data.streams import Source
from xpnet.data.streams.source import concatenate
from xpnet.data.tables.files import TableFile, is_table
from xpnet.errors import DataError
from xpnet.model.model import Model

__all__ = ["has_rows_of_table", "labelled_data", "needed_columns", "open_table_of", "read_arrays", "rows_in_memory"]


def has_rows_of_table(model: Model, data: str) -> bool:
    """Return whether data are a table for a model of tables, whose columns have names."""
    return model.encoding is not None and data not in DATASETS and is_table(data)


def open_table_of(model: Model, data: str, reading: ReadingOptions) -> TableFile:
    """Open a table as the model's was read: a column that is all numbers stays what the model took it for."""
    assert model.encoding is not None
    return open_table(data, reading, frozenset(model.encoding.input_names) | {model.target_name or ""})


def needed_columns(model: Model, names: Sequence[str]) -> list[str]:
    """Return the columns of a table that the model needs; all of them where it does not find its own by name."""
    assert model.encoding is not None
    wanted = set(model.encoding.input_names)
    needed = [name for name in names if name in wanted]
    return needed if len(needed) == len(wanted) else list(names)


def labelled_data(
    model: Model, data: str, data_dir: Path | None, reading: ReadingOptions
) -> tuple[tuple[Any, np.ndarray] | Source, str]:
    """Return features with their targets, in memory or as a source, and a description of the samples.

    Raises
    ------
    DataError
        The data have no target, or cannot be read.
    """
    if has_rows_of_table(model, data):
        with naming(Path(data)):
            return _labelled_table(model, data, reading), "samples"
    x, y, part = read_arrays(model, data, data_dir)
    if y is None:
        raise _no_target(data, model)
    return (x, y), part


def _labelled_table(model: Model, data: str, reading: ReadingOptions) -> Any:
    """Return a table with its targets as a source."""
    from xpnet.data.streams.table import TableSource
    from xpnet.data.tables.survey import plan_known_target

    file = open_table_of(model, data, reading)
    if model.target_name is None or model.target_name not in file.schema.names:
        needed = [name for name in model.encoding.input_names if name in file.schema.names] if model.encoding else []
        if not needed:
            raise DataError(
                f"{data}: expected the columns with which the model was trained, such as {model.target_name!r}; "
                f"received {join_names(file.schema.names)}. Name another table, or another model."
            )
        raise _no_target(data, model)
    names = [name for name in file.schema.names if name != model.target_name]
    plan = plan_known_target(model.target_name, model.task, model.classes)
    source = TableSource(file, needed_columns(model, names), plan)
    if source.n_samples == 0:
        raise _no_target(data, model)
    return source


def _no_target(data: str, model: Model) -> DataError:
    return DataError(
        f"{data}: expected the target {model.target_name!r} and the features; received features only. "
        "To predict without targets: xpnet predict"
    )


def read_arrays(model: Model, data: str, data_dir: Path | None) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Return features, targets or None, and a description of the samples."""
    n_features = model.network.layer_sizes[0] if model.encoding is None else len(model.encoding.input_names)
    if data in DATASETS or not Path(data).exists():
        dataset = load_dataset(data, data_dir=data_dir)
        if dataset.x.shape[1] != n_features:
            raise DataError(
                f"{data}: features: expected {n_features}, as in training; received {dataset.x.shape[1]}. "
                "Give data with the features that the model was trained on."
            )
        if dataset.x_test is not None:
            return dataset.x_test, dataset.y_test, "test samples"
        return dataset.x, dataset.y, "samples, including those of training"
    x, y = read_features(
        data,
        feature_names=model.feature_names,
        target_name=model.target_name,
        n_features=n_features,
        index_base=model.index_base,
    )
    return x, y, "samples"


def rows_in_memory(part: tuple[Any, np.ndarray] | Source, most: int) -> tuple[Any, np.ndarray]:
    """Return raw features and targets of a part; of data that are read in pieces, those of so many rows at most."""
    if not isinstance(part, Source):
        return part
    x, y = RowSample(most, concatenate), RowSample(most, np.concatenate)
    for block_x, block_y in part:
        x.add(block_x)
        y.add(block_y)
    return x.rows(), y.rows()
