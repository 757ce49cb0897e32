"""JSON that every reader accepts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

__all__ = ["json_text"]


def json_text(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON; NaN and infinity, which JSON does not have, become null.

    Numbers may be scalars of any array library.

    Examples
    --------
    >>> json_text({"loss": float("nan"), "epochs": 2, "sizes": (1.5, float("inf"))})
    '{"loss": null, "epochs": 2, "sizes": [1.5, null]}'
    """
    return json.dumps(_plain(value), indent=indent, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_plain_key(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, str | int):
        return value
    number = float(value)
    return number if math.isfinite(number) else None


def _plain_key(name: Any) -> Any:
    return name if isinstance(name, str) else str(name)
