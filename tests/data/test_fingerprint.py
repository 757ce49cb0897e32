"""Fingerprints: equal for equal data, however these are cut, and otherwise able to say what has changed."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pytest

from xpnet.data.fingerprint import Fingerprint, describe_change

NAMES = ["a", "b", "c", "label"]
X = np.random.default_rng(0).normal(size=(500, 3))
Y = np.asarray(["yes", "no", "да", "\udcff", ""] * 100)


def fingerprint(x: Any = X, y: Any = Y, names: list[str] = NAMES, rows: int = 10**6) -> dict[str, Any]:
    result = Fingerprint(names)
    for start in range(0, len(x), rows):
        result.add(x[start : start + rows], y[start : start + rows])
    return result.to_dict()


@pytest.mark.parametrize("rows", [1, 7, 499, 500])
def test_blocks_do_not_matter(rows: int) -> None:
    assert fingerprint(rows=rows) == fingerprint()


@pytest.mark.parametrize(
    "same", [np.asfortranarray(X), X.astype(">f8"), np.frombuffer(X.tobytes()).reshape(X.shape)], ids=["F", ">", "r"]
)
def test_the_layout_in_memory_does_not_matter(same: np.ndarray) -> None:
    assert fingerprint(same, Y.astype(object)) == fingerprint()


def changed(**parts: Any) -> str | None:
    return describe_change(fingerprint(), fingerprint(**parts))


def test_nothing_has_changed() -> None:
    assert changed() is None


def test_what_has_changed() -> None:
    order = np.random.default_rng(1).permutation(500)
    x = X.copy()
    x[77, 1] = np.nextafter(x[77, 1], 9)
    y = Y.copy()
    y[3] = "no"
    assert changed(x=X[order], y=Y[order]) == "the same rows in another order"
    assert changed(x=x) == "other values in the column 'b'"
    assert changed(x=x, y=y) == "other values in the column 'b', 'label'"
    assert changed(x=-X, y=Y[::-1]) == "other values in all columns"
    assert changed(x=X[::-1]) == "other values in the column 'a', 'b', 'c'"  # the labels did not move with the rows
    assert changed(x=X[:490], y=Y[:490]) == "490 rows in place of 500"
    assert changed(x=np.vstack([X, X[:2]]), y=np.append(Y, Y[:2])) == "502 rows in place of 500"
    assert changed(x=X[:, :2], names=["a", "b", "label"]) == "without the column 'c'"
    assert changed(names=["a", "b", "d", "label"]) == "without the column 'c' and with the new column 'd'"
    assert changed(x=X[:, [1, 0, 2]], names=["b", "a", "c", "label"]) == "the same columns in another order"
    assert changed(x=X[:, [1, 0, 2]]) == "other values in the column 'a', 'b'"  # the names did not move with the values


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float32", "float64", "longdouble", "bool", "U3"])
def test_every_type_of_target(dtype: str) -> None:
    y = np.arange(500).astype(dtype)
    other = y.copy()
    other[[0, 1]] = y[[1, 0]]
    assert describe_change(fingerprint(y=y), fingerprint(y=other)) == "other values in the column 'label'"


def arrow(*chunks: list[Any], kind: Any = None) -> dict[str, Any]:
    pa = pytest.importorskip("pyarrow")
    result = Fingerprint(["column"])
    result.add(pa.chunked_array([pa.array(chunk, kind) for chunk in chunks], kind))
    return result.to_dict()


DAY = datetime.date(2020, 1, 1)
TEXTS = ["a", None, "", "ü" * 9, "x" * 3000, "eightbyt", "ninebytes"]


@pytest.mark.parametrize("kind", ["string", "large_string", "binary", "dictionary"])
def test_texts_of_pyarrow(kind: str) -> None:
    pa = pytest.importorskip("pyarrow")
    types = {"dictionary": pa.dictionary(pa.int8(), pa.string()), "binary": pa.binary()}
    used = types[kind] if kind in types else getattr(pa, kind)()
    texts = [text if text is None or kind != "binary" else text.encode() for text in TEXTS]
    assert arrow(texts[:3], [], texts[3:], kind=used) == arrow(TEXTS, kind=pa.string())


@pytest.mark.parametrize(
    "values", [TEXTS, [1, None, 3], [1.5, None, 2.5], [True, None, False], [DAY, None, DAY.replace(day=2)]]
)
def test_columns_of_pyarrow(values: list[Any]) -> None:
    whole, other = arrow(values), [*values[:-1], values[0]]
    assert arrow(values[:1], values[1:]) == whole
    assert describe_change(whole, arrow(other)) == "other values in the column 'column'"
    assert describe_change(whole, arrow(values[::-1])) == "the same rows in another order"
    pa = pytest.importorskip("pyarrow")
    sliced, result = pa.chunked_array([pa.array([values[0], *values])]).slice(1), Fingerprint(["column"])
    result.add(sliced)
    assert result.to_dict() == whole
