"""Small files that become large: each is refused before the memory is taken, in one line that says what to do."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sklearn.datasets  # noqa: F401  # its own memory is not counted

from tests.traced import traced
from xpnet.data.readers import common, read_dataset
from xpnet.data.readers.common import check_content, kept_itemsize, max_content_bytes
from xpnet.data.scaling import Scaler
from xpnet.data.streams import open_source
from xpnet.data.tables.arrow_sizes import batch_sizes
from xpnet.data.tables.encoders import CategoryColumn
from xpnet.data.tables.encoding import TableEncoding
from xpnet.data.tables.files import TableFile
from xpnet.data.targets import encode_targets
from xpnet.errors import DataError

MILLION = 10**6


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(common, "_ALWAYS_ALLOWED", 16 << 20)  # a budget of 16 MiB, for small and fast tests


def save_npz(**arrays: tuple[str, tuple[int, ...]]) -> str:
    """Save arrays of zeros, deflated, without ever holding one in memory."""
    with zipfile.ZipFile("a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, (dtype, shape) in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                header = {"descr": dtype, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                size = int(np.prod(shape)) * np.dtype(dtype).itemsize
                for start in range(0, size, 1 << 20):
                    file.write(bytes(min(1 << 20, size - start)))
    return "a.npz"


def booleans() -> str:
    return save_npz(x=("|b1", (2500, 1000)), y=("|u1", (2500,)))


def several_parts() -> str:
    n = 625
    return save_npz(x=("<f8", (n, 2000)), y=("|u1", (n,)), x_test=("<f8", (n, 2000)), y_test=("|u1", (n,)))


def wide_text() -> str:
    return save_npz(x=("<f4", (125, 1)), y=("<U40000", (125,)))


def text_cells() -> str:
    return save_npz(x=("|S1", (625, 500)), y=("|u1", (625,)))


def many_outputs() -> str:
    return save_npz(x=("<f4", (2500, 1)), y=("|b1", (2500, 1000)))


def images() -> str:
    Path("f").mkdir()
    with gzip.open("f/train-images-idx3-ubyte.gz", "wb") as file:
        file.write(struct.pack(">HBB3I", 0, 9, 3, 2500, 20, 50) + bytes(2500 * 1000))
    with gzip.open("f/train-labels-idx1-ubyte.gz", "wb") as file:
        file.write(struct.pack(">HBBI", 0, 8, 1, 2500) + bytes(2500))
    return "f"


def libsvm() -> str:
    Path("a.svm").write_text("1 1:1\n0 10000000:1\n")
    return "a.svm"


def sparse_rows() -> str:
    Path("a.svm").write_text("1 2000:1\n" + "0\n" * 2000)
    return "a.svm"


def packed(codec: str, lines: bytes) -> str:
    with pa.OSFile("a.csv", "wb") as raw, pa.CompressedOutputStream(raw, codec) as file:
        file.write(b"a,b,target\n1,2,0\n" + lines)
    return "a.csv"


def many_columns() -> str:
    Path("a.csv").write_text("a," * 200_000 + "target\n" + "1," * 200_000 + "1\n")
    return "a.csv"


def arrow(compression: str | None, columns: dict[str, pa.Array], repeat: int = 1) -> str:
    table = pa.table(columns)
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.OSFile("a.arrow", "wb") as file, pa.ipc.new_file(file, table.schema, options=options) as writer:
        for _ in range(repeat):
            writer.write_table(table)
    return "a.arrow"


def arrow_buffers(compression: str) -> str:
    return arrow(
        compression,
        {"a": pa.array(np.zeros(2 * MILLION + MILLION // 2)), "target": pa.nulls(2 * MILLION + MILLION // 2)},
    )


def arrow_batches() -> str:
    return arrow("zstd", {"a": pa.array(np.zeros(MILLION // 4)), "target": pa.nulls(MILLION // 4)}, 10)


def arrow_nulls() -> str:
    return arrow(None, {"a": pa.nulls(10**7), "target": pa.nulls(10**7)})


def long_dictionary() -> pa.Array:
    return pa.DictionaryArray.from_arrays(np.zeros(MILLION // 10, np.int8), ["x" * 1000, "y"])


def arrow_dictionary() -> str:
    return arrow("zstd", {"a": long_dictionary(), "target": pa.array(np.arange(MILLION // 10) % 2 == 0)})


def arrow_views() -> str:
    views = np.tile(np.asarray([5000, 0x78787878, 0, 0], np.int32), MILLION // 10)
    buffers = [None, pa.py_buffer(views.tobytes()), pa.py_buffer(b"x" * 5000)]
    return arrow(
        "zstd",
        {"a": pa.Array.from_buffers(pa.string_view(), MILLION // 10, buffers), "target": pa.nulls(MILLION // 10)},
    )


def parquet(columns: dict[str, pa.Array], **options: object) -> str:
    pq.write_table(pa.table(columns), "a.parquet", compression="zstd", **options)
    return "a.parquet"


def parquet_runs() -> str:
    zeros = pa.array(np.zeros(MILLION // 10, np.int8))
    return parquet({**{f"c{i}": zeros for i in range(40)}, "target": zeros})


def parquet_dictionary() -> str:
    return parquet({"a": long_dictionary(), "target": pa.array(np.arange(MILLION // 10) % 2)})


def parquet_text(**options: object) -> str:
    text = pa.array(["x" * 50_000] * 500)
    return parquet({"a": text, "target": pa.array(np.arange(500) % 2)}, store_schema=False, **options)


BOMBS: dict[str, Callable[[], str]] = {
    **{each.__name__: each for each in (booleans, several_parts, wide_text, text_cells, many_outputs, images)},
    **{each.__name__: each for each in (libsvm, sparse_rows, many_columns)},
    **{each.__name__: each for each in (arrow_batches, arrow_nulls, arrow_dictionary, parquet_runs)},
    "zstd": lambda: arrow_buffers("zstd"),
    "parquet_dictionary": parquet_dictionary,
    "parquet_text": parquet_text,
    "parquet_prefixes": lambda: parquet_text(use_dictionary=False, column_encoding={"a": "DELTA_BYTE_ARRAY"}),
}
if hasattr(pa.Array, "from_buffers") and int(pa.__version__.split(".")[0]) > 17:  # pyarrow 17 cannot write views
    BOMBS["arrow_views"] = arrow_views


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_file_that_becomes_large_is_refused(bomb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of the budget is enough for all that Python and NumPy allocate before the refusal."""
    name = BOMBS[bomb]()
    assert sum(path.stat().st_size for path in Path().rglob("*") if path.is_file()) < MILLION
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    with (
        traced() as peak,
        pytest.raises(DataError, match=rf"^{name}\S*: (too large|line 1): expected at most (17 MB|131,072)") as info,
    ):
        read_dataset(name)
    assert "use fewer columns or rows, or store" in str(info.value) or "save the numbers as .npy" in str(info.value)
    assert peak() < 6 << 20
    del info
    assert pool.bytes_allocated() - before < 1 << 16


