"""Constraints on parameters: what holds, and what the message says where it does not."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from xpnet.constraints import Constraint, check_constraints, integer, one_of, optional, real
from xpnet.errors import InvalidParameterError

CASES: list[tuple[Constraint, str, list[Any], list[Any]]] = [
    (
        real(0),
        "a finite number of at least 0",
        [0, 0.0, 1, 1e300],
        [-1e-300, math.nan, math.inf, "1", None, True, 1j, [1]],
    ),
    (real(0, closed=False), "a finite number above 0", [1e-300, 5], [0, 0.0, -1, math.nan, math.inf]),
    (real(0, 1), "a finite number of at least 0 and below 1", [0, 0.5], [1, 1.0, -0.1, math.nan]),
    (real(0, 1, closed=False), "a finite number above 0 and below 1", [0.5], [0, 1]),
    (integer(1), "an integer of at least 1", [1, 10**30], [0, -1, 1.0, True, "1", None]),
    (one_of("mean", "sum"), "one of 'mean', 'sum'", ["mean", "sum"], ["max", None, ""]),
    (optional(integer(1)), "an integer of at least 1, or None", [None, 1], [0, "", False]),
]


@pytest.mark.parametrize(("constraint", "expected", "good", "bad"), CASES, ids=[case[1] for case in CASES])
def test_holds_and_says(constraint: Constraint, expected: str, good: list[Any], bad: list[Any]) -> None:
    assert constraint.expected == expected
    for value in good:
        check_constraints(SimpleNamespace(rate=value), {"rate": constraint})
    for value in bad:
        with pytest.raises(InvalidParameterError) as caught:
            check_constraints(SimpleNamespace(rate=value), {"rate": constraint})
        assert str(caught.value) == f"rate: expected {expected}; received {value!r}."


def test_each_element_of_a_tuple_is_held_to_it() -> None:
    table = {"sizes": integer(1), "rate": real(0)}
    check_constraints(SimpleNamespace(sizes=(1, 2), rate=0.5), table)
    with pytest.raises(InvalidParameterError, match=r"sizes: expected an integer of at least 1; received 0\."):
        check_constraints(SimpleNamespace(sizes=(1, 0), rate=0.5), table)
    with pytest.raises(InvalidParameterError, match=r"rate: .* received -1\."):
        check_constraints(SimpleNamespace(sizes=(1, 2), rate=-1), table)
