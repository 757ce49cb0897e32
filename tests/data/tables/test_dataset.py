"""Tables as data sets: in memory and in pieces they give the same numbers, and the same errors with their places."""

from __future__ import annotations

import gzip
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.command_line import xpnet
from xpnet.data.readers import read_dataset, read_features
from xpnet.data.streams import open_source
from xpnet.data.tables import text_table
from xpnet.errors import DataError, InvalidParameterError, XpnetWarning
from xpnet.nn.network import Network
from xpnet.training.trainer import Trainer

RNG = np.random.default_rng(5)
X = RNG.normal(size=(1003, 6)).astype(np.float32)
Y = RNG.integers(0, 3, 1003)
LABELS: dict[str, Any] = {
    "text": np.asarray(["no", "yes", "may be, or not"])[Y],
    "whole": Y - 1,
    "number": X[:, 0].astype(np.float64),
}
NAMES = [*"abcdef", "label"]


@pytest.fixture(autouse=True)
def _small_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(text_table, "_BLOCK_BYTES", 2000)
    monkeypatch.setattr(text_table, "_BLOCK_BYTES_PER_COLUMN", 0)


def write(path: str, content: str | bytes | dict[str, Any]) -> Path:
    file = Path(path)
    if isinstance(content, dict):
        pq.write_table(pa.table(content), file, row_group_size=64)
    else:
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def as_csv(x: Any, y: Any) -> bytes:
    lines = (",".join([*map(repr, row), f'"{label}"']) for row, label in zip(x.tolist(), y, strict=True))
    return "\r\n".join(["\ufeff" + ",".join(NAMES), "", *lines, ""]).encode()


def write_kind(suffix: str, y: Any, path: str = "data", x: Any = X) -> Path:
    file = Path(path + suffix)
    table = pa.table(dict(zip(NAMES, [*x.T, y], strict=True)))
    if suffix == ".parquet":
        pq.write_table(table, file, row_group_size=64)
    elif suffix.startswith(".csv"):
        text = as_csv(x, y)
        file.write_bytes(gzip.compress(text) if suffix.endswith(".gz") else text)
    else:
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=64)
    return file


