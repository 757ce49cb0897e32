"""``xpnet export``: a trained model for other programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from cyclopts import Parameter

from xpnet.cli.config import config_values, shown_settings
from xpnet.cli.folder import CONFIG, METRICS, MODEL
from xpnet.cli.table_options import parse_int
from xpnet.errors import InvalidParameterError, shown
from xpnet.files import open_file, write_output
from xpnet.json_text import json_text
from xpnet.model.layers import plain_layers, state_dict_parts
from xpnet.model.model import Model
from xpnet.model.model_file import load_model

__all__ = ["export"]

_SUMMARY = "summary.json"


class Exported(NamedTuple):
    """A model to export, and how.

    Attributes
    ----------
    model : Model
    about : dict of str to str
        Settings and scores of its run, as JSON.
    dtype : {"float32", "float64"} or None
    opset : int or None
    """

    model: Model
    about: dict[str, str]
    dtype: Literal["float32", "float64"] | None
    opset: int | None


def export(
    run: Path,
    out: Path,
    *,
    dtype: Literal["float32", "float64"] | None = None,
    opset: Annotated[int | None, Parameter(converter=parse_int)] = None,
) -> int:
    """Export a trained model for other programs: an ONNX graph, or the state dict of plain layers.

    Parameters
    ----------
    run : Path
        Folder of a run, or a file model.safetensors.
    out : Path
        File to write: NAME.onnx, or NAME.safetensors for load_state_dict.
    dtype : str
        Type of the numbers that go in and out, or of the parameters of a state dict [default: that of the model]
    opset : int
        Version of ONNX's operators [default: 17]
    """
    suffix = out.suffix.lower()
    if suffix not in _FORMATS:
        raise InvalidParameterError(f"OUT: expected a name that ends with {' or '.join(_FORMATS)}; received {out}.")
    path = run / MODEL if run.is_dir() else run
    if out.exists() and path.exists() and out.samefile(path):
        raise InvalidParameterError(f"OUT: expected another file than the model; received {out}. Choose another name.")
    model = load_model(path)
    about = _about(run) if run.is_dir() else {}
    write_output(out, *_FORMATS[suffix](Exported(model, about, dtype, opset)))
    return 0


def _onnx(given: Exported) -> Iterable[bytes]:
    from xpnet.model.onnx.convert import DEFAULT_OPSET, to_onnx

    opset = DEFAULT_OPSET if given.opset is None else given.opset
    return [to_onnx(given.model, opset=opset, dtype=given.dtype, metadata=given.about).SerializeToString()]


def _state_dict(given: Exported) -> Iterable[bytes | memoryview]:
    if given.opset is not None:
        raise InvalidParameterError(f"opset: expected none for a state dict; received {given.opset}.")
    return state_dict_parts(plain_layers(given.model, dtype=given.dtype))


# What makes the content of a file, by the suffix of its name.
_FORMATS: dict[str, Callable[[Exported], Iterable[bytes | memoryview]]] = {
    ".onnx": _onnx,
    ".safetensors": _state_dict,
}


def _about(run: Path) -> dict[str, str]:
    """Return the settings of a run, its scores and its last epoch, as JSON; of paths only the names of the files."""
    about = {}
    if (run / CONFIG).exists():
        about["settings"] = json_text(shown_settings(config_values(run / CONFIG)))
    if (run / _SUMMARY).exists():
        summary = _json(run / _SUMMARY)
        about["scores"] = json_text({part: summary.get(part) for part in ("train", "validation", "test")})
    if (run / METRICS).exists():
        with open_file(run / METRICS) as file:
            for line in reversed(file.read().splitlines()):
                with suppress(ValueError):  # the last line of a run that was killed may be incomplete
                    about["last_epoch"] = json_text(json.loads(line))
                    break
    return about


def _json(path: Path) -> Any:
    with open_file(path) as file:
        try:
            return dict(json.loads(file.read()))
        except (ValueError, TypeError) as exc:
            raise InvalidParameterError(f"{path}: expected a JSON object; received {shown(str(exc))}.") from exc
