"""A job within a limit of memory: data that would exceed it are read in pieces."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.backend import Backend, get_backend
from xpnet.cli.choices import choose_device, choose_scale, make_network, make_trainer, scales_target
from xpnet.cli.job import PARTS, Job, Scores, prepare, train
from xpnet.cli.options import TrainOptions
from xpnet.data.checks import check_data
from xpnet.data.downloads import REMOTES, locate
from xpnet.data.named import DATASETS
from xpnet.data.scaling import Moments, scaler_from_moments
from xpnet.data.streams import (
    BUFFER_BYTES,
    Source,
    SourceSplit,
    SourceSubset,
    is_folder_of_files,
    open_sources,
    split_source,
)
from xpnet.data.targets import TargetSummary, encode_targets
from xpnet.errors import DataError, InvalidParameterError, size_text
from xpnet.memory import current_bytes, parse_size
from xpnet.model.model import Model
from xpnet.nn.network import Parameters
from xpnet.nn.optimizers import get_optimizer
from xpnet.nn.step import step_bytes
from xpnet.training.callbacks import Callback
from xpnet.training.streaming import evaluate_source
from xpnet.training.trainer import Run, Trainer

__all__ = ["StreamJob", "prepare_within"]

# What Python and the libraries take is counted in steps of this much, so that the buffer, on which the order of the
# samples depends, is the same in each run.
_LIBRARIES = 256 * 10**6


@dataclass(frozen=True, eq=False)
class StreamJob:
    """A training run on data that are read in pieces, ready to start; as `Job`.

    Attributes
    ----------
    name : str
    parts : SourceSplit
        Raw features and raw targets.
    model : Model
    trainer : Trainer
    backend : Backend
    """

    name: str
    parts: SourceSplit
    model: Model
    trainer: Trainer
    backend: Backend

    @property
    def n_samples(self) -> int:
        """Samples to train on."""
        return self.parts.training.n_samples

    @property
    def training(self) -> tuple[Any, ...]:
        """What the trainer is given to train on."""
        return (self._prepared(self.parts.training),)

    @property
    def validation(self) -> Any:
        """What the trainer is given to validate on, or None."""
        return None if self.parts.validation is None else self._prepared(self.parts.validation)

    def _prepared(self, source: Source) -> Source:
        """Return a source of features and targets as the network takes them, scaled in the worker thread."""
        model = self.model
        return source.map(lambda x, y: (model.features(x), model.targets(y)))

    def run(self, *callbacks: Callback, checkpoints: Path | None = None) -> Run:
        """Train, from the newest of the checkpoints where they are given; see `Trainer.fit` for what it raises."""
        return train(self, callbacks, checkpoints)

    def trained(self, run: Run) -> Model:
        """Return the model with the parameters that training gave."""
        return replace(self.model, vector=run.params.vector)

    def assess(self, model: Model, run: Run) -> tuple[Scores, None]:
        """Return what a model reaches on each part; of what it predicts there is no room for a picture."""
        dtype = self.trainer.dtype
        with self.backend.scope(dtype):
            params = Parameters(self.backend.asarray(model.vector), model.network)
            scores = {
                name: None
                if part is None
                else evaluate_source(model.network, params, self._prepared(part), self.backend, dtype)
                for name, part in zip(PARTS, self.parts, strict=True)
            }
        return scores, None


def prepare_within(data: str, options: TrainOptions) -> Job | StreamJob:
    """Make everything that a run needs: on data in memory or, where that would exceed the limit, in pieces.

    Raises
    ------
    XpnetError
        Whatever is wrong with the options, the device or the data.
    """
    named = data in DATASETS
    if options.memory_limit is None and (named or not is_folder_of_files(Path(data))):
        return prepare(data, options)
    limit = None if options.memory_limit is None else parse_size(options.memory_limit)
    if named and data not in REMOTES:
        return prepare(data, options)  # small
    if named and options.target is not None:
        raise InvalidParameterError(f"target: {data} has a target of its own; received {options.target!r}")
    path = locate(data, options.data_dir) if named else Path(data)
    backend = get_backend(choose_device(options))
    libraries = math.ceil((current_bytes() + _LIBRARIES / 4) / _LIBRARIES) * _LIBRARIES
    source, own_test = open_sources(path, target=options.target)
    in_memory = _in_memory(source, options) + (_in_memory(own_test, options) if own_test else 0)
    if limit is not None and libraries + in_memory <= limit and (named or not is_folder_of_files(path)):
        return prepare(data, options)
    parts = split_source(
        source,
        validation_fraction=options.val_fraction,
        test_fraction=0.0 if own_test else options.test_fraction,
        seed=options.seed,
    )
    model = _make_model(parts.training, source, options)
    parts = parts._replace(test=own_test or parts.test)
    trainer = make_trainer(model.network, backend, options)
    buffer = BUFFER_BYTES
    if limit is not None:
        buffer = limit - libraries - _of_training(trainer, source.n_samples, checkpoints=bool(options.checkpoint_every))
    if limit is not None and buffer <= 0:
        raise InvalidParameterError(
            f"memory_limit: expected more than {size_text(limit - buffer)}, which this network and batch take with the "
            f"libraries; received {options.memory_limit!r}."
        )
    for part in parts:
        if part is not None:
            part.buffer_bytes = buffer
    return StreamJob(data if named else path.resolve().stem, parts, model, trainer, backend)


def _in_memory(source: Source, options: TrainOptions) -> int:
    """Return what data in memory take: as they are read, cut in parts, and scaled."""
    return source.n_samples * (2 * source.row_bytes + source.n_features * np.dtype(options.dtype).itemsize)


def _of_training(trainer: Trainer, n_samples: int, *, checkpoints: bool) -> int:
    """Return what parameters and a step take: parameters, gradient, copies of the good and the best; activations.

    To go back to after a divergence there is a state more, two while it is taken; a checkpoint is a state once more.
    """
    network = trainer.network
    slots = len(get_optimizer(trainer.optimizer).slots)
    batch = int({"auto": 32, None: n_samples}.get(trainer.batch_size, trainer.batch_size))  # type: ignore[arg-type]
    copies = 6 + slots + 2 * (1 + slots) * (trainer.on_divergence == "halve") + (4 + 2 * slots) * checkpoints
    parameters = network.n_parameters * copies * np.dtype(trainer.dtype).itemsize
    return parameters + step_bytes(network, min(trainer.micro_batch or batch, batch, n_samples), trainer.dtype)


def _make_model(training: SourceSubset, source: Source, options: TrainOptions) -> Model:
    """Look at all the data once: the task, the classes, and the scaling of the training part."""
    targets = TargetSummary()
    moments, of_targets, scale = Moments(source.n_features), Moments(0), ""
    for block, (x, y) in enumerate(source):
        try:
            check_data(x, y, source.feature_names)
            targets.add(y)
        except DataError as exc:
            raise DataError(f"{source.where(block)}: {exc}") from exc
        scale = scale or choose_scale(options, x.dtype)
        for rows in training.rows(block):
            if rows.start == rows.stop:
                continue
            if scale in ("standard", "minmax"):
                moments.add(x[rows])
            if y.dtype.kind in "biuf":
                matrix = y[rows].reshape(rows.stop - rows.start, -1)
                of_targets = of_targets if of_targets.n else Moments(matrix.shape[1])
                of_targets.add(matrix)
    task = options.task or targets.task
    classes = encode_targets(targets.labels, "classification")[1] if task == "classification" else None
    loss, network = make_network(options, task, source.n_features, classes, targets.n_outputs)
    return Model(
        network,
        network.init(options.seed, dtype=options.dtype).vector,
        task,
        classes,
        scaler_from_moments(scale, moments),
        scaler_from_moments("standard", of_targets) if scales_target(task, loss, scale) else None,
        source.feature_names,
        source.target_name,
    )