def compare(path: Path, target: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read in memory and in pieces, compare, and return the samples."""
    whole, source = read_dataset(path, target=target), open_source(path, target=target)
    blocks = [source.read(block) for block in range(len(source.sizes))]
    assert [len(x) for x, _ in blocks] == source.sizes.tolist()
    x, y = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    np.testing.assert_array_equal(x, whole.x, strict=True)
    np.testing.assert_array_equal(y, whole.y, strict=True)
    assert (source.feature_names, source.target_name) == (whole.feature_names, whole.target_name)
    assert source.row_bytes == x.itemsize * x.shape[1]
    for block in (0, len(blocks) // 2):
        part = source.reader().read(block, 0, 1, 3)
        np.testing.assert_array_equal(part[0], blocks[block][0][1:3])
        np.testing.assert_array_equal(part[1], blocks[block][1][1:3])
    return x, y


def message(use: Callable[..., Any], *arguments: Any, **keywords: Any) -> str:
    with pytest.raises(DataError) as caught:
        use(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    return str(caught.value)


# In memory and in pieces


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet", ".arrow", ".feather"])
@pytest.mark.parametrize("labels", LABELS)
def test_a_table_in_pieces_is_the_table(suffix: str, labels: str) -> None:
    path = write_kind(suffix, LABELS[labels])
    x, y = compare(path)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, LABELS[labels])
    assert len(open_source(path).sizes) > 10
    assert x.dtype == (np.float64 if suffix.startswith(".csv") else np.float32)
    assert y.dtype.kind == {"text": "O", "whole": "i", "number": "f"}[labels]
    assert read_dataset(path).name == "data"


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_rows_without_a_target_are_left_out(suffix: str) -> None:
    kept = RNG.random(len(X)) > 0.2
    kept[:64] = False  # no row of the first block is left
    y = np.where(kept, LABELS["text"], None)
    path = write_kind(suffix, y if suffix == ".parquet" else np.where(kept, LABELS["text"], "NA"))
    with pytest.warns(XpnetWarning, match=rf"left out: {(~kept).sum()} rows, .* without a target in column 'label'"):
        x, labels = compare(path)
    np.testing.assert_array_equal(x, X[kept])
    np.testing.assert_array_equal(labels, LABELS["text"][kept])
    with pytest.warns(XpnetWarning):
        source = open_source(path)
    source.buffer_bytes = 60_000
    run = Trainer(Network([6, 4, 3]), batch_size=20, epochs=2).fit(source.map(lambda x, y: (x, (y == "no") * 2)))
    assert len(run.history) == 2


def test_what_a_row_without_a_target_holds_does_not_matter() -> None:
    rows = [f"{i},{i % 5}" for i in range(2000)]
    rows[700], rows[701] = "red,", ",NA"
    with pytest.warns(XpnetWarning, match="2 rows, 2 without a target"):
        x, y = compare(write("data.csv", "\n".join(["x,label", *rows])))
    np.testing.assert_array_equal(x[:, 0], np.delete(np.arange(2000), [700, 701]))
    assert y.dtype == np.int64


def test_numbers_in_other_notations_are_read_as_in_the_whole_table() -> None:
    rows = [f"True;1.{i % 1000:03d};{i};{i % 2}" for i in range(1500)]
    rows += [f"False;1.{i % 1000:03d},5;{i},25;{i % 2}" for i in range(1500, 2000)]
    x, _ = compare(write("data.csv", "\n".join(["a;b;c;label", *rows])))
    assert x[[0, 1999], 0].tolist() == [1, 0]
    assert x[[3, 1999], 1].tolist() == [1003, 1999.5]
    assert x[[3, 1999], 2].tolist() == [3, 1999.25]


def test_the_type_of_targets_is_that_of_the_whole_file() -> None:
    write("data.csv", "x,label\n" + "".join(f"{i},2\n" for i in range(2000)) + "1,2.5\n")
    assert {y.dtype for _, y in open_source("data.csv")} == {np.dtype(np.float64)}
    compare(Path("data.csv"))


@pytest.mark.parametrize("header", ['a,b,"the\nkind"\n', ""])
def test_quoted_line_breaks_and_no_header(header: str) -> None:
    path = write("data.csv", header + ('1,2,"a\nb"\n\n3,4,c\n' if header else '1,2,"3"\n4,"\n5",6\n') * 300)
    x, _ = compare(path, "the\nkind" if header else "3")
    assert x.tolist() == [[1, 2], [3, 4] if header else [4, 5]] * 300


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_a_folder_is_its_files_one_after_the_other(suffix: str) -> None:
    Path("folder").mkdir()
    write("folder/README.txt", "of no concern")
    for i, rows in enumerate((slice(0, 400), slice(400, 500), slice(500, None))):
        if suffix == ".npz":
            np.savez(f"folder/{i}.npz", x=X[rows], y=LABELS["text"][rows])
        else:
            write_kind(suffix, LABELS["text"][rows], f"folder/{i}", X[rows])
    if suffix == ".npz":
        source = open_source("folder")
        x, y = (np.concatenate(parts) for parts in zip(*source, strict=True))
    else:
        x, y = compare(Path("folder"))
        assert read_dataset("folder").name == "folder"
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, LABELS["text"])
    code, out, err = xpnet("train", "folder", "--epochs", "2", "--json", "--quiet", "--device", "cpu", "--out", "run")
    assert code == 0, err
    assert json.loads(out)["task"] == "classification"


def test_folders_that_are_none() -> None:
    Path("folder").mkdir()
    assert "no data: expected train-images" in message(open_source, "folder")
    write("folder/a.csv", "x,label\n1,2\n")
    write("folder/b.csv", "z,label\n1,2\n")
    assert "b.csv: columns: expected those of a.csv; received missing x and extra z" in message(read_dataset, "folder")
    Path("folder/b.csv").rename("folder/b.parquet")
    assert "expected one of them; received .csv, .parquet" in message(open_source, "folder")


def test_row_groups_beyond_the_buffer_are_refused() -> None:
    source = open_source(write_kind(".parquet", LABELS["text"]))
    source.buffer_bytes = 64 * source.row_bytes
    with pytest.raises(InvalidParameterError, match=r"and a block of 64 samples; .*row groups"):
        Trainer(Network([6, 3])).fit(source)


# What columns become


@pytest.mark.parametrize(
    ("text", "target", "names", "target_name", "x", "y"),
    [
        ("a,b,target\n1,2,0\n3,4,1\n", None, ("a", "b"), "target", [[1, 2], [3, 4]], [0, 1]),
        ("Label,a\nx,1\ny,2\n", None, ("a",), "Label", [[1], [2]], ["x", "y"]),
        ("y,class,a\n1,2,3\n4,5,6\n", None, ("y", "a"), "class", [[1, 3], [4, 6]], [2, 5]),
        ("a,price\n1,2.5\n3,1e3\n", "price", ("a",), "price", [[1], [3]], [2.5, 1000.0]),
        ("1,2,0\n3,4,1\n", "3", None, "3", [[1, 2], [3, 4]], [0, 1]),
        ("5,2,0\n3,4,1\n", "1", None, "1", [[2, 0], [4, 1]], [5, 3]),
        ('\ufeff"a,b", y \r\n\r\n"1",two\r\n-.5e1, "say ""hi"""\r\n', None, ("a,b",), "y", [[1], [-5]],
         ["two", 'say "hi"']),
        ("a,y\n1,99999999999999999999\n2,1\n", None, ("a",), "y", [[1], [2]], ["99999999999999999999", "1"]),
        ("a,y\n1,007\n2,010\n", None, ("a",), "y", [[1], [2]], ["007", "010"]),
        ("a,y\n1,5\n2,-3\n", None, ("a",), "y", [[1], [2]], [5, -3]),
        ("a,y\n1,True\n2,False\n", None, ("a",), "y", [[1], [2]], [True, False]),
        ("a;y\n1,5;0\n2,5;1\n", None, ("a",), "y", [[1.5], [2.5]], [0, 1]),
        ('a,y\n"1,234.5",$5\n$2,"$1,000"\n', None, ("a",), "y", [[1234.5], [2]], [5.0, 1000.0]),
        ("a,b,y\nyes,5%,0\nno,12%,1\n", None, ("a", "b"), "y", [[1, 5], [0, 12]], [0, 1]),
        ("a,a,y\n1,2,0\n3,4,1\n", None, ("a",), "y", [[1], [3]], [0, 1]),
    ],
)  # fmt: skip
def test_text_as_numbers(
    text: str, target: str | None, names: Any, target_name: str, x: list[Any], y: list[Any]
) -> None:
    dataset = read_dataset(write("table.csv", text), target=target)
    assert dataset.name == "table"
    assert (dataset.feature_names, dataset.target_name) == (names, target_name)
    assert (dataset.x.tolist(), dataset.x.dtype) == (x, np.float64)
    assert dataset.y.tolist() == y
    assert [type(value) for value in dataset.y.tolist()] == [type(value) for value in y]
    compare(Path("table.csv"), target)


