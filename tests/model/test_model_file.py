"""Model files: what goes in comes out, half a file is never left, and a bad one is refused in one line."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from tests.models import CASES, X, make
from xpnet import files
from xpnet.backend import Backend
from xpnet.errors import ModelFormatError, XpnetError
from xpnet.model.model import Model
from xpnet.model.model_file import FORMAT_VERSION, load_model, save_model, specification_of
from xpnet.nn.network import Network
from xpnet.training.trainer import Trainer


def assert_equal(a: Model, b: Model) -> None:
    assert specification_of(a) == specification_of(b)
    assert a.network == b.network
    assert (a.task, a.feature_names, a.target_name) == (b.task, b.feature_names, b.target_name)
    assert a.vector.dtype == b.vector.dtype
    np.testing.assert_array_equal(a.vector, b.vector)
    if a.classes is not None:
        assert a.classes.dtype == b.classes.dtype
    np.testing.assert_array_equal(a.classes, b.classes)
    for scaler, other in ((a.scaler, b.scaler), (a.target_scaler, b.target_scaler)):
        if scaler is None:
            assert other is None
        else:
            assert scaler.kind == other.kind
            np.testing.assert_array_equal([scaler.shift, scaler.scale], [other.shift, other.scale])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_round_trip(name: str, dtype: str, tmp_path: Path) -> None:
    model, path = make(name, dtype), tmp_path / "ö.safetensors"
    save_model(path, model)
    loaded = load_model(str(path))
    assert_equal(model, loaded)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    np.testing.assert_array_equal(loaded.outputs(X), model.outputs(X))
    save_model(tmp_path / "again", loaded)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_the_shape_of_images_is_kept(tmp_path: Path) -> None:
    model = dataclasses.replace(make("text"), image_shape=(2, 2))
    save_model(tmp_path / "m", model)
    assert load_model(tmp_path / "m").image_shape == (2, 2)


@pytest.mark.skipif(os.name != "posix", reason="links and pipes as POSIX has them")
def test_a_link_stays_a_link_and_a_pipe_a_pipe(tmp_path: Path) -> None:
    link, pipe, expected = tmp_path / "link", tmp_path / "pipe", tmp_path / "expected"
    save_model(expected, make("text"))
    link.symlink_to("there")
    save_model(link, make("text"))
    assert link.is_symlink()
    assert (tmp_path / "there").read_bytes() == expected.read_bytes()
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    save_model(pipe, make("text"))
    assert pipe.is_fifo()
    assert os.read(reader, 1 << 16) == expected.read_bytes()
    os.close(reader)
    refused(pipe, "expected a model file; received: a pipe, not a regular file")


@pytest.mark.parametrize("classes", [np.asarray(["a", "b", "c"], dtype=object), np.asarray([b"a", b"b", b"c"])])
def test_labels_of_other_text_types(classes: np.ndarray, tmp_path: Path) -> None:
    from xpnet.data.targets import encode_targets

    _, known = encode_targets(np.resize(classes, 30), "classification")
    network = Network([4, 3])
    save_model(tmp_path / "m", Model(network, network.init().vector, "classification", known))
    assert load_model(tmp_path / "m").classes.tolist() == ["a", "b", "c"]


def test_trained_on_any_device_it_loads_on_the_host(backend: Backend, dtype: str, tmp_path: Path) -> None:
    network = Network([4, 6, 3], activation="prelu")
    x = (X - X.mean(axis=0)).astype(dtype)
    run = Trainer(network, epochs=2, batch_size=7, device=backend, dtype=dtype).fit(x, np.arange(30) % 3)
    save_model(tmp_path / "m", Model(network, run.params.vector, "classification"))
    loaded = load_model(tmp_path / "m")
    np.testing.assert_array_equal(loaded.vector, backend.to_numpy(run.params.vector))
    on_device = backend.to_numpy(network.predict(run.params, backend.asarray(x)))
    np.testing.assert_allclose(loaded.predict_proba(x), on_device, rtol={"float32": 1e-5, "float64": 1e-12}[dtype])


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    model = make("slopes")
    save_model(tmp_path / "m", model)
    tensors = load_file(tmp_path / "m")
    for i, ((W, b), slope) in enumerate(zip(model.params, model.params.slopes, strict=True)):
        np.testing.assert_array_equal(tensors.pop(f"layers.{i}.weight"), W)
        np.testing.assert_array_equal(tensors.pop(f"layers.{i}.bias"), b)
        if slope is not None:
            np.testing.assert_array_equal(tensors.pop(f"layers.{i}.slope"), slope)
    assert tensors == {}


def test_loading_imports_no_other_array_library(tmp_path: Path, environment: dict[str, str]) -> None:
    save_model(tmp_path / "m", make("text"))
    code = f"""if True:
        import sys, numpy as np, xpnet
        xpnet.load_model({str(tmp_path / "m")!r}).predict(np.ones((2, 4)))
        print([name for name in ("torch", "jax", "cupy") if name in sys.modules])"""
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Whole or not there.


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file(
    call: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tmp_path / "m", make("text"))
    before = (tmp_path / "m").read_bytes()

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(files.os, call, fail)
    with pytest.raises((XpnetError, KeyboardInterrupt)) as caught:
        save_model(tmp_path / "m", make("values"))
    if isinstance(error, OSError):
        assert f"cannot write {tmp_path / 'm'}: No space left on device" in str(caught.value)
        assert caught.value.__cause__ is error
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert (tmp_path / "m").read_bytes() == before


def test_the_new_file_appears_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(tmp_path / "m", make("text"))
    replace, seen = os.replace, []

    def spy(source: Path, target: Path) -> None:
        seen.append((load_model(source).task, load_model(target).task))
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", spy)
    save_model(tmp_path / "m", make("values"))
    assert seen == [("regression", "classification")]


@pytest.mark.parametrize("path", ["", ".", "a\0b", "no/such/folder/m", "x" * 300])
def test_paths_that_cannot_be_written(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(XpnetError, match="cannot write"):
        save_model(path, make("text"))
    assert list(tmp_path.iterdir()) == []


# Bad files.


def refused(path: Path, message: str) -> None:
    with pytest.raises(ModelFormatError, match=message) as caught:
        load_model(path)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 600
    assert text.startswith(str(path))


def with_header(header: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + body


OTHERS = {
    "empty": (b"", "expected a whole safetensors file"),
    "text": (b"epoch,loss\n1,0.5\n" * 20, "expected a whole safetensors file"),
    "pickle": (b"\x80\x04\x95" + b"." * 100, "expected a whole safetensors file"),
    "huge header": (struct.pack("<Q", 2**63) + b"{}" * 50, "expected a whole safetensors file"),
    "deep header": (with_header(b"[" * 100_000), "expected a whole safetensors file"),
    "no metadata": (save({"a": np.ones(3)}), "received a safetensors file without the metadata 'xpnet'"),
    "another's metadata": (save({"a": np.ones(3)}, {"format": "pt"}), "without the metadata 'xpnet'"),
    "no json": (save({"a": np.ones(3)}, {"xpnet": "{"}), "expected whole metadata"),
    "deep json": (save({"a": np.ones(3)}, {"xpnet": "[" * 100_000}), "expected whole metadata"),
    "long number": (save({"a": np.ones(3)}, {"xpnet": "9" * 100_000}), "expected whole metadata"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_no_model(case: str, tmp_path: Path) -> None:
    data, message = OTHERS[case]
    (tmp_path / "m").write_bytes(data)
    refused(tmp_path / "m", message)


def test_no_file(tmp_path: Path) -> None:
    refused(tmp_path / "m", "expected a model file; received: No such file")
    refused(tmp_path, "expected a model file")


def test_truncated_anywhere(tmp_path: Path) -> None:
    save_model(tmp_path / "m", make("text"))
    data = (tmp_path / "m").read_bytes()
    for size in {*range(40), *range(40, len(data), 29), len(data) - 1}:
        (tmp_path / "cut").write_bytes(data[:size])
        refused(tmp_path / "cut", "expected a whole safetensors file")
    (tmp_path / "cut").write_bytes(data + b"\0")
    refused(tmp_path / "cut", "expected a whole safetensors file")


Change = Callable[[dict[str, Any], dict[str, np.ndarray]], Any]


def spoiled(name: str, change: Change) -> bytes:
    """Return a valid file's bytes after a change to its specification and tensors."""
    model = make(name)
    n = model.network.n_layers
    pieces = {f"layers.{i}.weight": model.params[i][0] for i in range(n)}
    pieces |= {f"layers.{i}.bias": model.params[i][1] for i in range(n)}
    pieces |= {"scaler.shift": model.scaler.shift, "scaler.scale": model.scaler.scale} if model.scaler else {}
    specification = json.loads(json.dumps({"format_version": FORMAT_VERSION, **specification_of(model)}))
    change(specification, pieces)
    return save({key: np.ascontiguousarray(a) for key, a in pieces.items()}, {"xpnet": json.dumps(specification)})


