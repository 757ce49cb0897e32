"""The pictures of how well classes are told apart: what they show, against scikit-learn's metrics."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn import metrics
from sklearn.calibration import calibration_curve

from tests.models import CASES, X, make
from tests.traced import traced
from xpnet import plot
from xpnet.errors import InvalidParameterError
from xpnet.estimators.classifier import MLPClassifier
from xpnet.plot.classification import confusion_size, draw_confusion
from xpnet.plot.figures import look, new_figure, png, svg
from xpnet.plot.predictions import Predictions


@pytest.fixture
def ax() -> Any:
    return Figure().subplots()


@pytest.fixture(scope="module")
def two() -> Predictions:
    """Predictions of a model of two classes, some of which are equal."""
    model = make("booleans")
    rng = np.random.default_rng(0)
    output = rng.random((400, 1)).round(2)
    true = (rng.random(400) < output[:, 0] ** 1.5).astype(int)
    return Predictions(model, np.zeros((400, 4)), np.arange(400), true, output)


def labelled(ax: Any, start: str) -> float:
    """Return the number that the legend gives for something."""
    (text,) = (text.get_text() for text in ax.get_legend().get_texts() if text.get_text().startswith(start))
    return float(text.rpartition(" ")[2])


def texts(ax: Any) -> dict[tuple[int, int], str]:
    return {(int(text.get_position()[1]), int(text.get_position()[0])): text.get_text() for text in ax.texts}


def test_the_confusion_is_counted_right(ax: Any) -> None:
    rng = np.random.default_rng(0)
    labels = np.asarray(["a", "c", "e", "g"])  # of which the last is neither true nor predicted
    true, predicted = rng.choice(labels[:3], (2, 50))
    draw_confusion(true, predicted, labels, ax, "test part")
    expected = metrics.confusion_matrix(true, predicted, labels=labels)
    shares = expected / np.maximum(expected.sum(axis=1, keepdims=True), 1)
    np.testing.assert_allclose(ax.images[0].get_array(), shares)
    assert texts(ax) == {place: str(count) for place, count in np.ndenumerate(expected) if count}
    assert ax.get_title() == "test part"


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].task == "classification"])
def test_the_confusion_of_a_model(name: str, ax: Any) -> None:
    model, y = make(name), CASES[name].y
    assert plot.confusion_matrix(model, X, y, ax) is ax
    expected = metrics.confusion_matrix(y, model.predict(X), labels=np.unique(y))
    assert texts(ax) == {place: str(count) for place, count in np.ndenumerate(expected) if count}
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        f"{label!s:.12}" + "…" * (len(str(label)) > 12) for label in np.unique(y)
    ]


def test_the_confusion_of_an_estimator(ax: Any) -> None:
    y = np.resize(["Öl", "犬"], len(X))
    clf = MLPClassifier(solver="lbfgs", alpha=0.1, max_iter=999, random_state=0).fit(X, y)
    plot.confusion_matrix(clf, X, y, ax)
    expected = metrics.confusion_matrix(y, clf.predict(X), normalize="true")
    np.testing.assert_allclose(ax.images[0].get_array(), expected)


def test_a_confusion_needs_classes() -> None:
    with pytest.raises(InvalidParameterError, match="confusion_matrix: expected a model for classification; received"):
        plot.confusion_matrix(make("labels"), X, CASES["labels"].y)


def test_fifty_classes_are_all_drawn(ax: Any) -> None:
    labels = np.arange(100, 150)
    draw_confusion(labels, labels, labels, ax, "test part")
    np.testing.assert_array_equal(ax.images[0].get_array(), np.eye(50))
    assert [label.get_text() for label in ax.get_yticklabels()] == [str(label) for label in range(100, 150, 5)]
    assert not ax.texts


def test_of_many_classes_those_with_the_most_errors_are_drawn(ax: Any) -> None:
    labels = np.asarray([f"class {i:04}" for i in range(1000)])
    true = np.repeat(np.arange(1000), 4)
    predicted = true.copy()
    predicted[4 * 500 : 4 * 510] = 700  # all of ten classes are taken for another
    predicted[4 * 800] = 801
    predicted[4 * 900 : 4 * 900 + 3] = 901
    draw_confusion(labels[true], labels[predicted], labels, ax, "test part")
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert len(names) == 20
    assert {f"class {i:04}" for i in (*range(500, 510), 700, 800, 801, 900, 901)} < set(names)
    assert ax.get_title() == "test part, the 20 of 1,000 classes with the most errors"
    shares = ax.images[0].get_array()
    at = names.index
    assert shares[at("class 0500"), at("class 0700")] == 1
    assert shares[at("class 0700"), at("class 0700")] == 1
    assert shares[at("class 0900"), at("class 0901")] == 0.75
    assert shares[at("class 0800"), at("class 0801")] == 0.25


def test_a_share_is_of_all_samples_of_the_class(ax: Any) -> None:
    true, predicted = np.repeat(np.arange(100), 2), np.repeat(np.arange(100), 2)
    predicted[1:60:2] = np.arange(60, 90)  # one error in each of sixty classes; some are not in the picture
    draw_confusion(true, predicted, np.arange(100), ax)
    assert np.diag(ax.images[0].get_array()).tolist() == [0.5] * 20


def test_no_matrix_of_thousands_of_classes() -> None:
    labels = np.arange(10_000)
    draw_confusion(labels, labels[::-1], labels, Figure().subplots())  # imports
    with traced() as peak:
        draw_confusion(labels, labels[::-1], labels, Figure().subplots())
    assert peak() < 20e6


@pytest.mark.parametrize("labels", [("$a", "b$^$"), ("[bold]x", "y" * 80), ("a\nb\x00", "<script>alert(1)</script>")])
def test_labels_are_drawn_as_plain_text(labels: tuple[str, str]) -> None:
    names = np.asarray(sorted(labels))
    with look():
        figure = new_figure(*confusion_size(2))
        draw_confusion(names, names[::-1], names, figure.subplots())
        text = svg(figure, "confusion")
    assert "<script" not in text
    assert png(figure).startswith(b"\x89PNG")
    shown = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert all(len(label) <= 13 and label.isprintable() for label in shown)


def test_numbers_on_dark_cells_are_white() -> None:
    with look():
        ax = new_figure(4, 4).subplots()
        draw_confusion(
            np.asarray([0] * 10 + [1] * 10), np.asarray([0] * 8 + [1] * 2 + [0] * 5 + [1] * 5), np.arange(2), ax
        )
        page = {text.get_text(): text.get_color() for text in ax.texts}
    assert page["8"] == "white"
    assert page["2"] == page["5"] == "#010203"


def test_roc_against_scikit_learn(two: Predictions, ax: Any) -> None:
    plot.roc(two, ax=ax)
    score = two.output[:, 0]
    assert labelled(ax, "area") == pytest.approx(metrics.roc_auc_score(two.true, score), abs=5e-4)
    false, hits, _ = metrics.roc_curve(two.true, score, drop_intermediate=False)
    np.testing.assert_allclose(ax.lines[-1].get_xydata(), np.stack([false, hits], axis=1))
    assert ax.get_title() == "positive class: True"


def test_precision_recall_against_scikit_learn(two: Predictions, ax: Any) -> None:
    plot.precision_recall(two, ax=ax)
    score = two.output[:, 0]
    assert labelled(ax, "average") == pytest.approx(metrics.average_precision_score(two.true, score), abs=5e-4)
    assert labelled(ax, "chance") == pytest.approx(two.true.mean(), abs=6e-4)
    precision, recall, _ = metrics.precision_recall_curve(two.true, score)
    np.testing.assert_allclose(ax.lines[-1].get_xydata(), np.stack([recall, precision], axis=1)[::-1])


def test_reliability_against_scikit_learn(two: Predictions, ax: Any) -> None:
    plot.reliability_diagram(two, ax=ax)
    share, mean = calibration_curve(two.true, two.output[:, 0], n_bins=15)
    np.testing.assert_allclose(ax.collections[0].get_offsets(), np.stack([mean, share], axis=1))
    counts = np.bincount(np.searchsorted(np.linspace(0, 1, 16)[1:-1], two.output[:, 0]))
    assert labelled(ax, "calibration error") == pytest.approx(
        np.average(np.abs(share - mean), weights=counts), abs=5e-4
    )
    np.testing.assert_allclose([bar.get_height() for bar in ax.patches], counts / 400)
    assert [round(bar.get_x() * 15, 6) for bar in ax.patches] == list(range(15))


def test_the_reliability_of_three_classes_is_about_the_predicted_one(ax: Any) -> None:
    model, y = make("text"), CASES["text"].y
    plot.reliability_diagram(model, X, y, ax)
    p = model.predict_proba(X)
    share, mean = calibration_curve(model.predict(X) == y, p.max(axis=1), n_bins=15)
    np.testing.assert_allclose(ax.collections[0].get_offsets(), np.stack([mean, share], axis=1), rtol=1e-5)
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("confidence", "accuracy", "")


def test_a_long_curve_has_few_points(ax: Any) -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 2, 9000)
    output = (true + rng.standard_normal(9000))[:, None]
    many = Predictions(make("booleans"), np.zeros((9000, 4)), np.arange(9000), true, output)
    plot.roc(many, ax=ax)
    x, y = ax.lines[-1].get_xydata().T
    assert len(x) <= 300
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert labelled(ax, "area") == pytest.approx(metrics.roc_auc_score(true, output[:, 0]), abs=5e-4)
    false, hits, _ = metrics.roc_curve(true, output[:, 0])
    np.testing.assert_allclose(np.interp(x, false, hits), y, atol=0.01)


@pytest.mark.parametrize("draw", [plot.roc, plot.precision_recall])
def test_curves_are_for_two_classes(draw: Any) -> None:
    with pytest.raises(InvalidParameterError, match=r"expected a model of two classes; received 3\."):
        draw(make("text"), X, CASES["text"].y)
    with pytest.raises(InvalidParameterError, match="expected a model for classification"):
        draw(make("values"), X, CASES["values"].y)


@pytest.mark.parametrize(("draw", "name", "found"), [
    (plot.roc, "area", (np.nan, np.nan)), (plot.precision_recall, "average", (np.nan, 1)),
])  # fmt: skip
def test_curves_of_samples_of_one_class(draw: Any, name: str, found: tuple[float, float]) -> None:
    for label in (False, True):
        ax = draw(make("booleans"), X, np.full(len(X), label), Figure().subplots())
        ax.figure.canvas.draw()
        assert labelled(ax, name) == pytest.approx(found[label], nan_ok=True)


def test_reliability_needs_probabilities() -> None:
    model = make("text")
    values = replace(model, network=replace(model.network, loss="squared_error", output="identity"))
    with pytest.raises(InvalidParameterError, match="an output that gives probabilities"):
        plot.reliability_diagram(values, X, CASES["text"].y)
    plot.confusion_matrix(values, X, CASES["text"].y, Figure().subplots())


def test_no_text_is_cut_off() -> None:
    labels = np.asarray(["Adelie", "Chinstrap", "Gentoo"])
    figure = new_figure(*confusion_size(3))
    ax = draw_confusion(labels, labels, labels, figure.subplots(), "test part")
    png(figure)
    page = figure.bbox
    for text in (ax.title, ax.xaxis.label, ax.yaxis.label, figure.axes[1].yaxis.label):
        box = text.get_window_extent()
        assert page.x0 <= box.x0 < box.x1 <= page.x1
        assert page.y0 <= box.y0 < box.y1 <= page.y1
