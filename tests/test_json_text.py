"""JSON that every reader accepts."""

from __future__ import annotations

import json
import math

import numpy as np

from xpnet.json_text import json_text


def test_numbers_that_json_has_not() -> None:
    value = {"a": [math.nan, {"b": (math.inf, -math.inf, 1.5)}], "n": np.float32(2.5), "i": np.int64(3), "x": np.nan}
    assert json.loads(json_text(value)) == {"a": [None, {"b": [None, None, 1.5]}], "n": 2.5, "i": 3, "x": None}


def test_other_values_stay() -> None:
    value = {"none": None, "yes": True, "text": "да\udcff", "large": 2**70}
    text = json_text(value)
    assert text.isascii()
    assert json.loads(text) == value
