"""From the options of `xpnet train` to device, network, trainer and scaling."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from xpnet.backend import Backend
from xpnet.cli.options import TrainOptions
from xpnet.data.targets import Task
from xpnet.errors import InvalidParameterError
from xpnet.nn.losses import fitting_losses, get_loss
from xpnet.nn.network import Network
from xpnet.nn.optimizers import OPTIMIZERS
from xpnet.specs import options_of
from xpnet.training.trainer import Trainer

__all__ = ["choose_device", "choose_scale", "make_network", "make_trainer", "scales_target"]

_MOMENTUM = "momentum"  # the option of an optimizer that --momentum sets
# The trainer's names of batch sizes, where they differ from the command line's.
_BATCH_SIZES: dict[int | str | None, int | str | None] = {None: "auto", "all": None}


def make_network(
    options: TrainOptions, task: Task, n_features: int, classes: np.ndarray | None, n_outputs: int
) -> tuple[str, Network]:
    """Return the loss and the network for a task.

    Parameters
    ----------
    classes : (n_classes,) ndarray or None
    n_outputs : int
        Number of targets of a sample; used if there are no classes.
    """
    loss = _loss(options.loss, task)
    if options.label_smoothing and task != "classification":
        raise InvalidParameterError(f"label_smoothing: expected 0 for a {task}; received {options.label_smoothing!r}.")
    if classes is None:
        n_out = n_outputs
    else:
        n_out = 1 if len(classes) == 2 and get_loss(loss).targets.are_binary else len(classes)
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
    """Return the kind of scaling of the features; `dtype` is the dtype of the raw features."""
    return options.scale or ("divide:255" if dtype == np.uint8 else "standard")


def scales_target(task: Task, loss: str, scale: str) -> bool:
    """Return whether targets are scaled: those of a regression, if features are scaled and the loss allows it."""
    return task == "regression" and get_loss(loss).targets.may_be_scaled and scale != "none"


def _loss(loss: str | None, task: Task) -> str:
    fitting = fitting_losses(task)
    if loss is None:
        return fitting[0]
    get_loss(loss)  # refuses an unknown name with the list of all losses
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
        with_momentum = [n for n, factory in OPTIMIZERS.items() if _MOMENTUM in options_of(factory)]
        if name in OPTIMIZERS and name not in with_momentum:
            raise InvalidParameterError(
                f"--momentum: expected --optimizer {' or '.join(with_momentum)}; received {name!r}."
            )
        optimizer += f"{',' if ':' in optimizer else ':'}{_MOMENTUM}={options.momentum!r}"
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
        on_divergence=options.on_divergence,
        device=backend,
    )


def choose_device(options: TrainOptions) -> str:
    """Return the device of ``--backend torch --device gpu:1 --precision tf32``: ``"torch:gpu:1@tf32"``."""
    device, at, precision = options.device.partition("@")
    if options.precision is not None:
        if at and precision != options.precision:
            raise InvalidParameterError(
                f"precision: expected {precision!r}, as in --device {options.device}; received {options.precision!r}."
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
        return tuple(int(size) for size in re.split(r"\s*,\s*|\s+", text.strip()))
    except ValueError as exc:
        raise InvalidParameterError(
            f"--hidden: expected the sizes of the hidden layers, such as 256,128, or none; received {text!r}."
        ) from exc
