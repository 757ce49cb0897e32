"""From options to a job: data read and split, network and trainer made; everything checked, nothing written."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xpnet.backend import Backend, get_backend
from xpnet.callbacks import Callback
from xpnet.cli.options import TrainOptions
from xpnet.data import Dataset, Split, Task, encode_targets, fit_scaler, infer_task, split
from xpnet.datasets import load_dataset
from xpnet.errors import InvalidParameterError
from xpnet.losses import get_loss
from xpnet.model import Model
from xpnet.network import Network
from xpnet.optimizers import OPTIMIZERS
from xpnet.trainer import Run, Trainer

__all__ = [
    "PARTS",
    "Job",
    "choose_device",
    "choose_scale",
    "make_network",
    "make_trainer",
    "prepare",
    "scales_target",
]

PARTS = ("train", "validation", "test")

_ELEMENTWISE = ("squared_error", "huber", "poisson")
# Those that make sense for a task, the default first.
_LOSSES: dict[Task, tuple[str, ...]] = {
    "classification": ("cross_entropy", "binary_cross_entropy", *_ELEMENTWISE),
    "multilabel": ("binary_cross_entropy", *_ELEMENTWISE),
    "regression": _ELEMENTWISE,
}

# What the trainer calls otherwise.
_BATCH_SIZES: dict[int | str | None, int | str | None] = {None: "auto", "all": None}


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

    def run(self, *callbacks: Callback) -> Run:
        """Train; see `Trainer.fit` for what it raises."""
        trainer = replace(self.trainer, callbacks=callbacks)
        return trainer.fit(*self.training, validation=self.validation, params=self.model.params)

    def trained(self, run: Run) -> Model:
        """Return the model with the parameters that training gave."""
        return replace(self.model, vector=run.params.vector)

    def scores(self, model: Model) -> dict[str, dict[str, float] | None]:
        """Return what a model reaches on each part."""
        parts = {name: (getattr(self.parts, f"x_{name}"), getattr(self.parts, f"y_{name}")) for name in PARTS}
        return {name: None if x is None else model.evaluate(x, y, self.backend) for name, (x, y) in parts.items()}

    def confusion(self, model: Model) -> tuple[str, np.ndarray, np.ndarray]:
        """Return a part's name, its labels and those predicted: the test part, or what there is in its place."""
        name = next(name for name in reversed(PARTS) if getattr(self.parts, f"x_{name}") is not None)
        x, y = getattr(self.parts, f"x_{name}"), getattr(self.parts, f"y_{name}")
        assert model.classes is not None
        return name, model.classes[model.targets(y)], model.predict(x, self.backend)


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


def make_network(
    options: TrainOptions, task: Task, n_features: int, classes: np.ndarray | None, n_outputs: int
) -> tuple[str, Network]:
    """Return the loss and the network for a task; `n_outputs` is that of targets that are no classes."""
    loss = _loss(options.loss, task)
    if options.label_smoothing and task != "classification":
        raise InvalidParameterError(f"label_smoothing: expected 0 for a {task}; received {options.label_smoothing!r}.")
    if classes is None:
        n_out = n_outputs
    else:
        n_out = 1 if len(classes) == 2 and loss == "binary_cross_entropy" else len(classes)
    return loss, Network(
        (n_features, *_hidden(options.hidden), n_out),
        activation=options.activation[0] if len(options.activation) == 1 else options.activation,
        output=options.output,
        loss=loss,
        initializer=options.init,
        dropout=options.dropout,
        l2=options.l2,
        l1=options.l1,
        label_smoothing=options.label_smoothing,
        reduction=options.reduction,
    )


def choose_scale(options: TrainOptions, dtype: np.dtype[Any]) -> str:
    """Return the scaling of the features."""
    return options.scale or ("divide:255" if dtype == np.uint8 else "standard")


def scales_target(task: Task, loss: str, scale: str) -> bool:
    """Return whether targets are scaled; a count or a rate has a zero that scaling would move."""
    return task == "regression" and loss != "poisson" and scale != "none"


def _loss(loss: str | None, task: Task) -> str:
    fitting = _LOSSES[task]
    if loss is None:
        return fitting[0]
    get_loss(loss)  # an unknown one is refused with all that there are
    if loss.partition(":")[0] not in fitting:
        raise InvalidParameterError(
            f"--loss: expected one of {', '.join(fitting)} for a {task}; received {loss!r}. "
            "Choose another, or another --task."
        )
    return loss


def make_trainer(network: Network, backend: Backend, options: TrainOptions) -> Trainer:
    """Return the trainer that the options describe."""
    optimizer = options.optimizer
    if options.momentum is not None:
        name = optimizer.partition(":")[0]
        with_momentum = [n for n, f in OPTIMIZERS.items() if "momentum" in inspect.signature(f).parameters]
        if name in OPTIMIZERS and name not in with_momentum:
            raise InvalidParameterError(
                f"--momentum: expected --optimizer {' or '.join(with_momentum)}; received {name!r}, which has none."
            )
        optimizer += f"{',' if ':' in optimizer else ':'}momentum={options.momentum!r}"
    return Trainer(
        network,
        optimizer=optimizer,
        learning_rate=options.lr,
        schedule=options.schedule,
        clip_norm=options.clip_norm,
        batch_size=_BATCH_SIZES.get(options.batch_size, options.batch_size),
        micro_batch=options.micro_batch,
        epochs=options.epochs,
        early_stopping=options.early_stopping,
        class_weight=options.class_weight,
        seed=options.seed,
        dtype=options.dtype,
        device=backend,
    )


def choose_device(options: TrainOptions) -> str:
    """Join ``--backend torch --device gpu:1`` to ``torch:gpu:1``."""
    if options.backend is None:
        return options.device
    named = options.device.partition(":")[0]
    if named in ("cpu", "gpu", "auto"):
        return f"{options.backend}:{options.device}"
    if named != options.backend:
        raise InvalidParameterError(
            f"--backend: expected {named!r}, the backend of --device {options.device}; received {options.backend!r}."
        )
    return options.device


def _hidden(text: str) -> tuple[int, ...]:
    if text == "none":
        return ()
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError as exc:
        raise InvalidParameterError(
            f"--hidden: expected the sizes of the hidden layers, as 256,128, or none; received {text!r}."
        ) from exc