def test_types_of_parquet() -> None:
    single, kinds = pa.array([1.0, 2.0], pa.float32()), pa.array(["u", "v"]).dictionary_encode()
    assert read_dataset(write("t.parquet", {"a": single, "target": [1, 2]})).x.dtype == np.float32
    decimal = pa.array([1, 2]).cast(pa.decimal128(20, 1))
    dataset = read_dataset(
        write("t.parquet", {"a": single, "b": decimal, "c": [True, False], "d": [7, 8], "kind": kinds}), target="kind"
    )
    assert dataset.x.dtype == np.float64
    assert dataset.x.tolist() == [[1, 1, 1, 7], [2, 2, 0, 8]]
    assert dataset.y.tolist() == ["u", "v"]


OTHER_FEATURES = {
    "text": ("a,b,y\n1,2,0\n1,red,1\n", "line 3, column 'b': expected finite numbers; received 'red'"),
    "text of a number": ("a,y\n1,0\n1_000,1\n", "line 3, column 'a': expected finite numbers; received '1_000'"),
    "missing": ("a,b,y\n1,2,0\n,3,1\n", "line 3, column 'a': expected finite numbers; received a missing value"),
    "nan": ("a,b,y\n1,2,0\n\n3,nan,1\n", "line 4, column 'b': expected finite numbers; received a missing value"),
    "infinity": ("a,y\n1,0\n-1e999,1\n", "line 3, column 'a': expected finite numbers; received infinity"),
    "date": ("a,y\n2012-01-31,0\n2012-02-01,1\n", "line 2, column 'a': expected finite numbers; received '2012-01-31'"),
    "token": ("a,y\n" + "".join(f"{i},{i % 2}\n" for i in range(30)) + "-,1\n", "line 32, column 'a': .*received '-'"),
}


