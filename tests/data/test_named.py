"""The named data sets, the folders that are searched, and downloads from a local server."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import os
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tests.command_line import idx
from tests.runs import fashion_mnist_folder
from xpnet.data import downloads, sklearn_files
from xpnet.data.checks import check_data
from xpnet.data.named import DATASETS, load_dataset
from xpnet.data.readers.idx import IDX_NAMES
from xpnet.data.targets import encode_targets, infer_task
from xpnet.errors import DataError, InvalidParameterError, UnknownNameError

SMALL = [name for name in DATASETS if name not in downloads.REMOTES]


@pytest.mark.parametrize("name", SMALL)
def test_small_data_sets_are_as_the_table_says(name):
    info = DATASETS[name]
    dataset = load_dataset(name)
    assert dataset.name == info.name == name
    assert dataset.x.shape == (info.samples, info.features)
    assert dataset.x.dtype == np.float64
    check_data(dataset.x, dataset.y, dataset.feature_names)
    assert infer_task(dataset.y) == ("classification" if info.classes else "regression")
    if info.classes:
        assert dataset.y.dtype == np.int64
        assert encode_targets(dataset.y, "classification")[1].tolist() == list(range(info.classes))
    assert len(dataset.feature_names) == info.features
    assert np.array_equal(load_dataset(name).x, dataset.x)
    assert all((info.origin, info.licence, info.description))


@pytest.mark.parametrize("name", list(sklearn_files._FILES))
def test_files_of_sklearn_are_read_as_it_reads_them(name, monkeypatch):
    ours = load_dataset(name)
    monkeypatch.setattr(sklearn_files, "find_spec", lambda package: None)  # the files are not where they were
    theirs = load_dataset(name)
    assert np.array_equal(ours.x, theirs.x)
    assert np.array_equal(ours.y, theirs.y)
    assert (ours.x.dtype, ours.y.dtype, ours.x.flags.c_contiguous) == (theirs.x.dtype, theirs.y.dtype, True)
    assert (ours.name, ours.feature_names, ours.target_name) == (theirs.name, theirs.feature_names, theirs.target_name)


def test_digits_are_raw():
    x = load_dataset("digits").x
    assert (x.min(), x.max()) == (0, 16)


@pytest.mark.parametrize("name", ["xor", "circles"])
def test_a_line_does_not_separate_them_but_their_rule_does(name):
    dataset = load_dataset(name)
    assert LogisticRegression().fit(dataset.x, dataset.y).score(dataset.x, dataset.y) < 0.6
    rules = {
        "xor": (dataset.x[:, 0] > 0.5) != (dataset.x[:, 1] > 0.5),
        "circles": np.hypot(*dataset.x.T) < 0.75,
    }
    assert np.mean(rules[name] == dataset.y) >= {"xor": 1.0, "circles": 0.97}[name]


@pytest.mark.parametrize(
    ("name", "near"), [("digit", "digits"), ("Fashion_MNIST", "fashion-mnist"), ("zzz", None), ("x" * 5000, None)]
)
def test_unknown_data(name, near):
    with pytest.raises(UnknownNameError) as caught:
        load_dataset(name)
    assert f"unknown data: expected one of {', '.join(sorted(DATASETS))}" in str(caught.value)
    assert (f"Did you mean {near!r}?" in str(caught.value)) == (near is not None)


def test_a_named_data_set_takes_no_target():
    with pytest.raises(InvalidParameterError, match="received 'price'"):
        load_dataset("diabetes", target="price")


def test_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("house.csv", "no/such", "./digits"):
        with pytest.raises(DataError, match="no such file or folder"):
            load_dataset(path)
    Path("house.csv").write_text("rooms,price\n1,2.5\n2,4\n")
    dataset = load_dataset("house.csv", target="price")
    assert (dataset.name, dataset.y.tolist()) == ("house", [2.5, 4.0])
    write_idx(tmp_path / "images")
    assert load_dataset("images").x.shape == (6, 4)


@pytest.mark.subprocess
def test_importing_is_cheap():
    slow = ["sklearn", "pyarrow", "rich", "urllib.request", "http.client", "pandas", "scipy"]
    code = (
        f"import sys, xpnet.data.named, xpnet.data.dataset; print([name for name in {slow!r} if name in sys.modules])"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# The folders that are searched


def idx_files(offset: int = 0) -> dict[str, bytes]:
    images, labels = np.arange(24).reshape(6, 2, 2) + offset, np.arange(6) % 2
    parts = [images, labels, images[:2], labels[:2]]
    return {f"{name}.gz": gzip.compress(idx(part), mtime=0) for name, part in zip(IDX_NAMES, parts, strict=True)}


def write_idx(folder: Path, offset: int = 0) -> Path:
    folder.mkdir(parents=True)
    for name, content in idx_files(offset).items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(autouse=True)
def _nowhere_else(tmp_path, monkeypatch):
    """Hide the data sets of this machine, and use an empty cache."""
    monkeypatch.delenv("XPNET_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(downloads, "_SYSTEM_FOLDER", tmp_path / "system")


@pytest.fixture
def server(tmp_path):
    """Start a local server; return its base URL and the folder that it serves."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    folder = tmp_path / "served"
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}/", folder
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def point_to(monkeypatch, base_url: str, name: str = "mnist") -> None:
    files = {
        file: downloads.RemoteFile(len(content), hashlib.sha256(content).hexdigest())
        for file, content in idx_files().items()
    }
    monkeypatch.setitem(downloads.REMOTES, name, downloads.Remote(base_url, files))


