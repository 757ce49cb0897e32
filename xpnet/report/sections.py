"""The report of a run: what was trained, how it went, how good it is, where it errs, and what it learned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from xpnet import plot
from xpnet.errors import shown
from xpnet.model.model import Model
from xpnet.plot.figures import look, new_figure, svg
from xpnet.plot.passes import passes_size
from xpnet.plot.plane import is_plane
from xpnet.plot.predictions import Predictions, WrongSample, taken
from xpnet.plot.units import units_size
from xpnet.report.finished_run import FinishedRun
from xpnet.report.page import Merit, Picture, Section, Table, render
from xpnet.report.scores import ScoreRow, class_scores, most_wrong, part_scores
from xpnet.training.metrics import metric_label
from xpnet.training.progress import figure

__all__ = ["report_page"]

_MOST_CLASSES = 50  # in the table of classes
_MOST_WRONG, _MOST_COLUMNS = 8, 8  # in the table of samples
_MOST_OUTPUTS = 4
_PARTS = {"train": "training part", "validation": "validation part", "test": "test part", "data": "data"}
_SQUARE, _BROAD = (5.0, 4.0), (5.0, 3.2)


class _Drawing(NamedTuple):
    """A picture that is made if it suits the model: `name` is its function in `xpnet.plot`; the size is in inches."""

    name: str
    title: str
    caption: str
    suits: Callable[[Model], bool] = lambda model: True
    size: tuple[float, float] | Callable[[Model], tuple[float, float]] = _SQUARE
    wide: bool = False
    of_output: bool = False  # there is one for each target


def _is_classifier(model: Model) -> bool:
    return model.task == "classification"


def _has_probabilities(model: Model) -> bool:
    return model.task == "classification" and model.gives_probabilities


def _has_two_classes(model: Model) -> bool:
    return _has_probabilities(model) and model.network.layer_sizes[-1] <= 2


def _has_images(model: Model) -> bool:
    return model.image_shape is not None


def _has_named_features(model: Model) -> bool:
    return model.image_shape is None and (model.encoding is not None or model.feature_names is not None)


def _is_regression(model: Model) -> bool:
    return model.task == "regression"


_ERRORS = (
    _Drawing("confusion_matrix", "Confusion matrix", "Rows are true classes, columns predicted ones.", _is_classifier),
    _Drawing("roc", "ROC curve", "The dotted line is chance.", _has_two_classes),
    _Drawing("precision_recall", "Precision and recall", "The dotted line is chance.", _has_two_classes),
    _Drawing("reliability_diagram", "Reliability", "Where the points follow the diagonal, the probabilities can be "
             "believed.", _has_probabilities),
    _Drawing("predicted_against_true", "Predicted against true", "On the diagonal a prediction is right.",
             _is_regression, of_output=True),
    _Drawing("residuals", "Residuals", "They should have no trend and an even width.", _is_regression, of_output=True),
    _Drawing("error_histogram", "Errors", "", _is_regression, of_output=True),
    _Drawing("wrong_samples", "Most confidently wrong", "", lambda model: _has_images(model) and _is_classifier(model),
             (10, 3.6), wide=True),
)  # fmt: skip
_PASSES = (
    _Drawing("forward_pass", "Forward", "", size=passes_size, wide=True),
    _Drawing("backward_pass", "Backward", "", size=passes_size, wide=True),
)
_LEARNED = (
    _Drawing("decision_regions_beside_linear", "Decision regions", "What a linear model of these samples and the "
             "network answer at each point.", is_plane, (9, 4), wide=True),
    _Drawing("hidden_units", "What the hidden units look for", "The weights of each unit of the first layer.",
             lambda model: _has_images(model) and model.network.n_layers > 1, units_size),
    _Drawing("exciting_patterns", "What excites them", "Samples that give the highest activations of some units.",
             lambda model: _has_images(model) and model.network.n_layers > 1, (5, 5)),
    _Drawing("feature_importance", "Importance of the features", "How much the score falls when the values of a "
             "feature are shuffled.", _has_named_features, (6, 4)),
)  # fmt: skip
_INSIDE = (
    _Drawing("weight_distributions", "Weights", "", size=_BROAD),
    _Drawing("activation_distributions", "Activations", "", lambda model: model.network.n_layers > 1, size=_BROAD),
    _Drawing("gradient_norms", "Gradients", "", size=_BROAD),
)


def report_page(run: FinishedRun) -> bytes:
    """Return the report of a run as an HTML page that needs no other file.

    Parameters
    ----------
    run : FinishedRun

    Raises
    ------
    XpnetError
        The data do not fit the model.
    """
    scores = part_scores(run)
    predictions = run.predictions
    with look():
        sections = [
            _run(run),
            _scores(scores),
            _learning(run),
            _errors(run, predictions),
            _learned(run, predictions),
            _inside(run, predictions),
            _passes(run, predictions),
        ]
    return render(
        "report.html",
        title=run.name,
        subtitle=_subtitle(run.model),
        merits=list(_merits(run, scores)),
        sections=[section for section in sections if section is not None],
    )


def _subtitle(model: Model) -> str:
    sizes = "-".join(map(str, model.network.layer_sizes))
    return f"{model.task}, {sizes}, {model.network.n_parameters:,} parameters"


def _merits(run: FinishedRun, scores: Sequence[ScoreRow]) -> Iterator[Merit]:
    """Yield the score of the network beside those of the baselines, and the time."""
    metric = run.model.metric
    for row in scores:
        if row.part == run.scored_part and metric in row.scores:
            yield Merit(f"{metric_label(metric)}, {row.model}", figure(row.scores[metric]))
    seconds = run.summary.get("seconds")
    if isinstance(seconds, int | float):
        yield Merit("time of training", f"{seconds:.1f} s")


def _run(run: FinishedRun) -> Section:
    sizes = (f"{_PARTS[part]} {len(y):,}" for part, (_, y) in run.parts.items())
    versions = run.summary.get("versions")
    facts = {
        "Samples": ", ".join(sizes),
        "Device": _words(run.summary, "device", "precision"),
        "Epochs": _words(run.summary, "epochs"),
        "Samples/s": _count(run.summary, "samples_per_second"),
        "Seed": _words(run.summary, "seed"),
        "Versions": ", ".join(f"{name} {text}" for name, text in versions.items())
        if isinstance(versions, dict)
        else "",
        "System": _words(run.summary, "system"),
    }
    rows = [(name, shown(value)) for name, value in run.settings.items()]
    return Section(
        "run",
        "The run",
        facts={name: text for name, text in facts.items() if text},
        command=_words(run.summary, "command"),
        tables=[Table("All settings", ("option", "value"), rows, 2, folded=True)] if rows else [],
        pictures=[_picture("network", "The network", partial(plot.network_diagram, run.model), (9, 2.8), wide=True)],
    )


def _scores(scores: Sequence[ScoreRow]) -> Section:
    metrics = list(dict.fromkeys(name for row in scores for name in row.scores))

    def cells(row: ScoreRow) -> list[str]:
        figures = (figure(row.scores[name]) if name in row.scores else "" for name in metrics)
        return [_PARTS[row.part], row.model, f"{row.n_samples:,}", *figures]

    own = frozenset(i for i, row in enumerate(scores) if row.model == "network")
    columns = ("part", "model", "samples", *map(metric_label, metrics))
    caption = "The linear model and the trivial one saw the same training part."
    return Section("scores", "How good it is", tables=[Table(caption, columns, [*map(cells, scores)], 2, own)])


def _learning(run: FinishedRun) -> Section | None:
    if not run.history:
        return None
    metrics = ["loss"]
    if any(record.validation and run.model.metric in record.validation for record in run.history):
        metrics.append(run.model.metric)
    pictures = [
        _picture(f"curve_{metric}", _title(metric), partial(plot.learning_curves, run.history, metric), _BROAD)
        for metric in metrics
    ]
    kept = run.summary.get("kept_epoch")
    text = f"The model has the parameters of epoch {kept}. Dotted lines mark the best epoch of a curve." if kept else ""
    return Section("learning", "How it learned", text, pictures=pictures)


def _errors(run: FinishedRun, predictions: Predictions) -> Section:
    model, tables = run.model, []
    if model.task != "regression":
        rows = class_scores(predictions)
        more = f", the first {_MOST_CLASSES} of {len(rows):,}" if len(rows) > _MOST_CLASSES else ""
        cells = [
            (str(row.label), *(f"{value:.3f}" for value in (row.precision, row.recall, row.f1)), f"{row.support:,}")
            for row in rows[:_MOST_CLASSES]
        ]
        tables.append(Table(f"By class{more}.", ("class", "precision", "recall", "F1", "support"), cells))
    if _is_classifier(model) and not _has_images(model) and (wrong := most_wrong(predictions, n=_MOST_WRONG)):
        tables.append(_wrong_rows(predictions, wrong))
    text = f"Tables and pictures of the {_PARTS[run.scored_part]}, {len(predictions.rows):,} samples."
    return Section("errors", "Where it errs", text, tables=tables, pictures=_pictures(_ERRORS, predictions))


def _wrong_rows(predictions: Predictions, wrong: Sequence[WrongSample]) -> Table:
    """Return the samples that are most confidently wrong, as rows of the table that they come from."""
    x = taken(predictions.x, np.searchsorted(predictions.rows, [sample.row for sample in wrong]))
    if hasattr(x, "column_names"):
        columns = {name: x.column(name).to_pylist() for name in x.column_names[:_MOST_COLUMNS]}
    else:
        names = predictions.model.feature_names or range(1, 1 + x.shape[1])
        columns = {str(name): x[:, i].tolist() for i, name in enumerate(names[:_MOST_COLUMNS])}
    rows = [
        (str(sample.true), str(sample.predicted), f"{sample.confidence:.3f}", *map(_cell, values))
        for sample, *values in zip(wrong, *columns.values(), strict=True)
    ]
    more = (
        f" The first {_MOST_COLUMNS} columns."
        if len(x[0] if isinstance(x, np.ndarray) else x.column_names) > _MOST_COLUMNS
        else ""
    )
    return Table(f"Most confidently wrong.{more}", ("true", "predicted", "confidence", *columns), rows, 2)


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _learned(run: FinishedRun, predictions: Predictions) -> Section | None:
    pictures = _pictures(_LEARNED, predictions)
    return Section("learned", "What it learned", pictures=pictures) if pictures else None


def _inside(run: FinishedRun, predictions: Predictions) -> Section:
    return Section("inside", "Inside the network", pictures=_pictures(_INSIDE, predictions))


def _passes(run: FinishedRun, predictions: Predictions) -> Section:
    text = f"The first sample of the {_PARTS[run.scored_part]} on its way through the network, and its gradient back."
    return Section("passes", "One sample", text, pictures=_pictures(_PASSES, predictions))


def _pictures(drawings: Sequence[_Drawing], predictions: Predictions) -> list[Picture]:
    model = predictions.model
    pictures = []
    for each in drawings:
        if not each.suits(model):
            continue
        draw, size = getattr(plot, each.name), each.size(model) if callable(each.size) else each.size
        if each.of_output and (n_out := model.network.layer_sizes[-1]) > 1:
            pictures += [
                _picture(
                    f"{each.name}_{i}", f"{each.title}, target {i + 1}", partial(draw, predictions, output=i), size
                )
                for i in range(min(n_out, _MOST_OUTPUTS))
            ]
        else:
            pictures.append(
                _picture(each.name, each.title, partial(draw, predictions), size, each.caption, wide=each.wide)
            )
    return pictures


def _picture(
    name: str, title: str, draw: Callable[..., Any], size: tuple[float, float], caption: str = "", *, wide: bool = False
) -> Picture:
    figure = new_figure(*size)
    draw(ax=figure.subplots())
    return Picture(title, svg(figure, name), caption, wide)


def _title(metric: str) -> str:
    label = metric_label(metric)
    return label[0].upper() + label[1:]


def _words(given: Mapping[str, Any], *names: str) -> str:
    return ", ".join(str(given[name]) for name in names if given.get(name) is not None)


def _count(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    return f"{value:,.0f}" if isinstance(value, int | float) else ""
