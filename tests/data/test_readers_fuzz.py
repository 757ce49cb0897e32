"""Reading arbitrary bytes gives an error of one line or a data set that passes the checks."""

from __future__ import annotations

import gzip
import io
import struct
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.command_line import idx
from xpnet.data.checks import check_data
from xpnet.data.dataset import Dataset
from xpnet.data.readers import SUFFIXES, common, read_dataset, read_features
from xpnet.data.readers.idx import IDX_NAMES
from xpnet.data.targets import encode_targets, infer_task
from xpnet.errors import DataError, XpnetWarning

FEW = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def _little_memory(monkeypatch):
    monkeypatch.setattr(common, "max_array_bytes", lambda: 64 << 20)


def attempt(use: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """Call a function; return None after a `DataError` of one line. Any other exception is a bug."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", XpnetWarning)  # rows without a target
            return use(*arguments, **keywords)
    except DataError as exc:
        text = str(exc)
    assert "\n" not in text
    assert len(text) < 1500
    return None


def outcome(path: Path, target: str | None = None) -> Dataset | None:
    """Read for prediction and for training; return data that pass the checks, or None after an error."""
    attempt(read_features, path, feature_names=None, target_name=target)
    dataset: Dataset | None = attempt(read_dataset, path, target=target)
    if dataset is not None:
        assert len(dataset.x) == len(dataset.y) > 0
        if isinstance(dataset.x, np.ndarray):
            check_data(dataset.x, dataset.y, dataset.feature_names)
            assert dataset.x.dtype in (np.uint8, np.float32, np.float64)
            assert dataset.x.flags.writeable
        attempt(lambda: encode_targets(dataset.y, infer_task(dataset.y)))
    return dataset


def read_bytes(data: bytes, name: str, target: str | None = None) -> Dataset | None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        return outcome(path, target)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(save, **arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    save(stream, **arrays)
    return stream.getvalue()


def parquet() -> bytes:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    stream = io.BytesIO()
    pq.write_table(pa.table({"a": [1.0, 2.0, 3.0], "b": [4, 5, 6], "target": ["u", "v", "u"]}), stream)
    return stream.getvalue()


X, Y = np.arange(6.0).reshape(3, 2), np.array([0, 1, 1])
VALID = {
    "a.csv": b"a,b,target\n1,2,u\n3,4,v\n5,6,u\n",
    "b.csv": b"1,2,0\n3,4,1\n",
    "c.csv": b'\xef\xbb\xbf"a","b,c",y\r\n1,2e3,.5\r\n-1,"4",1\r\n',
    "a.libsvm": b"1 1:2 3:4\n-1 2:1.5 # comment\n1 qid:3 1:1\n",
    "a.npz": npz(np.savez, x=X, y=Y),
    "b.npz": npz(np.savez_compressed, x_train=X.astype(np.uint8), y_train=Y, x_test=X.astype(np.uint8), y_test=Y),
    "c.npz": npz(np.savez, X=X, y=np.array(["a", "b", "a"])),
    "a.parquet": parquet(),
}
TARGETS = {"b.csv": "3"}


@st.composite
def mutated(draw, valid: bytes) -> bytes:
    """Return a copy in which a few pieces are overwritten, inserted, deleted, cut or repeated."""
    data = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        stop = min(len(data), start + draw(st.integers(0, 8)))
        kind = draw(st.sampled_from(["overwrite", "insert", "delete", "cut", "repeat"]))
        piece = draw(st.binary(min_size=1, max_size=8) | st.sampled_from(PIECES))
        if kind == "overwrite":
            data[start : start + len(piece)] = piece
        elif kind == "insert":
            data[start:start] = piece
        elif kind == "delete":
            del data[start:stop]
        elif kind == "cut":
            del data[start:]
        else:
            data[start:start] = data[start:stop] * 3
    return bytes(data)


PIECES = [
    b"nan",
    b"1e999",
    b"-inf",
    b"9" * 30,
    b"\0",
    b"\n",
    b'"',
    b",",
    b":",
    b"\xff\xff\xff\xff",
    b"-1",
    b"1_0",
    b"(",
    b" ",
]


@pytest.mark.parametrize("name", VALID)
def test_the_unmutated_files_are_read(name):
    assert read_bytes(VALID[name], name, TARGETS.get(name)) is not None


@pytest.mark.parametrize("name", VALID)
@FEW
@given(data=st.data())
def test_mutated_files(name, data):
    read_bytes(data.draw(mutated(VALID[name])), name, TARGETS.get(name))


@pytest.mark.parametrize("suffix", SUFFIXES)
@FEW
@given(data=st.binary(max_size=200) | st.lists(st.sampled_from(PIECES)).map(b"".join))
def test_arbitrary_bytes(suffix, data):
    read_bytes(data, f"x{suffix}", "missing.npy" if suffix == ".npy" else None)


@FEW
@given(text=st.text(st.sampled_from('01.e-+,;"\n\r \tnaif_٣é\0'), max_size=80), target=st.none() | st.just("1"))
def test_csv_text(text, target):
    read_bytes(text.encode(), "x.csv", target)
    read_bytes(b"target,b\n1,2\n" + text.encode(), "x.csv", target)


@FEW
@given(text=st.text(st.sampled_from("01.e-:+ \n#qid,naf"), max_size=60))
def test_libsvm_text(text):
    read_bytes(text.encode(), "x.svm")


@FEW
@given(x=mutated(npy(X)), y=mutated(npy(Y)))
def test_npy_pairs(x, y):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "X.npy").write_bytes(x)
        (Path(folder) / "y.npy").write_bytes(y)
        outcome(Path(folder) / "X.npy")


@FEW
@given(header=st.text(st.sampled_from("{}()[]',:<>|\\iufcOUSVMm8410 TrueFalsedecrshapotn_x\n"), max_size=120))
def test_npy_headers(header):
    encoded = header.encode()
    read_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(encoded)) + encoded + bytes(48), "x.npy", "x.npy")


@FEW
@given(
    descr=st.sampled_from(
        ["<f8", ">f4", "|b1", "<U2", "|S3", "<U0", "|O", "<c16", "<M8[s]", "<f2", "<f16", "|V4", "<u8"]
    ),
    shape=st.lists(st.integers(-2, 3) | st.sampled_from([10**9, 2**63, 10**30]), max_size=4).map(tuple),
    order=st.booleans(),
    body=st.binary(max_size=64),
)
def test_npz_members_that_claim_anything(descr, shape, order, body):
    header = repr({"descr": descr, "fortran_order": order, "shape": shape}).encode()
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("x.npy", member)
        archive.writestr("y.npy", member)
    read_bytes(stream.getvalue(), "x.npz")


@FEW
@given(data=st.data(), zipped=st.booleans())
def test_mutated_idx_folders(data, zipped):
    images, labels = idx(np.arange(24).reshape(2, 3, 4)), idx(np.arange(2))
    with tempfile.TemporaryDirectory() as folder:
        for name, valid in zip(IDX_NAMES, [images, labels] * 2, strict=True):
            content = data.draw(st.just(valid) | mutated(valid) | st.binary(max_size=40))
            if zipped:
                content = data.draw(st.just(gzip.compress(content)) | mutated(gzip.compress(content)))
            (Path(folder) / (name + ".gz" * zipped)).write_bytes(content)
        outcome(Path(folder))


@FEW
@given(level=st.integers(0, 9), cut=st.integers(0, 60), tail=st.binary(max_size=20))
def test_gzip_wrappers(level, cut, tail):
    content = gzip.compress(idx(np.arange(12).reshape(3, 2, 2)), level)[: cut or None] + tail
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"{IDX_NAMES[0]}.gz").write_bytes(content)
        (Path(folder) / IDX_NAMES[1]).write_bytes(idx(np.arange(3)))
        outcome(Path(folder))
