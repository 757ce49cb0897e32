"""From options to a job: data read and split, network and trainer made; everything checked, nothing written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from xpnet.backend import Backend, get_backend
from xpnet.cli.choices import choose_device, choose_scale, make_network, make_trainer, scales_target
from xpnet.cli.options import TrainOptions
from xpnet.data.dataset import Dataset
from xpnet.data.named import load_dataset
from xpnet.data.scaling import fit_scaler
from xpnet.data.split import Split, split
from xpnet.data.targets import encode_targets, infer_task
from xpnet.model.model import Model
from xpnet.training.callbacks import Callback
from xpnet.training.early_stopping import get_early_stopping
from xpnet.training.trainer import Run, Trainer

__all__ = [
    "PARTS",
    "Confusion",
    "Job",
    "Scores",
    "prepare",
    "train",
]

PARTS = ("train", "validation", "test")
# Of each part, where there is one.
Scores = dict[str, dict[str, float] | None]


class Confusion(NamedTuple):
    """Labels of a part, and those predicted."""

    part: str
    labels: np.ndarray
    predicted: np.ndarray


@dataclass(frozen=True, eq=False)
class Job:
    """A training run that is ready to start.

    Attributes
    ----------
    dataset : Dataset
    parts : Split
        Raw features and raw targets.
    model : Model
        With its initial parameters.
    trainer : Trainer
    backend : Backend
    """

    dataset: Dataset
    parts: Split
    model: Model
    trainer: Trainer
    backend: Backend

    @property
    def name(self) -> str:
        """The name of the data."""
        return self.dataset.name

    @property
    def n_samples(self) -> int:
        """Samples to train on."""
        return len(self.parts.x_train)

    @property
    def training(self) -> tuple[Any, ...]:
        """What the trainer is given to train on: features and targets, scaled and encoded."""
        return self.model.features(self.parts.x_train), self.model.targets(self.parts.y_train)

    @property
    def validation(self) -> Any:
        """What the trainer is given to validate on, or None."""
        parts, model = self.parts, self.model
        if parts.x_validation is None or parts.y_validation is None:
            return None
        return model.features(parts.x_validation), model.targets(parts.y_validation)

    def run(self, *callbacks: Callback, checkpoints: Path | None = None) -> Run:
        """Train, from the newest of the checkpoints where they are given; see `Trainer.fit` for what it raises."""
        return train(self, callbacks, checkpoints)

    def trained(self, run: Run) -> Model:
        """Return the model with the parameters that training gave."""
        return replace(self.model, vector=run.params.vector)

    def assess(self, model: Model, run: Run) -> tuple[Scores, Confusion | None]:
        """Return what a model reaches on each part, and the confusion of the test part or what is in its place.

        A part is evaluated once: the validation part not again, where the run has just done it.
        """
        parts = {name: (getattr(self.parts, f"x_{name}"), getattr(self.parts, f"y_{name}")) for name in PARTS}
        last = next(name for name in reversed(PARTS) if parts[name][0] is not None)
        scores: Scores = {"train": None, "validation": self._validated(run), "test": None}
        predicted = np.empty(0)
        for name, (x, y) in parts.items():
            if x is not None and (scores[name] is None or name == last):
                scores[name], predicted = model.assess(x, y, self.backend)
        if model.classes is None:
            return scores, None
        return scores, Confusion(last, model.classes[model.targets(parts[last][1])], predicted)

    def _validated(self, run: Run) -> dict[str, float] | None:
        """Return the validation scores of the parameters that training gave, where it has taken them."""
        if run.state.best is not None:
            stopping = get_early_stopping(self.trainer.early_stopping or "loss")
            return max(run.history, key=stopping.value).validation  # the first of equals, as in training
        return run.history[-1].validation if run.history and run.state.position == 0 else None


class _Trainable(Protocol):
    @property
    def model(self) -> Model: ...
    @property
    def trainer(self) -> Trainer: ...
    @property
    def training(self) -> tuple[Any, ...]: ...
    @property
    def validation(self) -> Any: ...


def train(job: _Trainable, callbacks: tuple[Callback, ...], checkpoints: Path | None) -> Run:
    """Train a job, from the newest of the checkpoints where they are given."""
    trainer = replace(job.trainer, callbacks=callbacks)
    if checkpoints is not None:
        return trainer.resume(checkpoints, *job.training, validation=job.validation)
    return trainer.fit(*job.training, validation=job.validation, params=job.model.params)


def prepare(data: str, options: TrainOptions) -> Job:
    """Read the data and make everything that a run needs.

    Raises
    ------
    XpnetError
        Whatever is wrong with the options, the device or the data.
    """
    backend = get_backend(choose_device(options))
    dataset = load_dataset(data, data_dir=options.data_dir, target=options.target)
    task = options.task or infer_task(dataset.y)
    _, classes = encode_targets(dataset.y, task)
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
    y_train, _ = encode_targets(parts.y_train, task, classes)
    loss, network = make_network(options, task, dataset.x.shape[1], classes, y_train.size // len(y_train))
    scale = choose_scale(options, dataset.x.dtype)
    model = Model(
        network,
        network.init(options.seed, dtype=options.dtype).vector,
        task,
        classes,
        fit_scaler(scale, parts.x_train),
        fit_scaler("standard", y_train) if scales_target(task, loss, scale) else None,
        dataset.feature_names,
        dataset.target_name,
    )
    return Job(dataset, parts, model, make_trainer(network, backend, options), backend)
