"""Data read in pieces: what a source returns, and that training from it uses the same samples."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpnet.training.streaming
from tests import cuda_double
from tests.command_line import idx_folder
from tests.runs import StopAt
from xpnet.backend import get_backend
from xpnet.data.readers import read_dataset
from xpnet.data.scaling import Moments, add_for_scaler, fit_scaler, scaler_from_moments
from xpnet.data.streams import ArraySource, Source, open_source, open_sources, split_source
from xpnet.errors import DataError, InvalidParameterError
from xpnet.model.model import Model
from xpnet.nn.network import Network
from xpnet.training.callbacks import Callback
from xpnet.training.evaluation import evaluate
from xpnet.training.samples import to_samples
from xpnet.training.streaming import StreamBatches, evaluate_source
from xpnet.training.trainer import Run, Trainer

RNG = np.random.default_rng(0)
X = RNG.standard_normal((1003, 6)).astype(np.float32)
Y = RNG.integers(0, 3, 1003)
NETWORK = Network([6, 8, 3], dropout=0.2)


def buffered(source: Source, samples: int, network: Network = NETWORK) -> Source:
    """Give a source a buffer for a window of that many samples."""
    window = samples * 4 * (network.layer_sizes[0] + network.layer_sizes[-1] + 2)
    source.buffer_bytes = 3 * window + 2 * int(source.sizes.max()) * source.row_bytes
    return source


def saved(folder: Path, x: np.ndarray = X, y: np.ndarray = Y) -> Path:
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    return folder / "x.npy"


def all_of(source: Source) -> tuple[np.ndarray, np.ndarray]:
    blocks = list(source)
    return np.concatenate([x for x, _ in blocks]), np.concatenate([y for _, y in blocks])


def seen(batches: StreamBatches, epoch: int, position: int = 0) -> tuple[np.ndarray, list[int]]:
    """Return the inputs of the batches in order, and the sizes of the batches."""
    rows, sizes = [X[:0]], []
    for (x, *_), order, _ in batches.epoch(epoch, position):
        for batch in order:
            rows.append(x[batch])
            sizes.append(len(batch))
    return np.concatenate(rows), sizes


def batches_of(source: Source, batch_size: int = 20, **options: Any) -> StreamBatches:
    return StreamBatches(NETWORK, get_backend("cpu"), "float32", source, batch_size, **options)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("dtype", ["float32", ">f8", "uint8"])
def test_files_give_what_is_in_them(tmp_path: Path, suffix: str, dtype: str) -> None:
    x = (X * 10).astype(dtype)
    path = saved(tmp_path, x, Y.astype(str))
    if suffix == ".npz":
        path = tmp_path / "data.npz"
        np.savez(path, x=x, y=Y.astype(str))
    got = all_of(open_source(path))
    np.testing.assert_array_equal(got[0], x)
    assert got[0].dtype == x.dtype.newbyteorder("=")
    np.testing.assert_array_equal(got[1], Y.astype(str))


def test_idx_gives_both_parts(tmp_path: Path) -> None:
    source, test = open_sources(idx_folder(tmp_path / "idx", 40))
    assert test is not None
    assert (source.n_samples, test.n_samples, source.n_features) == (40, 20, 4)
    x, y = all_of(source)
    np.testing.assert_array_equal(y, np.arange(40) % 2)
    np.testing.assert_array_equal(x[:, 0], 200 * (np.arange(40) % 2))


@pytest.mark.parametrize("window", [20, 100, 5000])
@pytest.mark.parametrize("batch_size", [20, 7])
def test_every_sample_comes_once_an_epoch(window: int, batch_size: int) -> None:
    batches = batches_of(buffered(ArraySource(X, Y), window), batch_size, epochs=2)
    orders = []
    for epoch in range(2):
        rows, sizes = seen(batches, epoch)
        assert sizes == [batch_size] * (1003 // batch_size) + [1003 % batch_size]
        np.testing.assert_array_equal(rows[np.lexsort(rows.T)], X[np.lexsort(X.T)])
        orders.append(rows)
    assert not np.array_equal(*orders)
    # Neighbours do not stay together either.
    at = {row.tobytes(): i for i, row in enumerate(X)}
    moved = np.diff([at[row.tobytes()] for row in orders[0]])
    assert np.mean(moved == 1) < 0.05


def test_without_shuffling_samples_come_in_their_own_order() -> None:
    np.testing.assert_array_equal(seen(batches_of(buffered(ArraySource(X, Y), 100), shuffle=False), 0)[0], X)


@pytest.mark.parametrize("position", [0, 1, 4, 5, 6, 49, 50, 51])
def test_an_epoch_goes_on_where_it_was(position: int) -> None:
    whole, _ = seen(batches_of(buffered(ArraySource(X, Y), 100)), 3)
    rest, _ = seen(batches_of(buffered(ArraySource(X, Y), 100)), 3, position)
    np.testing.assert_array_equal(rest, whole[20 * position :])


def test_blocks_that_span_windows_are_read_once() -> None:
    class Counted(ArraySource):
        reads = 0

        def read(self, *arguments: Any) -> Any:
            self.reads += 1
            return super().read(*arguments)

    source = Counted(X, Y)
    seen(batches_of(buffered(source, 20)), 0)
    assert source.reads == len(source.sizes)


@pytest.mark.parametrize("window", [100, 5000])
def test_a_run_that_is_cut_goes_on_to_the_same_bits(window: int) -> None:
    trainer = Trainer(NETWORK, batch_size=20, epochs=4, class_weight="balanced", schedule="cosine")
    whole = trainer.fit(buffered(ArraySource(X, Y), window), validation=ArraySource(X, Y))
    for call in (1, 7, 13, 25):
        cut = Trainer(**{**vars(trainer), "callbacks": [StopAt(call)]}).fit(buffered(ArraySource(X, Y), window))
        if cut.stopped != "interrupted":
            continue
        rest = trainer.fit(buffered(ArraySource(X, Y), window), state=cut.state)
        np.testing.assert_array_equal(rest.params.vector, whole.params.vector)
        assert [r.loss for r in rest.history] == [r.loss for r in whole.history]


def test_one_window_in_its_own_order_is_training_in_memory() -> None:
    trainer = Trainer(NETWORK, batch_size=20, epochs=2, shuffle=False, class_weight="balanced")
    streamed, whole = trainer.fit(buffered(ArraySource(X, Y), 60)), trainer.fit(X, Y)
    np.testing.assert_array_equal(streamed.params.vector, whole.params.vector)
    assert [r.loss for r in streamed.history] == [r.loss for r in whole.history]


def test_other_devices_train_on_the_same_batches() -> None:
    trainer = Trainer(NETWORK, batch_size=20, epochs=2)
    expected = np.asarray(trainer.fit(buffered(ArraySource(X, Y), 100)).params.vector)
    for device in ("torch:cpu", "jax:cpu", "strict:cpu"):
        pytest.importorskip({"strict": "array_api_strict"}.get(device.split(":")[0], device.split(":")[0]))
        backend = get_backend(device)
        run = Trainer(NETWORK, batch_size=20, epochs=2, device=backend).fit(buffered(ArraySource(X, Y), 100))
        np.testing.assert_allclose(backend.to_numpy(run.params.vector), expected, atol=1e-4)


def test_a_gpu_copies_windows_while_it_trains() -> None:
    """Eight runs of several windows each, with a validation part that is read in pieces too."""
    validation = buffered(ArraySource(X[:50], Y[:50]), 30)

    def trained(device: str) -> Run:
        trainer = Trainer(NETWORK, batch_size=20, epochs=8, class_weight="balanced", device=device)
        return trainer.fit(buffered(ArraySource(X, Y), 100), validation=validation)

    expected = trained("cpu")
    with cuda_double.installed():
        run = trained("cupy:gpu")
        np.testing.assert_allclose(run.params.vector.get(), expected.params.vector, atol=1e-4)
    for record, other in zip(run.history, expected.history, strict=True):
        assert record.validation == pytest.approx(other.validation, rel=1e-3)


def test_sorted_data_train_to_the_same_accuracy() -> None:
    """Digits sorted by label, with windows of a fourteenth of them, over three seeds."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    x, x_test, y, y_test = train_test_split(
        (data.data / 16).astype(np.float32), data.target, test_size=0.25, random_state=0, stratify=data.target
    )
    by_label = np.argsort(y, kind="stable")
    network = Network([64, 32, 10])
    scores: dict[str, list[float]] = {"memory": [], "stream": []}
    for seed in range(3):
        trainer = Trainer(network, epochs=25, learning_rate=3e-3, seed=seed)
        source = buffered(ArraySource(x[by_label], y[by_label]), 96, network)
        for name, run in (("memory", trainer.fit(x, y)), ("stream", trainer.fit(source))):
            model = Model(network, run.params.vector, "classification")
            scores[name].append(model.evaluate(x_test, y_test)["accuracy"])
    assert np.mean(scores["stream"]) > np.mean(scores["memory"]) - 0.01


