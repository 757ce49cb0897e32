"""Names with options: ``name:option=number,option=number``."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from xpnet.constraints import real
from xpnet.errors import InvalidParameterError, UnknownNameError
from xpnet.nn.activations import ACTIVATION_SYNONYMS, ACTIVATIONS, get_activation
from xpnet.nn.initializers import INITIALIZER_SYNONYMS, INITIALIZERS, get_initializer
from xpnet.nn.losses import LOSS_SYNONYMS, LOSSES, get_loss
from xpnet.nn.optimizers import OPTIMIZER_SYNONYMS, OPTIMIZERS, get_optimizer
from xpnet.specs import from_spec
from xpnet.training.metrics import METRIC_SYNONYMS, METRICS, get_metric
from xpnet.training.schedules import SCHEDULE_SYNONYMS, SCHEDULES, get_schedule

TABLE = {
    "plain": lambda: (),
    "plane": lambda height=1.0: (height,),
    "adam": lambda beta_1=0.9, epsilon=1e-8: (beta_1, epsilon),
    "bound": partial(lambda first, patience=10: (first, patience), "x"),
    "steps": lambda every=10, factor=0.1: (every, factor),
}
RANGES = {
    "patience": real(1),
    "beta_1": real(0, 1),
    **dict.fromkeys(("epsilon", "every", "factor"), real(0, closed=False)),
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain", ()),
        ("plain:", ()),
        ("plane", (1.0,)),
        ("plane:height=2", (2.0,)),
        ("plane:height=-1e3", (-1000.0,)),
        ("plane:height=1,height=2", (2.0,)),
        ("adam:epsilon=0.1", (0.9, 0.1)),
        ("adam:beta_1=0,epsilon=0.1", (0.0, 0.1)),
        ("adam:epsilon=0.1,beta_1=0.5,", (0.5, 0.1)),
        ("bound:patience=3", ("x", 3.0)),
    ],
)
def test_good(name: str, expected: Any) -> None:
    assert from_spec("thing", name, TABLE, RANGES) == expected


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (
            "plan",
            UnknownNameError,
            "unknown thing: expected one of adam, bound, plain, plane, steps; received 'plan'. Did you mean 'plane'?",
        ),
        ("zzz", UnknownNameError, "unknown thing: expected one of adam, bound, plain, plane, steps; received 'zzz'."),
        ("", UnknownNameError, "unknown thing: expected one of adam, bound, plain, plane, steps; received ''."),
        (
            "plain:height=1",
            UnknownNameError,
            "unknown option of thing plain: expected none, it has no options; received",
        ),
        (
            "plane:heigth=1",
            UnknownNameError,
            "unknown option of thing plane: expected one of height; received 'heigth'.",
        ),
        ("plane:height", InvalidParameterError, "thing 'plane:height': height: expected a finite number; received ''."),
        ("plane:height=tall", InvalidParameterError, "expected a finite number; received 'tall'."),
        ("plane:height=inf", InvalidParameterError, "expected a finite number; received 'inf'."),
        ("plane:height=1:2", InvalidParameterError, "expected a finite number; received '1:2'."),
        (
            "bound:first=1",
            UnknownNameError,
            "unknown option of thing bound: expected one of patience; received 'first'.",
        ),
        ("bound:patience=0", InvalidParameterError, "patience: expected a finite number of at least 1; received '0'."),
        ("adam:beta_1=1", InvalidParameterError, "expected a finite number of at least 0 and below 1; received '1'."),
        ("adam:beta_1=-0.1", InvalidParameterError, "expected a finite number of at least 0 and below 1; received"),
        ("adam:epsilon=0", InvalidParameterError, "expected a finite number above 0; received '0'."),
        (
            "steps:every=0",
            InvalidParameterError,
            "thing 'steps:every=0': every: expected a finite number above 0; received",
        ),
        ("steps:factor=-1", InvalidParameterError, "expected a finite number above 0; received '-1'."),
    ],
)
def test_bad(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        from_spec("thing", name, TABLE, RANGES)
    assert type(caught.value) is error
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("get", "table", "synonyms"),
    [
        (get_activation, ACTIVATIONS, ACTIVATION_SYNONYMS),
        (get_initializer, INITIALIZERS, INITIALIZER_SYNONYMS),
        (get_loss, LOSSES, LOSS_SYNONYMS),
        (get_metric, METRICS, METRIC_SYNONYMS),
        (get_optimizer, OPTIMIZERS, OPTIMIZER_SYNONYMS),
        (get_schedule, SCHEDULES, SCHEDULE_SYNONYMS),
    ],
    ids=["activation", "initializer", "loss", "metric", "optimizer", "schedule"],
)
def test_a_synonym_is_a_hint_and_no_name(get: Any, table: dict[str, Any], synonyms: dict[str, str]) -> None:
    for synonym, meaning in synonyms.items():
        meant, _, remark = meaning.partition(" ")
        get(meant)
        assert synonym not in table
        for written in (synonym, synonym.upper(), synonym.replace("_", "-")):
            with pytest.raises(UnknownNameError) as caught:
                get(written)
            assert str(caught.value).endswith(f"received {written!r}. Did you mean {meant!r}?" + f" {remark}".rstrip())


def test_a_synonym_of_a_name_that_is_not_there_is_no_hint() -> None:
    error = UnknownNameError.among("thing", "mse", ["adam", "muse"], {"mse": "squared_error"})
    assert str(error).endswith("Did you mean 'muse'?")
