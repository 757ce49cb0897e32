"""A model card: Markdown that says what a model is, how it was trained and how good it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xpnet.model.model import Model
from xpnet.nn.layer_table import layer_rows
from xpnet.report.page import render

__all__ = ["model_card"]

_MOST_CLASSES = 50
_PARTS = ("train", "validation", "test")
_FACTS = {
    "epochs": "Epochs",
    "kept_epoch": "Epoch of the parameters",
    "seed": "Seed",
    "device": "Device",
    "precision": "Precision",
    "seconds": "Seconds",
    "system": "System",
}


def model_card(model: Model, name: str, summary: Mapping[str, Any], settings: Mapping[str, Any]) -> bytes:
    """Return a model card with scores and settings; its head is what the Hugging Face Hub reads.

    Mitchell and others (2019), "Model Cards for Model Reporting", https://arxiv.org/abs/1810.03993.

    Parameters
    ----------
    model : Model
    name : str
        Title of the card.
    summary : dict of str to object
        The content of ``summary.json``; what it lacks is left out.
    settings : dict of str to object
        The options of the run by name.
    """
    parts = {part: _numbers(summary[part]) for part in _PARTS if isinstance(summary.get(part), dict)}
    classes = [] if model.classes is None else list(map(str, model.classes[:_MOST_CLASSES].tolist()))
    more = 0 if model.classes is None else len(model.classes) - len(classes)
    n_features = len(model.encoding.input_names) if model.encoding is not None else model.network.layer_sizes[0]
    return render(
        "card.md",
        name=name,
        task=model.task,
        pipeline=_pipeline(model),
        metrics=list(dict.fromkeys(metric for scores in parts.values() for metric in scores)),
        parts=parts,
        samples=_numbers(summary.get("samples")),
        layers=layer_rows(model.network),
        n_parameters=f"{model.network.n_parameters:,}",
        loss=model.network.loss,
        n_features=f"{n_features:,} features",
        target=model.target_name,
        classes=[*classes, *([f"and {more:,} more"] if more else [])],
        facts={title: str(summary[key]) for key, title in _FACTS.items() if summary.get(key) is not None},
        settings={option: str(value) for option, value in settings.items()},
    )


def _pipeline(model: Model) -> str:
    """Return the task by the name that the Hugging Face Hub has for it."""
    if model.task == "regression":
        return "tabular-regression"
    return "tabular-classification" if model.image_shape is None else "image-classification"


def _numbers(values: Any) -> dict[str, int | float]:
    """Return those values of an object in JSON that are numbers."""
    given = values if isinstance(values, dict) else {}
    return {name: value for name, value in given.items() if isinstance(value, int | float)}