def test_each_window_has_the_classes_in_proportion() -> None:
    """Sorted data of ten classes, with windows of a twentieth of them."""
    y = np.sort(np.arange(20_000) % 10)
    source = ArraySource(np.zeros((20_000, 6), np.float32), y)
    network = Network([6, 10])
    batches = StreamBatches(network, get_backend("cpu"), "float32", buffered(source, 1000, network), 100)
    for samples in batches.windows():
        counts = np.bincount(samples.y, minlength=10)
        np.testing.assert_allclose(counts, 100, atol=len(samples.y) * 0.12)  # blocks have 78 samples


@pytest.mark.parametrize(
    "network", [Network([6, 3]), Network([6, 2], loss="squared_error"), Network([6, 2], loss="binary_cross_entropy")]
)
def test_scores_of_a_source_are_those_of_its_samples(network: Network) -> None:
    y = Y if network.loss == "cross_entropy" else np.stack([Y > 0, Y == 1], axis=1).astype(np.float32)
    if network.loss == "squared_error":
        y[:, 1] = 0.25  # without variance
    backend, params = get_backend("cpu"), network.init(1, dtype="float32")
    held = to_samples(network, backend, "float32", X, y)
    expected = evaluate(network, params, held.x, held.y, backend)
    got = evaluate_source(network, params, buffered(ArraySource(X, y), 30, network), backend, "float32")
    assert got == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("spec", ["standard", "minmax", "divide:16", "none"])
