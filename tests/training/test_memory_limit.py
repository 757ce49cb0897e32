"""``xpnet train --memory-limit``: data that would exceed it are read in pieces, and the memory stays below it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.command_line import idx_folder, refused, xpnet
from xpnet.cli import job_data, memory_limit
from xpnet.data.targets import TargetSummary, infer_task
from xpnet.errors import InvalidParameterError, size_text
from xpnet.memory import available_bytes, current_bytes, parse_size, peak_bytes
from xpnet.model.model import Model
from xpnet.model.model_file import load_model

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a limit that small data exceed, as this process is taken to hold little."""
    monkeypatch.setattr(memory_limit, "current_bytes", lambda: 0)
    return "260MB"


def write(n: int = 20_000, task: str = "classification") -> Path:
    """Write sorted data of 100 columns: with their copies they take 24 MB."""
    rng = np.random.default_rng(0)
    y = np.sort(rng.integers(0, 3, n))
    x = rng.standard_normal((n, 100)).astype(np.float32)
    x[:, :3] += 4 * np.eye(3)[y]
    np.save("x.npy", 5 * x + 100)
    np.save("y.npy", {"classification": np.asarray(["a", "b", "c"])[y], "regression": x[:, 0] * 1000 + 1e6}[task])
    return Path("x.npy")


def run(*arguments: object) -> dict[str, Any]:
    code, out, err = xpnet("train", *arguments, "--json", "--device", "cpu", "--quiet")
    assert code == 0, err
    summary: dict[str, Any] = json.loads(out)
    return summary


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_pieces_train_as_well_as_the_whole(streamed: str, task: str) -> None:
    write(task=task)
    settings = ("x.npy", "--epochs", "3", "--hidden", "16")
    whole = run(*settings, "--out", "whole")
    pieces = run(*settings, "--out", "pieces", "--memory-limit", streamed)
    metric = {"classification": "accuracy", "regression": "r2"}[task]
    assert pieces["test"][metric] > max(0.9, whole["test"][metric] - 0.01)
    one, other = (load_model(Path(folder) / "model.safetensors") for folder in ("whole", "pieces"))
    assert one.scaler is not None
    assert other.scaler is not None
    # Of other training parts, 70 % of the same data.
    np.testing.assert_allclose(other.scaler.shift, one.scaler.shift, atol=0.3)
    np.testing.assert_allclose(other.scaler.scale, one.scaler.scale, rtol=0.05)
    assert np.array_equal(one.classes, other.classes) if one.classes is not None else other.classes is None
    assert run(*settings, "--out", "again", "--memory-limit", streamed)["test"] == pieces["test"]