def put(key: str, value: Any) -> Change:
    return lambda s, t: s.__setitem__(key, value)


def put_network(key: str, value: Any) -> Change:
    return lambda s, t: s["network"].__setitem__(key, value)


def put_tensor(key: str, value: Any) -> Change:
    return lambda s, t: t.__setitem__(key, value(t[key]))


def nan_first(array: np.ndarray) -> np.ndarray:
    return np.where(np.arange(array.size).reshape(array.shape) == 0, np.nan, array)


SPOILED: dict[str, tuple[Change, str]] = {
    "newer": (put("format_version", 2), "expected the format version 1; received version 2. Update xpnet"),
    "odd version": (put("format_version", "1" * 10_000), "received version '111"),
    "task": (put("task", "ranking"), "expected one of the tasks"),
    "task list": (put("task", ["regression"]), "expected one of the tasks"),
    "no network": (lambda s, t: s.pop("network"), "KeyError: 'network'"),
    "network list": (put("network", [4, 3]), "TypeError"),
    "more layers": (put_network("layer_sizes", [4, 6, 3, 3]), "expected the sizes of 3 layers"),
    "absurd layers": (put_network("layer_sizes", [4] * 3_000_000), "expected the sizes of 3 layers"),
    "absurd sizes": (put_network("layer_sizes", [4, 10**15, 3]), "layers.0.weight: expected the shape"),
    "size 0": (put_network("layer_sizes", [4, 0, 3]), "layer_sizes: expected an integer of at least 1"),
    "float size": (put_network("layer_sizes", [4, 6.0, 3]), "layer_sizes: expected an integer"),
    "text size": (put_network("layer_sizes", "463"), "layer_sizes: expected sizes of"),
    "number": (put_network("layer_sizes", 4), "TypeError"),
    "activation": (put_network("activation", "rely"), "unknown activation"),
    "activation list": (put_network("activation", [["relu"]]), "activation: expected a name"),
    "loss": (put_network("loss", None), "loss: expected one of"),
    "nan penalty": (put_network("l2", float("nan")), "l2: expected a finite number"),
    "option": (put_network("depth", 3), "TypeError"),
    "shape": (put_tensor("layers.1.weight", np.transpose), "layers.1.weight: expected the shape \\(6, 3\\)"),
    "mixed dtypes": (put_tensor("layers.1.bias", lambda b: b.astype("float64")), "all in float32 or all in float64"),
    "half": (put_tensor("layers.0.weight", lambda W: W.astype("float16")), "received float16"),
    "nan": (put_tensor("layers.0.bias", nan_first), "layers.0.bias: expected finite numbers"),
    "missing": (lambda s, t: t.pop("layers.1.bias"), "KeyError: 'layers.1.bias'"),
    "scaler": (put("scaler", "quantile"), "scaler: expected 4 finite shifts and scales"),
    "scaler width": (put_tensor("scaler.shift", lambda a: a[:2]), "scaler: expected 4"),
    "scaler zero": (put_tensor("scaler.scale", np.zeros_like), "scaler: expected 4"),
    "scaler nan": (put_tensor("scaler.shift", nan_first), "scaler: expected 4"),
    "no scaler": (lambda s, t: t.pop("scaler.scale"), "KeyError: 'scaler.scale'"),
    "target scaler": (put("target_scaler", "standard"), "KeyError: 'target_scaler.shift'"),
    "fewer classes": (put("classes", ["a", "b"]), "classes: expected 3 sorted labels"),
    "unsorted": (put("classes", ["b", "a", "c"]), "classes: expected 3 sorted labels"),
    "twice": (put("classes", ["a", "a", "c"]), "classes: expected 3 sorted labels"),
    "mixed": (put("classes", ["a", 1, "c"]), "classes: expected labels of one type"),
    "ragged": (put("classes", [["a"], "b", "c"]), "classes: expected labels of one type"),
    "class type": (put("classes_dtype", "object"), "classes: expected labels of one type; received the type 'object'"),
    "wrong class type": (put("classes_dtype", "int64"), "expected whole metadata; received ValueError"),
    "class number": (put("classes", 3), "classes: expected labels of one type"),
    "names": (put("feature_names", ["a", "b"]), "feature_names: expected 4 names"),
    "text for names": (put("feature_names", "abcd"), "feature_names: expected 4 names"),
    "numbers for names": (put("feature_names", [1, 2, 3, 4]), "feature_names: expected 4 names"),
    "target name": (put("target_name", 7), "target_name: expected a name"),
    "image of another size": (put("image_shape", [2, 3]), "image_shape: expected the shape of an image of 4 features"),
    "image of one side": (put("image_shape", [4]), "image_shape: expected the shape"),
    "image without end": (put("image_shape", [-2, -2]), "image_shape: expected the shape"),
    "image of truth": (put("image_shape", [True, 4]), "image_shape: expected the shape"),
    "text for an image": (put("image_shape", "22"), "image_shape: expected the shape"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_parts_that_do_not_fit(case: str, tmp_path: Path) -> None:
    change, message = SPOILED[case]
    (tmp_path / "m").write_bytes(spoiled("text", change))
    refused(tmp_path / "m", message if "\\" in message else re.escape(message))


@pytest.mark.parametrize("classes", [[0, 1, 2.5], [0, 1, 2**70], [0, 1, "2"], [0, 1, None]])
def test_numbers_that_are_no_integers(classes: list[Any], tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(spoiled("integers", put("classes", classes)))
    refused(tmp_path / "m", "expected 3 sorted labels|OverflowError|TypeError")


def test_unspoiled_they_load(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(spoiled("text", lambda s, t: None))
    assert_equal(load_model(tmp_path / "m"), make("text"))
