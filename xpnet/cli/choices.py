"""From the options of `xpnet train` to device, network, trainer and scaling."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet.backend import Backend
from xpnet.cli.options import TrainOptions
from xpnet.cli.presets import default_preset
from xpnet.data.targets import Task
from xpnet.errors import InvalidParameterError
from xpnet.nn.losses import fitting_losses, get_loss
from xpnet.nn.network import Network
from xpnet.nn.optimizers import OPTIMIZERS
from xpnet.specs import options_of
from xpnet.training.metrics import fitting_metrics, get_metric
from xpnet.training.recipes import Recipe
from xpnet.training.trainer import Trainer

__all__ = [
    "choose_device",
    "choose_loss",
    "choose_preset",
    "make_network",
    "make_trainer",
    "scales_target",
]

_MOMENTUM = "momentum"  # the option of an optimizer that --momentum sets


def choose_preset(options: TrainOptions, *, is_table: bool) -> str:
    """Return the name of the preset; `is_table` says whether the data are a table of a file."""
    return options.preset or default_preset(is_table=is_table)


def make_network(
    options: TrainOptions,
    recipe: Recipe,
    task: Task,
    n_features: int,
    classes: np.ndarray | None,
    n_outputs: int,
    output_range: Sequence[Sequence[float]] | None = None,
) -> Network:
    """Return the network for a task.

    Parameters
    ----------
    n_features : int
        Inputs of the network.
    classes : (n_classes,) ndarray or None
    n_outputs : int
        Number of targets of a sample; used if there are no classes.
    output_range : ((n_outputs,), (n_outputs,)) of float, or None
        Lowest and highest scaled target.
    """
    loss = choose_loss(options.loss, task)
    if options.label_smoothing and task != "classification":
        raise InvalidParameterError(f"label_smoothing: expected 0 for {task}; received {options.label_smoothing!r}.")
    if classes is None:
        n_out = n_outputs
    else:
        n_out = 1 if len(classes) == 2 and get_loss(loss).targets.are_binary else len(classes)
    hidden = recipe.hidden_layer_sizes if options.hidden is None else _hidden(options.hidden)
    given: dict[str, Any] = {
        "initializer": options.init,
        "parametrization": options.parametrization,
        "input_scale": options.input_scale,
        "label_smoothing": options.label_smoothing,
        "dropout": options.dropout,
        "l2": options.l2,
    }
    if options.activation is not None:
        given["activation"] = options.activation[0] if len(options.activation) == 1 else options.activation
    return Network(
        (n_features, *hidden, n_out),
        output=options.output,
        loss=loss,
        l1=options.l1,
        reduction=options.reduction,
        output_range=output_range,
        **_override(recipe.network_arguments(len(hidden)), given),
    )


def scales_target(task: Task, loss: str, scale: str) -> bool:
    """Return whether targets are scaled: those of a regression, if features are scaled and the loss allows it."""
    return task == "regression" and get_loss(loss).targets.may_be_scaled and scale != "none"


def choose_loss(loss: str | None, task: Task) -> str:
    """Return the loss: the given one, which must fit the task, or the task's own.

    Raises
    ------
    InvalidParameterError
    """
    fitting = fitting_losses(task)
    if loss is None:
        return fitting[0]
    get_loss(loss)  # refuses an unknown name with the list of all losses
    if loss.partition(":")[0] not in fitting:
        raise InvalidParameterError(
            f"--loss: expected one of {', '.join(fitting)} for {task}; received {loss!r}. "
            "Choose another, or another --task."
        )
    return loss


def make_trainer(
    network: Network,
    backend: Backend,
    options: TrainOptions,
    recipe: Recipe,
    task: Task,
    n_samples: int,
    *,
    validation: bool,
    target_scale: np.ndarray | None = None,
) -> Trainer:
    """Return the trainer that the options and the recipe describe.

    Parameters
    ----------
    n_samples : int
        Number of training samples.
    validation : bool
        Whether there is a validation part.
    target_scale : (n_out,), optional
        Scale of the targets, which gives errors in their own unit.
    """
    if options.metric is not None and task not in get_metric(options.metric).tasks:
        raise InvalidParameterError(
            f"--metric: expected one of {', '.join(fitting_metrics(task))} for {task}; received {options.metric!r}."
        )
    settings = recipe.trainer_arguments(n_samples, validation=validation)
    if options.optimizer is not None and options.optimizer != settings["optimizer"]:
        settings["learning_rate"] = None  # the recipe's is for its own optimizer
    if settings["learning_rate_factors"] and not network.input_scale:
        settings["learning_rate_factors"] = {
            kind: factor for kind, factor in settings["learning_rate_factors"].items() if kind != "input_scale"
        }
    given = {
        "optimizer": options.optimizer,
        "learning_rate": options.lr,
        "learning_rate_factors": None if options.lr_factors is None else _factors(options.lr_factors),
        "schedule": options.schedule,
        "batch_size": options.batch_size,
        "epochs": options.epochs,
    }
    metric = _metric(options, task)
    stopping = _stopping(options, settings["early_stopping"], metric)
    settings = {**_override(settings, given), "early_stopping": stopping}
    if settings["batch_size"] == "all":
        settings["batch_size"] = None
    settings["optimizer"] = _with_momentum(settings["optimizer"], options.momentum)
    return Trainer(
        network,
        clip_norm=options.clip_norm,
        micro_batch=options.micro_batch,
        class_weight=options.class_weight,
        seed=options.seed,
        dtype=options.dtype,
        on_divergence=options.on_divergence,
        device=backend,
        metrics=() if metric == fitting_metrics(task)[0] else (metric,),
        target_scale=None if target_scale is None else tuple(target_scale.tolist()),
        **settings,
    )


def _metric(options: TrainOptions, task: Task) -> str:
    """Return the metric that is shown and chooses the epoch; with balanced classes it counts them alike."""
    if options.metric is None and options.class_weight is not None and task == "classification":
        return "balanced_accuracy"
    return options.metric or fitting_metrics(task)[0]


def _stopping(options: TrainOptions, default: str | None, metric: str) -> str | None:
    """Return the early stopping of the options, or that of the recipe, which keeps the best epoch of all.

    Parameters
    ----------
    default : str or None
        That of the recipe; None without a validation part.
    metric : str
    """
    if options.early_stopping == "none":
        return None
    if options.early_stopping is None:
        return None if options.keep_last or default is None else f"{metric}:{default.partition(':')[2]}"
    spec = options.early_stopping
    if "=" in spec.partition(":")[0]:  # settings alone
        spec = f"{metric}:{spec}"
    return f"{spec}{',' if ':' in spec else ':'}restore=0" if options.keep_last else spec


def _override(settings: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with those replaced that are given: not None."""
    return {**settings, **{name: value for name, value in given.items() if value is not None}}


def _with_momentum(optimizer: str, momentum: float | None) -> str:
    if momentum is None:
        return optimizer
    name = optimizer.partition(":")[0]
    with_momentum = [n for n, factory in OPTIMIZERS.items() if _MOMENTUM in options_of(factory)]
    if name in OPTIMIZERS and name not in with_momentum:
        raise InvalidParameterError(
            f"--momentum: expected --optimizer {' or '.join(with_momentum)}; received {name!r}."
        )
    return f"{optimizer}{',' if ':' in optimizer else ':'}{_MOMENTUM}={momentum!r}"


def _factors(text: str) -> dict[str, float]:
    """Return the factors of ``"biases=0.1,input_scale=6"``."""
    try:
        return {kind.strip(): float(factor) for kind, factor in (item.split("=") for item in text.split(","))}
    except ValueError as exc:
        raise InvalidParameterError(
            f"--lr-factors: expected factors by kind of parameter, such as biases=0.1,input_scale=6; received {text!r}."
        ) from exc


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