def test_scaling_in_one_pass_is_that_of_the_whole(spec: str) -> None:
    x = np.concatenate([X * [1, 1e-3, 1e6, 1, 1, 0] + [0, 1e6, -1e9, 3, 0, 7]])
    moments = Moments(6)
    for start in (0, 1, 400, 1002):
        add_for_scaler(spec, moments, x[start : {0: 1, 1: 400, 400: 1002, 1002: 1003}[start]])
    one, whole = scaler_from_moments(spec, moments), fit_scaler(spec, x)
    np.testing.assert_allclose(one.shift, whole.shift, rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(one.scale, whole.scale, rtol=1e-7)  # a column's mean is 1e9 times its deviation
    deviation, span = (np.where(size > 0, size, 1) for size in (x.std(axis=0), np.ptp(x, axis=0)))
    expected = {"standard": (x.mean(axis=0), deviation), "minmax": (x.min(axis=0), span), "divide:16": (0, 16)}
    shift, scale = expected.get(spec, (0, 1))
    np.testing.assert_allclose(whole.shift, shift, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(whole.scale, scale, rtol=1e-7)


def test_parts_are_of_every_stretch_and_do_not_overlap() -> None:
    index = np.arange(1000)
    source = ArraySource(index[:, None].astype(np.float64), index)
    parts = split_source(source, validation_fraction=0.1, test_fraction=0.25, seed=3)
    assert parts.validation is not None
    assert parts.test is not None
    members = [all_of(part)[1] for part in parts]
    assert [len(each) for each in members] == [650, 100, 250]
    np.testing.assert_array_equal(np.sort(np.concatenate(members)), index)
    for each, share in zip(members, (0.65, 0.1, 0.25), strict=True):
        counts = np.histogram(each, 10, (0, 1000))[0]
        np.testing.assert_allclose(counts, 100 * share, atol=3)
    again = split_source(source, validation_fraction=0.1, test_fraction=0.25, seed=3)
    other = split_source(source, validation_fraction=0.1, test_fraction=0.25, seed=4)
    np.testing.assert_array_equal(all_of(again.training)[1], members[0])
    assert not np.array_equal(all_of(other.training)[1], members[0])
    with pytest.raises(InvalidParameterError, match="expected to leave samples"):
        split_source(source, validation_fraction=0.5, test_fraction=0.5, seed=0)


class _AtEpoch(Callback):
    def __init__(self, epoch: int, act: Any) -> None:
        self.epoch, self.act = epoch, act

    def on_epoch(self, record: Any, run: Any) -> None:
        if record.epoch == self.epoch:
            self.act()


def _no_thread_is_left() -> bool:
    left = [thread for thread in threading.enumerate() if thread.name.startswith("xpnet-stream")]
    for thread in left:
        thread.join(10)
    return not any(thread.is_alive() for thread in left)


@pytest.mark.timeout(60)
def test_a_nan_in_a_later_epoch_is_told_with_its_place(tmp_path: Path) -> None:
    x = X.copy()
    source = buffered(ArraySource(x, Y, "sensor"), 40)

    def spoil() -> None:
        x[500, 2] = np.nan

    with pytest.raises(DataError, match=r"^sensor, samples \d+ to \d+: in epoch \d: features: .* nan in column 3, row"):
        Trainer(NETWORK, batch_size=20, epochs=9, callbacks=[_AtEpoch(4, spoil)]).fit(source)
    assert _no_thread_is_left()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("bytes_more", [-100, 100])
def test_a_file_that_changes_size_is_told(tmp_path: Path, bytes_more: int) -> None:
    path = saved(tmp_path)
    size = path.stat().st_size

    def change() -> None:
        with path.open("r+b") as stream:
            stream.truncate(size + bytes_more)

    source = buffered(open_source(path), 40)
    with pytest.raises(DataError, match=rf"x.npy: changed while it was read: expected {size} bytes.*leave the data"):
        Trainer(NETWORK, batch_size=20, epochs=9, callbacks=[_AtEpoch(2, change)]).fit(source)
    assert _no_thread_is_left()


@pytest.mark.timeout(60)
def test_an_exception_in_the_worker_reaches_the_trainer() -> None:
    def function(x: np.ndarray, y: np.ndarray) -> Any:
        assert threading.current_thread() is not threading.main_thread()
        raise ZeroDivisionError("in the user's function")

    with pytest.raises(ZeroDivisionError, match="user's function"):
        Trainer(NETWORK, epochs=1).fit(ArraySource(X, Y).map(function))
    assert _no_thread_is_left()


@pytest.mark.parametrize("name", ["x.npy", "a.npz", "a.csv", "idx", "zipped"])
def test_an_unreadable_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    saved(tmp_path, X, Y)
    np.savez(tmp_path / "a.npz", x=X, y=Y)
    (tmp_path / "a.csv").write_text("a,target\n1,0\n2,1\n")
    idx_folder(tmp_path / "idx")
    idx_folder(tmp_path / "zipped", zipped=True)

    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("io.open", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    said = rf"^{re.escape(str(tmp_path / name))}.*: cannot be read: Permission denied$"
    for read in (open_source, read_dataset):
        with pytest.raises(DataError, match=said):
            read(tmp_path / name)


def test_what_cannot_be_read_in_pieces_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "small.npz", x=X, y=Y)
    with pytest.raises(DataError, match="expected it stored"):
        open_source(tmp_path / "small.npz")
    with pytest.raises(DataError, match=r"expected it uncompressed.*run gunzip"):
        open_source(idx_folder(tmp_path / "idx", zipped=True))
    with pytest.raises(DataError, match="stored row by row"):
        open_source(saved(tmp_path, np.asfortranarray(X)))
    (tmp_path / "data.libsvm").write_text("1 1:2\n")
    with pytest.raises(DataError, match="cannot be read in pieces"):
        open_source(tmp_path / "data.libsvm")
    with pytest.raises(DataError, match="no such file"):
        open_source(tmp_path / "none.npy")


def test_what_a_source_is_not_given() -> None:
    source = ArraySource(X, Y)
    for keywords, wrong in (({"y": Y}, "y"), ({"sample_weight": Y}, "sample_weight")):
        with pytest.raises(InvalidParameterError, match=f"^{wrong} must be omitted when x is a Source"):
            Trainer(NETWORK).fit(source, **keywords)
    with pytest.raises(InvalidParameterError, match=r"^shuffle must be True or False when x is a Source"):
        Trainer(NETWORK, shuffle=lambda epoch, n: np.arange(n)).fit(source)
    with pytest.raises(InvalidParameterError, match="expected a source of 6 features"):
        Trainer(NETWORK).fit(ArraySource(X[:, :5], Y))
    with pytest.raises(InvalidParameterError, match="batch_size: expected at most 40"):
        Trainer(NETWORK, batch_size=41).fit(buffered(source, 40))
    with pytest.raises(InvalidParameterError, match="class_weight: expected class indices"):
        Trainer(Network([6, 1], loss="squared_error"), class_weight={0: 2.0}).fit(ArraySource(X, X[:, 0]))
    with pytest.raises(InvalidParameterError, match="samples 1 to 3: in epoch 1: y: expected class indices"):
        Trainer(NETWORK, shuffle=False).fit(ArraySource(X, Y + 1))


def test_reading_goes_ahead_but_not_beyond_the_last_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[tuple[int, int]] = []
    load = xpnet.training.streaming.StreamBatches._load
    monkeypatch.setattr(StreamBatches, "_load", lambda self, key: loaded.append(key) or load(self, key))
    Trainer(NETWORK, batch_size=100, epochs=2).fit(buffered(ArraySource(X, Y), 300))
    assert loaded == [(epoch, window) for epoch in range(2) for window in range(4)]


def test_blocks_that_another_part_has_taken_whole_are_passed_over() -> None:
    source = ArraySource(np.ones((40, 20_000)), np.arange(40) % 2)  # a block is one sample
    training = split_source(source, validation_fraction=0.3, test_fraction=0.0, seed=0).training
    assert (training.sizes == 0).any()
    assert sum(len(x) for x, _ in training) == training.n_samples
    assert all(len(x) for x, _ in training)
