"""Parquet and Arrow files: types are kept, blocks are row groups and record batches, damage is told."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.tables.test_files import blocks
from xpnet.data.readers import common
from xpnet.data.tables.files import TableFile, is_table
from xpnet.errors import DataError

SUFFIXES = [".parquet", ".arrow", ".feather"]
N = 90
TEXT = pa.array(["red", "green", None] * 30)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(table: pa.Table, name: str, rows: int = 40) -> str:
    if name.endswith(".parquet"):
        pq.write_table(table, name, row_group_size=rows)
    else:
        with pa.OSFile(name, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=rows)
    return name


COLUMNS = {
    "number": pa.array(np.arange(N) / 2),
    "half": pa.array((np.arange(N) / 2).astype(np.float16)),
    "byte": pa.array(np.arange(N), pa.uint8()),
    "missing": pa.array([1, None, 3] * 30),
    "flag": pa.array([True, False, None] * 30),
    "decimal": pa.array([decimal.Decimal(i) / 4 for i in range(N)]),
    "day": pa.array([datetime.date(2020, 1, 1 + i % 9) for i in range(N)]),
    "time": pa.array([datetime.datetime(2020, 1, 1 + i % 9, 12) for i in range(N)], pa.timestamp("us", "UTC")),
    "text": TEXT,
    "large": TEXT.cast(pa.large_string()),
    "category": TEXT.dictionary_encode(),
    "a.b": pa.array(np.arange(N)),
    "__index_level_0__": pa.array(np.arange(N)),
}
with contextlib.suppress(pa.ArrowNotImplementedError):  # pyarrow 17 has the type, and cannot write it
    COLUMNS["view"] = TEXT.cast(pa.string_view())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_types_are_kept(suffix: str) -> None:
    expected = pa.table(COLUMNS)
    table = TableFile(write(expected, f"t{suffix}"))
    assert (table.name, table.has_header, table.duplicates, table.is_sequential) == ("t", True, (), False)
    if "view" in COLUMNS:  # becomes text in one piece, which pyarrow's functions take
        expected = expected.set_column(expected.num_columns - 1, "view", TEXT.cast(pa.large_string()))
    assert table.schema == expected.schema
    assert table.read().to_pydict() == expected.to_pydict()
    assert blocks(table).equals(table.read())
    assert table.block_sizes().tolist() == [40, 40, 10]
    for names in (["text", "number"], ["a.b"]):
        assert table.read(names).equals(expected.select(names))
        assert table.read_block(1, names).equals(expected.select(names).slice(40, 40))
    assert table.where(41) == "row 42"
    assert 0.2 * expected.nbytes < table.n_bytes < 5 * expected.nbytes


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_empty_blocks_are_passed_over(suffix: str) -> None:
    schema = pa.schema([("a", pa.int64())])
    parts = [pa.table({"a": part}, schema) for part in ([], [1, 2], [], [3])]
    with pa.OSFile(f"t{suffix}", "wb") as sink:
        writer: Any = pq.ParquetWriter if suffix == ".parquet" else pa.ipc.new_file
        with writer(sink, schema) as file:
            for part in parts:
                file.write_table(part)
    table = TableFile(f"t{suffix}")
    assert table.block_sizes().tolist() == [2, 1]
    assert blocks(table)["a"].to_pylist() == [1, 2, 3]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_first_of_columns_with_one_name_is_read(suffix: str) -> None:
    expected = pa.Table.from_arrays([pa.array([1]), pa.array(["x"]), pa.array([2.5]), pa.array([3])], list("abaa"))
    table = TableFile(write(expected, f"t{suffix}"))
    assert table.duplicates == ("a",)
    for read in (table.read, lambda names=None: table.read_block(0, names)):
        assert read().to_pydict() == {"a": [1], "b": ["x"]}
        assert read(["b", "a"]).to_pydict() == {"b": ["x"], "a": [1]}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "column", [pa.array([[1]]), pa.array([{"a": 1}]), pa.array([[(1, 2)]], pa.map_(pa.int64(), pa.int64()))]
)
def test_nested_columns_are_refused_by_name(suffix: str, column: pa.Array) -> None:
    table = TableFile(write(pa.table({"a": [1], "parts": column}), f"t{suffix}"))
    for read in (table.read, lambda: table.read_block(0)):
        with pytest.raises(DataError, match=rf"^t{suffix}: column 'parts': expected one value in each row"):
            read()
    assert table.read(["a"]).to_pydict() == {"a": [1]}  # where it is not wanted, it does no harm


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damage_and_emptiness(suffix: str) -> None:
    name = write(pa.table({"a": [1.0], "b": [2.0]}), f"t{suffix}")
    whole = Path(name).read_bytes()
    what = "a Parquet" if suffix == ".parquet" else "an Arrow"
    for content in (b"", b"nothing", whole[:-5], whole[:20] + bytes(20) + whole[40:-8] + bytes(8)):
        Path(name).write_bytes(content)
        with pytest.raises(DataError, match=rf"^t{suffix}: broken: expected {what} file") as caught:
            TableFile(name).read()
        assert "\n" not in str(caught.value)
    empty = TableFile(write(pa.table({"a": pa.array([], pa.int64())}), name))
    for use in (empty.read, empty.block_sizes):
        with pytest.raises(DataError, match=r"no samples: expected rows; received none"):
            use()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_changes_is_told(suffix: str) -> None:
    table = TableFile(write(pa.table(COLUMNS), f"t{suffix}"))
    with Path(f"t{suffix}").open("ab") as file:
        file.write(b"more")
    for use in (table.read, lambda: table.read_block(0)):
        with pytest.raises(DataError, match=r"changed while it was read"):
            use()


def test_a_table_beyond_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    table = TableFile(write(pa.table({"a": np.zeros(10**6)}), "t.parquet", 10**6))
    assert Path("t.parquet").stat().st_size < 10**5
    monkeypatch.setattr(common, "max_array_bytes", lambda: 10**6)
    for use in (table.read, lambda: table.read_block(0)):
        with pytest.raises(DataError, match=r"^t.parquet: too large: .* received content of 8 MB; use fewer"):
            use()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_content_tells_the_kind(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = pa.table({"a": [1, 2]})
    name = write(expected, f"t{suffix}")
    os.rename(name, "t.csv")
    assert TableFile("t.csv").read().equals(expected)
    os.rename("t.csv", "values")
    assert is_table("values")
    assert TableFile("values").read().equals(expected)

    class Input:
        buffer = io.BytesIO(Path("values").read_bytes())

    monkeypatch.setattr("sys.stdin", Input)
    table = TableFile("-")
    assert table.read().equals(expected)
    assert blocks(table).equals(expected)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_folder_has_the_types_of_all_its_files(suffix: str) -> None:
    Path("folder").mkdir()
    write(pa.table({"a": [1, 2], "b": ["x", "y"]}), f"folder/1{suffix}")
    write(pa.table({"b": pa.array(["z"], pa.large_string()), "a": [2.5]}), f"folder/2{suffix}")
    Path("folder/README.txt").write_text("of no concern")
    Path("folder/_SUCCESS").write_text("")
    table = TableFile("folder")
    assert table.schema.field("a").type == pa.float64()
    assert table.read().to_pydict() == {"a": [1, 2, 2.5], "b": ["x", "y", "z"]}
    assert blocks(table).equals(table.read())
    write(pa.table({"a": ["x"], "b": ["z"]}), f"folder/2{suffix}")
    with pytest.raises(DataError, match=rf"^folder/2{suffix}: types: expected those of 1{suffix}"):
        TableFile("folder")


def test_text_that_points_out_of_its_memory_is_refused() -> None:
    name = write(pa.table({"a": ["u", "v", "w"]}), "t.arrow")
    content = Path(name).read_bytes()
    ends = np.arange(4, dtype=np.int32).tobytes()
    assert content.count(ends) == 1
    for wrong in ([0, 1, 2, 2**30], [0, 2, 1, 3], [0, 1, 2, -(2**30)]):
        Path(name).write_bytes(content.replace(ends, np.asarray(wrong, np.int32).tobytes()))
        with pytest.raises(DataError, match=r"^t.arrow: broken: expected an Arrow file"):
            TableFile(name)


def test_damaged_metadata_of_a_column_do_not_end_the_process(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"day": ["mo", "tu"]}), path)
    # An unknown repetition of the column no longer fits its histogram of definition levels.
    path.write_bytes(path.read_bytes().replace(b"\x02\x18\x03day", b"\x0a\x18\x03day"))
    code = f"from xpnet.data.tables.files import TableFile; TableFile({str(path)!r}).read()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "DataError" in done.stderr  # not that of a signal
    assert done.returncode == 1


def test_ordinary_texts_are_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"t": [f"{i % 50}" for i in range(10_000)], "u": [f"{i}" for i in range(10_000)]}), path)
    sizes, real = [], pq.ParquetFile.iter_batches

    def spy(file: Any, batch_size: int, *arguments: Any, **options: Any) -> Any:
        sizes.append(batch_size)
        return real(file, batch_size, *arguments, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spy)
    assert TableFile(path).read().num_rows == 10_000
    assert set(sizes) == {1}  # rows that were looked at; the others are read at once
