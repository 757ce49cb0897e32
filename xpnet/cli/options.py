"""Options of a training run: one dataclass for the command line, the presets and ``config.toml``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from cyclopts import App, ArgumentCollection, Group, Parameter, Token
from cyclopts.config import Dict

from xpnet.cli.presets import PRESETS
from xpnet.data.named import DATASETS
from xpnet.errors import InvalidParameterError, UnknownNameError

__all__ = ["ResumeOptions", "TrainOptions", "fill_options", "name_option", "read_config", "whole", "write_config"]

_WHERE = Group("Where", sort_key=1)
_DATA = Group("Data", sort_key=2)
_NETWORK = Group("Network", sort_key=3)
_TRAINING = Group("Training", sort_key=4)
_RUN = Group("Run", sort_key=5)


def _option(group: Group, help_: str, **keywords: Any) -> Parameter:
    return Parameter(group=group, help=help_, **keywords)


def whole(_: Any, tokens: Sequence[Token]) -> int:
    """Convert to an integer; by itself the library would round 1.5 epochs to 2."""
    text = tokens[0].value
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise ValueError(f"expected a whole number; received {text!r}.")
    return int(text)


def _whole_or_all(hint: Any, tokens: Sequence[Token]) -> int | str:
    return "all" if tokens[0].value == "all" else whole(hint, tokens)


@Parameter(name="*")
@dataclass(frozen=True)
class TrainOptions:
    """Options of a training run; None leaves the choice to the task, the data or the optimizer."""

    device: Annotated[str, _option(_WHERE, "[backend:]cpu|gpu|auto[:index][@precision]")] = "auto"
    backend: Annotated[str | None, _option(_WHERE, "numpy, cupy, torch, jax, strict, or an installed one")] = None
    dtype: Annotated[Literal["float32", "float64"], _option(_WHERE, "of parameters and computation")] = "float32"
    precision: Annotated[
        Literal["float32", "tf32", "bf16"] | None,
        _option(_WHERE, "of the factors of float32 products, as in gpu@tf32 [default: float32]"),
    ] = None
    seed: Annotated[int, _option(_WHERE, "of weights, parts, shuffles and dropout", converter=whole)] = 0
    threads: Annotated[
        int | None, _option(_WHERE, "of BLAS and all else [default: all processors]", converter=whole)
    ] = None

    data_dir: Annotated[Path | None, _option(_DATA, "folder with the IDX files of mnist or fashion-mnist")] = None
    target: Annotated[str | None, _option(_DATA, "target column, key or file")] = None
    task: Annotated[
        Literal["classification", "regression", "multilabel"] | None,
        _option(_DATA, "[default: told from the target's type]"),
    ] = None
    scale: Annotated[
        str | None,
        _option(_DATA, "standard, minmax, divide:NUMBER or none [default: standard; divide:255 for bytes]"),
    ] = None
    val_fraction: Annotated[float, _option(_DATA, "validation part of all samples")] = 0.1
    test_fraction: Annotated[float, _option(_DATA, "test part, where the data have none of their own")] = 0.2

    memory_limit: Annotated[
        str | None, _option(_DATA, "read data in pieces where memory would exceed this: 512MB, 2GB")
    ] = None

    hidden: Annotated[str, _option(_NETWORK, "hidden layers: 256,128 or none")] = "128,64"
    activation: Annotated[
        tuple[str, ...],
        _option(_NETWORK, "of the hidden layers; repeat it to give each its own", show_default=", ".join),
    ] = ("relu",)
    output: Annotated[str | None, _option(_NETWORK, "output function [default: by the loss]")] = None
    init: Annotated[str | None, _option(_NETWORK, "initial weights [default: by the activation]")] = None
    dropout: Annotated[float, _option(_NETWORK, "probability for hidden units")] = 0.0

    loss: Annotated[
        str | None,
        _option(
            _TRAINING,
            "cross_entropy, binary_cross_entropy, squared_error, huber, poisson [default: by the task]",
        ),
    ] = None
    reduction: Annotated[Literal["mean", "sum"], _option(_TRAINING, "of the loss over a batch")] = "mean"
    label_smoothing: Annotated[float, _option(_TRAINING, "share of a target spread over all classes")] = 0.0
    class_weight: Annotated[Literal["balanced"] | None, _option(_TRAINING, "[default: every sample weighs 1]")] = None
    optimizer: Annotated[
        str,
        _option(_TRAINING, "sgd, momentum, nesterov, adam, adamw, rmsprop, adagrad; adam:beta_1=0.8"),
    ] = "adam"
    lr: Annotated[float | None, _option(_TRAINING, "learning rate [default: by the optimizer]")] = None
    momentum: Annotated[float | None, _option(_TRAINING, "of momentum and nesterov [default: 0.9]")] = None
    schedule: Annotated[
        str,
        _option(
            _TRAINING,
            "constant, inverse_scaling, adaptive, step, cosine, warmup; step:every=5,factor=0.5",
        ),
    ] = "constant"
    l2: Annotated[float, _option(_TRAINING, "penalty l2/2 sum W^2")] = 0.0
    l1: Annotated[float, _option(_TRAINING, "penalty l1 sum |W|")] = 0.0
    clip_norm: Annotated[float | None, _option(_TRAINING, "largest norm of the gradient")] = None
    batch_size: Annotated[
        int | Literal["all"] | None,
        _option(_TRAINING, "samples a step [default: 32, or all if there are fewer]", converter=_whole_or_all),
    ] = None
    micro_batch: Annotated[
        int | None, _option(_TRAINING, "samples of a batch held at once: less memory, same result", converter=whole)
    ] = None
    epochs: Annotated[int, _option(_TRAINING, "passes over the training part", converter=whole)] = 20
    early_stopping: Annotated[
        str | None, _option(_TRAINING, "loss, accuracy or r2 of the validation part; loss:patience=5")
    ] = None
    on_divergence: Annotated[
        Literal["stop", "halve"],
        _option(_TRAINING, "stop, or halve: go back and halve the learning rate, at most 5 times"),
    ] = "stop"

    preset: Annotated[str | None, _option(_RUN, f"{', '.join(PRESETS)}")] = None
    config: Annotated[Path | None, _option(_RUN, "config.toml of a run, to repeat it")] = None
    out: Annotated[Path | None, _option(_RUN, "folder for what the run leaves [default: runs/DATA-TIME]")] = None
    checkpoint_every: Annotated[
        str | None, _option(_RUN, "epochs, or 500steps, or 10min: write what xpnet resume goes on from")
    ] = None
    keep: Annotated[int, _option(_RUN, "checkpoints, the newest", converter=whole)] = 3
    quiet: Annotated[bool, _option(_RUN, "no progress, no summary", show_default=False)] = False
    json: Annotated[bool, _option(_RUN, "one JSON object on stdout", show_default=False)] = False


@Parameter(name="*")
@dataclass(frozen=True)
class ResumeOptions:
    """Options of a run that goes on; None leaves what it began with."""

    device: Annotated[str | None, _option(_WHERE, "another one: [backend:]cpu|gpu|auto[:index]")] = None
    epochs: Annotated[int | None, _option(_TRAINING, "another number to go on to", converter=whole)] = None
    threads: Annotated[
        int | None, _option(_WHERE, "of BLAS and all else [default: all processors]", converter=whole)
    ] = None
    quiet: Annotated[bool, _option(_RUN, "no progress, no summary", show_default=False)] = False
    json: Annotated[bool, _option(_RUN, "one JSON object on stdout", show_default=False)] = False


# Options that say where from, how to report and what one machine has, not what to compute: they are no part of a run's
# configuration.
_NOT_CONFIGURED = ("preset", "config", "out", "quiet", "json", "threads")


_OPTIONS = {field.name: f"--{field.name.replace('_', '-')}" for field in fields(TrainOptions)}
# What the library calls otherwise than the command line.
_OPTIONS_BY_PARAMETER = {
    **_OPTIONS,
    "every": "--checkpoint-every",
    "initializer": "--init",
    "layer_sizes": "--hidden",
    "learning_rate": "--lr",
    "probabilities": "--probabilities",
    "test_fraction": "--test-fraction",
    "validation_fraction": "--val-fraction",
    "validation_fraction and test_fraction": "--val-fraction and --test-fraction",
}


def name_option(message: str) -> str:
    """Begin an error message with the option that the user typed, where it begins with the library's parameter."""
    parameter, _, rest = message.partition(": ")
    if parameter not in _OPTIONS_BY_PARAMETER:
        return message
    return f"{_OPTIONS_BY_PARAMETER[parameter]}: {rest.replace(', or None;', ';')}"


