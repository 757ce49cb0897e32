"""Early stopping as a function of what it remembers."""

from __future__ import annotations

import math

import pytest

from xpnet.errors import InvalidParameterError, UnknownNameError
from xpnet.training.early_stopping import EarlyStopping, StoppingState, early_stopping_metrics, get_early_stopping
from xpnet.training.history import EpochRecord
from xpnet.training.metrics import METRICS

NAN = math.nan


def epoch_of(value: float) -> EpochRecord:
    return EpochRecord(1, 9.0, {"loss": value, "accuracy": value, "r2": value}, 0.1, 1.0, 1.0)


def stale(name: str, values: list[float]) -> list[int]:
    stopping, state = get_early_stopping(name), StoppingState()
    counts = []
    for value in values:
        state = stopping.observe(state, epoch_of(value))
        counts.append(state.stale)
    return counts


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("loss", [3, 2, 2, 2.5, 1, 1.5], [0, 0, 1, 2, 0, 1]),
        ("accuracy", [0.5, 0.4, 0.6, 0.6, 0.7], [0, 1, 0, 1, 0]),
        ("r2", [-5, -6, -1, 0.2], [0, 1, 0, 0]),
        ("loss:tolerance=0.5", [3, 2.6, 2.4, 2.0, 1.8], [0, 1, 0, 1, 0]),  # against the best, not the last
        ("accuracy:tolerance=0.1", [0.5, 0.55, 0.65], [0, 1, 0]),
        ("loss", [NAN, math.inf, 2, NAN, 1], [1, 2, 0, 1, 0]),  # what is no number is never the best
    ],
)
def test_epochs_since_the_best(name: str, values: list[float], expected: list[int]) -> None:
    assert stale(name, values) == expected


def test_it_remembers_the_best() -> None:
    stopping, state = get_early_stopping("loss"), StoppingState()
    for loss in (3.0, 1.0, 2.0):
        state = stopping.observe(state, epoch_of(loss))
    assert state == StoppingState(best=-1.0, reference=-1.0, stale=1, improved=False)


def test_the_best_is_the_best_by_however_little() -> None:
    stopping, state = get_early_stopping("loss:tolerance=0.5"), StoppingState()
    for loss, best, count in ((3.0, -3.0, 0), (2.9, -2.9, 1), (2.8, -2.8, 2), (2.4, -2.4, 0)):
        state = stopping.observe(state, epoch_of(loss))
        assert (state.best, state.stale, state.improved) == (best, count, True)


@pytest.mark.parametrize("validation", [None, {"loss": 1.0, "accuracy": 1.0}])
def test_the_training_loss_needs_no_validation(validation: dict[str, float] | None) -> None:
    record = EpochRecord(1, 9.0, validation, 0.1, 1.0, 1.0)
    assert get_early_stopping("training_loss").observe(StoppingState(), record).best == -9.0


def test_any_name_that_a_validation_gives() -> None:
    stopping, state = EarlyStopping("f1", patience=2), StoppingState()
    for f1, count in ((0.5, 0), (0.4, 1), (0.6, 0)):
        state = stopping.observe(state, EpochRecord(1, 9.0, {"f1": f1}, 0.1, 1.0, 1.0))
        assert (state.best, state.stale) == (max(f1, 0.5), count)


def history_of(*values: float) -> list[EpochRecord]:
    return [epoch_of(value)._replace(epoch=epoch) for epoch, value in enumerate(values, 1)]


@pytest.mark.parametrize(
    ("name", "values", "best"),
    [
        ("accuracy", [0.5, 0.8, 0.7, 0.8, 0.6], 2),
        ("accuracy:latest=1", [0.5, 0.8, 0.7, 0.8, 0.6], 4),
        ("loss", [2, 1, 1, 1], 2),
        ("loss:latest=1", [2, 1, 1, 1], 4),
        ("loss:latest=1", [1, 2, 0.5, 3], 3),
        ("loss:tolerance=0.9,latest=1", [2, 1.5, 1.4, 1.4, 1.5], 4),
    ],
)
def test_which_of_the_best_epochs_is_restored(name: str, values: list[float], best: int) -> None:
    stopping, state, restored = get_early_stopping(name), StoppingState(), 0
    for record in history_of(*values):
        state = stopping.observe(state, record)
        restored = record.epoch if state.improved else restored
    assert restored == stopping.best(history_of(*values), state).epoch == best


@pytest.mark.parametrize("name", ["accuracy", "accuracy:latest=1"])
def test_epochs_before_early_stopping_are_not_restored(name: str) -> None:
    stopping, state, history = get_early_stopping(name), StoppingState(), history_of(0.9, 0.5, 0.7, 0.6)
    for record in history[1:]:  # of a run that is resumed with early stopping
        state = stopping.observe(state, record)
    assert stopping.best(history, state).epoch == 3


def test_with_infinite_patience_it_never_stops() -> None:
    stopping, state = get_early_stopping("loss:patience=inf"), StoppingState()
    for record in history_of(1.0, *[2.0] * 1000):
        state = stopping.observe(state, record)
        assert not stopping.is_over(state)
    assert (state.stale, state.best) == (1000, -1.0)


def test_options() -> None:
    stopping = get_early_stopping("accuracy:patience=5,tolerance=0.01")
    assert (stopping.metric, stopping.patience, stopping.tolerance) == ("accuracy", 5, 0.01)
    assert {get_early_stopping(name).metric for name in early_stopping_metrics()} == {"loss", *METRICS, "training_loss"}


@pytest.mark.parametrize("name", ["f2", "loss:patients=3", "loss:metric=1"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(UnknownNameError):
        get_early_stopping(name)


@pytest.mark.parametrize(
    "option", ["patience=0", "patience=-1", "patience=nan", "patience=many", "tolerance=-0.1", "latest=2"]
)
def test_options_out_of_range(option: str) -> None:
    with pytest.raises(InvalidParameterError, match=f"{option.partition('=')[0]}: expected"):
        get_early_stopping(f"loss:{option}")


@pytest.mark.parametrize("name", ["loss", "accuracy", "loss:latest=1"])
def test_the_epoch_that_is_restored_has_a_score(name: str) -> None:
    stopping, history = get_early_stopping(name), [epoch_of(value) for value in (NAN, 0.5, NAN)]
    state = StoppingState()
    for record in history:
        state = stopping.observe(state, record)
    assert stopping.best(history, state) is history[1]