@pytest.mark.parametrize(
    ("codec", "lines"),
    [
        ("gzip", b"1,2,0\n" * 3 * MILLION),
        ("zstd", b"1,2,0\n" * 3 * MILLION),
        pytest.param("bz2", b"1,2,0\n" * 3 * MILLION, marks=pytest.mark.slow),
        pytest.param("zstd", b"\n" * 18 * MILLION, marks=pytest.mark.slow),
    ],
    ids=["gzip", "zstd", "bz2", "blank"],
)
def test_text_that_is_packed_too_well_is_refused(codec: str, lines: bytes) -> None:
    name = packed(codec, lines)
    for read in (read_dataset, open_source):  # in pieces, it would take no memory, but time
        with pytest.raises(DataError, match=r"^a.csv: too large: expected at most 17 MB in memory, for a file of"):
            read(name)


def test_the_budget_follows_the_size_of_the_file_and_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert max_content_bytes(0) == max_content_bytes(1 << 18) == 1 << 26
    assert max_content_bytes(2 << 20) == 1 << 29
    monkeypatch.setattr(common, "max_array_bytes", lambda: 10**9)
    assert max_content_bytes(10**9) == 10**9
    assert max_content_bytes(10**9, in_pieces=True) == 256 * 10**9
    check_content(Path("a"), 10**9, 10**9)
    with pytest.raises(DataError, match=r"half of the free memory; .*read it in pieces \(--memory-limit\)"):
        check_content(Path("a"), 10**9 + 1, 10**9)


@pytest.mark.parametrize(
    ("dtype", "size"), [("?", 8), ("u1", 1), ("i1", 8), ("f2", 8), ("f4", 4), ("f8", 8), ("U9", 100)]
)
def test_numbers_are_counted_as_they_are_kept(dtype: str, size: int) -> None:
    assert kept_itemsize(np.dtype(dtype)) == size
    if dtype != "U9":
        assert common.as_features(np.zeros((2, 2), dtype)).itemsize == size


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_the_sizes_in_an_arrow_file_are_those_of_its_batches(compression: str) -> None:
    columns = {"a": pa.array(np.arange(5000.0)), "b": pa.array(["u", None, "w", "x", "y"] * 1000)}
    name = arrow(compression, {**columns, "c": columns["b"].dictionary_encode()}, 3)
    with Path(name).open("rb") as file:
        dictionaries, batches = batch_sizes(file)
    with pa.ipc.open_file(name) as file:
        expected = [file.get_batch(i).nbytes for i in range(file.num_record_batches)]
    assert batches == pytest.approx(expected, rel=0.02)
    assert len(dictionaries) == 1
    with pytest.raises(ValueError, match="expected"):
        batch_sizes(io.BytesIO(b"ARROW1" * 9))