def fill_options(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill the options that were not given from the configuration file, then from the preset (a hook of cyclopts)."""

    def given(name: str) -> str | None:
        argument = arguments.get(f"--{name}", default=None)
        return argument.tokens[0].value if argument is not None and argument.tokens else None

    def fill(values: Mapping[str, Any], source: str) -> None:
        Dict(dict(values), source=source, use_commands_as_keys=False)(app, commands, arguments)

    if config := given("config"):
        fill(_read_config(Path(config)), config)
    if preset := given("preset"):
        if preset not in PRESETS:
            raise UnknownNameError.among("preset", preset, PRESETS)
        fill(PRESETS[preset].options, f"preset {preset}")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise InvalidParameterError(f"{path}: expected a configuration file; received: {exc.strerror}.") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise InvalidParameterError(f"{path}: expected TOML; received: {exc}.") from exc
    known = {"data", *(option.removeprefix("--") for option in _OPTIONS.values())} - {"config"}
    for key in values.keys() - known:
        raise UnknownNameError.among(f"key in {path}", key, known)
    return values


def write_config(data: str, options: TrainOptions) -> bytes:
    """Return the configuration file that repeats a run: ``xpnet train --config FILE``."""
    values: dict[str, Any] = {"data": data if data in DATASETS else str(Path(data).resolve())}
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name in _NOT_CONFIGURED or value is None:
            continue
        name = field.name.replace("_", "-")
        # The target of an .npy file is another file, which may be named from here.
        is_path = isinstance(value, Path) or (name == "target" and value.endswith(".npy") and Path(value).exists())
        values[name] = str(Path(value).resolve()) if is_path else value
    return tomli_w.dumps(values).encode()


def read_config(path: Path) -> tuple[str, TrainOptions]:
    """Return the data and the options of a configuration file, held to what the command line asks of them."""
    app = App(config=fill_options, default_parameter=Parameter(negative=()), result_action="return_value")
    defaults = TrainOptions()

    @app.default
    def settings(data: str = "digits", *, options: TrainOptions = defaults) -> tuple[str, TrainOptions]:
        return data, options

    configured: tuple[str, TrainOptions] = app(["--config", str(path)], exit_on_error=False, print_error=False)
    return configured
