"""The picture of the confusion of classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.traced import traced
from xpnet.cli import plots


def drawn(monkeypatch: pytest.MonkeyPatch, *given: Any) -> Any:
    """Return the axes of the picture."""
    axes: list[Any] = []
    with monkeypatch.context() as patched:
        patched.setattr(plots, "_png", lambda figure: axes.append(figure.axes[0]))
        plots.confusion_matrix_png(*given, "test")
    return axes[0]


def test_fifty_classes_are_all_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.arange(50)
    axes = drawn(monkeypatch, labels, labels, labels)
    np.testing.assert_array_equal(axes.images[0].get_array(), np.eye(50))
    assert axes.get_title() == "test part"


def test_of_many_classes_those_with_the_most_errors_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.asarray([f"class {i:04}" for i in range(1000)])
    true = np.repeat(np.arange(1000), 4)
    predicted = true.copy()
    predicted[4 * 500 : 4 * 510] = 700  # all of ten classes are taken for another
    predicted[4 * 800] = 801
    predicted[4 * 900 : 4 * 900 + 3] = 901
    axes = drawn(monkeypatch, labels[true], labels[predicted], labels)
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert len(names) == 20
    assert {f"class {i:04}" for i in (*range(500, 510), 700, 800, 801, 900, 901)} < set(names)
    assert axes.get_title() == "test part, the 20 of 1,000 classes with the most errors"
    shares = axes.images[0].get_array()
    at = names.index
    assert shares[at("class 0500"), at("class 0700")] == 1
    assert shares[at("class 0700"), at("class 0700")] == 1
    assert shares[at("class 0900"), at("class 0901")] == 0.75
    assert shares[at("class 0800"), at("class 0801")] == 0.25


def test_a_share_is_of_all_samples_of_the_class(monkeypatch: pytest.MonkeyPatch) -> None:
    true, predicted = np.repeat(np.arange(100), 2), np.repeat(np.arange(100), 2)
    predicted[1:60:2] = np.arange(60, 90)  # one error in each of sixty classes; some are not in the picture
    axes = drawn(monkeypatch, true, predicted, np.arange(100))
    assert np.diag(axes.images[0].get_array()).tolist() == [0.5] * 20


def test_no_matrix_of_thousands_of_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.arange(10_000)
    drawn(monkeypatch, labels, labels[::-1], labels)  # imports
    with traced() as peak:
        drawn(monkeypatch, labels, labels[::-1], labels)
    assert peak() < 20e6
