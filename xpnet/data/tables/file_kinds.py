"""Kinds of files, recognised by their first bytes, and what to do about those that are not read."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from xpnet.data.readers.common import make_read_error
from xpnet.data.tables.text_format import find_encoding
from xpnet.errors import DataError, InvalidParameterError

__all__ = [
    "COMPRESSIONS",
    "TEXT",
    "check_encoding",
    "kind_of",
    "looks_like_table",
    "make_encoding_error",
    "refuse_kind",
]

# Kinds of files by their first bytes, with bytes that do not begin a text. Kinds that pyarrow decompresses are called
# as pyarrow calls them.
_MAGIC = {
    kind: re.compile(pattern, re.DOTALL)
    for kind, pattern in {
        "gzip": rb"\x1f\x8b",
        "bz2": rb"BZh[1-9](1AY&SY|\x17rE8P)",
        "zstd": rb"\x28\xb5\x2f\xfd",
        "parquet": rb"PAR1\x15",
        "arrow": rb"ARROW1\0",
        "arrow stream": rb"\xff\xff\xff\xff",
        "feather 1": rb"FEA1\0",
        "excel": rb"\xd0\xcf\x11\xe0|PK\x03\x04.*xl/",
        "zip": rb"PK\x03\x04",
        "xz": rb"\xfd7zXZ\0",
        "7z": rb"7z\xbc\xaf\x27\x1c",
        "lz4": rb"\x04\x22\x4d\x18",
        "tar": rb".{257}ustar",
        "pdf": rb"%PDF-",
        "json lines": rb'\s*\{\s*"[^\r\n]*\}\s*\n\s*\{',
        "json": rb'\s*(\[\s*)?\{\s*"',
    }.items()
}
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
"""The compressions that are read, by the endings of files."""

TEXT = "text"

# Kinds that only the ending tells.
_ENDINGS = {
    **{("zip", ending): "excel" for ending in (".xlsx", ".xlsm", ".ods")},
    **{(TEXT, ending): "json lines" for ending in (".jsonl", ".ndjson")},
    (TEXT, ".json"): "json",
}
_REMEDIES = {
    "arrow stream": "an Arrow stream without an index; convert it: "
    "pyarrow.parquet.write_table(pyarrow.ipc.open_stream(path).read_all(), new_path)",
    "feather 1": "a Feather file of version 1; write it again: pandas.read_feather(path).to_feather(new_path)",
    "zip": "a zip archive; unpack it (unzip) and give the file within",
    "xz": "a file compressed by xz; decompress it (unxz)",
    "7z": "a 7z archive; unpack it (7z x) and give the file within",
    "lz4": "a file compressed by lz4; decompress it (lz4 -d)",
    "tar": "a tar archive; unpack it (tar -xf) and give the file within",
    "excel": "a spreadsheet; save the sheet as CSV (File, Save As, CSV UTF-8)",
    "json": "JSON; convert it to CSV: pandas.read_json(path).to_csv(new_path, index=False)",
    "json lines": "JSON lines; convert them to CSV: pandas.read_json(path, lines=True).to_csv(new_path, index=False)",
    "pdf": "a PDF document; save the table as CSV",
}


def kind_of(path: Path, head: bytes) -> str:
    """Return the kind of a file by its first bytes, or by its ending: a compression, a format, or ``"text"``."""
    kind = next((kind for kind, magic in _MAGIC.items() if magic.match(head)), TEXT)
    return _ENDINGS.get((kind, path.suffix.lower()), kind)


def refuse_kind(path: Path, kind: str) -> None:
    """Refuse a kind of file that is not a table here, and say what to do.

    Raises
    ------
    DataError
    """
    if kind in _REMEDIES:
        raise make_read_error(path, f"expected a table as text, Parquet or Arrow; received {_REMEDIES[kind]}")


def looks_like_table(path: Path, head: bytes) -> bool:
    """Return whether a file is text, or of a kind that is read or refused with a remedy, by its first bytes."""
    if kind_of(path, head) != TEXT:
        return True
    return bool(head) and (b"\0" not in head or find_encoding(head)[0] != "utf-8")


def check_encoding(encoding: str) -> str:
    """Return the name of an encoding of text as Python spells it.

    Raises
    ------
    InvalidParameterError
        There is no such encoding of text.
    """
    try:
        "a".encode(encoding)  # refuses codecs that are not of text
        return codecs.lookup(encoding).name
    except (LookupError, ValueError) as exc:
        raise InvalidParameterError(
            "encoding: expected the name of a text encoding, such as utf-8, utf-16 or cp1252; "
            f"received {encoding!r:.60}."
        ) from exc


def make_encoding_error(path: Path, data: bytes, line: int, encoding: str) -> DataError:
    """Return the error for text that is not in its encoding, with the encoding that is likely.

    Parameters
    ----------
    path : Path
    data : bytes
        A part of the file that cannot be decoded.
    line : int
        The line at which `data` begins, counted from 1.
    encoding : str
        The encoding that failed.
    """
    try:
        data.decode(encoding)
        place, byte = "", "an unfinished character"
    except UnicodeDecodeError as exc:
        place = f"line {line + data.count(10, 0, exc.start)}: "
        byte = f"the byte 0x{data[exc.start]:02x}"
    try:
        data.decode("cp1252")
        likely = "cp1252"
    except UnicodeDecodeError:
        likely = "latin-1"
    return make_read_error(
        path,
        f"{place}expected text in {encoding.upper()}; received {byte}; give the file's encoding (--encoding), which is "
        f"probably {likely}",
    )
