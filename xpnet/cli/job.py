"""A training run that is ready to start: everything is made and checked, nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import Backend
from xpnet.backend.costs import is_open
from xpnet.cli.choices import (
    choose_device,
    choose_loss,
    choose_preset,
    make_network,
    make_trainer,
    scales_target,
)
from xpnet.cli.config import train_command
from xpnet.cli.early_checks import check_options
from xpnet.cli.job_data import PARTS, JobData, RawPart, read_arrays
from xpnet.cli.memory_limit import MemoryLimit
from xpnet.cli.options import TrainOptions, table_options
from xpnet.cli.presets import PRESETS
from xpnet.cli.ranks import agree_on_kind, check_same, check_shareable, get_device, shared_values
from xpnet.cli.run import train
from xpnet.cli.table_data import read_table
from xpnet.communicator import Communicator
from xpnet.data.named import DATASETS
from xpnet.data.scaling import Scaler, scaler_from_moments
from xpnet.data.shared_rows import SharedRows, warn_of_merged_rows
from xpnet.data.streams import Source
from xpnet.data.tables.files import is_table
from xpnet.data.targets import encode_targets
from xpnet.errors import InvalidParameterError
from xpnet.model.model import Model
from xpnet.training.auto_device import choice_for
from xpnet.training.early_stopping import get_early_stopping
from xpnet.training.history import EpochRecord, Scores
from xpnet.training.metrics import baseline_scores
from xpnet.training.ranks import communicator_for
from xpnet.training.recipes import Recipe
from xpnet.training.state import Run
from xpnet.training.trainer import Trainer

__all__ = ["Assessment", "Confusion", "Job", "make_job", "prepare", "train"]


class Confusion(NamedTuple):
    """True and predicted labels of a part."""

    part: str
    labels: np.ndarray
    predicted: np.ndarray


class Assessment(NamedTuple):
    """How well a trained model does.

    Attributes
    ----------
    scores : dict
        Those of each part in `PARTS`; None for a part that does not exist.
    confusion : Confusion or None
        Of the last part. None without classes, and for data that is read in pieces.
    baseline : dict
        ``name``, ``part`` and scores of the best constant prediction on the last part; empty for data that is read in
        pieces.
    """

    scores: dict[str, Scores | None]
    confusion: Confusion | None
    baseline: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Job:
    """A training run that is ready to start, on data in memory or on data that is read in pieces.

    Attributes
    ----------
    data : JobData
    model : Model
        The model with its initial parameters.
    trainer : Trainer
    backend : Backend
    preset : str
    command : str
        The command that repeats the run.
    device_reason : str
        Why ``--device auto`` is this device; empty where there was no choice.
    """

    data: JobData
    model: Model
    trainer: Trainer
    backend: Backend
    preset: str
    command: str
    device_reason: str = ""

    @property
    def parts(self) -> dict[str, RawPart]:
        """Raw features and raw targets of "train" and, if they exist, of "validation" and "test"."""
        return self.data.parts

    @property
    def is_in_memory(self) -> bool:
        """Whether the data lies in memory."""
        return not isinstance(self.parts["train"], Source)

    def member(self, number: int) -> Job:
        """Return the job of a member of an ensemble, counted from 0: its seed is that of the job plus the number."""
        seed = self.trainer.seed + number
        vector = self.model.network.init(seed, dtype=self.trainer.dtype).vector
        return replace(self, trainer=replace(self.trainer, seed=seed), model=replace(self.model, vector=vector))

    def arguments(self) -> dict[str, Any]:
        """Return the data as `Trainer.fit` and `Trainer.resume` take it: `x`, `y`, `sample_weight`, `validation`."""
        given = self.parts["train"]
        training, validation = map(self._encoded, (given, self.parts.get("validation")))
        x, y = (training, None) if isinstance(training, Source) else training
        if not isinstance(given, Source):
            self._warn_of_merged("features", given[0], x, self.data.feature_names)
            self._warn_of_merged("targets", given[1], y)
        return {
            "x": x,
            "y": y,
            "sample_weight": self.data.weights,
            "validation": validation,
        }

    @staticmethod
    def _warn_of_merged(what: str, raw: Any, encoded: Any, names: Sequence[str] | None = None) -> None:
        """Warn if numbers that differ are one number after their encoding; tables, bytes and classes keep theirs."""
        before, after = (each.own if isinstance(each, SharedRows) else each for each in (raw, encoded))
        if isinstance(before, np.ndarray) and isinstance(after, np.ndarray) and after.dtype.kind == "f":
            warn_of_merged_rows(raw, encoded, what, names)

    def _encoded(self, part: RawPart | None) -> Any:
        if part is None or isinstance(part, Source):
            return part and self.model.encode(part)
        return self.model.inputs(part[0]), self.model.targets(part[1])

    def assess(self, model: Model) -> Assessment:
        """Return how well a trained model does on each part."""
        scores: dict[str, Scores | None] = dict.fromkeys(PARTS)
        confusion, baseline = None, {}
        last = list(self.parts)[-1]
        for name, part in self.parts.items():
            if isinstance(part, Source):
                scores[name] = model.evaluate(part, None, self.backend, self.data.communicator)
                continue
            scores[name], predicted = model.assess(*part, self.backend, metrics=self.trainer.metrics)
            if name == last:
                baseline = {"part": name, **self._baseline(part[1])}
                if model.classes is not None:
                    confusion = Confusion(name, model.classes[model.targets(part[1])], predicted)
        return Assessment(scores, confusion, baseline)

    def _baseline(self, y: np.ndarray) -> dict[str, Any]:
        """Return the name and the scores, for raw targets, of the best constant prediction of the training targets."""
        task, classes = self.model.task, self.model.classes
        training = self.parts["train"]
        assert not isinstance(training, Source)  # nor is the part of y
        before, given = (encode_targets(each, task, classes)[0] for each in (training[1], y))
        return baseline_scores(task, before, given)

    @property
    def chooses_by(self) -> str:
        """The loss or the metric that chooses the epoch, or that is shown where none is chosen."""
        spec = self.trainer.early_stopping
        return get_early_stopping(spec).metric if spec else next(iter(self.trainer.metrics), self.model.metric)

    def kept(self, run: Run) -> EpochRecord | None:
        """Return the record of the epoch whose parameters the run kept; None if it ended within an epoch."""
        if run.state.best is not None:
            stopping = get_early_stopping(self.trainer.early_stopping or "loss")
            return stopping.best(run.history, run.state.stopping)
        return run.history[-1] if run.history and run.state.position == 0 else None


def prepare(data: str, options: TrainOptions, communicator: Communicator | None = None) -> Job:
    """Read the data and make the model and the trainer.

    With a communicator all ranks call this together; each holds its share of the data.

    Parameters
    ----------
    data : str
    options : TrainOptions
    communicator : Communicator or None
        The processes that train together.

    Raises
    ------
    XpnetError
        An option, the device or the data cannot be used.
    """
    if options.ensemble < 1 or (options.ensemble > 1 and options.checkpoint_every is not None):
        expected = "1 with --checkpoint-every" if options.ensemble > 1 else "a whole number of at least 1"
        raise InvalidParameterError(f"ensemble: expected {expected}; received {options.ensemble}.")
    if communicator is not None:
        check_shareable(data, options)
    device = choose_device(options)
    backend = get_device(device, communicator)  # before the data are read, which takes time
    communicator_for(communicator, backend)
    limit = None if options.memory_limit is None else MemoryLimit.parse(options.memory_limit)
    if communicator is not None:
        limit = communicator.broadcast(limit)  # the windows of all ranks are the same
    table = data not in DATASETS and is_table(data)
    preset = choose_preset(options, is_table=table)
    recipes = PRESETS[preset].recipe
    for name in () if table else table_options():
        if (value := getattr(options, name)) not in (None, ()):
            raise InvalidParameterError(f"{name}: expected none for data that are no table; received {value!r:.60}.")
    check_options(options, backend, recipes)
    scale = options.scale or recipes["classification"].scale  # one for all tasks: the task is not known yet
    read = (read_table if table else read_arrays)(data, options, scale, limit, communicator)
    job = make_job(data, read, backend, preset, options)
    if communicator is not None:
        check_same(communicator, shared_values(job))
    sources = [part for part in job.parts.values() if isinstance(part, Source)]
    if limit is not None and sources:
        buffer_bytes = limit.buffer_bytes(job.trainer, read.n_samples, checkpoints=bool(options.checkpoint_every))
        for source in sources:
            source.buffer_bytes = buffer_bytes
    return job


def make_job(data: str, read: JobData, backend: Backend, preset: str, options: TrainOptions) -> Job:
    """Make the model and the trainer for data that have been read.

    Parameters
    ----------
    data : str
        Name or path of the data.
    read : JobData
        The data, or those of a fold.
    backend : Backend
        That of the device. With ``--device auto`` another may be faster for this network, and is then taken.
    preset : str
    options : TrainOptions
        Those that the data were read with, but for options of the network and of training.
    """
    recipe = PRESETS[preset].recipe[read.task]
    model = _make_model(read, options, recipe)
    trainer = make_trainer(
        model.network,
        backend,
        options,
        recipe,
        read.task,
        read.n_samples,
        validation="validation" in read.parts,
        target_scale=None if model.target_scaler is None else model.target_scaler.scale,
    )
    reason, device = "", choose_device(options)
    if is_open(device):
        backend, reason = choice_for(trainer, device, read.n_samples)
        backend = agree_on_kind(backend, read.communicator)
        trainer = replace(trainer, device=backend)
    trainer = replace(trainer, communicator=read.communicator)
    return Job(read, model, trainer, backend, preset, train_command(data, options), reason)


def _make_model(data: JobData, options: TrainOptions, recipe: Recipe) -> Model:
    """Return the model with its initial parameters; scaling and encoding are fitted to the training part."""
    given = data.parts["train"]
    features = data.fit_features(None if isinstance(given, Source) else given[0])
    target_scaler, output_range = None, None
    if scales_target(data.task, choose_loss(options.loss, data.task), data.scale):
        moments = data.target_moments()
        target_scaler = scaler_from_moments("standard", moments)
        if recipe.clips_output:
            output_range = tuple(target_scaler.scaled(limit).tolist() for limit in (moments.low, moments.high))
    n_features = features.shift.size if isinstance(features, Scaler) else features.n_features
    network = make_network(options, recipe, data.task, n_features, data.classes, data.n_outputs, output_range)
    return Model(
        network,
        network.init(options.seed, dtype=options.dtype).vector,
        data.task,
        data.classes,
        features if isinstance(features, Scaler) else None,
        target_scaler,
        data.feature_names,
        data.target_name,
        data.index_base,
        None if isinstance(features, Scaler) else features,
        data.image_shape,
    )
