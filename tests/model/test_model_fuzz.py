"""Any bytes give a `ModelFormatError` of one line, or a model that predicts."""

from __future__ import annotations

import json
import struct
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from tests.models import CASES, make
from xpnet.errors import DataError, ModelFormatError
from xpnet.model.model import Model
from xpnet.model.model_file import load_model, save_model, specification_of

MANY = settings(deadline=None, max_examples=150)
NAMES = st.sampled_from(["text", "slopes", "values"])


@cache
def valid(name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder) / "m", make(name))
        return (Path(folder) / "m").read_bytes()


def attempt(use: Callable[..., Any], *arguments: Any) -> Any:
    """Call; None after an error of one line. Any other exception is what this file looks for."""
    try:
        return use(*arguments)
    except (ModelFormatError, DataError) as exc:
        text = str(exc)
    assert "\n" not in text
    assert len(text) < 1000
    return None


def outcome(data: bytes) -> Model | None:
    """Load; a model must predict and come back the same from another file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m"
        path.write_bytes(data)
        model: Model | None = attempt(load_model, path)
        if model is not None:
            # None where a scale is so small that the scaled feature overflows.
            predicted = attempt(model.predict, np.ones((2, model.network.layer_sizes[0])))
            assert predicted is None or len(predicted) == 2
            save_model(path, model)
            assert specification_of(load_model(path)) == specification_of(model)
        return model


@MANY
@given(st.binary(max_size=400))
@example(b"")
@example(struct.pack("<Q", 2**64 - 1))
def test_any_bytes(data: bytes) -> None:
    assert outcome(data) is None


@MANY
@given(st.binary(max_size=100), st.binary(max_size=50))
def test_any_header(header: bytes, body: bytes) -> None:
    assert outcome(struct.pack("<Q", len(header)) + header + body) is None


@MANY
@given(NAMES, st.data())
def test_bytes_of_a_valid_file_overwritten_inserted_or_cut(name: str, data: st.DataObject) -> None:
    content = bytearray(valid(name))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        stop = start + data.draw(st.integers(0, 9))
        content[start:stop] = data.draw(st.binary(max_size=9))
    outcome(bytes(content))


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 9)
    | st.sampled_from([2**31, 2**64, 10**30, -0.0, 0.5, 1e308, float("nan"), float("inf")])
    | st.text(max_size=5)
    | st.sampled_from(["relu", "prelu", "huber:delta=0", "regression", "multilabel", "standard", "int8", "\ud800"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def places(tree: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path to each value in nested JSON."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path for key, value in items for path in [(*above, key), *places(value, (*above, key))]]


@MANY
@given(NAMES, st.data())
def test_the_specification_with_values_exchanged(name: str, data: st.DataObject) -> None:
    content = valid(name)
    header = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
    specification = json.loads(header["__metadata__"]["xpnet"])
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(places(specification)))
        above = specification
        for key in path[:-1]:
            above = above[key]
        if data.draw(st.booleans()):
            above[path[-1]] = data.draw(VALUES)
        elif isinstance(above, dict):
            above[data.draw(st.text(max_size=5))] = above.pop(path[-1])
        else:
            above.append(above[path[-1]])
    outcome(save(load(content), {"xpnet": json.dumps(specification)}))


@MANY
@given(NAMES, VALUES)
def test_any_json(name: str, specification: Any) -> None:
    assert outcome(save(load(valid(name)), {"xpnet": json.dumps(specification)})) is None


TYPES = st.sampled_from(["bool", "int8", "int64", "uint16", "float16", "float32", "float64"])


@MANY
@given(NAMES, st.data())
def test_tensors_exchanged(name: str, data: st.DataObject) -> None:
    content = valid(name)
    tensors = load(content)
    header = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
    key = data.draw(st.sampled_from(sorted(tensors)))
    kind = data.draw(st.sampled_from(["drop", "type", "shape", "value", "rename"]))
    tensor = tensors.pop(key)
    if kind == "type":
        tensors[key] = tensor.astype(data.draw(TYPES))
    elif kind == "shape":
        tensors[key] = np.zeros(data.draw(st.lists(st.integers(0, 4), max_size=3)), tensor.dtype)
    elif kind == "value":
        tensors[key] = np.full_like(tensor, data.draw(st.floats(width=32)))
    elif kind == "rename":
        tensors[data.draw(st.text(max_size=20))] = tensor
    outcome(save(tensors, header["__metadata__"]))


@pytest.mark.parametrize("name", CASES)
def test_the_valid_ones_load(name: str) -> None:
    assert outcome(valid(name)) is not None
