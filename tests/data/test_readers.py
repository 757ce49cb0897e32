"""Readers: for each format, valid files and each kind of invalid file."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from xpnet import memory
from xpnet.data.readers import common, read_dataset, read_features
from xpnet.data.readers.idx import IDX_NAMES, read_idx
from xpnet.errors import DataError
from xpnet.memory import current_bytes

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = IDX_NAMES
IMAGES = np.arange(60, dtype=np.uint8).reshape(5, 3, 4)
LABELS = np.array([0, 1, 2, 1, 0], dtype=np.uint8)
X, Y = np.arange(8.0).reshape(4, 2), np.array([0, 1, 1, 0])


def idx_header(code: int, *shape: int) -> bytes:
    return struct.pack(f">HBB{len(shape)}I", 0, code, len(shape), *shape)


def idx(array: np.ndarray) -> bytes:
    return idx_header(8, *array.shape) + array.tobytes()


def write_idx(folder: Path, test: bool = True, suffix: str = "") -> Path:
    pack = gzip.compress if suffix else bytes
    contents = [idx(IMAGES), idx(LABELS), idx(IMAGES[:2]), idx(LABELS[:2])]
    for name, content in list(zip(IDX_NAMES, contents, strict=True))[: 4 if test else 2]:
        (folder / (name + suffix)).write_bytes(pack(content))
    return folder


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def message(use, *arguments, **keywords) -> str:
    with pytest.raises(DataError) as caught:
        use(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# IDX


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("test", [True, False])
def test_idx_folder(tmp_path, suffix, test):
    dataset = read_dataset(write_idx(tmp_path, test, suffix))
    assert dataset.name == tmp_path.name
    assert dataset.x.dtype == np.uint8
    assert dataset.x.tolist() == IMAGES.reshape(5, 12).tolist()
    assert dataset.image_shape == (3, 4)
    assert dataset.y.tolist() == LABELS.tolist()
    assert (dataset.x_test is not None) == (dataset.y_test is not None) == test
    if test:
        assert dataset.x_test.tolist() == IMAGES[:2].reshape(2, 12).tolist()
        assert dataset.y_test.tolist() == [0, 1]


def test_idx_names_with_a_dot(tmp_path):
    write_idx(tmp_path, test=False)
    for path in list(tmp_path.iterdir()):
        path.rename(tmp_path / path.name.replace("-idx", ".idx"))
    assert read_dataset(tmp_path).x.shape == (5, 12)


@pytest.mark.parametrize(
    ("code", "dtype"), [(0x08, ">u1"), (0x09, ">i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")]
)
def test_idx_types(tmp_path, code, dtype):
    values = np.array([[1, 2, 3], [100, 5, 6]]).astype(dtype)
    path = write(tmp_path, "values", idx_header(code, 2, 3) + values.tobytes())
    array = read_idx(path)
    assert array.dtype == np.dtype(dtype).newbyteorder("=")
    assert array.tolist() == values.tolist()
    assert array.flags.writeable


@pytest.mark.parametrize(("code", "kept"), [(0x0D, np.float32), (0x0B, np.float64)])
def test_idx_images_of_other_types(tmp_path, code, kept):
    write(tmp_path, TRAIN_IMAGES, idx_header(code, 2, 1, 1) + np.array([1, 2], {13: ">f4", 11: ">i2"}[code]).tobytes())
    write(tmp_path, TRAIN_LABELS, idx(LABELS[:2]))
    assert read_dataset(tmp_path).x.dtype == kept


BAD_IDX = {
    "no files": ({}, ["no IDX files", *IDX_NAMES]),
    "no training part": ({TEST_IMAGES: idx(IMAGES), TEST_LABELS: idx(LABELS)}, ["no training part"]),
    "no labels": ({TRAIN_IMAGES: idx(IMAGES)}, ["missing file", TRAIN_LABELS]),
    "no images": ({TRAIN_LABELS: idx(LABELS)}, ["missing file", TRAIN_IMAGES]),
    "half a test part": ({TEST_IMAGES: idx(IMAGES)}, ["missing file", TEST_LABELS]),
    "wrong magic": ({TRAIN_IMAGES: b"\x89PNG" + bytes(60)}, ["wrong magic number", "received 89 50 4e 47"]),
    "unknown type": ({TRAIN_IMAGES: idx_header(0x0A, 5, 3, 4) + bytes(60)}, ["wrong magic number", "00 00 0a 03"]),
    "no dimensions": ({TRAIN_IMAGES: idx_header(8)}, ["wrong magic number", "00 00 08 00"]),
    "empty": ({TRAIN_IMAGES: b""}, ["truncated", "received 0 bytes"]),
    "short header": ({TRAIN_IMAGES: idx(IMAGES)[:9]}, ["truncated", "header ends after 5 bytes"]),
    "truncated": ({TRAIN_IMAGES: idx(IMAGES)[:-1]}, ["truncated", "expected 60 bytes", "received 59"]),
    "oversized": ({TRAIN_IMAGES: idx(IMAGES) + b"x"}, ["oversized", "expected 60 bytes"]),
    "absurd": (
        {TRAIN_IMAGES: idx_header(8, 2**32 - 1, 2**32 - 1) + bytes(60)},
        ["truncated", "received a file of 72 bytes"],
    ),
    "no samples": ({TRAIN_IMAGES: idx(IMAGES[:0])}, ["no samples", "received shape (0, 3, 4)"]),
    "vector": ({TRAIN_IMAGES: idx(LABELS)}, ["expected images", "received shape (5,)"]),
    "label matrix": ({TRAIN_LABELS: idx(IMAGES)}, ["expected labels", "received shape (5, 3, 4)"]),
    "unequal": ({TRAIN_LABELS: idx(LABELS[:4])}, ["unequal lengths", "expected 5 labels", "received 4"]),
    "other test size": ({TEST_IMAGES: idx(IMAGES[:2, :2])}, ["test images", "(3, 4)", "(2, 4)"]),
}
WITHOUT_THE_REST = {"no files", "no training part", "no labels", "no images"}


@pytest.mark.parametrize("case", BAD_IDX)
def test_bad_idx(tmp_path, case):
    files, words = BAD_IDX[case]
    if case not in WITHOUT_THE_REST:
        write_idx(tmp_path, test=case == "other test size")
    for name, content in files.items():
        write(tmp_path, name, content)
    error = message(read_dataset, tmp_path)
    assert error.startswith(str(tmp_path))
    assert all(word in error for word in words), error


@pytest.mark.parametrize("case", ["truncated", "oversized", "wrong magic"])
def test_bad_idx_within_gzip(tmp_path, case):
    files, words = BAD_IDX[case]
    write_idx(tmp_path, test=False)
    (tmp_path / TRAIN_IMAGES).unlink()
    write(tmp_path, TRAIN_IMAGES + ".gz", gzip.compress(files[TRAIN_IMAGES]))
    error = message(read_dataset, tmp_path)
    assert words[0] in error


@pytest.mark.parametrize("case", ["garbage", "truncated", "checksum", "bits"])
def test_broken_gzip(tmp_path, case):
    whole = gzip.compress(idx(IMAGES))
    content = {
        "garbage": b"no gzip at all",
        "truncated": whole[:-12],
        "checksum": whole[:-8] + bytes(4) + whole[-4:],
        "bits": whole[:12] + b"\xff\xff\xff\xff" + whole[16:],
    }[case]
    write_idx(tmp_path, test=False)
    (tmp_path / TRAIN_IMAGES).unlink()
    path = write(tmp_path, TRAIN_IMAGES + ".gz", content)
    error = message(read_dataset, tmp_path)
    assert f"{path}: broken gzip file" in error


def test_a_gzip_bomb_is_not_expanded(tmp_path):
    path = write(tmp_path, "bomb.gz", gzip.compress(idx(LABELS) + bytes(200 << 20), compresslevel=1))
    tracemalloc.start()
    error = message(read_idx, path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "oversized: expected 5 bytes" in error
    assert peak < 5 << 20


def test_a_missing_idx_file(tmp_path):
    assert "no such file" in message(read_idx, tmp_path / "nothing")


# .npz and .npy


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(("x", "y"), [("x", "y"), ("X", "y"), ("x_train", "y_train"), ("X_train", "y_train")])
def test_npz(tmp_path, save, x, y):
    save(tmp_path / "a.npz", **{x: X, y: Y})
    dataset = read_dataset(tmp_path / "a.npz")
    assert dataset.name == "a"
    assert dataset.target_name == y
    assert dataset.x.tolist() == X.tolist()
    assert dataset.y.tolist() == Y.tolist()
    assert dataset.x_test is None
    assert dataset.x.flags.writeable


def test_npz_with_images_a_test_part_and_another_target(tmp_path):
    np.savez(
        tmp_path / "a.npz",
        x_train=IMAGES,
        names=np.array(list("abcab")),
        y_train=LABELS,
        x_test=IMAGES[:2],
        y_test=LABELS[:2],
    )
    dataset = read_dataset(tmp_path / "a.npz")
    assert dataset.x.shape == (5, 12)
    assert dataset.x.dtype == np.uint8
    assert dataset.x_test.shape == (2, 12)
    assert read_dataset(tmp_path / "a.npz", target="names").y.tolist() == list("abcab")
    x, y = read_features(tmp_path / "a.npz", feature_names=None, target_name=None, n_features=12)
    assert (x.shape, y.tolist()) == ((2, 12), [0, 1])


@pytest.mark.parametrize(
    ("dtype", "kept"), [("u1", "u1"), (">f4", "f4"), ("f8", "f8"), ("f2", "f8"), ("g", "f8"), ("i4", "f8"), ("?", "f8")]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_npz_types(tmp_path, dtype, kept, order):
    np.savez(tmp_path / "a.npz", x=np.asarray(X > 3 if dtype == "?" else X, dtype=dtype, order=order), y=Y)
    x = read_dataset(tmp_path / "a.npz").x
    assert x.dtype == np.dtype(kept)
    assert x.dtype.isnative
    assert x.tolist() == (X > 3 if dtype == "?" else X).tolist()


def test_npy_pairs(tmp_path):
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", Y)
    np.save(tmp_path / "names.npy", np.array([b"a", b"b", b"a", b"b"]))
    dataset = read_dataset(tmp_path / "X.npy")
    assert (dataset.y.tolist(), dataset.target_name) == (Y.tolist(), "y.npy")
    for target in ("names.npy", str(tmp_path / "names.npy")):
        dataset = read_dataset(tmp_path / "X.npy", target=target)
        assert (dataset.y.tolist(), dataset.target_name) == (list("abab"), "names.npy")
    x, y = read_features(tmp_path / "X.npy", feature_names=None, target_name="names.npy", n_features=2)
    assert (x.tolist(), y.tolist()) == (X.tolist(), list("abab"))
    (tmp_path / "y.npy").unlink()
    assert read_features(tmp_path / "X.npy", feature_names=None, target_name=None)[1] is None
    assert "no targets: expected" in message(read_dataset, tmp_path / "X.npy")
    assert "y.npy" in message(read_dataset, tmp_path / "X.npy")
    np.save(tmp_path / "other.npy", X)
    assert "give the .npy file of the targets" in message(read_dataset, tmp_path / "other.npy")


BAD_ARRAYS = {
    "no y": ({"x": X}, ["missing array", "y, Y, y_train", "received the keys x"]),
    "no x": ({"a": X, "y": Y}, ["missing array", "received the keys a, y"]),
    "unequal": ({"x": X, "y": Y[:3]}, ["unequal lengths", "received 4 rows, 3 targets"]),
    "no samples": ({"x": X[:0], "y": Y[:0]}, ["no samples"]),
    "nan": ({"x": np.where(X == 5, np.nan, X), "y": Y}, ["received nan in column 2, row 3"]),
    "infinite target": ({"x": X, "y": np.array([0, 1, np.inf, 0])}, ["targets", "received inf in row 3"]),
    "vector": ({"x": X[0], "y": Y}, ["received shape (2,)"]),
    "scalar": ({"x": np.float64(1), "y": Y}, ["shape ()"]),
    "text": ({"x": X.astype(str), "y": Y}, ["expected real numbers", "<U"]),
    "complex": ({"x": X + 1j, "y": Y}, ["complex128"]),
    "objects": ({"x": np.array([[1, None]] * 4), "y": Y}, ["dtype object", "save it without objects"]),
    "half a test part": ({"x": X, "y": Y, "x_test": X}, ["expected both x_test and y_test"]),
    "other test": ({"x": X, "y": Y, "x_test": X[:, :1], "y_test": Y}, ["test part: expected 2 features; received 1"]),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_npz(tmp_path, case):
    arrays, words = BAD_ARRAYS[case]
    np.savez(tmp_path / "a.npz", **arrays)
    error = message(read_dataset, tmp_path / "a.npz")
    assert error.startswith(str(tmp_path))
    assert all(word in error for word in words), error


def _npy(shape: tuple[int, ...], body: bytes, version: bytes = b"\x01\x00", descr: str = "<f8") -> bytes:
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header + body


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (_npy((10**12, 10), bytes(80)), "truncated or oversized: expected 80000000000000 bytes"),
        (_npy((5, 2), bytes(79)), "expected 80 bytes of data by the array's header; received 79"),
        (_npy((5, 2), bytes(81)), "received 81"),
        (_npy((-1, -10), bytes(80)), "truncated or oversized"),
        (_npy((5, 2), bytes(80), b"\x03\x00"), "received 3.0"),
        (_npy((5,), b"\xff" * 20, descr="<U1"), "expected valid Unicode"),
        (_npy((5,), b"\x00\xd8\x00\x00" * 5, descr="<U1"), "expected valid Unicode"),
        (_npy((5,), b"\xff" * 5, descr="|S1"), "expected valid Unicode"),
        (b"", "broken: expected an .npy file"),
        (b"\x93NUMPY\x01\x00\x05\x00{{{{{", "broken: expected an .npy file"),
    ],
)
def test_bad_npy(tmp_path, content, words):
    write(tmp_path, "X.npy", content)
    np.save(tmp_path / "y.npy", Y)
    assert words in message(read_dataset, tmp_path / "X.npy")


def _raw_npy(header: str, body: bytes = bytes(80)) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + body


@pytest.mark.parametrize("header", ["{[]: 1}", "\n  x\n y", "1+" * 4000 + "1", "-" * 9000, "(" * 300, "{}", "\\ud800"])
def test_npy_headers_that_no_parser_likes(tmp_path, header):
    path = write(tmp_path, "X.npy", _raw_npy(header))
    assert "broken: expected an .npy file" in message(read_features, path, feature_names=None, target_name=None)


def test_a_shape_beyond_all_integers(tmp_path):
    path = write(tmp_path, "X.npy", _npy((0, 10**30), b""))
    assert "broken: expected an .npy file" in message(read_features, path, feature_names=None, target_name=None)


def test_a_header_of_python_2_is_read_without_a_warning(tmp_path):
    path = write(tmp_path, "X.npy", _raw_npy("{'descr': '<f8', 'fortran_order': False, 'shape': (5L, 2L)}"))
    assert read_features(path, feature_names=None, target_name=None)[0].shape == (5, 2)


@pytest.mark.parametrize("case", ["encrypted", "patched", "past the end", "checksum"])
def test_zip_entries_that_cannot_be_read(tmp_path, case):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("x.npy", _npy((500, 2) if case == "past the end" else (5, 2), bytes(80)))
    data = bytearray(stream.getvalue())
    entry = data.index(b"PK\x01\x02")
    if case == "past the end":
        size = struct.unpack_from("<I", data, entry + 24)[0] - 80 + 8000
        struct.pack_into("<II", data, entry + 20, size, size)
    elif case == "checksum":
        data[entry + 16] ^= 1
    else:
        for flags in (6, entry + 8):
            data[flags] |= {"encrypted": 1, "patched": 32}[case]
    path = write(tmp_path, "a.npz", bytes(data))
    assert "broken: expected an .npz archive" in message(read_features, path, feature_names=None, target_name=None)


def test_an_npz_bomb_and_its_like(tmp_path):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", _npy((5, 2), bytes(100 << 20)))
    path = write(tmp_path, "bomb.npz", stream.getvalue())
    tracemalloc.start()
    assert "truncated or oversized" in message(read_features, path, feature_names=None, target_name=None)
    assert tracemalloc.get_traced_memory()[1] < 5 << 20
    tracemalloc.stop()
    # The archive's directory declares 4 GiB in a file of some hundred bytes.
    small = io.BytesIO()
    with zipfile.ZipFile(small, "w") as archive:
        archive.writestr("x.npy", _npy((5, 2), bytes(80)))
    data = bytearray(small.getvalue())
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = b"\xf0\xff\xff\xff"
    error = message(read_features, write(tmp_path, "liar.npz", bytes(data)), feature_names=None, target_name=None)
    assert "truncated or oversized" in error
    with zipfile.ZipFile(tmp_path / "lzma.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x.npy", _npy((5, 2), bytes(80)))
    error = message(read_features, tmp_path / "lzma.npz", feature_names=None, target_name=None)
    assert "expected it stored or deflated" in error


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04" + bytes(40)])
def test_no_npz(tmp_path, content):
    assert "broken: expected an .npz archive" in message(read_dataset, write(tmp_path, "a.npz", content))


# LIBSVM


@pytest.mark.parametrize("suffix", ["libsvm", "svm", "svmlight", "SVM"])
def test_libsvm(tmp_path, suffix):
    path = write(tmp_path, f"a.{suffix}", "+1 1:0.5 3:2 # one\n-1 2:1\n")
    dataset = read_dataset(path)
    assert dataset.x.tolist() == [[0.5, 0, 2], [0, 1, 0]]
    assert dataset.y.tolist() == [1, -1]
    assert dataset.y.dtype == np.int64
    x, _ = read_features(path, feature_names=None, target_name=None, n_features=5)
    assert x.tolist() == [[0.5, 0, 2, 0, 0], [0, 1, 0, 0, 0]]
    assert "expected 2, as in training; received index 3" in message(
        read_features, path, feature_names=None, target_name=None, n_features=2
    )


def test_libsvm_regression(tmp_path):
    assert read_dataset(write(tmp_path, "a.svm", "1.5 1:1\n2 1:2\n")).y.tolist() == [1.5, 2.0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["empty file"]),
        ("\n", ["a.svm"]),
        ("1 1:x\n", ["LIBSVM format"]),
        ("1 red\n", ["LIBSVM format"]),
        ("1 3:1 1:2\n", ["LIBSVM format"]),
        ("1 999999999:1\n0 1:1\n", ["too large", "2 rows of 999999999 features"]),
        ("1 99999999999999999999999:1\n", ["LIBSVM format"]),
        ("1 1:nan\n", ["received nan in column 1, row 1"]),
        ("1 1:1e999\n", ["received inf in column 1, row 1"]),
        ("nan 1:1\n", ["targets", "received nan in row 1"]),
        (b"\xff\xfe\n", ["LIBSVM format"]),
    ],
)
def test_bad_libsvm(tmp_path, content, words, monkeypatch):
    monkeypatch.setattr(common, "max_array_bytes", lambda: 1 << 30)
    error = message(read_dataset, write(tmp_path, "a.svm", content))
    assert all(word in error for word in words), error


# Any format


@pytest.mark.parametrize("name", ["missing.csv", "missing.npz", "missing", "no/such/folder"])
def test_missing_files(tmp_path, name):
    error = message(read_dataset, tmp_path / name)
    assert error.startswith(str(tmp_path / name))
    assert "no such file or folder" in error


@pytest.mark.parametrize("name", ["photo.jpg", "model", "train-images-idx3-ubyte.gz"])
def test_unknown_formats(tmp_path, name):
    error = message(read_dataset, write(tmp_path, name, bytes(range(256))))
    assert "unknown format" in error
    assert ".libsvm, .npy, .npz, .svm, .svmlight, .csv, .tsv" in error


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
@pytest.mark.parametrize(("name", "words"), [("a.csv", "not a regular file"), ("a.npz", "unknown format")])
def test_a_pipe_is_no_file(tmp_path, name, words):
    os.mkfifo(tmp_path / name)
    assert words in message(read_dataset, tmp_path / name)


def test_a_path_too_long_or_odd(tmp_path):
    assert "cannot be read" in message(read_dataset, tmp_path / ("x" * 5000 + ".csv"))
    assert "no such file" in message(read_dataset, "a\nb.csv")


@pytest.mark.parametrize("suffix", [".csv", ".npz", ".npy", ".svm", ".parquet"])
def test_an_unreadable_file(tmp_path, suffix, monkeypatch):
    path = write(tmp_path, "X" + suffix, "1")
    np.save(tmp_path / "y.npy", Y)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("io.open", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    if suffix == ".parquet":
        pytest.importorskip("pyarrow.parquet")
        monkeypatch.setattr("pyarrow.parquet.ParquetFile", refuse)
    assert "Permission denied" in message(read_dataset, path)


# Prediction


def test_features_of_arrays_are_counted(tmp_path):
    np.savez(tmp_path / "a.npz", x=X, y=Y)
    for keywords in ({"n_features": 3, "feature_names": None}, {"feature_names": ["a", "b", "c"]}):
        error = message(read_features, tmp_path / "a.npz", target_name=None, **keywords)
        assert "expected 3, as in training; received 2" in error
    np.savez(tmp_path / "new.npz", x=X)
    assert read_features(tmp_path / "new.npz", feature_names=["a", "b"], target_name="t")[1] is None


def test_a_folder_to_predict_needs_neither_labels_nor_a_training_part(tmp_path):
    write(tmp_path, TEST_IMAGES, idx(IMAGES))
    x, y = read_features(tmp_path, feature_names=None, target_name=None, n_features=12)
    assert (x.shape, y) == ((5, 12), None)
    write_idx(tmp_path)
    x, y = read_features(tmp_path, feature_names=None, target_name=None, n_features=12)
    assert (x.shape, y.tolist()) == ((2, 12), [0, 1])


def test_memory_has_a_limit(tmp_path, monkeypatch):
    assert common.max_array_bytes() > 1 << 28
    # What a container may use counts, beside what the machine has free.
    monkeypatch.setattr(memory, "_CONTAINER", (write(tmp_path, "memory.max", f"{current_bytes() + (100 << 20)}\n"),))
    assert 40 << 20 < common.max_array_bytes() < 60 << 20
    monkeypatch.setattr(memory, "_CONTAINER", (write(tmp_path, "memory.max", "max\n"), tmp_path / "missing"))
    assert common.max_array_bytes() > 1 << 28
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "missing")
    assert common.max_array_bytes() > 1 << 28
    monkeypatch.delattr(os, "sysconf", raising=False)
    assert common.max_array_bytes() == 8 << 30
