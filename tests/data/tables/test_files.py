"""Tables of text in files: the cells are those that were written, in memory and in pieces, and errors name the line."""

from __future__ import annotations

import bz2
import gzip
import io
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from xpnet.data.readers import common
from xpnet.data.tables import text_table
from xpnet.data.tables.files import TABLE_SUFFIXES, TableFile, TableOptions, is_table
from xpnet.data.tables.text_header import MISSING
from xpnet.errors import DataError, InvalidParameterError

FEW = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def small_pieces(monkeypatch: pytest.MonkeyPatch, size: int = 64) -> None:
    for name in ("_BLOCK_BYTES", "_PIECE_BYTES"):
        monkeypatch.setattr(text_table, name, size)
    monkeypatch.setattr(text_table, "_BLOCK_BYTES_PER_COLUMN", 0)


def write(content: str | bytes, name: str = "table.csv") -> str:
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    return name


def blocks(table: TableFile) -> pa.Table:
    return pa.concat_tables([table.read_block(i) for i in range(len(table.block_sizes()))])


def read(content: str | bytes, name: str = "table.csv", **options: Any) -> dict[str, list[str | None]]:
    """Return the columns of a table, which are the same in pieces."""
    table = TableFile(write(content, name), TableOptions(**options))
    whole = table.read()
    assert blocks(table).equals(whole)
    assert whole.schema.equals(table.schema, check_metadata=True)
    return whole.to_pydict()


def message(content: str | bytes, name: str = "table.csv", **options: Any) -> str:
    """Return the error of reading a table, which is the same in pieces."""
    texts = []
    for use in (TableFile.read, TableFile.block_sizes):
        with pytest.raises(DataError) as caught:
            use(TableFile(write(content, name), TableOptions(**options)))
        texts.append(str(caught.value))
    assert texts[0] == texts[1]
    assert texts[0].startswith(f"{name}: ")
    assert "\n" not in texts[0]
    assert len(texts[0]) < 600
    return texts[0]


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("a,b\n1,x\n2,y\n", {"a": ["1", "2"], "b": ["x", "y"]}),
        ("1,x\n2,x\n3,x", {"1": ["1", "2", "3"], "2": ["x"] * 3}),
        ("a,b\r\n\r\n1,x\r\n  \r\n2,y\r\n\r\n", {"a": ["1", "2"], "b": ["x", "y"]}),
        ("a,b\r1,x\r2,y\r", {"a": ["1", "2"], "b": ["x", "y"]}),
        ('a,b\n1,"x\ny"\n2,"say ""hi"""\n', {"a": ["1", "2"], "b": ["x\ny", 'say "hi"']}),
        ('a, b\n1, "x, y"\n2 , z \n', {"a": ["1", "2"], "b": ["x, y", "z"]}),
        ('a,b\n5" pipe,"two\nlines"\n6",x\n', {"a": ['5" pipe', '6"'], "b": ["two\nlines", "x"]}),
        ("a,b\n 1,\u00a0x\u00a0\n", {"a": ["1"], "b": ["x"]}),
        ("a,b\n?,NA\n , None \n007,nan\n", {"a": [None, None, "007"], "b": [None] * 3}),
        ('a,b\n"","NA"\n-,.\n', {"a": [None, "-"], "b": [None, "."]}),
        (" -2.48, 1\n", {"1": ["-2.48"], "2": ["1"]}),
        ('a\n""\n\n1\n', {"a": [None, "1"]}),
        ("a,b,\n1,2,\n3,4,\n", {"a": ["1", "3"], "b": ["2", "4"]}),
        ("a,b\n1,2,\n3,4,\n", {"a": ["1", "3"], "b": ["2", "4"]}),
        ("a;b;\n1;2; \n3;4;\n", {"a": ["1", "3"], "b": ["2", "4"]}),
        (",a,\n0,1,2\n1,3,4\n", {"": ["0", "1"], "a": ["1", "3"], "Unnamed: 2": ["2", "4"]}),
        ("a,b,a,a\n1,2,3,4\n", {"a": ["1"], "b": ["2"]}),
        ('"x" "y z"\n"r 1" 1.5 a\n"r 2"   2 "b c"  \n', {"": ["r 1", "r 2"], "x": ["1.5", "2"], "y z": ["a", "b c"]}),
        ("a\tb\n\t1\n2\t\n", {"a": [None, "2"], "b": ["1", None]}),
        ('a\tb\n"\tx"\t1\n', {"a": ["x"], "b": ["1"]}),
        ('a;b\n1;"\n x \n"\n', {"a": ["1"], "b": ["x"]}),
        ('1\t\t"x"\n2\t\t"y"\n', {"1": ["1", "2"], "2": [None, None], "3": ["x", "y"]}),
    ],
)
def test_cells(text: str, columns: dict[str, list[str | None]]) -> None:
    assert read(text) == columns