def test_the_places_are_tried_in_order(tmp_path, monkeypatch):
    roots = {"given": tmp_path / "given", "variable": tmp_path / "variable", "system": tmp_path / "system"}
    offsets = {place: 10 * i for i, place in enumerate(roots, 1)}
    (tmp_path / "given").mkdir()
    monkeypatch.setenv("XPNET_DATA", str(roots["variable"]))
    for place in reversed(roots):
        write_idx(roots[place] / "mnist", offsets[place])
        dataset = load_dataset("mnist", data_dir=roots["given"])
        assert (dataset.name, dataset.x[0, 0]) == ("mnist", offsets[place])


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_files_may_lie_in_the_folder_itself(tmp_path, name):
    dataset = load_dataset(name, data_dir=str(write_idx(tmp_path / "a")))
    assert (dataset.name, dataset.x.shape, dataset.x_test.shape) == (name, (6, 4), (2, 4))


def test_a_folder_of_the_name_goes_before_the_folder_itself(tmp_path):
    write_idx(tmp_path / "a", offset=1)
    write_idx(tmp_path / "a" / "mnist", offset=2)
    assert load_dataset("mnist", data_dir=tmp_path / "a").x[0, 0] == 2


def test_the_files_of_another_set_are_not_taken(tmp_path, monkeypatch):
    point_to(monkeypatch, "http://127.0.0.1:9/", "fashion-mnist")
    monkeypatch.setitem(
        downloads.REMOTES, "mnist", dataclasses.replace(downloads.REMOTES["mnist"], base_url="http://127.0.0.1:9/")
    )
    folder = write_idx(tmp_path / "fashion-mnist")
    assert load_dataset("fashion-mnist", data_dir=folder).x.shape == (6, 4)
    with pytest.raises(DataError, match="mnist is in none of"):
        load_dataset("mnist", data_dir=folder)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="no such folder: expected one that holds the files of mnist"):
        load_dataset("mnist", data_dir=tmp_path / "nothing")


def test_half_a_set_is_an_error_not_a_fetch(tmp_path):
    folder = write_idx(tmp_path / "a")
    (folder / f"{IDX_NAMES[1]}.gz").unlink()
    with pytest.raises(DataError, match=f"missing file: expected {IDX_NAMES[1]}"):
        load_dataset("mnist", data_dir=folder)


# Downloads


def test_fetch_and_then_the_cache(tmp_path, monkeypatch, server, capsys):
    base_url, folder = server
    point_to(monkeypatch, base_url)
    write_idx(folder)
    first = load_dataset("mnist")
    assert (first.x.shape, first.y.tolist()) == ((6, 4), [0, 1, 0, 1, 0, 1])
    assert {path.name for path in (tmp_path / "cache" / "xpnet" / "mnist").iterdir()} == set(idx_files())
    for path in folder.iterdir():
        path.unlink()
    assert np.array_equal(load_dataset("mnist").x, first.x)
    assert capsys.readouterr() == ("", "")


