"""Options of a training run: one dataclass for the command line and ``config.toml``; see `xpnet.cli.config`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from cyclopts import Group, Parameter, Token

from xpnet.backend import list_backends
from xpnet.cli.presets import PRESETS
from xpnet.cli.table_options import DATA, TABLE, ColumnOptions, option, parse_int
from xpnet.nn.activations import ACTIVATIONS
from xpnet.nn.initializers import INITIALIZERS
from xpnet.nn.losses import LOSSES, outputs_by_loss
from xpnet.nn.optimizers import OPTIMIZERS
from xpnet.training.early_stopping import early_stopping_metrics
from xpnet.training.metrics import METRICS
from xpnet.training.recipes import PLAIN, TABULAR
from xpnet.training.schedules import SCHEDULES

__all__ = ["ResumeOptions", "TrainOptions", "data_options", "parse_int", "table_options"]

_WHERE = Group("Where", sort_key=1)
_NETWORK = Group("Network", sort_key=4)
_TRAINING = Group("Training", sort_key=5)
_RUN = Group("Run", sort_key=6)

_THREADS = (
    "INT or auto: most threads of BLAS and all other libraries [default: auto, by the work and the load of the machine]"
)


_Distributed = Annotated[
    Literal["auto", "mpi", "off"],
    option(
        _WHERE,
        "whether the processes that mpirun or srun started train one network together: auto, if there are several; "
        "mpi; or off, each trains by itself",
    ),
]
_Report = Annotated[bool, option(_RUN, "write report.html", negative="--no-report")]


def _parse_threads(hint: Any, tokens: Sequence[Token]) -> int | None:
    return None if tokens[0].value == "auto" else parse_int(hint, tokens, "a whole number, or auto")


def _parse_int_or_all(hint: Any, tokens: Sequence[Token]) -> int | str:
    return "all" if tokens[0].value == "all" else parse_int(hint, tokens, "a whole number, or all")


def _one_of(names: Iterable[str | None]) -> str:
    """Return names as a help text lists them, each once."""
    return ", ".join(dict.fromkeys(filter(None, names)))


def _by_preset(part: Literal["network", "trainer"], name: str) -> str:
    """Return the defaults of a setting as a help text gives them: for classes and numbers of a table, and otherwise."""
    plain, *tabular = (getattr(recipe, part)[name] for recipe in (PLAIN["classification"], *TABULAR.values()))
    return f"[default: {plain}; for tables {_one_of(map(str, tabular))}]"


def _sizes(recipe: Any) -> str:
    return ",".join(map(str, recipe["classification"].hidden_layer_sizes))


# The annotations below are evaluated when a command line is parsed, not at import (PEP 563): every help text lists what
# is in the tables by then, and the registry of backends is read only when it is needed.


@Parameter(name="*")
@dataclass(frozen=True)
class TrainOptions(ColumnOptions):
    """Options of a training run; None leaves the choice to the preset, the task, the data or the optimizer."""

    device: Annotated[str, option(_WHERE, "[backend:]cpu|gpu|auto[:index][@precision]")] = "auto"
    backend: Annotated[str | None, option(_WHERE, f"{_one_of(list_backends())} [default: by --device]")] = None
    dtype: Annotated[Literal["float32", "float64"], option(_WHERE, "dtype of parameters and computation")] = "float32"
    precision: Annotated[
        Literal["float32", "tf32", "bf16"] | None,
        option(_WHERE, "precision of the factors of float32 matrix products, as in gpu@tf32 [default: float32]"),
    ] = None
    seed: Annotated[
        int, option(_WHERE, "random seed for weights, splits, shuffling and dropout", converter=parse_int)
    ] = 0
    threads: Annotated[int | None, option(_WHERE, _THREADS, converter=_parse_threads)] = None
    distributed: _Distributed = "auto"

    data_dir: Annotated[Path | None, option(DATA, "folder with the IDX files of mnist or fashion-mnist")] = None
    scale: Annotated[
        str | None,
        option(
            DATA,
            "standard, robust, minmax, divide:NUMBER or none [default: standard; robust for tables; divide:255 for "
            "bytes]",
        ),
    ] = None
    val_fraction: Annotated[float, option(DATA, "share of all samples for validation")] = 0.1
    test_fraction: Annotated[float, option(DATA, "share of all samples for testing, if the data have no test part")] = (
        0.2
    )
    memory_limit: Annotated[
        str | None, option(DATA, "read the data in pieces if training would need more memory: 512MB, 2GB")
    ] = None
    weight: Annotated[str | None, option(TABLE, "column with the weight of each sample")] = None
    group: Annotated[
        str | None, option(TABLE, "column whose values stay together: rows of one value are all in one part")
    ] = None
    time: Annotated[
        str | None, option(TABLE, "column of times or numbers: the test part is the latest, validation before it")
    ] = None

    hidden: Annotated[
        str | None,
        option(
            _NETWORK,
            f"sizes of the hidden layers: 256,128 or none [default: {_sizes(PLAIN)}; for tables {_sizes(TABULAR)}]",
        ),
    ] = None
    activation: Annotated[
        tuple[str, ...] | None,
        option(
            _NETWORK,
            f"{_one_of(ACTIVATIONS)}; repeat the option to give each hidden layer its own "
            f"{_by_preset('network', 'activation')}",
        ),
    ] = None
    output: Annotated[
        str | None,
        option(
            _NETWORK,
            f"output function: {outputs_by_loss()} [default: by the loss]",
        ),
    ] = None
    init: Annotated[
        str | None,
        option(_NETWORK, f"{_one_of(INITIALIZERS)} [default: by the activation; for tables normal, last layer zeros]"),
    ] = None
    parametrization: Annotated[
        Literal["standard", "ntk"] | None,
        option(_NETWORK, f"ntk divides products by sqrt(fan_in) {_by_preset('network', 'parametrization')}"),
    ] = None
    input_scale: Annotated[
        bool | None,
        option(
            _NETWORK,
            "learn a factor for each input [default: for tables]",
            show_default=False,
            negative="--no-input-scale",
        ),
    ] = None
    dropout: Annotated[float | None, option(_NETWORK, "probability of dropping a hidden unit [default: 0.0]")] = None

    loss: Annotated[str | None, option(_TRAINING, f"{_one_of(LOSSES)} [default: by the task]")] = None
    reduction: Annotated[Literal["mean", "sum"], option(_TRAINING, "reduction of the loss over the batch")] = "mean"
    label_smoothing: Annotated[
        float | None,
        option(
            _TRAINING,
            "share of a target that is spread evenly over all classes [default: 0; for tables "
            f"{TABULAR['classification'].network['label_smoothing']}]",
        ),
    ] = None
    class_weight: Annotated[Literal["balanced"] | None, option(_TRAINING, "[default: every sample has weight 1]")] = (
        None
    )
    optimizer: Annotated[
        str | None,
        option(
            _TRAINING,
            f"{_one_of(OPTIMIZERS)}; with options: adam:beta_1=0.8 {_by_preset('trainer', 'optimizer')}",
        ),
    ] = None
    lr: Annotated[
        float | None,
        option(
            _TRAINING,
            "learning rate [default: by the optimizer; for tables "
            f"{_one_of(str(recipe.trainer['learning_rate']) for recipe in TABULAR.values())}]",
        ),
    ] = None
    lr_factors: Annotated[
        str | None,
        option(_TRAINING, "factors on the learning rate of weights, biases, slopes or input_scale: biases=0.1,..."),
    ] = None
    momentum: Annotated[
        float | None, option(_TRAINING, "momentum of the optimizers that have it [default: by the optimizer]")
    ] = None
    schedule: Annotated[
        str | None,
        option(
            _TRAINING,
            f"learning-rate schedule: {_one_of(SCHEDULES)}; with options: step:every=5,factor=0.5 "
            f"{_by_preset('trainer', 'schedule')}",
        ),
    ] = None
    l2: Annotated[float | None, option(_TRAINING, "penalty l2/2 sum W^2 [default: 0.0]")] = None
    l1: Annotated[float, option(_TRAINING, "penalty l1 sum |W|")] = 0.0
    clip_norm: Annotated[float | None, option(_TRAINING, "largest norm of the gradient")] = None
    batch_size: Annotated[
        int | Literal["all"] | None,
        option(
            _TRAINING,
            "samples in a step [default: 32; for tables 256; or all if there are fewer]",
            converter=_parse_int_or_all,
        ),
    ] = None
    micro_batch: Annotated[
        int | None,
        option(
            _TRAINING, "samples of a batch that are processed at once: less memory, same result", converter=parse_int
        ),
    ] = None
    epochs: Annotated[
        int | None,
        option(_TRAINING, f"passes over the training part {_by_preset('trainer', 'epochs')}", converter=parse_int),
    ] = None
    early_stopping: Annotated[
        str | None,
        option(
            _TRAINING,
            f"stop when this no longer improves: {_one_of(early_stopping_metrics())}; with options: loss:patience=5, "
            "or of --metric: patience=5; or none [default: none]",
        ),
    ] = None
    metric: Annotated[
        str | None,
        option(
            _TRAINING,
            f"score of the validation part that is shown and chooses the epoch: {_one_of(METRICS)} [default: accuracy "
            "or r2]",
        ),
    ] = None
    keep_last: Annotated[
        bool, option(_TRAINING, "keep the last epoch, not the one with the best --metric", show_default=False)
    ] = False
    on_divergence: Annotated[
        Literal["stop", "halve"],
        option(_TRAINING, "stop, or halve: go back and halve the learning rate, at most 5 times"),
    ] = "stop"

    preset: Annotated[
        str | None, option(_RUN, f"{_one_of(PRESETS)} [default: tabular for files with tables, else plain]")
    ] = None
    cv: Annotated[int | None, option(_RUN, "folds of a cross-validation before the run", converter=parse_int)] = None
    ensemble: Annotated[
        int, option(_RUN, "number of networks, trained from different seeds and averaged", converter=parse_int)
    ] = 1
    config: Annotated[Path | None, option(_RUN, "config.toml of a run, to repeat it")] = None
    out: Annotated[Path | None, option(_RUN, "folder for the results [default: runs/DATA-TIME]")] = None
    checkpoint_every: Annotated[
        str | None, option(_RUN, "interval between checkpoints for xpnet resume: 1 (epoch), 500steps or 10min")
    ] = None
    keep: Annotated[int, option(_RUN, "number of newest checkpoints to keep", converter=parse_int)] = 3
    log: Annotated[
        tuple[Literal["tensorboard", "mlflow"], ...],
        option(_RUN, "log the run for TensorBoard or MLflow too; repeat for both", show_default=False),
    ] = ()
    report: _Report = True
    quiet: Annotated[bool, option(_RUN, "no progress, no summary, no report", show_default=False)] = False
    json: Annotated[bool, option(_RUN, "one JSON object on stdout", show_default=False)] = False


@Parameter(name="*")
@dataclass(frozen=True)
class ResumeOptions:
    """Options of a resumed run; None keeps the value that the run began with."""

    device: Annotated[str | None, option(_WHERE, "another device: [backend:]cpu|gpu|auto[:index][@precision]")] = None
    data: Annotated[str | None, option(DATA, "where the data are now, if they have moved")] = None
    data_dir: Annotated[Path | None, option(DATA, "folder with the IDX files of mnist or fashion-mnist")] = None
    epochs: Annotated[int | None, option(_TRAINING, "another number of epochs", converter=parse_int)] = None
    threads: Annotated[int | None, option(_WHERE, _THREADS, converter=_parse_threads)] = None
    distributed: _Distributed = "auto"
    report: _Report = True
    quiet: Annotated[bool, option(_RUN, "no progress, no summary, no report", show_default=False)] = False
    json: Annotated[bool, option(_RUN, "one JSON object on stdout", show_default=False)] = False


def data_options() -> list[str]:
    """Return the keys, in the configuration file, of the options that decide which rows and columns a run trains on."""
    return ["seed", *(name.replace("_", "-") for name in _in_groups(DATA, TABLE) if name != "data_dir")]


def table_options() -> list[str]:
    """Return the names of the options that are for tables only."""
    return _in_groups(TABLE)


def _in_groups(*groups: Group) -> list[str]:
    hints = get_type_hints(TrainOptions, include_extras=True)
    return [name for name, hint in hints.items() if {*groups} & {*hint.__metadata__[0].group}]
