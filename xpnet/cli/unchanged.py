"""What a resumed run must have in common with its beginning: its data, and the options that decide their split."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xpnet.cli.folder import CONFIG, FINGERPRINT
from xpnet.cli.options import data_options
from xpnet.data.fingerprint import describe_change
from xpnet.errors import DataError, InvalidParameterError, XpnetError, shown
from xpnet.files import open_file
from xpnet.json_text import json_text

__all__ = ["check_unchanged", "fingerprint_file"]

_VERSION = 1


def fingerprint_file(data: Mapping[str, Any], config: bytes) -> bytes:
    """Return the content of the file that keeps the fingerprint of a run.

    Parameters
    ----------
    data : mapping
        `Fingerprint.to_dict` of each table, by name.
    config : bytes
        The content of the configuration file.
    """
    values = {"format_version": _VERSION, "options": _options(config), "data": data}
    return json_text(values).encode() + b"\n"


def _options(config: bytes) -> dict[str, Any]:
    """Return the options that decide which rows and columns a run trains on; None for those that are not set."""
    values = tomllib.loads(config.decode(errors="surrogateescape"))
    options = {name: values.get(name) for name in data_options()}
    target = options["target"]
    if target is not None and target.endswith(".npy"):  # the file may have moved; its content has a fingerprint
        options["target"] = Path(target).name
    return options


def check_unchanged(folder: Path, name: str, data: Mapping[str, Any], config: bytes) -> None:
    """Check that a run that goes on has the data and the options with which it began.

    A run of an earlier version has no file to compare with; it goes on.

    Parameters
    ----------
    folder : Path
        The folder of the run.
    name : str
        Of the data, for the message.
    data, config
        As for `fingerprint_file`.

    Raises
    ------
    InvalidParameterError
        An option has changed.
    DataError
        The data have changed.
    XpnetError
        The file is damaged.
    """
    path = folder / FINGERPRINT
    try:
        with open_file(path) as file:
            before = json.loads(file.read())
        options, tables = before["options"], before["data"]
        for option, value in _options(config).items():
            if option in options and options[option] != value:
                raise InvalidParameterError(
                    f"{folder / CONFIG}: expected {option} = {shown(options[option])}, with which the run began; "
                    f"received {shown(value)}. Set it back, or start a new run with xpnet train."
                )
        changes = {part: describe_change(tables[part], data[part]) for part in data if part in tables}
        changes |= {part: "none" for part in tables if part not in data}
    except FileNotFoundError:
        return
    except InvalidParameterError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise XpnetError(
            f"{path}: expected the fingerprint of the run's data; received a damaged file. "
            "Remove it to resume without this check."
        ) from exc
    for part, change in changes.items():
        if change is not None:
            raise DataError(
                f"{name}: expected the {part} with which the run began; received {change}. "
                "Restore the file, name the right one with --data, or start a new run with xpnet train."
            )
