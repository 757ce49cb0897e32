"""Tables and iterables read in pieces: the samples are those in memory, and errors name the place."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.command_line import refused, xpnet
from tests.data.test_streams import NETWORK, X, Y, all_of, buffered, feed_of, seen
from xpnet.data.readers import read_dataset
from xpnet.data.streams import IterableSource, csv, iterables, open_source
from xpnet.data.streams.source import Source
from xpnet.errors import DataError, InvalidParameterError
from xpnet.training.trainer import Trainer

LABELS = {"text": np.asarray(["no", "yes", "may be, or not"])[Y], "whole": Y - 1, "number": X[:, 0].astype(np.float64)}


@pytest.fixture(autouse=True)
def _small_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(csv, "BLOCK_BYTES", 2000)
    monkeypatch.setattr(iterables, "BLOCK_BYTES", 2000)


def write(suffix: str, labels: str = "text", path: str = "data", rows: slice = slice(None)) -> Path:
    x, y = X[rows], LABELS[labels][rows]
    names = [*"abcdef", "label"]
    file = Path(f"{path}{suffix}")
    if suffix == ".csv":
        quoted = [f'"{value}"' for value in y] if labels == "text" else map(str, y)
        lines = (",".join([*map(repr, row), label]) for row, label in zip(x.tolist(), quoted, strict=True))
        file.write_bytes("\r\n".join(["\ufeff" + ",".join(names), "", *lines, ""]).encode())
        return file
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    table = pa.table(dict(zip(names, [*x.T, y], strict=True)))
    if suffix == ".parquet":
        pa.parquet.write_table(table, file, row_group_size=64)
    else:
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=64)
    return file


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".arrow", ".feather"])
@pytest.mark.parametrize("labels", LABELS)
def test_a_table_in_pieces_is_the_table(suffix: str, labels: str) -> None:
    path = write(suffix, labels)
    whole, source = read_dataset(path), open_source(path)
    assert len(source.sizes) > 10
    x, y = all_of(source)
    np.testing.assert_array_equal(x, whole.x)
    np.testing.assert_array_equal(y, whole.y)
    assert y.dtype.kind == whole.y.dtype.kind
    assert (source.feature_names, source.target_name) == (whole.feature_names, whole.target_name)
    part = source.read(3, 0, 2, 5)
    np.testing.assert_array_equal(part[0], source.read(3)[0][2:5])


@pytest.mark.parametrize("header", ['a,b,"the\nkind"\n', ""])
def test_a_csv_with_quoted_line_breaks_or_without_a_header(header: str) -> None:
    Path("data.csv").write_text(header + ('1,2,"a\nb"\n\n3,4,c\n' if header else '1,2,"3"\n4,"\n5",6\n') * 300)
    target = "the\nkind" if header else "3"
    whole, source = read_dataset("data.csv", target=target), open_source("data.csv", target=target)
    assert len(source.sizes) > 2
    np.testing.assert_array_equal(all_of(source)[0], whole.x)
    np.testing.assert_array_equal(all_of(source)[1], whole.y)


def test_the_type_of_targets_is_that_of_the_whole_file() -> None:
    Path("data.csv").write_text("x,label\n" + "1,2\n" * 2000 + "1,2.5\n")
    assert {y.dtype for _, y in open_source("data.csv")} == {np.dtype(np.float64)}


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_a_folder_is_its_files_one_after_the_other(suffix: str) -> None:
    Path("folder").mkdir()
    Path("folder/README.txt").write_text("of no concern")
    for i, rows in enumerate((slice(0, 400), slice(400, 500), slice(500, None))):
        if suffix == ".npz":
            np.savez(f"folder/{i}.npz", x=X[rows], y=LABELS["text"][rows])
        else:
            write(suffix, path=f"folder/{i}", rows=rows)
    x, y = all_of(open_source("folder"))
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, LABELS["text"])
    code, out, err = xpnet("train", "folder", "--epochs", "2", "--json", "--quiet", "--device", "cpu", "--out", "run")
    assert code == 0, err
    assert json.loads(out)["task"] == "classification"


def test_folders_that_are_none() -> None:
    Path("folder").mkdir()
    assert "no IDX files: expected train-images" in refused("train", "folder")
    Path("folder/a.csv").write_text("x,label\n1,2\n")
    Path("folder/b.csv").write_text("z,label\n1,2\n")
    assert "expected the columns of" in refused("train", "folder")
    Path("folder/b.csv").rename("folder/b.parquet")
    assert "expected one of them; received .csv, .parquet" in refused("train", "folder")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2,x", "line 2001: uneven rows: expected 2 cells; received 3"),
        ("no,1", "line 2001, column 'x': expected a number, as a feature must be; received 'no'"),
        ("inf,1", "line 2001, column 'x': expected a finite number; received 'inf'"),
        ("1,", "line 2001, column 'label': missing target"),
        ("1,nan", "line 2001, column 'label': expected a finite target"),
        ('1,"2', "line 2001: expected comma-separated values"),
        ("1,\0", "line 2001: expected text; received a NUL byte"),
        ("1,\ud800", "expected text in UTF-8"),
    ],
)
def test_what_is_wrong_in_a_csv_is_told_by_its_line(line: str, message: str) -> None:
    text = "x,label\n" + "1,2\n" * 1999 + line
    Path("data.csv").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(DataError, match=rf"^data.csv: {re.escape(message)}"):
        list(open_source("data.csv"))


def test_what_is_wrong_in_parquet_is_told_by_its_row_group() -> None:
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    x = X[:, 0].copy()
    x[700] = np.nan
    pa.parquet.write_table(pa.table({"x": x, "label": Y}), "data.parquet", row_group_size=100)
    message = refused("train", "data.parquet", "--memory-limit", "60GB")
    assert "column 'x', row 701" in message  # small files are read into memory
    source = buffered(open_source("data.parquet"), 40)
    with pytest.raises(
        DataError, match=r"^data.parquet, row group 8: in epoch 1: features: .* nan in column 1, row 1;"
    ):
        Trainer(type(NETWORK)([1, 3]), shuffle=False, batch_size=20).fit(source)
    Path("data.parquet").write_bytes(Path("data.parquet").read_bytes()[:-100])
    with pytest.raises(DataError, match="changed while it was read"):
        source.read(0)
    with pytest.raises(DataError, match="broken: expected a Parquet"):
        open_source("data.parquet")


def test_row_groups_beyond_the_buffer_are_refused() -> None:
    source = open_source(write(".parquet"))
    source.buffer_bytes = 64 * source.row_bytes
    with pytest.raises(InvalidParameterError, match=r"beside a block of 64 samples; .*row groups"):
        Trainer(NETWORK).fit(source)


class Blocks:
    """Blocks of different sizes, the same in every epoch."""

    def __init__(self, n: int = 1003) -> None:
        self.n, self.epochs = n, 0

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        self.epochs += 1
        cuts = [0, 1, 300, 300, 310, self.n]
        for start, stop in itertools.pairwise(cuts):
            yield X[start:stop].tolist() if start == 1 else X[start:stop], Y[start:stop]


@pytest.mark.parametrize("blocks", [Blocks(), list(Blocks()), lambda: iter(Blocks())])
def test_iterables_give_their_samples_in_order(blocks: Any) -> None:
    source = IterableSource(blocks)
    assert (source.n_samples, source.n_features) == (1003, 6)
    np.testing.assert_array_equal(all_of(source)[0], X)
    rows, sizes = seen(feed_of(buffered(source, 100)), 2)
    assert sizes == [20] * 50 + [3]
    np.testing.assert_array_equal(rows[np.lexsort(rows.T)], X[np.lexsort(X.T)])
    assert not np.array_equal(rows, X)
    np.testing.assert_array_equal(seen(feed_of(buffered(IterableSource(blocks), 100)), 2, 33)[0], rows[660:])


def test_an_iterable_is_read_once_an_epoch_also_beside_a_validation_on_it() -> None:
    blocks = Blocks()
    source: Source = buffered(IterableSource(blocks), 100)
    Trainer(NETWORK, batch_size=20, epochs=3).fit(source, validation=source)
    assert blocks.epochs == 1 + 3 + 3  # counted, trained on, validated on


def test_an_iterable_can_be_read_from_before() -> None:
    source = IterableSource(Blocks())
    later, before = source.read(7)[0], source.read(2)[0]
    np.testing.assert_array_equal(np.concatenate([before, later]), np.concatenate([X[166:249], X[581:664]]))


def test_the_number_of_samples_may_be_given() -> None:
    def forever() -> Iterator[tuple[Any, Any]]:
        while True:
            yield X[:50], Y[:50]

    run = Trainer(NETWORK, epochs=2).fit(IterableSource(forever, n_samples=640))
    assert len(run.history) == 2


@pytest.mark.timeout(60)
def test_iterables_that_change_or_are_none() -> None:
    blocks = Blocks()
    source = buffered(IterableSource(blocks), 100)
    for n, received in ((900, 900), (1002, 1002)):
        blocks.n = n
        with pytest.raises(DataError, match=f"expected 1003 samples in each epoch; received {received};"):
            Trainer(NETWORK, batch_size=20).fit(source)
    blocks = Blocks(500)
    source = buffered(IterableSource(blocks), 100)
    blocks.n = 501
    with pytest.raises(DataError, match="expected 500 samples, as in the first pass; received more"):
        Trainer(NETWORK, batch_size=20).fit(source)
    with pytest.raises(InvalidParameterError, match="received an iterator, which is used up"):
        IterableSource(iter(Blocks()))
    for wrong in ([(X, Y[:-1])], [X], [(X[:, 0], Y)], [(X, Y[:, None, None])]):
        with pytest.raises(DataError, match="block 1: expected"):
            IterableSource(wrong)
    with pytest.raises(DataError, match="no samples"):
        IterableSource([])


@pytest.mark.timeout(60)
def test_an_iterable_of_other_features_later() -> None:
    blocks = [(np.zeros((50, 4)), np.zeros(50)), (np.zeros((50, 1)), np.zeros(50))]
    with pytest.raises(DataError, match=r"block 2: expected 4 features, as in the first; received 1"):
        IterableSource(blocks)


def test_an_iterable_that_raises_in_a_later_epoch() -> None:
    epochs = iter(range(100))

    def blocks() -> Iterator[tuple[Any, Any]]:
        epoch = next(epochs)
        yield X[:500], Y[:500]
        if epoch == 3:
            raise ConnectionError("the sensor is gone")
        yield X[500:], Y[500:]

    with pytest.raises(ConnectionError, match="the sensor is gone"):
        Trainer(NETWORK, batch_size=20, epochs=9).fit(buffered(IterableSource(blocks), 100))
