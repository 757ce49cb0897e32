"""The report of a run: what was trained, how it went, how good it is, where it errs, and what it learned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from xpnet import plot
from xpnet.errors import shown
from xpnet.plot.figures import look, new_figure, svg
from xpnet.report.finished_run import FinishedRun
from xpnet.report.page import Merit, Picture, Section, Table, render
from xpnet.report.scores import ScoreRow, class_scores, part_scores
from xpnet.training.progress import METRIC_NAMES, figure

__all__ = ["report_page"]

_MOST_CLASSES = 50  # in the table of classes
_MOST_ROWS = 8  # of a table that are shown
_MOST_COLUMNS = 8
_MOST_CLASSES_IN_CURVES = 2
_PART_NAMES = {"train": "training part", "validation": "validation part", "test": "test part", "data": "data"}


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
    with look():
        sections = [section for make in _SECTIONS if (section := make(run, scores)) is not None]
    return render(
        "report.html", title=run.name, subtitle=_subtitle(run), merits=list(_merits(run, scores)), sections=sections
    )


def _subtitle(run: FinishedRun) -> str:
    network = run.model.network
    sizes = "-".join(map(str, network.layer_sizes))
    return f"{run.model.task}, {sizes}, {network.n_parameters:,} parameters"


def _merits(run: FinishedRun, scores: list[ScoreRow]) -> Iterator[Merit]:
    """Yield the score of the network beside those of the baselines, and the time."""
    name = METRIC_NAMES.get(run.model.metric, run.model.metric)
    for row in scores:
        if row.part == run.scored_part and run.model.metric in row.scores:
            yield Merit(f"{name}, {row.model}", figure(row.scores[run.model.metric]))
    seconds = run.summary.get("seconds")
    if isinstance(seconds, int | float):
        yield Merit("seconds of training", f"{seconds:.1f}")


def _run(run: FinishedRun, scores: list[ScoreRow]) -> Section:
    given = run.summary
    facts = {
        "Data": f"{run.name}: "
        + ", ".join(f"{len(y):,} samples in the {_PART_NAMES[part]}" for part, (_, y) in run.parts.items()),
        "Network": _subtitle(run),
        "Device": _words(given, "device", "precision"),
        "Epochs": _epochs(given),
        "Speed": f"{given['samples_per_second']:,.0f} samples/s" if "samples_per_second" in given else "",
        "Seed": _words(given, "seed"),
        "Versions": ", ".join(f"{name} {version}" for name, version in _versions(given)),
        "System": _words(given, "system"),
    }
    settings = Table(
        "All settings",
        ("option", "value"),
        [(name, shown(value)) for name, value in run.settings.items()],
        2,
        folded=True,
    )
    return Section(
        "run",
        "The run",
        facts={name: text for name, text in facts.items() if text},
        command=_words(given, "command"),
        tables=[settings] if run.settings else [],
        pictures=[_picture("network", "The network", partial(plot.network_diagram, run.model), (9, 2.8), wide=True)],
    )


def _learning(run: FinishedRun, scores: list[ScoreRow]) -> Section | None:
    if not run.history:
        return None
    metric = run.model.metric
    kept = run.summary.get("kept_epoch")
    pictures = [_picture("loss", "Loss", partial(plot.learning_curves, run.history, "loss"))]
    if any(record.validation and metric in record.validation for record in run.history):
        name = METRIC_NAMES.get(metric, metric)
        draw = partial(plot.learning_curves, run.history, metric)
        pictures.append(_picture("score", f"{name[0].upper()}{name[1:]} on the validation part", draw))
    text = f"The model has the parameters of epoch {kept}." if kept else ""
    return Section("learning", "How it learned", text, pictures=pictures)


def _scores(run: FinishedRun, scores: list[ScoreRow]) -> Section:
    names = list(dict.fromkeys(name for row in scores for name in row.scores))
    rows = [
        (
            _PART_NAMES[row.part],
            row.model,
            f"{row.n_samples:,}",
            *(figure(row.scores[name]) if name in row.scores else "–" for name in names),
        )
        for row in scores
    ]
    own = frozenset(i for i, row in enumerate(scores) if row.model == "network")
    table = Table(
        "The linear model and the trivial one are trained on the same training part.",
        ("part", "model", "samples", *(METRIC_NAMES.get(name, name) for name in names)),
        rows,
        2,
        own,
    )
    return Section("scores", "How good it is", tables=[table])


def _errors(run: FinishedRun, scores: list[ScoreRow]) -> Section:
    model, (x, y) = run.model, run.scored_rows
    part = f"the {_PART_NAMES[run.scored_part]}"
    draw = _REGRESSION if model.task == "regression" else _CLASSES
    pictures = [
        _picture(name, title, partial(getattr(plot, name), model, x, y), size, caption)
        for name, title, size, caption, suits in draw
        if suits(model)
    ]
    tables = []
    if model.task != "regression":
        rows = class_scores(model, x, y)
        cells = [
            (str(row.label), *(f"{value:.3f}" for value in (row.precision, row.recall, row.f1)), f"{row.support:,}")
            for row in rows[:_MOST_CLASSES]
        ]
        more = f"; the first {_MOST_CLASSES} of {len(rows):,}" if len(rows) > _MOST_CLASSES else ""
        caption = f"Scores of each class on {part}{more}."
        tables.append(Table(caption, ("class", "precision", "recall", "F1", "support"), cells))
    return Section("errors", "Where it errs", f"Everything here is about {part}.", tables=tables, pictures=pictures)


def _is_pair(model: Any) -> bool:
    return (
        model.task == "classification"
        and model.gives_probabilities
        and model.network.layer_sizes[-1] <= _MOST_CLASSES_IN_CURVES
    )


def _is_one_label(model: Any) -> bool:
    return bool(model.task == "classification")


_SQUARE = (5, 4)
_CLASSES: tuple[tuple[str, str, tuple[float, float], str, Callable[[Any], bool]], ...] = (
    (
        "confusion_matrix",
        "Confusion matrix",
        _SQUARE,
        "A row is a true class, a column what was predicted.",
        _is_one_label,
    ),
    (
        "roc",
        "ROC curve",
        _SQUARE,
        "The area is the chance that a random sample of the second class ranks above one of the first.",
        _is_pair,
    ),
    (
        "precision_recall",
        "Precision and recall",
        _SQUARE,
        "For every threshold on the probability; the dashed line is chance.",
        _is_pair,
    ),
    (
        "reliability_diagram",
        "Reliability",
        _SQUARE,
        "Where confidence equals accuracy, the probabilities can be believed.",
        lambda model: model.task == "classification" and model.gives_probabilities,
    ),
)
_REGRESSION: tuple[tuple[str, str, tuple[float, float], str, Callable[[Any], bool]], ...] = (
    (
        "predicted_against_true",
        "Predicted against true",
        _SQUARE,
        "On the diagonal a prediction is right.",
        lambda model: True,
    ),
    ("residuals", "Residuals", _SQUARE, "What is left should have no trend and an even width.", lambda model: True),
    ("error_histogram", "Errors", _SQUARE, "True minus predicted.", lambda model: True),
)


def _picture(
    name: str,
    title: str,
    draw: Callable[..., Any],
    size: tuple[float, float] = (4.8, 3.2),
    caption: str = "",
    *,
    wide: bool = False,
) -> Picture:
    figure = new_figure(*size)
    draw(ax=figure.subplots())
    return Picture(title, svg(figure, name), caption, wide)


def _words(given: Mapping[str, Any], *names: str) -> str:
    return ", ".join(str(given[name]) for name in names if given.get(name) is not None)


_SECTIONS = (_run, _scores, _learning, _errors)
