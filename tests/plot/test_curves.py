"""Learning curves: what they show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from xpnet import plot
from xpnet.errors import InvalidParameterError, UnknownNameError
from xpnet.training.history import EpochRecord

LOSSES, VALIDATION, ACCURACY = [0.9, 0.5, 0.3, 0.2], [0.8, 0.6, 0.7, 0.75], [0.5, 0.7, 0.9, 0.8]


def history(*, validated: bool = True) -> list[EpochRecord]:
    scores = [{"loss": loss, "accuracy": value} for loss, value in zip(VALIDATION, ACCURACY, strict=True)]
    return [
        EpochRecord(i, loss, scores[i - 1] if validated else None, 0.1, 1.0, 100.0) for i, loss in enumerate(LOSSES, 1)
    ]


@pytest.fixture
def ax() -> Any:
    return Figure().subplots()


def curves(ax: Any) -> dict[str, list[float]]:
    return {line.get_label(): line.get_ydata().tolist() for line in ax.lines[:-1]}


def test_losses_and_the_best_epoch(ax: Any) -> None:
    assert plot.learning_curves(history(), ax=ax) is ax
    assert curves(ax) == {"training": LOSSES, "validation": VALIDATION}
    assert ax.lines[0].get_xdata().tolist() == [1, 2, 3, 4]
    assert ax.lines[-1].get_label() == "best: epoch 2, 0.6"
    assert ax.lines[-1].get_xdata() == [2, 2]


def test_a_score(ax: Any) -> None:
    plot.learning_curves(history(), "accuracy", ax)
    assert curves(ax) == {"validation": ACCURACY}
    assert ax.lines[-1].get_label() == "best: epoch 3, 0.9"
    assert ax.get_ylabel() == "accuracy"


def test_without_a_validation_part_the_training_loss_decides(ax: Any) -> None:
    plot.learning_curves(history(validated=False), ax=ax)
    assert curves(ax) == {"training": LOSSES}
    assert ax.lines[-1].get_label() == "best: epoch 4, 0.2"
    with pytest.raises(UnknownNameError, match="unknown metric: expected one of loss; received 'accuracy'"):
        plot.learning_curves(history(validated=False), "accuracy")


def test_only_some_epochs_are_validated(ax: Any) -> None:
    records = [record if record.epoch in (2, 4) else record._replace(validation=None) for record in history()]
    plot.learning_curves(records, ax=ax)
    assert ax.lines[1].get_xdata().tolist() == [2, 4]
    assert ax.lines[-1].get_label() == "best: epoch 2, 0.6"


def test_one_epoch(ax: Any) -> None:
    plot.learning_curves(history()[:1], ax=ax)
    assert [tick for tick in ax.get_xticks() if ax.get_xlim()[0] <= tick <= ax.get_xlim()[1]] == [1]
    assert ax.lines[0].get_marker() == "."


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite(bad: float, ax: Any) -> None:
    records = [record._replace(loss=bad, validation=None) for record in history()]
    plot.learning_curves(records, ax=ax)
    assert len(ax.lines) == 1
    ax.figure.canvas.draw()
    records[2] = records[2]._replace(loss=7.0)
    assert plot.learning_curves(records, ax=Figure().subplots()).lines[-1].get_label() == "best: epoch 3, 7"


def test_no_epoch() -> None:
    with pytest.raises(InvalidParameterError, match="history: expected at least one epoch; received none"):
        plot.learning_curves([])
