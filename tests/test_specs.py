"""Names with options: ``name:option=number,option=number``."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from xpnet.constraints import real
from xpnet.errors import InvalidParameterError, UnknownNameError
from xpnet.specs import from_spec

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