@pytest.mark.parametrize("case", OTHER_FEATURES)
def test_features_that_are_no_numbers(case: str) -> None:
    text, error = OTHER_FEATURES[case]
    path = write("table.csv", text)
    dataset = read_dataset(path)
    assert isinstance(dataset.x, pa.Table)
    assert tuple(dataset.x.column_names) == dataset.feature_names
    assert len(dataset.x) == len(dataset.y) == len([line for line in text.splitlines() if line]) - 1
    found = message(open_source, path)
    assert re.match(rf"table\.csv: {error}; to train on columns of any type: xpnet train", found), found
    found = message(read_features, path, feature_names=dataset.feature_names, target_name="y")
    assert re.fullmatch(rf"table\.csv: {error}", found), found


def test_the_place_of_a_flaw_counts_rows_that_were_left_out() -> None:
    rows = [f"{i},{i % 5}" for i in range(1000)]
    rows[100], rows[800], rows[900] = "1,", "1,NA", "red,0"
    path = write("data.csv", "\n".join(["x,label", *rows]))
    with pytest.warns(XpnetWarning):
        assert "data.csv: line 902, column 'x'" in message(open_source, path)


def test_a_flaw_of_parquet_is_told_by_its_row() -> None:
    x = X[:, 0].copy()
    x[700] = np.nan
    write("data.parquet", {"x": x, "label": Y})
    assert "row 701, column 'x': expected finite numbers; received a missing value" in message(
        open_source, "data.parquet"
    )


# What is refused


REFUSED = {
    "empty": (b"", "empty"),
    "blank": (b"\n\n\r\n", "empty"),
    "only a header": (b"a,target\n", "no samples"),
    "no target": (b"a,b\n1,2\n", "no target: expected a column called target, label, class or y; received the columns"),
    "infinite target": (b"a,target\n1,0.5\n2,1e999\n", "expected finite numbers; received an infinite one in line 3"),
    "targets missing": (b"a,target\n1,\n2,NA\n", "target 'target': expected values; received 2 rows without any"),
    "two targets": (b"a,target,target\n1,0,1\n2,1,0\n", "expected one column 'target'; received several"),
    "only a target": (b"target\n1\n", "no features: expected at least one column beside the target"),
    "too few cells": (b"a,b,target\n1,2,0\n1,2\n", "line 3: uneven rows: expected 3 cells, as in the first row"),
    "too many cells": (b"a,b,target\n1,2,0\n1,2,3,4\n", "line 3: uneven rows"),
    "open quote": (b'a,target\n1,"x\n', "line 2: open quote"),
    "not UTF-8": (b"a,target\n1,caf\xe9\n", "UTF-8"),
    "NUL": (b"a,target\n1,0\n\x00,0\n", "NUL"),
    "names or values": (b"1,2,0\n3,4,1\n", "header: expected a first row of names or of values"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str) -> None:
    content, words = REFUSED[case]
    path = write("table.csv", content)
    for use in (read_dataset, open_source):
        found = message(use, path, target="1" if case == "names or values" else None)
        assert found.startswith("table.csv: ")
        assert words in found


def test_a_target_that_is_no_column() -> None:
    path = write("table.csv", "a,target\n1,2\n")
    for use in (read_dataset, open_source):
        assert "no target: expected a column 'price'; received the columns a, target" in message(
            use, path, target="price"
        )


def test_a_file_that_changes_is_told() -> None:
    rows = [f"{i},{i % 5 or ''}\n" for i in range(2000)]
    path = write("data.csv", "x,label\n" + "".join(rows))
    with pytest.warns(XpnetWarning):
        source = open_source(path)
    rows[300] = "3000,\n"
    write("data.csv", "x,label\n" + "".join(rows))
    assert "do not change" in message(lambda: list(source)) or "changed" in message(lambda: list(source))


def test_a_number_that_becomes_infinite_later_is_told_with_its_row() -> None:
    path = write_kind(".parquet", LABELS["number"])
    source = open_source(path)
    labels = LABELS["number"].copy()
    labels[700] = np.inf
    write_kind(".parquet", labels)
    found = message(lambda: list(source))
    assert "row 701" in found or "changed" in found


# Prediction


@pytest.mark.parametrize(
    ("text", "x", "y"),
    [
        ("a,b,t\n1,2,u\n", [[1, 2]], ["u"]),
        ("t,b,a\nu,2,1\n", [[1, 2]], ["u"]),
        ("b,a\n2,1\n", [[1, 2]], None),
        ("1,2\n", [[1, 2]], None),
        ("a,b,c,d\n1,2,x,\n", [[1, 2]], None),
    ],
)
def test_features_come_in_the_order_of_the_model(text: str, x: list[Any], y: Any) -> None:
    path = write("new.csv", text)
    got_x, got_y = read_features(path, feature_names=["a", "b"], target_name="t")
    assert got_x.tolist() == x
    assert (None if got_y is None else got_y.tolist()) == y


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,t\n1,u\n", "columns: expected the model's features a, b; received a table without b; rename or add"),
        ("A,b\n1,2\n", "received a table without a"),
        ("a,b\n1,x\n", "line 2, column 'b'"),
        ("1,2,3\n", "features: expected 2, as in training; received 3 columns: 1, 2, 3"),
    ],
)
def test_features_that_differ_from_those_of_the_model(text: str, words: str) -> None:
    assert words in message(read_features, write("new.csv", text), feature_names=["a", "b"], target_name="t")


