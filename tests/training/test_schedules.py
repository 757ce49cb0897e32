"""Learning-rate schedules: the factor in every epoch, and what the adaptive one remembers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from xpnet.backend import Backend
from xpnet.errors import InvalidParameterError, UnknownNameError
from xpnet.training.history import EpochRecord
from xpnet.training.schedules import SCHEDULES, get_schedule

FACTORS = {
    "constant": [1, 1, 1, 1, 1, 1],
    "inverse_scaling": [1, 1 / math.sqrt(2), 1 / math.sqrt(3), 1 / 2, 1 / math.sqrt(5), 1 / math.sqrt(6)],
    "inverse_scaling:power=1": [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 6],
    "step:every=2": [1, 1, 0.1, 0.1, 0.01, 0.01],
    "step:every=3,factor=0.5": [1, 1, 1, 0.5, 0.5, 0.5],
    "cosine": [1, (2 + math.sqrt(3)) / 4, 3 / 4, 1 / 2, 1 / 4, (2 - math.sqrt(3)) / 4],
    "cosine:final=0.5": [1, (6 + math.sqrt(3)) / 8, 7 / 8, 3 / 4, 5 / 8, (6 - math.sqrt(3)) / 8],
    "warmup": [0.2, 0.4, 0.6, 0.8, 1, 1],
    "warmup:epochs=2": [0.5, 1, 1, 1, 1, 1],
}


def test_every_schedule_is_tested() -> None:
    assert {name.partition(":")[0] for name in FACTORS} | {"adaptive", "coslog4"} == set(SCHEDULES)


@pytest.mark.parametrize("name", FACTORS)
def test_factors(name: str) -> None:
    schedule = get_schedule(name)
    assert schedule.initial == ()
    assert schedule.observe((), epoch_of(1.0)) == ()  # what the loss does is nothing to these
    epochs = len(FACTORS[name])
    assert [schedule.factor((), epoch, epochs) for epoch in range(epochs)] == pytest.approx(FACTORS[name], rel=1e-14)
    assert [schedule.middle_factor(epoch, epochs) for epoch in range(epochs)] == [1] * epochs


# The cycles end where 1 + 15 t is 2, 4, 8 and 16, and have their peaks where it is a power of 2 times the root of 2.
ENDS = [0, 1 / 15, 3 / 15, 7 / 15, 1]
PEAKS = [(2**k * math.sqrt(2) - 1) / 15 for k in range(4)]


def test_coslog4(put: Any, close: Any, backend: Backend, dtype: str) -> None:
    factor = get_schedule("coslog4").step_factor
    t = np.linspace(0, 1, 101)
    close(factor(backend.xp, put(np.asarray(ENDS))), np.zeros(5), terms=10)
    close(factor(backend.xp, put(np.asarray(PEAKS))), np.ones(4), terms=10)
    close(factor(backend.xp, put(t)), 0.5 * (1 - np.cos(2 * np.pi * np.log2(1 + 15 * t))), terms=30)


def test_the_record_has_the_factor_in_the_middle_of_the_epoch() -> None:
    schedule = get_schedule("coslog4")
    assert [schedule.factor((), epoch, 4) for epoch in range(4)] == [1, 1, 1, 1]
    middle = [0.5 - 0.5 * math.cos(2 * math.pi * math.log2(1 + 15 * t)) for t in (0.125, 0.375, 0.625, 0.875)]
    assert [schedule.middle_factor(epoch, 4) for epoch in range(4)] == pytest.approx(middle, rel=1e-12)


def epoch_of(loss: float) -> EpochRecord:
    return EpochRecord(1, 9.0, {"loss": loss}, 0.1, 1.0, 1.0)


@pytest.mark.parametrize(
    ("name", "losses", "factors"),
    [
        # Each factor is that of the epoch after the loss beside it.
        ("adaptive", [1.0, 0.9, 0.8, 0.7], [1, 1, 1, 1]),
        ("adaptive", [1.0, 1.0, 1.0, 1.0, 1.0], [1, 1, 0.2, 0.2, 0.04]),
        ("adaptive", [1.0, 1.1, 0.9, 1.0, 1.0], [1, 1, 1, 1, 0.2]),
        ("adaptive", [1.0, 0.99995, 0.9999], [1, 1, 0.2]),  # lower, but by less than the tolerance
        ("adaptive", [1.0, 2.0, 1.5], [1, 1, 0.2]),  # measured by the best loss, not by the last
        ("adaptive:factor=0.5,patience=1", [1.0, 1.0, 0.5, 0.5], [1, 0.5, 0.5, 0.25]),
        ("adaptive:patience=3", [1.0, 1.0, 1.0, 1.0], [1, 1, 1, 0.2]),
        ("adaptive:tolerance=0", [1.0, 0.99999, 0.99998], [1, 1, 1]),
    ],
)
def test_adaptive(name: str, losses: list[float], factors: list[float]) -> None:
    schedule = get_schedule(name)
    state = schedule.initial
    assert schedule.factor(state, 0, len(losses)) == 1
    actual = []
    for epoch, loss in enumerate(losses):
        before = state
        state = schedule.observe(state, epoch_of(loss))
        assert schedule.observe(before, epoch_of(loss)) == state  # a pure function
        actual.append(schedule.factor(state, epoch + 1, len(losses)))
    assert actual == pytest.approx(factors, rel=1e-14)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("cosin", UnknownNameError, "unknown schedule: .* Did you mean 'cosine'"),
        ("constant:rate=1", UnknownNameError, "unknown option of schedule constant: expected none"),
        ("step:every=0.5", InvalidParameterError, "every: expected a finite number of at least 1"),
        ("warmup:epochs=0", InvalidParameterError, "epochs: expected a finite number above 0"),
        ("adaptive:patience=0", InvalidParameterError, "patience: expected a finite number of at least 1"),
    ],
)
def test_unknown_names_and_impossible_options(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        get_schedule(name)
