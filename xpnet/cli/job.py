"""A training run that is ready to start: everything is made and checked, nothing is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import Backend, get_backend
from xpnet.cli.choices import choose_device, make_network, make_trainer, scales_target
from xpnet.cli.job_data import PARTS, JobData, RawPart, read_data
from xpnet.cli.memory_limit import MemoryLimit
from xpnet.cli.options import TrainOptions
from xpnet.cli.run import train
from xpnet.data.streams import Source
from xpnet.model.model import Model
from xpnet.training.early_stopping import get_early_stopping
from xpnet.training.history import Scores
from xpnet.training.state import Run
from xpnet.training.trainer import Trainer

__all__ = ["Confusion", "Job", "prepare", "train"]


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
    name : str
        Name of the data.
    parts : dict of str to RawPart
        Raw features and raw targets of "train" and, if they exist, of "validation" and "test".
    model : Model
        The model with its initial parameters.
    trainer : Trainer
    backend : Backend
    fingerprint : dict
        As in `JobData`.
    """

    name: str
    parts: dict[str, RawPart]
    model: Model
    trainer: Trainer
    backend: Backend
    fingerprint: dict[str, Any] = field(default_factory=dict)

    @property
    def is_in_memory(self) -> bool:
        """Whether the data lies in memory."""
        return not isinstance(self.parts["train"], Source)

    @property
    def n_samples(self) -> int:
        """Number of training samples."""
        part = self.parts["train"]
        return part.n_samples if isinstance(part, Source) else len(part[0])

    def arguments(self) -> dict[str, Any]:
        """Return the data as `Trainer.fit` and `Trainer.resume` take it: `x`, `y` and `validation`."""
        training = self.model.encode(self.parts["train"])
        validation = self.parts.get("validation")
        x, y = (training, None) if isinstance(training, Source) else training
        return {"x": x, "y": y, "validation": None if validation is None else self.model.encode(validation)}

    def assess(self, model: Model, run: Run) -> tuple[dict[str, Scores | None], Confusion | None]:
        """Return the scores of a trained model on each part, and the confusion of the last part.

        There is no confusion without classes, nor for data that is read in pieces. No part is evaluated twice: the
        run has evaluated the validation part already.
        """
        scores: dict[str, Scores | None] = {**dict.fromkeys(PARTS), "validation": self._validated(run)}
        last = list(self.parts)[-1]
        confusion = None
        for name, part in self.parts.items():
            if isinstance(part, Source):
                scores[name] = scores[name] or model.evaluate(part, device=self.backend)
            elif scores[name] is None or name == last:
                scores[name], predicted = model.assess(*part, self.backend)
                if name == last and model.classes is not None:
                    confusion = Confusion(name, model.classes[model.targets(part[1])], predicted)
        return scores, confusion

    def _validated(self, run: Run) -> Scores | None:
        """Return the validation scores that the run recorded for its resulting parameters, if it did."""
        if run.state.best is not None:
            stopping = get_early_stopping(self.trainer.early_stopping or "loss")
            return max(run.history, key=stopping.value).validation  # the first of equals, as in training
        return run.history[-1].validation if run.history and run.state.position == 0 else None


def prepare(data: str, options: TrainOptions) -> Job:
    """Read the data and make the model and the trainer.

    Raises
    ------
    XpnetError
        An option, the device or the data cannot be used.
    """
    backend = get_backend(choose_device(options))
    limit = None if options.memory_limit is None else MemoryLimit.parse(options.memory_limit)
    read = read_data(data, options, limit)
    model = _make_model(read, options)
    trainer = make_trainer(model.network, backend, options)
    job = Job(read.name, read.parts, model, trainer, backend, read.fingerprint)
    sources = [part for part in job.parts.values() if isinstance(part, Source)]
    if limit is not None and sources:
        buffer_bytes = limit.buffer_bytes(trainer, job.n_samples, checkpoints=bool(options.checkpoint_every))
        for source in sources:
            source.buffer_bytes = buffer_bytes
    return job


def _make_model(data: JobData, options: TrainOptions) -> Model:
    loss, network = make_network(options, data.task, data.n_features, data.classes, data.n_outputs)
    return Model(
        network,
        network.init(options.seed, dtype=options.dtype).vector,
        data.task,
        data.classes,
        data.fit_scaler(),
        data.fit_target_scaler() if scales_target(data.task, loss, data.scale) else None,
        data.feature_names,
        data.target_name,
        data.index_base,
    )
