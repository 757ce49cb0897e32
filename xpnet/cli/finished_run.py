"""A run that has ended: its files, and its data as they were read for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from xpnet.cli.config import read_config, read_settings
from xpnet.cli.folder import CONFIG, METRICS, MODEL, SUMMARY
from xpnet.cli.job import prepare
from xpnet.cli.job_data import RawPart
from xpnet.cli.model_data import labelled_data, rows_in_memory
from xpnet.cli.run_summary import read_summary
from xpnet.cli.table_options import ReadingOptions
from xpnet.data.named import DATASETS
from xpnet.errors import DataError, InvalidParameterError
from xpnet.model.model_file import load_model
from xpnet.report.finished_run import FinishedRun
from xpnet.training.metrics_file import read_metrics

__all__ = ["open_finished_run", "run_parts"]

_MOST_ROWS = 10_000  # of data that are read in pieces


def open_finished_run(
    folder: Path,
    data: str | None = None,
    *,
    data_dir: Path | None = None,
    reading: ReadingOptions | None = None,
) -> FinishedRun:
    """Read the files of a run, and its data again or other data.

    Parameters
    ----------
    folder : Path
    data : str, optional
        Other data, whose samples are one part, "data".
    data_dir : Path, optional
        Folder with the IDX files of mnist or fashion-mnist.
    reading : ReadingOptions, optional
        How a table of other data is read.

    Raises
    ------
    XpnetError
        The folder holds no finished run, a file in it is damaged, or the data are gone or have changed.
    """
    if not (folder / MODEL).is_file():
        raise InvalidParameterError(
            f"run: expected the folder of a run that has ended; received {folder}, which has no {MODEL}."
        )
    model = load_model(folder / MODEL)
    if data is None:
        name, given = run_parts(folder, data_dir)
    else:
        labelled, _ = labelled_data(model, data, data_dir, reading or ReadingOptions())
        name, given = data, {"data": labelled}
    parts = {part: rows_in_memory(rows, _MOST_ROWS) for part, rows in given.items()}
    history = read_metrics(folder / METRICS) if (folder / METRICS).exists() else []
    return FinishedRun(name, model, parts, history, read_summary(folder / SUMMARY), read_settings(folder / CONFIG))


def run_parts(folder: Path, data_dir: Path | None = None) -> tuple[str, dict[str, RawPart]]:
    """Read the data of a run again, and return their name and the parts of its training.

    Parameters
    ----------
    folder : Path
    data_dir : Path, optional
        Folder with the IDX files of mnist or fashion-mnist.

    Raises
    ------
    XpnetError
        A file of the run is damaged, or the data are gone or have changed.
    """
    name, options = read_config(folder / CONFIG)
    if name not in DATASETS and not Path(name).exists():
        raise DataError(
            f"{name}: expected the data of the run {folder}; received no such file or folder. If the data have "
            f"moved, say where they are."
        )
    if data_dir is not None:
        options = replace(options, data_dir=data_dir)
    data = prepare(name, replace(options, device="cpu", backend=None)).data
    _check_sizes(data.sizes, read_summary(folder / SUMMARY), folder)
    return data.name, data.parts


def _check_sizes(sizes: Mapping[str, int], summary: Mapping[str, Any], folder: Path) -> None:
    """Check that the data have as many samples as in training: others would not be split as they were then."""
    before = summary.get("samples", {})
    if before and before != sizes:
        raise DataError(
            f"{folder}: expected the data with which the run trained, {before} samples; received {sizes}. "
            "Restore the data, or name other data."
        )