def test_features_without_names_are_counted() -> None:
    path = write("new.csv", "1,2,0\n3,4,1\n")
    x, y = read_features(path, feature_names=None, target_name="3", n_features=2)
    assert y is not None
    assert (x.tolist(), y.tolist()) == ([[1, 2], [3, 4]], [0, 1])
    x, y = read_features(path, feature_names=None, target_name="3", n_features=3)
    assert (x.shape, y) == ((2, 3), None)
    assert "expected 5, as in training; received 2 columns" in message(
        read_features, path, feature_names=None, target_name="3", n_features=5
    )
    write("new.csv", "1,2,3\n3,4,1\n")  # the 3 is no name
    x, y = read_features(path, feature_names=None, target_name="3", n_features=2)
    assert x.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("0\n\n1", "expected a target in each row; left out: 1 row, 1 without a target in column 'y'"),
        ("\n".join("abcdefghijklm"), "expected numbers, or labels that several rows share"),
    ],
)
def test_a_prediction_is_for_all_rows_whatever_the_targets_are(target: str, words: str) -> None:
    labels = target.split("\n")
    path = write("new.csv", "a,y\n" + "".join(f"{i},{label}\n" for i, label in enumerate(labels)))
    with pytest.warns(XpnetWarning, match=rf"new.csv: the targets are not read: .*{words}"):
        x, y = read_features(path, feature_names=["a"], target_name="y")
    assert x[:, 0].tolist() == list(range(len(labels)))
    assert y is None


def test_targets_that_are_all_missing_are_none() -> None:
    path = write("new.csv", "a,y\n1,\n2,\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XpnetWarning)
        assert read_features(path, feature_names=["a"], target_name="y")[1] is None


def test_a_wide_table_is_read_a_column_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that is repeated for each of many columns, such as making a list of all, is quadratic."""
    path = write("wide.csv", ",".join([f"g{i}" for i in range(5000)] + ["label"]) + "\n" + ("1," * 5000 + "0\n") * 4)
    calls = 0
    original = text_table.TextTable.read

    def counted(self: Any, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        return original(self, *arguments)

    monkeypatch.setattr(text_table.TextTable, "read", counted)
    assert read_dataset(path).x.shape == (4, 5000)
    assert calls == 1
