"""Arbitrary bytes give a `DataError` of one line or the samples of the readers; any sizes give each sample once."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.command_line import idx
from tests.data.test_readers_fuzz import FEW, TARGETS, VALID, X, Y, attempt, mutated, npy
from xpnet.backend import get_backend
from xpnet.data.readers import common, read_dataset
from xpnet.data.readers.idx import IDX_NAMES
from xpnet.data.streams import ArraySource, IterableSource, Source, open_source, split_source
from xpnet.errors import XpnetError
from xpnet.nn.network import Network
from xpnet.training.streaming import StreamBatches


@pytest.fixture(autouse=True)
def _little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "max_array_bytes", lambda: 64 << 20)


def read(path: Path, target: str | None) -> tuple[np.ndarray, np.ndarray]:
    blocks = list(open_source(path, target=target))
    return np.concatenate([x for x, _ in blocks]), np.concatenate([y for _, y in blocks])


def check(path: Path, target: str | None = None) -> None:
    """Read in pieces and into memory; where both work they give the same."""
    pieces = attempt(read, path, target)
    whole = attempt(read_dataset, path, target=target)
    if pieces is not None and whole is not None:
        np.testing.assert_array_equal(pieces[0], whole.x)
        np.testing.assert_array_equal(pieces[1].reshape(whole.y.shape), whole.y)


@pytest.mark.parametrize("name", [name for name in VALID if not name.endswith("libsvm")])
@FEW
@given(data=st.data())
def test_mutated_files(name: str, data: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data.draw(mutated(VALID[name])))
        check(path, TARGETS.get(name))


@FEW
@given(x=mutated(npy(X)), y=mutated(npy(Y)))
def test_npy_pairs(x: bytes, y: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "X.npy").write_bytes(x)
        (Path(folder) / "y.npy").write_bytes(y)
        check(Path(folder) / "X.npy")


@FEW
@given(x=mutated(idx(np.ones((3, 2, 2)))), y=mutated(idx(Y)))
def test_idx_folders(x: bytes, y: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / IDX_NAMES[0]).write_bytes(x)
        (Path(folder) / IDX_NAMES[1]).write_bytes(y)
        check(Path(folder))


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(
    n=st.integers(1, 700), batch_size=st.integers(1, 60), buffer=st.integers(1, 20_000), epoch=st.integers(0, 3),
    seed=st.integers(0, 2**40), sequential=st.booleans(), shuffle=st.booleans(), data=st.data(),
)  # fmt: skip
def test_each_sample_comes_once_from_any_place(
    n: int, batch_size: int, buffer: int, epoch: int, seed: int, sequential: bool, shuffle: bool, data: Any
) -> None:
    x = np.arange(n, dtype=np.float32)[:, None]
    source: Source = IterableSource([(x, x[:, 0])]) if sequential else ArraySource(x, x[:, 0])
    source.buffer_bytes = buffer
    network = Network([1, 1], loss="squared_error")

    def rows(position: int) -> list[float]:
        batches = StreamBatches(
            network, get_backend("cpu"), "float32", source, batch_size, epochs=3, seed=seed, shuffle=shuffle
        )
        return [v for (a, b), order, _ in batches.epoch(epoch, position) for v in a[order.ravel(), 0].tolist()]

    try:
        whole = rows(0)
    except XpnetError as exc:
        assert "batch_size: expected at most" in str(exc)  # noqa: PT017
        return
    assert sorted(whole) == list(range(n))
    assert shuffle or whole == sorted(whole)
    position = data.draw(st.integers(0, -(-n // batch_size)))
    assert rows(position) == whole[position * batch_size :]


@FEW
@given(
    n=st.integers(1, 2000), validation=st.floats(0, 0.99), test=st.floats(0, 0.99), seed=st.integers(0, 2**40),
)  # fmt: skip
def test_parts_of_any_size_hold_each_sample_once(n: int, validation: float, test: float, seed: int) -> None:
    index = np.arange(n)
    source = ArraySource(index[:, None], index)
    try:
        parts = split_source(source, validation_fraction=validation, test_fraction=test, seed=seed)
    except XpnetError as exc:
        assert "expected to leave samples" in str(exc)  # noqa: PT017
        return
    members = [y for part in parts if part is not None for block in range(len(part.sizes)) for y in part.read(block)[1]]
    assert sorted(members) == index.tolist()
    assert parts.training.n_samples > 0
