"""A training run that is ready to start: everything is made and checked, nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import Backend, to_host
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
from xpnet.cli.job_data import PARTS, JobData, RawPart, read_arrays
from xpnet.cli.memory_limit import MemoryLimit
from xpnet.cli.options import TrainOptions, table_options
from xpnet.cli.presets import PRESETS
from xpnet.cli.ranks import agree_on_kind, check_same, get_device
from xpnet.cli.run import train
from xpnet.cli.table_data import read_table
from xpnet.communicator import Communicator
from xpnet.data.named import DATASETS
from xpnet.data.scaling import Scaler, scaler_from_moments
from xpnet.data.shared_rows import SharedRows, warn_of_merged_rows
from xpnet.data.streams import Source
from xpnet.data.tables.files import is_table
from xpnet.data.tables.paths import STANDARD_INPUT
from xpnet.errors import InvalidParameterError
from xpnet.model.model import Model
from xpnet.training.auto_device import choice_for
from xpnet.training.early_stopping import get_early_stopping
from xpnet.training.history import EpochRecord, Scores
from xpnet.training.ranks import communicator_for
from xpnet.training.recipes import Recipe
from xpnet.training.state import Run
from xpnet.training.trainer import Trainer

__all__ = ["Confusion", "Job", "make_job", "prepare", "train"]


class Confusion(NamedTuple):
    """True and predicted labels of a part."""

    part: str
    labels: np.ndarray
    predicted: np.ndarray


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

    def assess(self, model: Model, run: Run) -> tuple[dict[str, Scores | None], Confusion | None]:
        """Return the scores of a trained model on each part, and the confusion of the last part.

        There is no confusion without classes, nor for data that is read in pieces. No part is evaluated twice: the
        run has evaluated the validation part already, unless the model is an ensemble.
        """
        validated = self._validated(run) if len(model.members) == 1 else None
        scores: dict[str, Scores | None] = {**dict.fromkeys(PARTS), "validation": validated}
        last = list(self.parts)[-1]
        confusion = None
        for name, part in self.parts.items():
            if isinstance(part, Source):
                evaluated = scores[name] or model.evaluate(part, None, self.backend, self.data.communicator)
                scores[name] = evaluated
            elif scores[name] is None or name == last:
                scores[name], predicted = model.assess(*part, self.backend)
                if name == last and model.classes is not None:
                    confusion = Confusion(name, model.classes[model.targets(part[1])], predicted)
        return scores, confusion

    def kept(self, run: Run) -> EpochRecord | None:
        """Return the record of the epoch whose parameters the run kept; None if it ended within an epoch."""
        if run.state.best is not None:
            return get_early_stopping(self.trainer.early_stopping or "loss").best(run.history)
        return run.history[-1] if run.history and run.state.position == 0 else None

    def _validated(self, run: Run) -> Scores | None:
        """Return the validation scores that the run recorded for its resulting parameters, if it did."""
        kept = self.kept(run)
        return kept and kept.validation


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
        _check_shareable(data, options)
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
    scale = options.scale or recipes["classification"].scale  # one for all tasks: the task is not known yet
    read = (read_table if table else read_arrays)(data, options, scale, limit, communicator)
    job = make_job(data, read, backend, preset, options)
    if communicator is not None:
        check_same(communicator, _shared(job))
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
        model.network, backend, options, recipe, read.n_samples, validation="validation" in read.parts
    )
    reason, device = "", choose_device(options)
    if is_open(device):
        backend, reason = choice_for(trainer, device, read.n_samples)
        backend = agree_on_kind(backend, read.communicator)
        trainer = replace(trainer, device=backend)
    trainer = replace(trainer, communicator=read.communicator)
    return Job(read, model, trainer, backend, preset, train_command(data, options), reason)


def _check_shareable(data: str, options: TrainOptions) -> None:
    """Check that several processes can train this together."""
    alone = "Train it in one process, or with --distributed off."
    if options.ensemble > 1:
        raise InvalidParameterError(
            f"ensemble: expected 1 for ranks that train one network; received {options.ensemble}. {alone}"
        )
    if data == STANDARD_INPUT:
        raise InvalidParameterError(
            "data: expected a file or a folder, which each rank reads; received the standard input, which one rank "
            "gets. Write the data to a file."
        )


def _shared(job: Job) -> dict[str, Any]:
    """Return what must be the same on all ranks, so that they train one network."""
    library, kind = job.backend.name.partition("@")[0].split(":")[:2]
    return {
        "command": job.command,
        "device": f"{library}:{kind}",
        "network": str(job.model.network),
        "numbers of samples": job.data.sizes,
        "features": job.data.feature_names,
        "classes": None if job.data.classes is None else job.data.classes.tolist(),
        "data": job.data.fingerprint,
        "initial parameters": float(np.abs(to_host(job.model.vector)).sum()),
    }


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
