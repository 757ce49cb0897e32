"""Encodings of columns as plain JSON, and strict checks of what is read back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from typing import Any, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from xpnet.data.tables.date_parts import DATE_PARTS
from xpnet.data.tables.dates import DateOrder
from xpnet.data.tables.encoders import (
    CategoryColumn,
    Column,
    DateColumn,
    NumberColumn,
    OrderedColumn,
    TruthColumn,
)
from xpnet.data.tables.parse import Reading, ReadingKind
from xpnet.errors import DataError

__all__ = [
    "checked_choice",
    "checked_fields",
    "checked_list",
    "checked_numbers",
    "checked_reading",
    "checked_text",
    "checked_texts",
    "checked_truth",
    "column_from_dict",
    "column_to_dict",
]

Array: TypeAlias = NDArray[Any]

_COLUMNS: dict[str, type[Column]] = {
    each.kind: each for each in (NumberColumn, OrderedColumn, TruthColumn, CategoryColumn, DateColumn)
}


def column_to_dict(column: Column) -> dict[str, Any]:
    """Return the encoding of a column as plain JSON."""
    content = {field.name: getattr(column, field.name) for field in fields(column)}
    if "reading" in content:
        content["reading"] = asdict(content["reading"])
    return {"kind": column.kind, **{k: list(v) if isinstance(v, tuple) else v for k, v in content.items()}}


def column_from_dict(content: Any) -> Column:
    """Return the encoding of a column that `column_to_dict` has written.

    Raises
    ------
    DataError
        It is malformed.
    """
    kind = checked_choice(checked_fields(content, "column").get("kind"), "kind", tuple(_COLUMNS))
    cls = _COLUMNS[kind]
    names = [field.name for field in fields(cls)]
    found = checked_fields(content, f"column of kind {kind}", ["kind", *names])
    return cls(**{name: _CHECKS[name](found[name], name) for name in names})


def _error(what: str, expected: str, received: Any) -> DataError:
    return DataError(f"encoding: {what}: expected {expected}; received {received!r:.60}")


def checked_fields(content: Any, what: str, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Return a JSON object, of which `names` are the keys if they are given."""
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise _error(what, "an object", content)
    if names is not None and set(content) != set(names):
        raise _error(what, f"the keys {', '.join(names)}", ", ".join(content))
    return content


def checked_list(content: Any, what: str) -> list[Any]:
    """Return a JSON list."""
    if not isinstance(content, list):
        raise _error(what, "a list", content)
    return content


def checked_choice(content: Any, what: str, choices: Sequence[str]) -> Any:
    """Return a text that is one of the choices."""
    if not isinstance(content, str) or content not in choices:
        raise _error(what, f"one of {', '.join(choices)}", content)
    return content


def checked_numbers(content: Any, what: str, n: int) -> Array:
    """Return `n` finite numbers as float64."""
    numbers = checked_list(content, what)
    if not all(isinstance(number, float) or type(number) is int for number in numbers) or len(numbers) != n:
        raise _error(what, f"{n} numbers", numbers)
    try:
        array = np.array(numbers, dtype=np.float64)
    except OverflowError as exc:
        raise _error(what, "finite numbers", numbers) from exc
    if not np.isfinite(array).all():
        raise _error(what, "finite numbers", numbers)
    return array


def checked_texts(content: Any, what: str) -> tuple[str, ...]:
    """Return different texts."""
    texts = checked_list(content, what)
    if not all(isinstance(text, str) for text in texts) or len(set(texts)) != len(texts):
        raise _error(what, "different texts", texts)
    return tuple(texts)


def checked_text(content: Any, what: str) -> str:
    """Return a text."""
    if not isinstance(content, str):
        raise _error(what, "a text", content)
    return content


def checked_truth(content: Any, what: str) -> bool:
    """Return a truth value."""
    if not isinstance(content, bool):
        raise _error(what, "true or false", content)
    return content


def _parts(content: Any, what: str) -> tuple[str, ...]:
    parts = checked_texts(content, what)
    return tuple(checked_choice(part, what, tuple(DATE_PARTS)) for part in parts)


def checked_reading(content: Any, what: str) -> Reading:
    """Return how text is read."""
    found = checked_fields(content, what, [field.name for field in fields(Reading)])
    order = found["order"]
    return Reading(
        checked_choice(found["kind"], "reading: kind", get_args(ReadingKind)),
        checked_choice(found["decimal"], "reading: decimal", (".", ",")),
        checked_truth(found["percent"], "reading: percent"),
        order if order is None else checked_choice(order, "reading: order", get_args(DateOrder)),
    )


_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "name": checked_text,
    "reading": checked_reading,
    "follows": checked_truth,
    "flag": checked_truth,
    "pool": checked_truth,
    "levels": checked_texts,
    "categories": checked_texts,
    "parts": _parts,
}
