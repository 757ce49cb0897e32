"""Reading arbitrary bytes gives a table or an error of one line."""

from __future__ import annotations

import bz2
import gzip
import io
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.test_readers_fuzz import mutated
from xpnet.data.readers import common
from xpnet.data.tables.files import TableFile, TableOptions, is_table
from xpnet.errors import DataError

FEW = settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def _little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "max_array_bytes", lambda: 64 << 20)


def parquet() -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table({"a": [1.0, 2.0, 3.0], "target": ["u", "v", "u"]}), stream, row_group_size=2)
    return stream.getvalue()


def arrow() -> bytes:
    stream = io.BytesIO()
    table = pa.table({"a": [1.0, 2.0, 3.0], "target": ["u", "v", "u"]})
    with pa.ipc.new_file(stream, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return stream.getvalue()


TEXT = b'a,b,target\n1,"x, ""y""\nz",u\n3, "4",v\n5,6,u\n'
VALID = {
    "a.csv": TEXT,
    "b.csv": "\ufeffa;b\r1,5;é\r2,5;ü\r".encode("utf-16"),
    "a.csv.gz": gzip.compress(TEXT),
    "a.csv.bz2": bz2.compress(TEXT),
    "a.csv.zst": pa.compress(TEXT, "zstd", asbytes=True),
    "a.parquet": parquet(),
    "a.arrow": arrow(),
}


def outcome(data: bytes, name: str, options: TableOptions = TableOptions()) -> tuple[pa.Table, pa.Table] | str:  # noqa: B008
    """Read a table whole and in pieces; return both, or the error."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        is_table(path)
        try:
            table = TableFile(path, options)
            assert table.n_bytes >= 0
            whole = table.read()
            sizes = table.block_sizes()
            assert table.where(whole.num_rows - 1)
            return whole, pa.concat_tables([table.read_block(i) for i in range(len(sizes))])
        except DataError as exc:
            text = str(exc)
    assert text.startswith(str(path))
    assert "\n" not in text
    assert len(text) < 1500
    return text


def check(data: bytes, name: str, options: TableOptions = TableOptions()) -> None:  # noqa: B008
    result = outcome(data, name, options)
    if not isinstance(result, str):
        assert result[0].equals(result[1])
        result[0].validate(full=True)


@pytest.mark.parametrize("name", VALID)
def test_the_unmutated_files_are_read(name: str) -> None:
    assert not isinstance(outcome(VALID[name], name), str)


@FEW
@pytest.mark.parametrize("name", VALID)
@given(data=st.data())
def test_mutated_files(name: str, data: st.DataObject) -> None:
    check(data.draw(mutated(VALID[name])), name)


@FEW
@given(st.sampled_from([".csv", ".parquet", ".arrow", ".csv.gz", ""]), st.binary(max_size=200))
def test_arbitrary_bytes(suffix: str, data: bytes) -> None:
    check(data, f"a{suffix}")


@FEW
@given(
    st.text(st.sampled_from('ab1.,;|\t "\r\n') | st.characters(), max_size=120),
    st.sampled_from([None, ",", ";", "tab", " "]),
    st.sampled_from([None, True, False]),
    st.frozensets(st.sampled_from(["a", "1", "2", "0"])),
)
def test_arbitrary_text(text: str, delimiter: str | None, header: bool | None, names: frozenset[str]) -> None:
    data = text.encode("utf-8", "surrogatepass")
    check(data, "a.csv", TableOptions(delimiter=delimiter, header=header, names=names))