def test_each_part_is_evaluated_once_after_training(streamed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write()
    evaluated, evaluate = [], Model.evaluate
    monkeypatch.setattr(Model, "evaluate", lambda *given, **kw: evaluated.append(given[1]) or evaluate(*given, **kw))
    summary = run("x.npy", "--epochs", "2", "--hidden", "4", "--memory-limit", streamed, "--out", "run")
    assert [source.n_samples for source in evaluated] == [14_000, 2_000, 4_000]
    epochs = [json.loads(line)["validation"] for line in Path("run/metrics.jsonl").read_text().splitlines()]
    kept = epochs[summary["kept_epoch"] - 1]
    assert kept == pytest.approx({name: summary["validation"][name] for name in kept})


def test_without_parts_the_scaling_is_that_of_the_whole(streamed: str) -> None:
    write()
    settings = ("x.npy", "--epochs", "1", "--hidden", "4", "--val-fraction", "0", "--test-fraction", "0")
    run(*settings, "--out", "whole")
    run(*settings, "--out", "pieces", "--memory-limit", streamed)
    one, other = (load_model(Path(folder) / "model.safetensors").scaler for folder in ("whole", "pieces"))
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(other.shift, one.shift, rtol=1e-12)
    np.testing.assert_allclose(other.scale, one.scale, rtol=1e-12)


def test_what_fits_is_read_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    write()
    monkeypatch.setattr(job_data, "split_source", None)  # which reading in pieces would call
    settings = ("x.npy", "--epochs", "1", "--hidden", "4")
    assert run(*settings, "--out", "a", "--memory-limit", "100GB")["train"] == run(*settings, "--out", "b")["train"]


def test_images_keep_their_own_test_part(streamed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    idx_folder("images", 400)
    monkeypatch.setattr(job_data, "data_bytes", lambda *_: 1 << 40)
    summary = run("images", "--epochs", "30", "--hidden", "4", "--memory-limit", streamed, "--out", "run")
    assert summary["test"]["accuracy"] == 1
    scaler = load_model(Path("run/model.safetensors")).scaler
    assert scaler is not None
    assert scaler.kind == "divide"


def test_the_peak_is_told_at_the_end(streamed: str) -> None:
    write()
    settings = ("x.npy", "--epochs", "1", "--hidden", "4", "--device", "cpu")
    out = xpnet("train", *settings, "--out", "run", "--memory-limit", streamed).out
    assert "of 260 MB allowed" in out
    assert run(*settings[:-2], "--out", "other")["peak_memory"] > 10**7


def test_limits_that_cannot_be(streamed: str) -> None:
    write()
    assert "--memory-limit: expected a size such as 512MB or 2GB; received 'much'" in refused(
        "train", "x.npy", "--memory-limit", "much"
    )
    assert "--memory-limit: expected more than 2" in refused("train", "x.npy", "--memory-limit", "1MB")
    assert "--batch-size: expected at most" in refused(
        "train", "x.npy", "--memory-limit", "260MB", "--batch-size", "4000", "--hidden", "4"
    )
    np.savez_compressed("small.npz", x=np.load("x.npy"), y=np.load("y.npy"))
    assert "expected it stored" in refused("train", "small.npz", "--memory-limit", streamed)


def test_bad_numbers_are_told_with_their_place(streamed: str) -> None:
    x = np.load(write())
    x[3210, 7] = np.inf
    np.save("x.npy", x)
    message = refused("train", "x.npy", "--memory-limit", streamed)
    first = int(message.partition("x.npy, samples ")[2].partition(" ")[0])
    assert f"column 8, row {3211 - first + 1};" in message


@pytest.mark.slow
def test_memory_stays_below_the_limit_on_data_five_times_as_large(environment: dict[str, str]) -> None:
    """In a process that could not hold the data, were it to try; zeros take no place on the disk."""
    limit, n_features = 300_000_000, 1000
    n = 5 * limit // (8 * n_features) + 1
    np.lib.format.open_memmap("x.npy", "w+", np.float64, (n, n_features)).flush()
    np.save("y.npy", np.arange(n) % 2)
    bounded = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_AS, ({4 * limit}, {4 * limit}));"
        "from xpnet.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [
        *(sys.executable, "-c", bounded, "train", "x.npy", "--memory-limit", "300MB", "--device", "cpu", "--json"),
        *("--epochs", "1", "--hidden", "4", "--batch-size", "256", "--test-fraction", "0", "--quiet", "--out", "run"),
    ]

    done = subprocess.run(command, env={**environment, "OPENBLAS_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["peak_memory"] < limit
    assert summary["train"]["accuracy"] == pytest.approx(0.5, abs=0.01)


def test_sizes() -> None:
    assert [parse_size(text) for text in ("512MB", "1.5 GiB", "2g", "7", "3kb")] == [
        512 * 10**6, 3 << 29, 2 * 10**9, 7, 3000,
    ]  # fmt: skip
    for text in ("", "MB", "-1MB", "1e9", "0", "5XB", "1.MB"):
        with pytest.raises(InvalidParameterError, match="expected a size"):
            parse_size(text)
    assert [size_text(size) for size in (1500, 2.5e6, 3e9)] == ["2 kB", "2 MB", "3.0 GB"]
    assert 10**7 < current_bytes() <= peak_bytes() < 10**12
    assert available_bytes() > 10**6


@pytest.mark.parametrize(
    "y",
    [
        np.arange(100) % 3, np.arange(100), np.arange(1000) % 50, (np.arange(1000) % 200), np.arange(100) / 2,
        np.arange(100) % 2 > 0, np.asarray(["a", "b"] * 50), np.eye(4)[np.arange(100) % 4].astype(int), np.eye(100),
        np.asarray([1.0, 2.0] * 50), np.arange(3), np.asarray([1, 2]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_the_task_is_told_from_pieces_as_from_the_whole(y: np.ndarray, pieces: int) -> None:
    summary = TargetSummary()
    for piece in np.array_split(y, pieces):
        if len(piece):
            summary.add(piece)
    assert summary.task == infer_task(y)
    if summary.task == "classification":
        np.testing.assert_array_equal(summary.labels, np.unique(y))
