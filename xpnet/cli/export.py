"""``xpnet export``: a trained model for other programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from cyclopts import Parameter

from xpnet.cli.config import read_settings, shown_settings
from xpnet.cli.folder import CONFIG, METRICS, SUMMARY
from xpnet.cli.latest_run import run_folder
from xpnet.cli.run_summary import read_summary
from xpnet.cli.table_options import parse_int
from xpnet.errors import InvalidParameterError
from xpnet.files import write_output
from xpnet.json_text import json_text
from xpnet.model.layers import plain_layers, state_dict_parts
from xpnet.model.model import Model
from xpnet.model.model_file import load_model, model_path
from xpnet.training.metrics_file import read_metrics

__all__ = ["export"]


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
    out: Path | None = None,
    *,
    card: Path | None = None,
    dtype: Literal["float32", "float64"] | None = None,
    opset: Annotated[int | None, Parameter(converter=parse_int)] = None,
) -> int:
    """Export a trained model for other programs: an ONNX graph, the state dict of plain layers, or a model card.

    Parameters
    ----------
    run : Path
        Folder of a run, or a file model.safetensors.
    out : Path
        File to write: NAME.onnx, or NAME.safetensors for load_state_dict.
    card : Path
        File to write a model card to, such as README.md: scores, settings and how to use the model, in Markdown.
    dtype : str
        Type of the numbers that go in and out, or of the parameters of a state dict [default: that of the model]
    opset : int
        Version of ONNX's operators [default: 17]
    """
    run = run if run.is_file() else run_folder(run)
    path = model_path(run)
    if out is None and card is None:
        raise InvalidParameterError("OUT: expected a file to write, or --card FILE; received neither.")
    for file in (out, card):
        if file is not None and file.exists() and path.exists() and file.samefile(path):
            raise InvalidParameterError(f"OUT: expected another file than the model; received {file}.")
    if out is not None and out.suffix.lower() not in _FORMATS:
        raise InvalidParameterError(f"OUT: expected a name that ends with {' or '.join(_FORMATS)}; received {out}.")
    model = load_model(path)
    summary, settings = ({}, {}) if run.is_file() else (read_summary(run / SUMMARY), _settings(run))
    if out is not None:
        about = _about(run, summary, settings)
        write_output(out, *_FORMATS[out.suffix.lower()](Exported(model, about, dtype, opset)))
    if card is not None:
        from xpnet.report.card import model_card

        write_output(card, model_card(model, str(summary.get("name") or path.stem), summary, settings))
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


def _about(run: Path, summary: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings of a run, its scores and its last epoch, as JSON."""
    about = {}
    if settings:
        about["settings"] = json_text(settings)
    if summary:
        about["scores"] = json_text({part: summary.get(part) for part in ("train", "validation", "test")})
    if (run / METRICS).exists() and (history := read_metrics(run / METRICS)):
        about["last_epoch"] = json_text(history[-1]._asdict())
    return about


def _settings(run: Path) -> dict[str, Any]:
    """Return the settings of a run; of paths only the names of the files, for others see them."""
    if not (run / CONFIG).exists():
        return {}
    return shown_settings(read_settings(run / CONFIG))
