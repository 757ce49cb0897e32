"""The data of a training run, read into memory or in pieces, and what the model needs to know about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from xpnet.cli.memory_limit import MemoryLimit, data_bytes
from xpnet.cli.options import TrainOptions
from xpnet.communicator import Communicator, agreed, in_turn
from xpnet.data.checks import check_data
from xpnet.data.downloads import REMOTES, locate
from xpnet.data.fingerprint import Fingerprint, column_names, fingerprint_dataset
from xpnet.data.named import DATASETS, load_dataset
from xpnet.data.scaling import Moments, Scaler, add_for_scaler, fit_scaler, scaler_from_moments
from xpnet.data.shared_rows import SharedRows, fit_shared_scaler
from xpnet.data.split import split
from xpnet.data.streams import Source, SourceSubset, is_folder_of_files, open_sources, own_blocks, split_source
from xpnet.data.targets import TargetSummary, Task, describe_classes, encode_targets, infer_task
from xpnet.errors import DataError

if TYPE_CHECKING:
    from xpnet.data.tables.columns import ColumnPlan
    from xpnet.data.tables.encoding import TableEncoding

__all__ = ["PARTS", "JobData", "RawPart", "RowKeys", "moments_of", "read_arrays"]

PARTS = ("train", "validation", "test")
# Raw features and raw targets of one part: in memory, or a source that is read in pieces. The features of a table are a
# pyarrow table, others an array; with several ranks both are SharedRows, and targets are whole.
RawPart: TypeAlias = tuple[Any, np.ndarray] | Source


class RowKeys(NamedTuple):
    """Numbers for the rows outside the test part: first those of the training part, then those of validation.

    Attributes
    ----------
    weights, groups, times : (n_samples,) ndarray or None
    """

    weights: np.ndarray | None = None
    groups: np.ndarray | None = None
    times: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> RowKeys:
        """Return the numbers of some rows."""
        return RowKeys(*(each if each is None else each[rows] for each in self))


_NO_KEYS = RowKeys()


@dataclass(frozen=True, eq=False)
class JobData:
    """Data of a training run.

    Attributes
    ----------
    name : str
    parts : dict of str to RawPart
        The parts that exist, in the order of `PARTS`.
    task : {"classification", "regression", "multilabel"}
    classes : (n_classes,) ndarray or None
        Sorted class labels.
    n_outputs : int
        Columns of targets that are not classes.
    scale : str
        Scaling of the features.
    fit_features : (x) -> Scaler or TableEncoding
        Fit the scaling or the encoding of the features to `x`, the features of the training part. For data that is
        read in pieces it is fitted already.
    target_moments : () -> Moments
        Compute mean, deviation and range of the numeric targets of the training part.
    feature_names, target_name : tuple of str, str, or None
    weights : (n_samples,) ndarray or None
        Weights of the training samples.
    keys : RowKeys
        What `--cv` needs to know about the rows.
    notes : tuple of str
        What the user should know about the data, one line each.
    index_base : int or None
        The first index of a LIBSVM file.
    image_shape : tuple of int or None
        Shape of a sample, if the samples are images.
    fingerprint : dict
        `Fingerprint.to_dict` of the data and, if it has one of its own, of the test part; for `xpnet resume`.
    columns : tuple of ColumnPlan
        What is done with each column of a table.
    communicator : Communicator or None
        Of the ranks that share the data.
    """

    name: str
    parts: dict[str, RawPart]
    task: Task
    classes: np.ndarray | None
    n_outputs: int
    scale: str
    fit_features: Callable[[Any], Scaler | TableEncoding]
    target_moments: Callable[[], Moments]
    feature_names: tuple[str, ...] | None = None
    target_name: str | None = None
    weights: np.ndarray | None = None
    keys: RowKeys = _NO_KEYS
    notes: tuple[str, ...] = ()
    index_base: int | None = None
    image_shape: tuple[int, ...] | None = None
    fingerprint: dict[str, Any] = field(default_factory=dict)
    columns: tuple[ColumnPlan, ...] = ()
    communicator: Communicator | None = None

    @property
    def n_samples(self) -> int:
        """Number of training samples."""
        return self.sizes["train"]

    @property
    def sizes(self) -> dict[str, int]:
        """Number of samples of each part."""
        return {name: part.n_samples if isinstance(part, Source) else len(part[1]) for name, part in self.parts.items()}


def moments_of(y: np.ndarray) -> Moments:
    """Return the moments of numeric targets, (n_samples,) or (n_samples, n_outputs)."""
    y = y.reshape(len(y), -1)
    moments = Moments(y.shape[1])
    moments.add(y)
    return moments


def read_arrays(
    data: str,
    options: TrainOptions,
    scale: str | None,
    limit: MemoryLimit | None,
    communicator: Communicator | None = None,
) -> JobData:
    """Read data that are arrays into memory, or in pieces if memory would exceed the limit.

    A folder of files other than IDX files is always read in pieces, a small named data set never.

    Parameters
    ----------
    data : str
    options : TrainOptions
    scale : str
        Scaling of the features; None: standard, and "divide:255" for bytes.
    limit : MemoryLimit or None
        On all ranks the same.
    communicator : Communicator, optional
        Each rank reads its share.

    Raises
    ------
    XpnetError
        The data cannot be read or used.
    """
    named = data in DATASETS
    in_pieces_only = not named and is_folder_of_files(Path(data))
    if (limit is None and not in_pieces_only) or (named and (data not in REMOTES or options.target is not None)):
        return _read_at_once(data, options, scale, communicator)
    path = agreed(communicator, lambda: locate(data, options.data_dir) if named else Path(data))
    source, own_test = agreed(communicator, lambda: open_sources(path, target=options.target))
    n_bytes = sum(data_bytes(each, options.dtype) for each in (source, own_test) if each is not None)
    if limit is not None and limit.fits(n_bytes) and not in_pieces_only:
        return _read_at_once(data, options, scale, communicator)
    return _read_in_pieces(data if named else path.resolve().stem, source, own_test, options, scale, communicator)


def _read_at_once(data: str, options: TrainOptions, scale: str | None, communicator: Communicator | None) -> JobData:
    dataset = load_dataset(data, data_dir=options.data_dir, target=options.target, communicator=communicator)
    task = options.task or infer_task(dataset.y)
    encoded, classes = encode_targets(dataset.y, task)
    parts = split(
        dataset.x,
        dataset.y,
        validation_fraction=options.val_fraction,
        test_fraction=options.test_fraction,
        stratify=task == "classification",
        seed=options.seed,
        x_test=dataset.x_test,
        y_test=dataset.y_test,
    )
    scale = scale or _own_scale(dataset.x.dtype)
    note = "" if classes is None else describe_classes(options.task, infer_task(dataset.y), len(classes))
    samples = (getattr(parts, f"x_{name}") for name in PARTS), (getattr(parts, f"y_{name}") for name in PARTS)
    return JobData(
        name=dataset.name,
        parts={name: (x, y) for name, x, y in zip(PARTS, *samples, strict=True) if x is not None},
        task=task,
        classes=classes,
        n_outputs=encoded.size // len(encoded),
        scale=scale,
        fit_features=partial(_fit, scale),
        target_moments=lambda: moments_of(encode_targets(parts.y_train, task)[0]),
        feature_names=dataset.feature_names,
        target_name=dataset.target_name,
        notes=(note,) if note else (),
        index_base=dataset.index_base,
        image_shape=dataset.image_shape,
        fingerprint=fingerprint_dataset(dataset) if options.checkpoint_every else {},
        communicator=communicator,
    )


def _fit(scale: str, x: Any) -> Scaler:
    return fit_shared_scaler(scale, x) if isinstance(x, SharedRows) else fit_scaler(scale, x)


@dataclass
class _Pass:
    """What one pass over all the data finds; of several ranks each adds its blocks."""

    scale: str
    moments: Moments
    target_moments: Moments
    summary: TargetSummary = field(default_factory=TargetSummary)
    fingerprint: Fingerprint | None = None

    def add(self, source: Source, training: SourceSubset, blocks: range, *, fingerprinted: bool) -> None:
        """Include blocks of a source, of which some rows are for training."""
        for block in blocks:
            if not source.sizes[block]:
                continue
            x, y = source.read(block)
            try:
                check_data(x, y, source.feature_names)
                self.summary.add(y)
            except DataError as exc:
                raise DataError(f"{source.where(block)}: {exc}") from exc
            self.scale = self.scale or _own_scale(x.dtype)
            if fingerprinted:
                self.fingerprint = self.fingerprint or Fingerprint(column_names(source, x, y))
                self.fingerprint.add(x, y)
            for rows in training.rows(block):
                if rows.start == rows.stop:
                    continue
                add_for_scaler(self.scale, self.moments, x[rows])
                if y.dtype.kind in "biuf":
                    targets = y[rows].reshape(rows.stop - rows.start, -1)
                    self.target_moments = self.target_moments if self.target_moments.n else Moments(targets.shape[1])
                    self.target_moments.add(targets)


def _read_in_pieces(
    name: str,
    source: Source,
    own_test: Source | None,
    options: TrainOptions,
    scale: str | None,
    communicator: Communicator | None,
) -> JobData:
    """Read all the data once, for the task, the classes, and the scaling of the training part."""
    parts = split_source(
        source,
        validation_fraction=options.val_fraction,
        test_fraction=0.0 if own_test else options.test_fraction,
        seed=options.seed,
    )
    blocks = own_blocks(source.sizes, communicator)
    found: _Pass = in_turn(
        communicator,
        _Pass(scale or "", Moments(source.n_features), Moments(0)),
        lambda found: found.add(
            source.reader(), parts.training, blocks, fingerprinted=options.checkpoint_every is not None
        ),
    )
    summary, task = found.summary, options.task or found.summary.task
    note = describe_classes(options.task, summary.task, summary.labels.size)
    by_name: dict[str, Source | None] = {
        "train": parts.training, "validation": parts.validation, "test": own_test or parts.test
    }  # fmt: skip
    return JobData(
        name=name,
        parts={name: part for name, part in by_name.items() if part is not None},
        task=task,
        classes=encode_targets(summary.labels, "classification")[1] if task == "classification" else None,
        n_outputs=summary.n_outputs,
        scale=found.scale,
        fit_features=lambda _: scaler_from_moments(found.scale, found.moments),
        target_moments=lambda: found.target_moments,
        feature_names=source.feature_names,
        target_name=source.target_name,
        notes=(note,) if note else (),
        image_shape=source.image_shape,
        fingerprint={} if found.fingerprint is None else {"data": found.fingerprint.to_dict()},
        communicator=communicator,
    )


def _own_scale(dtype: np.dtype[Any]) -> str:
    """Return the default scaling of features with this dtype."""
    return "divide:255" if dtype == np.uint8 else "standard"
