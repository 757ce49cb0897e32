"""Unusual data: training gives finite numbers, or an error of one line says what is wrong."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.command_line import refused, write_csv, xpnet
from xpnet.data.readers import common, read_dataset
from xpnet.data.readers.idx import IDX_NAMES
from xpnet.data.scaling import Moments, fit_scaler, scaler_from_moments
from xpnet.data.streams import ArraySource
from xpnet.errors import DataError
from xpnet.nn.network import Network
from xpnet.training.trainer import Trainer

RNG = np.random.default_rng(0)


pytestmark = pytest.mark.usefixtures("folder")


def trained(network: Network, x: np.ndarray, y: np.ndarray, **options: Any) -> None:
    """Train from memory and from a source, with each optimizer that divides by past gradients."""
    for optimizer in ("adam", "rmsprop", "adagrad"):
        trainer = Trainer(network, optimizer=optimizer, epochs=3, **options)
        for data in ((x, y), (ArraySource(x, y),)):
            if options.get("batch_size", 1) is None and len(data) == 1:
                continue
            run = trainer.fit(*data, validation=data if len(data) == 2 else data[0])
            assert np.all(np.isfinite(run.params.vector))
            assert np.isfinite(run.history[-1].loss)
            assert all(np.isfinite(score) for score in (run.history[-1].validation or {}).values())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_subnormal_features(dtype: str) -> None:
    x = RNG.random((20, 3)).astype(dtype) * np.finfo(dtype).smallest_subnormal * 100
    x[:, 0] = np.finfo(dtype).smallest_subnormal
    for spec in ("standard", "minmax"):
        moments = Moments(3)
        moments.add(x)
        for scaler in (fit_scaler(spec, x), scaler_from_moments(spec, moments)):
            assert np.all(np.isfinite(scaler.transform(x, dtype)))
    trained(Network([3, 4, 2]), x, np.arange(20) % 2, dtype=dtype)


def test_constant_features() -> None:
    x = np.full((20, 3), 1e30)
    x[:, 1] = 0.1  # its mean is rounded
    for spec in ("standard", "minmax"):
        moments = Moments(3)
        for block in np.array_split(x, 7):
            moments.add(block)
        for scaler in (fit_scaler(spec, x), scaler_from_moments(spec, moments)):
            np.testing.assert_array_equal(scaler.scale, 1)
            np.testing.assert_allclose(scaler.transform(x, "float64"), 0, atol=1e15)
    write_csv("data.csv", "a,b,label", *(f"3,0.1,{i % 2}" for i in range(40)))
    assert "no features: expected a column that differs" in refused("train", "data.csv")
    write_csv("data.csv", "a,b,label", *(f"3,{i % 7},{i % 2}" for i in range(40)))
    code, out, err = xpnet("train", "data.csv", "--json", "--quiet", "--epochs", "2", "--out", "run", "--device", "cpu")
    assert code == 0, err
    assert np.isfinite(json.loads(out)["train"]["loss"])


def test_a_class_with_one_sample() -> None:
    y = np.asarray([0] * 30 + [1] * 30 + [2])
    trained(Network([3, 4, 3]), RNG.random((61, 3)), y, class_weight="balanced")
    write_csv("data.csv", "a,b,label", *(f"{i},{i * i},{'ab'[i % 2] if i else 'lone'}" for i in range(40)))
    code, _, err = xpnet("train", "data.csv", "--quiet", "--epochs", "2", "--class-weight", "balanced", "--out", "run")
    assert code == 0, err


@pytest.mark.parametrize("loss", ["squared_error", "huber", "poisson"])
def test_a_target_of_no_variance(loss: str) -> None:
    trained(Network([3, 4, 1], loss=loss), RNG.random((20, 3)), np.full(20, 0.3))
    write_csv("data.csv", "a,target", *(f"{i},0.3" for i in range(40)))
    arguments = ("data.csv", "--loss", loss, "--epochs", "2", "--json", "--quiet", "--out", "run", "--device", "cpu")
    code, out, err = xpnet("train", *arguments)
    assert code == 0, err
    assert all(np.isfinite(value) for value in json.loads(out)["test"].values())


def test_a_million_features() -> None:
    trained(Network([10**6, 2, 2]), RNG.random((4, 10**6), dtype=np.float32), np.asarray([0, 1, 1, 0]))


@pytest.mark.slow
def test_a_hundred_thousand_classes() -> None:
    y = RNG.integers(0, 10**5, 40)
    y[0] = 10**5 - 1
    trained(Network([3, 2, 10**5]), RNG.random((40, 3)), y, class_weight="balanced")


@pytest.mark.parametrize("batch_size", ["auto", None, 1])
def test_one_sample(batch_size: Any) -> None:
    for loss, y in (("cross_entropy", [1]), ("squared_error", [[0.5, 2.0]]), ("binary_cross_entropy", [[0.0, 1.0]])):
        trained(Network([3, 4, 2], loss=loss), RNG.random((1, 3)), np.asarray(y), batch_size=batch_size)


def test_one_sample_on_the_command_line() -> None:
    numeric = ("train", "data.csv", "--numeric", "a")  # one value says nothing, unless it is asked for
    write_csv("data.csv", "a,b,label", "1,2,x")
    assert "no features: expected a column that differs between rows" in refused("train", "data.csv")
    parts = ("--val-fraction", "0", "--test-fraction", "0")
    assert "one class: expected at least two" in refused(*numeric, *parts)
    write_csv("data.csv", "a,b,target", "1,2,0.5")
    assert "expected to leave samples to train on; received 1 samples" in refused(*numeric)
    code, _, err = xpnet(*numeric, *parts, "--quiet", "--out", "run")
    assert code == 0, err


@pytest.mark.parametrize("batch_size", [20, None])
def test_a_batch_that_is_the_data(batch_size: Any) -> None:
    trained(Network([3, 4, 2]), RNG.random((20, 3)), np.arange(20) % 2, batch_size=batch_size)


def _idx_bomb(path: Path, size: int) -> None:
    with gzip.open(path, "wb") as stream:
        stream.write(struct.pack(">HBB3I", 0, 8, 3, size // 1000, 10, 100))
        for _ in range(size // 10**6):
            stream.write(bytes(10**6))


def _npz_bomb(path: Path, size: int) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (size // 10, 10)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as stream:
        stream.write(header.getvalue())
        for _ in range(size // 10**6):
            stream.write(bytes(10**6))


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["gzip", "zip"])
def test_a_bomb_is_refused_before_it_goes_off(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "max_array_bytes", lambda: 20 * 10**6)
    if kind == "gzip":
        folder = Path("bomb")
        folder.mkdir()
        _idx_bomb(folder / f"{IDX_NAMES[0]}.gz", 200 * 10**6)
        (folder / IDX_NAMES[1]).write_bytes(struct.pack(">HBBI", 0, 8, 1, 200_000) + bytes(200_000))
    else:
        folder = Path("bomb.npz")
        _npz_bomb(folder, 200 * 10**6)
        with zipfile.ZipFile(folder, "a") as archive, archive.open("y.npy", "w") as stream:
            np.save(stream, np.zeros(20 * 10**6, np.uint8)[:1])
    packed = folder.stat().st_size if kind == "zip" else (folder / f"{IDX_NAMES[0]}.gz").stat().st_size
    assert packed < 10**6
    tracemalloc.start()
    try:
        with pytest.raises(
            DataError, match=r"too large: expected at most 20 MB in memory, .* content of 200 MB; .*--memory-limit"
        ):
            read_dataset(folder)
        assert tracemalloc.get_traced_memory()[1] < 20 * 10**6
    finally:
        tracemalloc.stop()