def test_what_a_table_says_of_itself() -> None:
    table = TableFile(write("a;b;a\n1,5;2;3\n", "my.data.csv"))
    assert (table.name, table.has_header, table.duplicates) == ("my.data", True, ("a",))
    assert table.schema == pa.schema([("a", pa.string()), ("b", pa.string())])
    assert table.schema.metadata == table.read().schema.metadata == {b"decimal": b","}
    assert table.read_block(0, ["b"]).schema.metadata == {b"decimal": b","}
    assert not table.is_sequential
    other = TableFile(write("1,2\n3,4\n", "b.csv.gz.csv"))
    assert (other.has_header, other.schema.names) == (False, ["1", "2"])
    assert not other.schema.metadata


def test_columns_are_chosen_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    small_pieces(monkeypatch)
    table = TableFile(write("a,b,c\n" + "".join(f"{i},{i}b,{i}c\n" for i in range(100))))
    assert len(table.block_sizes()) > 5
    part = table.read(["c", "a"])
    assert part.column_names == ["c", "a"]
    assert part.equals(table.read().select(["c", "a"]))
    assert pa.concat_tables([table.read_block(i, ["c", "a"]) for i in range(len(table.block_sizes()))]).equals(part)
    with pytest.raises(DataError, match=r"table.csv: missing columns: expected d; received a, b, c"):
        table.read(["a", "d"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_encodings_are_found(encoding: str, newline: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small_pieces(monkeypatch)
    rows = ["größe,text", *(f"{i},naïve {i} €" for i in range(200))]
    columns = read(newline.join([*rows, ""]).encode(encoding))
    assert columns == {"größe": [str(i) for i in range(200)], "text": [f"naïve {i} €" for i in range(200)]}


def test_other_encodings_are_named_and_stated() -> None:
    data = ("a,b\n" + "1,2\n" * 5 + "1,café\n").encode("cp1252")
    assert "line 7: expected text in UTF-8; received the byte 0xe9; give the file's encoding (--encoding)" in message(
        data
    )
    assert "probably cp1252" in message(data)
    late = b"a,b\n" + b"1,2\n" * 100_000 + b"1,caf\xe9\n"
    assert "line 100002: expected text in UTF-8" in message(late)
    assert read(data, encoding="cp1252")["b"][-1] == "café"
    assert read("a,b\n1,я\n".encode("cp1251"), encoding="windows-1251")["b"] == ["я"]
    assert read("a,b\n1,я\n".encode("utf-16"), encoding="utf-16")["b"] == ["я"]
    assert "expected text in ASCII" not in message(data, encoding="ascii")
    for wrong in ("utf-9", "hex", ""):
        with pytest.raises(InvalidParameterError, match="encoding: expected the name of a text encoding"):
            TableFile("table.csv", TableOptions(encoding=wrong))


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".zst", None)])
def test_compressed_text(suffix: str, pack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    small_pieces(monkeypatch)
    text = ("a,b\n" + "".join(f"{i},{i % 7}\n" for i in range(500))).encode()
    packed = pa.compress(text, "zstd", asbytes=True) if pack is None else pack(text)
    for name in (f"t.csv{suffix}", "t.csv"):  # also by its content
        columns = read(packed, name)
        assert columns["a"] == [str(i) for i in range(500)]
        table = TableFile(name)
        assert (table.is_sequential, table.name) == (True, "t")
        n = len(table.block_sizes())
        assert n > 10
        order = random.Random(0).sample(range(n), n)
        whole = [table.read_block(i) for i in range(n)]
        assert all(table.read_block(i).equals(whole[i]) for i in order)
        assert table.where(499) == "line 501"
    assert "damaged" in message(packed[:-9], f"t.csv{suffix}")
    if pack is gzip.compress:
        assert read(pack(b"a,b\n1,2\n") + pack(b"3,4\n"))["a"] == ["1", "3"]


def test_the_memory_of_a_table_is_estimated() -> None:
    text = ("a,b\n" + "".join(f"{i},{i % 7}\n" for i in range(100_000))).encode()
    for name, data in {"t.csv": text, "t.csv.gz": gzip.compress(text), "u.csv": text.decode().encode("utf-16")}.items():
        table = TableFile(write(data, name))
        assert 0.7 < table.n_bytes / table.read().nbytes < 1.4, name


@pytest.mark.parametrize("rows", [b"1,2\n", b"x", b'""', b",", bytes(4)])
def test_a_bomb_is_refused_before_it_goes_off(rows: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "max_content_bytes", lambda *_, **__: 10**7)
    monkeypatch.setattr(text_table, "_MAX_ROW_BYTES", 10**7)
    packed = pa.compress(b"a,b\n" + rows * (10**8 // len(rows)), "zstd", asbytes=True)
    assert len(packed) < 50_000
    before = pa.total_allocated_bytes()
    with pytest.raises(
        DataError, match=r"^bomb.csv: (too large|line 2: (too long|open quote)|expected a table.* binary data)"
    ):
        TableFile(write(packed, "bomb.csv")).read()
    assert pa.total_allocated_bytes() - before < 3 * 10**7


def test_a_system_without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", start)
    with pytest.raises(DataError, match=r"^table.csv: cannot be read: expected to start a thread"):
        TableFile(write("a,b\n1,2\n"))


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    class Input:
        buffer = io.BytesIO(b"a;b\n1;2\n3;4\n")

    monkeypatch.setattr("sys.stdin", Input)
    table = TableFile("-")
    assert table.name == "stdin"
    assert table.read().to_pydict() == blocks(table).to_pydict() == {"a": ["1", "3"], "b": ["2", "4"]}
    assert is_table("-")


BAD = {
    "empty": (b"", ["empty file: expected rows"]),
    "blank": (b"\n \r\n", ["empty file"]),
    "only a header": (b"a,target\n", ["no samples", "only a, target", "--no-header"]),
    "too few cells": (b"a,b,target\n1,2,0\n1,2\n", ["line 3: uneven rows: expected 3 cells", "received 2", "','"]),
    "too many cells": (b"a,b,target\n1,2,0\n\n1,2,3,4\n", ["line 4: uneven rows: expected 3 cells", "received 4"]),
    "after a quoted line break": (b'a,b\n"1\n2\n3",2\n4\n', ["line 5: uneven rows"]),
    "a title": (b"Sales\n\na,b,c\n1,2,3\n4,5,6\n", ["line 3: uneven rows: expected 1 cells, as in the first row"]),
    "open quote": (b'a,b\n1,2\n3,"4\n5,6\n', ["line 3: open quote"]),
    "NUL": (b"a,b\n" + b"1,2\n" * 99 + b"\0,2\n", ["line 101: expected text; received a NUL byte"]),
    "binary": (bytes(range(256)) + bytes(99), ["received binary data"]),
    "behind the last delimiter": (
        b"a,b,\n" + b"1,2,\n" * 99_999 + b"1,2,3\n",
        ["line 100001: uneven rows: expected 2 cells"],
    ),
    "zip": (b"PK\x03\x04..", ["zip archive; unpack it"]),
    "xz": (b"\xfd7zXZ\x00..", ["unxz"]),
    "JSON": (b'[\n  {"a": 1}]', ["JSON; convert it"]),
    "JSON lines": (b'{"a": 1}\n{"a": 2}\n', ["JSON lines; convert them"]),
    "Excel": (b"PK\x03\x04[Content_Types].xml xl/workbook.xml", ["spreadsheet; save the sheet as CSV"]),
    "Arrow stream": (b"\xff\xff\xff\xff....", ["an Arrow stream"]),
    "tar": (b"name".ljust(257, b"\0") + b"ustar\0", ["tar archive; unpack it"]),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_told(case: str) -> None:
    content, words = BAD[case]
    error = message(content)
    assert all(word in error for word in words), error


def test_names_that_look_like_the_first_bytes_of_other_files() -> None:
    assert list(read("PAR1,ARROW1\n1,2\n")) == ["PAR1", "ARROW1"]
    assert list(read("BZh,FEA1\n1,2\n")) == ["BZh", "FEA1"]


def test_the_separator_that_would_explain_uneven_rows() -> None:
    error = message("a;b,c;d\n1;2,3;4\n5;6;7\n1,2;3;4\n", delimiter=",")
    assert (
        "line 3: uneven rows: expected 2 cells, as in the first row; received 1, with ',' between cells; with ';'"
        in error
    )
    assert "both have 3: give it (--delimiter)" in error


def test_places_that_hold_no_table() -> None:
    for name in ("missing.csv", "no/such"):
        with pytest.raises(DataError, match=rf"^{name}: no such file or folder"):
            TableFile(name)
    with pytest.raises(DataError, match=r"cannot be read"):
        TableFile("x" * 5000 + ".csv")
    Path("empty").mkdir()
    with pytest.raises(DataError, match=r"^empty: no tables: expected files ending in .csv"):
        TableFile("empty")


def test_a_file_that_changes_is_told() -> None:
    table = TableFile(write("a,b\n" + "1,2\n" * 100))
    table.block_sizes()
    with Path("table.csv").open("a") as file:
        file.write("3,4\n")
    for use in (lambda: table.read_block(0), table.read):
        with pytest.raises(DataError, match=r"changed while it was read: expected 404 bytes"):
            use()


def test_lines_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    small_pieces(monkeypatch)
    rows, lines, line = [], [], 3
    for i in range(200):
        rows.append(f'{i},"two\nlines"\n' if i % 3 else f"\n{i},x\n")
        lines.append(line + (i % 3 == 0))
        line += rows[-1].count("\n")
    table = TableFile(write('a,"the\nb"\n' + "".join(rows)))
    assert len(table.block_sizes()) > 20
    assert [table.where(i) for i in range(200)] == [f"line {n}" for n in lines]


# Folders


def test_a_folder_is_its_files_one_after_the_other() -> None:
    Path("folder").mkdir()
    write("of no concern", "folder/README.txt")
    write("a,b", "folder/.hidden.csv")
    write("a,b\n1,x\n2,y\n", "folder/1.csv")
    write("b;a\nz;3,5\n", "folder/2.csv")
    write(gzip.compress(b"a,b\n4,w\n"), "folder/3.csv.gz")
    table = TableFile("folder")
    assert is_table("folder")
    assert (table.name, table.is_sequential) == ("folder", True)
    assert table.read().to_pydict() == {"a": ["1", "2", "3,5", "4"], "b": ["x", "y", "z", "w"]}
    assert blocks(table).equals(table.read())
    assert table.schema.metadata == {b"decimal": b","}
    assert table.where(2) == "2.csv, line 2"
    assert table.reader().read(["b"]).to_pydict() == {"b": ["x", "y", "z", "w"]}


def test_the_first_file_tells_whether_there_are_headers() -> None:
    Path("folder").mkdir()
    write("1,x\n2,x\n", "folder/1.csv")
    write("3,z\n", "folder/2.csv")
    assert TableFile("folder").read().to_pydict() == {"1": ["1", "2", "3"], "2": ["x", "x", "z"]}
    write("2019,2020,kind\n1,2,a\n5,6,a\n", "folder/1.csv")
    write("2020,2019,kind\n3,4,a\n", "folder/2.csv")
    assert TableFile("folder").read().to_pydict() == {
        "2019": ["1", "5", "4"],
        "2020": ["2", "6", "3"],
        "kind": ["a"] * 3,
    }


def test_folders_that_do_not_fit() -> None:
    Path("folder").mkdir()
    write("a,b\n1.5,x\n", "folder/1.csv")
    write("a,c\n1,x\n", "folder/2.csv")
    with pytest.raises(DataError, match=r"^folder/2.csv: columns: expected those of 1.csv; .*missing b and extra c"):
        TableFile("folder")
    write("a;b\n1,5;x\n", "folder/2.csv")
    with pytest.raises(DataError, match=r"^folder/2.csv: decimal sign: expected a point, as in 1.csv"):
        TableFile("folder")
    write("a\tb\n1\tx\n", "folder/2.tsv")
    for use in (TableFile, is_table):
        with pytest.raises(DataError, match=r"^folder: files of several kinds: .* received .csv, .tsv"):
            use("folder")


def test_what_is_a_table() -> None:
    for name, content in {
        **{f"t{suffix}": b"a,b" for suffix in TABLE_SUFFIXES},
        "T.CSV": b"",
        "values": b"1,2\n",
        "values.dat": "1\t2\n".encode("utf-16"),
        "sheet.xlsx": b"PK\x03\x04",
        "records.json": b"[1]",
        "packed": gzip.compress(b"1,2\n"),
    }.items():
        assert is_table(write(content, name)), name
    for name, content in {
        "a.npy": b"1,2",
        "a.npz": b"PK\x03\x04",
        "a.svm": b"1 1:2",
        "b": bytes(range(64)),
        "c": b"",
    }.items():
        assert not is_table(write(content, name)), name
    assert not is_table("missing")
    Path("idx").mkdir()
    assert not is_table("idx")
    write("notes", "idx/README.txt")
    assert is_table("idx")
    write(b"", "idx/train-images-idx3-ubyte.gz")
    assert not is_table("idx")


# Any table

CHARACTERS = st.sampled_from("ab1 ,;|\t\"'.\n\ré€") | st.characters(codec="utf-8", exclude_characters="\0\x1f")


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[list[str]], bytes, dict[str, Any]]:
    """Draw the cells of a table, its text, and the options with which it is read back."""
    width, delimiter, newline = draw(st.integers(1, 4)), draw(st.sampled_from(",;\t|")), draw(st.sampled_from(NEWLINES))
    cells = st.lists(st.text(CHARACTERS, max_size=6), min_size=width, max_size=width)
    rows = draw(st.lists(cells, min_size=1, max_size=30))
    quotes_all = width == 1 or draw(st.booleans())  # an empty cell alone would be a blank row

    def written(cell: str) -> str:
        special = quotes_all or any(char in cell for char in f'"\r\n{delimiter}')
        return '"' + cell.replace('"', '""') + '"' if special else cell

    lines = [delimiter.join(map(written, row)) for row in [[f"name {i}" for i in range(width)], *rows]]
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    return rows, newline.join([*lines, ""]).encode(encoding), {"delimiter": delimiter, "header": True}


NEWLINES = ["\n", "\r\n", "\r"]


@FEW
@given(tables(), st.integers(1, 80))
def test_any_table_is_read_back(drawn: tuple[list[list[str]], bytes, dict[str, Any]], size: int) -> None:
    rows, data, options = drawn
    with pytest.MonkeyPatch.context() as monkeypatch:
        small_pieces(monkeypatch, size)
        columns = read(data, **options)
    trimmed = ([cell.strip(" \t\r\n\u00a0") for cell in row] for row in rows)
    expected = [tuple(None if cell in MISSING else cell for cell in row) for row in trimmed]
    assert list(zip(*columns.values(), strict=True)) == expected


@FEW
@given(st.text(st.sampled_from('a1,\n\r" ;\t'), max_size=60), st.integers(1, 40))
@example("1\r ", 1)
@example("1\r\r; ", 1)
@example('\t\r\t""\t', 1)
@example('1"\r"""\r""', 1)
def test_pieces_do_not_change_the_result(text: str, size: int) -> None:
    """Any text gives the same table, or the same error, however it is cut."""
    outcomes = []
    for each in (size, 1 << 20):
        with pytest.MonkeyPatch.context() as monkeypatch:
            small_pieces(monkeypatch, each)
            try:
                table = TableFile(write(text))
                outcomes.append((table.read().to_pydict(), blocks(table).to_pydict()))
            except DataError as exc:
                outcomes.append(str(exc))
    assert outcomes[0] == outcomes[1]