def test_text_that_repeats_within_the_budget_is_read_as_it_is() -> None:
    text = pa.array([f"{'x' * (i % 50)}{i % 7}" for i in range(5000)])
    table = pa.table({"a": text, "b": text.dictionary_encode(), "target": pa.array(np.arange(5000) % 2)})
    pq.write_table(table, "a.parquet", row_group_size=2000)
    assert TableFile("a.parquet").read().equals(table)


def test_features_are_counted_without_their_names() -> None:
    for n, pool, flag in ((2, False, False), (2, True, False), (5, True, True)):
        column = CategoryColumn("name", tuple("abcdefg"[:n]), pool, flag)
        assert column.n_features == len(column.feature_names)
    column = CategoryColumn("x" * MILLION, tuple(map(str, range(1000))), False, False)
    with traced() as peak:
        assert column.n_features == 1000
    assert peak() < MILLION


def test_a_long_text_is_no_label() -> None:
    labels = np.asarray(["no", "y" * 1001] * 9, dtype=object)
    with pytest.raises(DataError, match=r"class labels: expected at most 1,000 characters; received 1,001 in 'yyy"):
        encode_targets(labels, "classification")
    assert encode_targets(np.asarray(["no", "y" * 1000] * 9), "classification")[0].tolist() == [0, 1] * 9


def test_a_stored_array_that_is_read_in_pieces_is_compared_with_its_checksum() -> None:
    x = np.arange(4000.0).reshape(1000, 4)
    np.savez("a.npz", x=x, y=np.arange(1000) % 2)
    assert open_source("a.npz").n_samples == 1000
    data = bytearray(Path("a.npz").read_bytes())
    data[data.index(x.tobytes()) + 9000] ^= 1
    Path("a.npz").write_bytes(data)
    for read in (read_dataset, open_source):
        with pytest.raises(DataError, match=r"^a.npz: broken: .*Bad CRC-32 for file 'x.npy'"):
            read("a.npz")


def test_the_checksums_of_parquet_pages_are_compared() -> None:
    a = np.random.default_rng(0).random(1000)
    name = parquet({"a": pa.array(a), "target": pa.array(np.arange(1000) % 2)})
    pq.write_table(pq.read_table(name), name, compression="none", use_dictionary=False, write_page_checksum=True)
    data = bytearray(Path(name).read_bytes())
    data[data.index(a.tobytes()) + 4000] ^= 1
    Path(name).write_bytes(data)
    with pytest.raises(DataError, match=r"^a.parquet: broken: .*CRC"):
        read_dataset(name)


def test_moments_that_python_does_not_have_are_shown() -> None:
    far = pa.array(np.arange(10**7, 10**7 + 60).astype(np.int32)).cast(pa.date32())
    arrow(None, {"a": far, "target": pa.array(np.arange(60) % 2)})
    with pytest.raises(DataError, match="row 1, column 'a': expected finite numbers; received '29349-01-26'"):
        open_source("a.arrow")
    zone = pa.array(np.arange(60)).cast(pa.timestamp("us", "No/Where"))
    arrow(None, {"a": zone, "target": pa.array(np.arange(60) % 2)})
    with pytest.raises(DataError, match=r"column 'a': expected a known time zone; received .*No/Where"):
        read_dataset("a.arrow")


def test_names_that_are_no_text_are_refused() -> None:
    arrow(None, {"café": pa.array([1.0, 2]), "target": pa.array([0, 1])})
    Path("a.arrow").write_bytes(Path("a.arrow").read_bytes().replace("é".encode(), b"\xff\xfe"))
    with pytest.raises(DataError, match=r"^a.arrow: broken: expected an Arrow file"):
        read_dataset("a.arrow")


def test_equal_names_of_features_stay_different() -> None:
    columns = tuple(CategoryColumn("=" * i, ("=" * (8 - i), "b", "c"), False, False) for i in range(1, 8))
    encoding = TableEncoding(columns, np.empty(0), Scaler("standard", np.empty(0), np.empty(0)), {})
    names = [name for name in encoding.feature_names if name.startswith("=" * 9)]
    assert names == ["=" * 9 + "'" * i for i in range(7)]


def test_the_features_of_a_table_must_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sorted column of categories takes some bytes in a file, and a feature for each of them in memory."""
    names = [f"c{i}" for i in range(200)]
    nothing = np.empty(0)
    scaler = Scaler("standard", nothing, nothing)
    encoding = TableEncoding((CategoryColumn("c", tuple(names), False, False),), nothing, scaler, {})
    codes = pa.array(np.repeat(np.arange(200, dtype=np.int32), 1000))
    table = pa.table({"c": pa.DictionaryArray.from_arrays(codes, pa.array(names))})
    monkeypatch.setattr(common, "max_array_bytes", lambda: 32 << 20)
    with traced() as peak, pytest.raises(DataError, match=r"too large: .* 200,000 rows of .*\(--memory-limit\)"):
        encoding.transform(table)
    assert peak() < MILLION
