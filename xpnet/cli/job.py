"""From options to a job: data read and split, network and trainer made; everything checked, nothing written."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from pathlib import Path

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

__all__ = ["Job", "prepare"]

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

    def run(self, *callbacks: Callback, checkpoints: Path | None = None) -> Run:
        """Train, from the newest of the checkpoints where they are given; see `Trainer.fit` for what it raises."""
        parts, model = self.parts, self.model
        validation = None
        if parts.x_validation is not None and parts.y_validation is not None:
            validation = (model.features(parts.x_validation), model.targets(parts.y_validation))
        trainer = replace(self.trainer, callbacks=callbacks)
        x, y = model.features(parts.x_train), model.targets(parts.y_train)
        if checkpoints is not None:
            return trainer.resume(checkpoints, x, y, validation=validation)
        return trainer.fit(x, y, validation=validation, params=model.params)

    def trained(self, run: Run) -> Model:
        """Return the model with the parameters that training gave."""
        return replace(self.model, vector=run.params.vector)


def prepare(data: str, options: TrainOptions) -> Job:
    """Read the data and make everything that a run needs.

    Raises
    ------
    XpnetError
        Whatever is wrong with the options, the device or the data.
    """
    backend = get_backend(_device(options))
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
    loss = _loss(options.loss, task)
    if options.label_smoothing and task != "classification":
        raise InvalidParameterError(f"label_smoothing: expected 0 for a {task}; received {options.label_smoothing!r}.")
    y_train, _ = encode_targets(parts.y_train, task, classes)
    if classes is None:
        n_out = y_train.shape[1]
    else:
        n_out = 1 if len(classes) == 2 and loss == "binary_cross_entropy" else len(classes)
    network = Network(
        (dataset.x.shape[1], *_hidden(options.hidden), n_out),
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
    scale = options.scale or ("divide:255" if dataset.x.dtype == np.uint8 else "standard")
    # A count or a rate has a zero that scaling would move.
    scaled_target = task == "regression" and loss != "poisson" and scale != "none"
    model = Model(
        network,
        network.init(options.seed, dtype=options.dtype).vector,
        task,
        classes,
        fit_scaler(scale, parts.x_train),
        fit_scaler("standard", y_train) if scaled_target else None,
        dataset.feature_names,
        dataset.target_name,
    )
    return Job(dataset, parts, model, _trainer(network, backend, options), backend)


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


def _trainer(network: Network, backend: Backend, options: TrainOptions) -> Trainer:
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
        epochs=options.epochs,
        early_stopping=options.early_stopping,
        class_weight=options.class_weight,
        seed=options.seed,
        dtype=options.dtype,
        on_divergence=options.on_divergence,
        device=backend,
    )


def _device(options: TrainOptions) -> str:
    """Join ``--backend torch --device gpu:1 --precision tf32`` to ``torch:gpu:1@tf32``."""
    device, at, precision = options.device.partition("@")
    if options.precision is not None:
        if at and precision != options.precision:
            raise InvalidParameterError(
                f"precision: expected {precision!r}, that of --device {options.device}; received {options.precision!r}."
            )
        at, precision = "@", options.precision
    if at and precision != "float32" and options.dtype == "float64":
        raise InvalidParameterError(f"precision: expected 'float32' with --dtype float64; received {precision!r}.")
    named = device.partition(":")[0]
    if options.backend is not None and named in ("cpu", "gpu", "auto"):
        device = f"{options.backend}:{device}"
    elif options.backend is not None and named != options.backend:
        raise InvalidParameterError(
            f"--backend: expected {named!r}, the backend of --device {options.device}; received {options.backend!r}."
        )
    return device + at + precision


def _hidden(text: str) -> tuple[int, ...]:
    if text == "none":
        return ()
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError as exc:
        raise InvalidParameterError(
            f"--hidden: expected the sizes of the hidden layers, as 256,128, or none; received {text!r}."
        ) from exc
