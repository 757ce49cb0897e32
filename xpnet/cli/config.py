"""Where options come from: the command line, then a configuration file, then a preset; and ``config.toml``."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import tomli_w
from cyclopts import App, ArgumentCollection, Parameter
from cyclopts.config import Dict

from xpnet.cli.options import TrainOptions
from xpnet.cli.presets import PRESETS
from xpnet.cli.usage import suggest
from xpnet.data.named import DATASETS
from xpnet.data.tables.paths import STANDARD_INPUT
from xpnet.errors import InvalidParameterError, UnknownNameError
from xpnet.files import open_file

__all__ = [
    "fill_options",
    "name_option",
    "option_words",
    "read_config",
    "read_settings",
    "settings_of",
    "shown_settings",
    "train_command",
    "write_config",
]

_ANY_NAME = "surrogateescape"  # the names of files need not be UTF-8

_PATHS = ("data", "data-dir", "target")  # keys whose values may be paths

# Options that do not change what is computed; they are not part of a run's configuration.
_NOT_CONFIGURED = ("config", "out", "report", "quiet", "json", "threads", "distributed")


_OPTIONS = {field.name: f"--{field.name.replace('_', '-')}" for field in fields(TrainOptions)}
# Options by the library's names of parameters, where these differ.
_OPTIONS_BY_PARAMETER = {
    **_OPTIONS,
    "every": "--checkpoint-every",
    "initializer": "--init",
    "layer_sizes": "--hidden",
    "learning_rate": "--lr",
    "learning_rate_factors": "--lr-factors",
    "metrics": "--metric",
    "probabilities": "--probabilities",
    "test_fraction": "--test-fraction",
    "validation_fraction": "--val-fraction",
    "validation_fraction and test_fraction": "--val-fraction and --test-fraction",
}

# Values of the library's parameters that options do not take, as its messages list them, to what is typed instead.
_VALUES = {", 'auto', or None;": ", or all;", ", or None;": ";"}


def name_option(message: str) -> str:
    """Replace the library's parameter at the start of an error message by the option that the user typed."""
    parameter, _, rest = message.partition(": ")
    if parameter not in _OPTIONS_BY_PARAMETER:
        return message
    for theirs, ours in _VALUES.items():
        rest = rest.replace(theirs, ours)
    return f"{_OPTIONS_BY_PARAMETER[parameter]}: {rest}"


def fill_options(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill options that were not given from the configuration file, then from the preset (a hook of cyclopts)."""

    def given(name: str) -> str | None:
        argument = arguments.get(f"--{name}", default=None)
        return argument.tokens[0].value if argument is not None and argument.tokens else None

    def fill(values: Mapping[str, Any], source: str) -> None:
        Dict(dict(values), source=source, use_commands_as_keys=False)(app, commands, arguments)

    if config := given("config"):
        fill(read_settings(Path(config)), config)
    if preset := given("preset"):
        if preset not in PRESETS:
            raise UnknownNameError.among("preset", preset, PRESETS)
        fill(PRESETS[preset].options, f"preset {preset}")


def settings_of(config: bytes) -> dict[str, Any]:
    """Return the options of a run by name, from the content of its configuration file."""
    return tomllib.loads(config.decode(errors=_ANY_NAME))


def read_settings(path: Path) -> dict[str, Any]:
    """Return the options in a configuration file by name.

    Raises
    ------
    InvalidParameterError
        The file cannot be read, or has an option that there is not.
    """
    try:
        with open_file(path) as file:
            values = settings_of(file.read())
    except OSError as exc:
        raise InvalidParameterError(f"{path}: expected a configuration file; received: {exc.strerror}.") from exc
    except ValueError as exc:  # also of an integer with too many digits
        raise InvalidParameterError(f"{path}: expected TOML; received: {exc}.") from exc
    except RecursionError as exc:
        raise InvalidParameterError(f"{path}: expected TOML; received brackets that are nested too deeply.") from exc
    values.pop("autotune", None)  # of a run that began when there was this option, which changed no result
    known = {"data", *(option.removeprefix("--") for option in _OPTIONS.values())} - {"config"}
    for key in values.keys() - known:
        option = suggest(f"--{key}", (f"--{name}" for name in known)).removeprefix("--")
        raise UnknownNameError.among(f"key in {path}", key, known, {key.lower().replace("-", "_"): option})
    return values


def write_config(data: str, options: TrainOptions) -> bytes:
    """Return the configuration file that repeats a run: ``xpnet train --config FILE``."""
    is_path = data not in DATASETS and data != STANDARD_INPUT
    values: dict[str, Any] = {"data": str(Path(data).resolve()) if is_path else data}
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name in _NOT_CONFIGURED or value is None or value == ():
            continue
        name = field.name.replace("_", "-")
        # The target of an .npy file is another file, whose path may be relative.
        is_path = isinstance(value, Path) or (name == "target" and value.endswith(".npy") and Path(value).exists())
        values[name] = str(Path(value).resolve()) if is_path else value
    return tomli_w.dumps(values).encode(errors=_ANY_NAME)


def train_command(data: str, options: TrainOptions) -> str:
    """Return the command that repeats a run, for a POSIX shell."""
    return shlex.join(["xpnet", "train", data, *option_words(options)])


def option_words(options: TrainOptions, base: TrainOptions | None = None) -> list[str]:
    """Return the words of a command line for options that differ from others: from the defaults, unless given."""
    words = []
    for field in fields(options):
        value, usual = getattr(options, field.name), getattr(base or TrainOptions, field.name)
        if field.name in _NOT_CONFIGURED or value == usual:
            continue
        option = _OPTIONS[field.name]
        if isinstance(value, bool):
            words.append(option if value else f"--no-{option[2:]}")
        else:
            words += [word for each in (value if isinstance(value, tuple) else [value]) for word in (option, str(each))]
    return words


def shown_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a configuration file as others may see them: of paths only the names of the files."""
    return {key: Path(value).name if key in _PATHS else value for key, value in values.items()}


def read_config(path: Path) -> tuple[str, TrainOptions]:
    """Return the data and the options of a configuration file, checked as on the command line."""
    app = App(config=fill_options, default_parameter=Parameter(negative=()), result_action="return_value")
    defaults = TrainOptions()

    @app.default
    def settings(data: str = "digits", *, options: TrainOptions = defaults) -> tuple[str, TrainOptions]:
        return data, options

    data, options = app(["--config", str(path)], exit_on_error=False, print_error=False)
    if options.preset is None:  # a run of a version that had no default preset
        options = replace(options, preset="plain")
    return data, options
