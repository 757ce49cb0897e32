"""Features that give the target away."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from xpnet.data.tables.columns import plan_columns
from xpnet.data.tables.leaks import find_leaks
from xpnet.data.tables.summary import TableSummary
from xpnet.data.tables.target import plan_target

RNG = np.random.default_rng(0)


def leaks(columns):
    table = pa.table(columns)
    summary = TableSummary()
    summary.add(table)
    y = next(column for column in summary.columns if column.name == "y")
    return [leak.name for leak in find_leaks(table, plan_columns(summary, exclude=["y"]), plan_target(y), y)]


def test_a_feature_that_renames_the_classes():
    labels = RNG.integers(0, 3, 100)
    words = np.array(["a", "b", "c"])[labels].tolist()
    almost = [words[0], "b" if words[1] != "b" else "c", *words[2:]]
    with_gaps = [None if i % 5 == 0 else word for i, word in enumerate(words)]
    coarse = np.array(["u", "u", "v"])[labels].tolist()
    columns = {
        "code": labels * 10, "float": labels / 2, "text": words, "gaps": with_gaps, "almost": almost, "coarse": coarse,
        "x": RNG.normal(size=100), "y": [None, *words[1:]],
    }  # fmt: skip
    assert leaks(columns) == ["code", "float", "text", "gaps"]


def test_a_feature_that_is_the_target_in_other_units():
    price = RNG.normal(size=100).round(3)
    columns = {
        "cents": price * 100 + 7, "text": price.astype(str).tolist(), "noisy": price + 1e-3 * RNG.normal(size=100),
        "square": price**2, "sign": np.sign(price), "x": RNG.normal(size=100), "y": price,
    }  # fmt: skip
    assert leaks(columns) == ["cents", "text"]


def test_no_leak_where_there_is_nothing_to_tell():
    assert leaks({"x": [1.5, 2.0, 3.0, 4.0], "y": ["a", "b", "a", "b"]}) == []


def test_numbers_whose_squares_overflow():
    y = 1e300 * np.random.default_rng(0).random(40)
    table = pa.table({"x": 3 * y, "z": y[::-1], "y": y})
    summary = TableSummary()
    summary.add(table)
    target = summary.columns[2]
    found = find_leaks(table, plan_columns(summary, exclude=["y"]), plan_target(target), target)
    assert [leak.name for leak in found] == ["x"]
