"""The survey of a table: its target, its features, and what users are told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from xpnet.data.tables.survey import ColumnChoices, find_target, plan_known_target, survey_table
from xpnet.errors import DataError, InvalidParameterError

N = 60
TABLE = pa.table(
    {
        "Unnamed: 0": [str(i) for i in range(N)],
        "age": [str(20 + i % 17) for i in range(N)],
        "sex": ["m" if i % 3 else "f" for i in range(N)],
        "weight": [str(1 + i % 4) for i in range(N)],
        "class": [None if i in (4, 9) else "abc"[i % 3] for i in range(N)],
    }
)


def survey(table: pa.Table = TABLE, rows: int | None = None, **keywords: Any) -> Any:
    choices = ColumnChoices(
        **{key: keywords.pop(key) for key in list(keywords) if key in ColumnChoices.__annotations__}
    )
    tables = [table] if rows is None else [table.slice(start, rows) for start in range(0, len(table), rows)]
    return survey_table(tables, table.column_names, choices, **keywords)


@pytest.mark.parametrize("rows", [None, 7])
def test_one_pass_tells_what_is_done(rows: int | None) -> None:
    found = survey(rows=rows)
    assert found.n_rows == N
    assert found.feature_names == ("age", "sex", "weight")
    assert (found.target.name, found.target.task, found.target.n_left_out) == ("class", "classification", 2)
    assert found.labels.tolist() == ["a", "b", "c"]
    assert any("'Unnamed: 0' (row numbers)" in note for note in found.notes)
    assert any("left out: 2 rows, 2 without a target in column 'class'" in note for note in found.notes)


def test_users_choose_columns() -> None:
    found = survey(categorical=("age, weight",), drop=("sex",))
    assert [(plan.name, plan.kind) for plan in found.columns if plan.is_feature] == [
        ("age", "category"),
        ("weight", "category"),
    ]
    found = survey(target="age", other_uses=("weight",))
    assert found.feature_names == ("sex", "class")
    assert found.target.name == "age"
    assert survey(duplicates=("age",)).notes[-1 - bool(found.target.n_left_out)]


def test_a_table_without_a_target() -> None:
    names = [name for name in TABLE.column_names if name != "class"]
    with pytest.raises(DataError, match="no target: expected a column called target, label, class or y; received the"):
        survey(TABLE.select(names))
    found = survey(TABLE.select(names), needs_target=False)
    assert (found.target, found.labels) == (None, None)


@pytest.mark.parametrize(
    ("keywords", "error", "words"),
    [
        ({"target": "price"}, DataError, "no target: expected a column 'price'"),
        ({"duplicates": ("class",)}, DataError, "target: expected one column 'class'; received several"),
        ({"other_uses": ("w",)}, InvalidParameterError, "expected one of the columns .*; received 'w'"),
        ({"drop": ("sx",)}, InvalidParameterError, "Did you mean 'sex'"),
        ({"drop": ("age", "sex", "weight")}, DataError, "no features"),
        ({"task": "multilabel"}, InvalidParameterError, "expected classification or regression for a table"),
    ],
)
def test_what_cannot_be(keywords: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        survey(**keywords)


def test_an_infinite_target_is_told_by_its_row() -> None:
    prices = [f"{i % 7}.5" for i in range(N)]
    prices[40] = "inf"
    table = TABLE.append_column("price", pa.array(prices))
    with pytest.raises(DataError, match="target 'price': expected finite numbers; received an infinite one in line 42"):
        survey(table, target="price", where=lambda row: f"line {row + 2}")


def test_usual_names_of_targets_come_in_an_order() -> None:
    assert find_target(["y", " Label ", "class"], None) == " Label "
    assert find_target(["a", "b"], None) is None
    assert find_target(["a", "b"], "b") == "b"


@pytest.mark.parametrize(
    ("classes", "column", "values"),
    [
        (np.array([0, 1]), ["0", "1", None], [0, 1]),
        (np.array([False, True]), ["False", "True", None], [False, True]),
        (np.array(["007", "x"]), ["007", "x", None], ["007", "x"]),
        (None, ["1.5", "2", None], [1.5, 2]),
    ],
)
def test_the_target_of_a_model_is_read_as_its_classes(classes: Any, column: list[Any], values: list[Any]) -> None:
    plan = plan_known_target("y", "regression" if classes is None else "classification", classes)
    y, keep = plan.read(pa.array(column))
    assert y.tolist() == values
    assert keep.tolist() == [True, True, False]