def test_a_damaged_cache_is_fetched_anew(tmp_path, monkeypatch, server):
    base_url, folder = server
    point_to(monkeypatch, base_url)
    write_idx(folder)
    write_idx(tmp_path / "cache" / "xpnet" / "mnist", offset=5)
    assert load_dataset("mnist").x[0, 0] == 0


def test_the_progress_bar_counts_bytes(monkeypatch, server, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, as rich sees it
    monkeypatch.setattr("xpnet.data.downloads.can_redraw", lambda stream: True)
    monkeypatch.setenv("COLUMNS", "200")
    base_url, folder = server
    point_to(monkeypatch, base_url)
    write_idx(folder)
    load_dataset("mnist")
    printed = capsys.readouterr()
    assert printed.out == ""
    size = len(idx_files()["train-images-idx3-ubyte.gz"])
    assert "train-images-idx3-ubyte.gz" in printed.err
    assert f"{size}/{size} bytes" in printed.err


@pytest.mark.parametrize("case", ["wrong hash", "not there", "no server", "truncated"])
def test_a_fetch_that_fails(tmp_path, monkeypatch, server, case):
    base_url, folder = server
    point_to(monkeypatch, "http://127.0.0.1:9/" if case == "no server" else base_url)
    if case != "not there":
        write_idx(folder)
    if case == "wrong hash":
        path = folder / f"{IDX_NAMES[0]}.gz"
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    if case == "truncated":
        path = folder / f"{IDX_NAMES[0]}.gz"
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError) as caught:
        load_dataset("mnist")
    error = str(caught.value)
    size = len(idx_files()[f"{IDX_NAMES[0]}.gz"])
    reason = {
        "wrong hash": "hash", "not there": "404", "no server": "refused", "truncated": f"expected {size} bytes",
    }[case]  # fmt: skip
    assert reason in error
    assert "mnist is in none of" in error
    assert f"put {', '.join(idx_files())} from http://127.0.0.1" in error
    assert "data_dir or $XPNET_DATA" in error
    assert "\n" not in error
    assert caught.value.__cause__ is not None
    cached = tmp_path / "cache" / "xpnet" / "mnist"
    assert not any(path.stat().st_size for path in cached.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="variables and pipes of POSIX")
@pytest.mark.parametrize("place", ["no home", "a file", "a pipe in place of the part"])
def test_no_place_for_a_download(place, tmp_path, monkeypatch, server):
    base_url, folder = server
    point_to(monkeypatch, base_url)
    write_idx(folder)
    cached = tmp_path / "cache" / "xpnet" / "mnist"
    if place == "no home":
        monkeypatch.setattr(downloads, "cache_folder", lambda: None)
    elif place == "a file":
        (tmp_path / "cache").write_text("")
    else:
        cached.mkdir(parents=True)
        os.mkfifo(cached / "train-images-idx3-ubyte.gz.part")
    with pytest.raises(DataError, match="put train-images") as caught:
        load_dataset("mnist")
    assert "\n" not in str(caught.value)


def test_the_files_of_debians_package_are_recognized(monkeypatch):
    point_to(monkeypatch, "http://127.0.0.1:9/")
    with pytest.raises(DataError, match="mnist is in none of"):
        load_dataset("mnist", data_dir=fashion_mnist_folder())


def test_fashion_mnist():
    dataset = load_dataset("fashion-mnist", data_dir=fashion_mnist_folder())
    info = DATASETS["fashion-mnist"]
    assert dataset.x.shape == (info.samples, info.features)
    assert dataset.x.dtype == np.uint8
    assert dataset.x_test.shape == (10000, 784)
    assert np.bincount(dataset.y).tolist() == [6000] * 10
    assert np.bincount(dataset.y_test).tolist() == [1000] * 10
    assert dataset.y[:5].tolist() == [9, 0, 0, 3, 0]


def test_the_table_is_well_formed():
    assert all(name == info.name for name, info in DATASETS.items())
    for entry in downloads.REMOTES.values():
        assert entry.base_url.endswith("/")
        assert set(entry.files) == {f"{name}.gz" for name in IDX_NAMES}
        assert all(len(file.sha256) == 64 and file.size > 4000 for file in entry.files.values())
