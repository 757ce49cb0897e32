"""Which values that training did not have are said, and how."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tests.data.tables.test_encoding import fit
from xpnet.data.tables.unknown import UnknownValues
from xpnet.errors import UnknownValuesWarning

NO_KNOWN = "did not occur in training, taken for no known category"
SEXES = ["male", "female"] * 20
NUMBERS = [*map(str, range(39)), "?"]  # "?" cannot be read at training either
MANY = [*"aaabbb", *(f"rare{i}" for i in range(34))]


def said(encoding, *tables) -> list[str]:
    """Return the warning after all blocks of a table."""
    seen = UnknownValues()
    for table in tables:
        encoding.transform(pa.table(table), unknown=seen)
    with pytest.warns(UnknownValuesWarning) as caught:
        seen.warn()
    return [str(each.message) for each in caught]


def is_silent(encoding, *tables) -> bool:
    seen = UnknownValues()
    for table in tables:
        encoding.transform(pa.table(table), unknown=seen)
    seen.warn()  # a warning is an error in tests
    return True


def test_the_data_of_training_are_silent():
    table = {"sex": SEXES, "age": NUMBERS, "city": MANY}
    assert is_silent(fit(table), table)


def test_categories_that_are_not_known_over_all_blocks():
    encoding = fit({"sex": SEXES})
    upper = [sex.upper() for sex in SEXES]
    assert said(encoding, {"sex": upper}, {"sex": [*SEXES, None]}) == [
        f"column 'sex': 40 of 80 values {NO_KNOWN}: 'MALE', 'FEMALE'."
    ]
    assert said(encoding, {"sex": ["x"]}) == [f"column 'sex': 1 of 1 values {NO_KNOWN}: 'x'."]


@pytest.mark.parametrize(("n", "many"), [(1, False), (2, True)])
def test_a_few_new_categories_are_silent(n, many):
    encoding, table = fit({"sex": SEXES}), {"sex": [*["x"] * n, *SEXES[n:], None]}
    if many:
        assert said(encoding, table) == [f"column 'sex': 2 of 40 values {NO_KNOWN}: 'x'."]
    else:
        assert is_silent(encoding, table)


def test_rare_categories_are_not_known_one_by_one():
    encoding = fit({"city": MANY})
    assert is_silent(encoding, {"city": ["rare1"]})
    assert is_silent(encoding, {"city": ["a", *["new"] * 30]})
    assert said(encoding, {"city": ["A", "B"] * 10}) == [
        "column 'city': 20 of 20 values are no frequent category of training, taken for rare ones: 'A', 'B'."
    ]


def test_what_cannot_be_read():
    encoding = fit({"age": NUMBERS, "height": NUMBERS})
    table = {"age": [*NUMBERS, "abc", "old", "abc"], "height": [*NUMBERS, "tall", None, "1"]}
    assert said(encoding, table) == [
        "column 'age': 3 values cannot be read as numbers and are taken as missing: 'abc', 'old'; "
        "column 'height': 1 value cannot be read as numbers and is taken as missing: 'tall'."
    ]


def test_a_few_columns_are_named():
    names = "abcde"
    message = said(fit(dict.fromkeys(names, SEXES)), {name: list("xyzuv") for name in names})[0]
    assert message.count("5 of 5 values") == 3
    assert "'x', 'y', 'z'; column" in message
    assert message.endswith("; and so in 2 more columns.")


def test_counting_does_not_change_the_encoding():
    encoding = fit({"sex": SEXES, "age": NUMBERS})
    table = pa.table({"sex": ["MALE", "male"], "age": ["1", "2"]})
    np.testing.assert_array_equal(encoding.transform(table, unknown=UnknownValues()), encoding.transform(table))
