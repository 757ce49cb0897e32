"""Kinds of files, recognised by their first bytes, and what to do about those that are not read."""

from __future__ import annotations

import codecs
from pathlib import Path

from xpnet.data.readers.common import make_read_error
from xpnet.data.tables.text_format import find_encoding
from xpnet.errors import DataError, InvalidParameterError

__all__ = [
    "COMPRESSIONS",
    "check_encoding",
    "kind_of",
    "looks_like_table",
    "make_encoding_error",
    "refuse_kind",
]

# Kinds of files by their first bytes. Kinds that pyarrow decompresses are called as pyarrow calls them.
_MAGIC: dict[bytes, str] = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PAR1": "parquet",
    b"ARROW1": "arrow",
    b"\xff\xff\xff\xff": "arrow stream",
    b"FEA1": "feather 1",
    b"PK\x03\x04": "zip",
    b"\xfd7zXZ\x00": "xz",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"\x04\x22\x4d\x18": "lz4",
    b"\xd0\xcf\x11\xe0": "excel",
    b"%PDF": "pdf",
}
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
"""The compressions that are read, by the endings of files."""

_ENDINGS = {".xls": "excel", ".xlsx": "excel", ".xlsm": "excel", ".ods": "excel"} | dict.fromkeys(
    (".json", ".jsonl", ".ndjson"), "json"
)
_REMEDIES = {
    "arrow stream": "an Arrow stream without an index; write it as an Arrow file (pyarrow.ipc.new_file) or as Parquet",
    "feather 1": "a Feather file of version 1; write it again: pandas.read_feather(path).to_feather(new_path)",
    "zip": "a zip archive; unpack it (unzip) and give the file within",
    "xz": "a file compressed by xz; decompress it (unxz)",
    "7z": "a 7z archive; unpack it (7z x) and give the file within",
    "lz4": "a file compressed by lz4; decompress it (lz4 -d)",
    "tar": "a tar archive; unpack it (tar -xf) and give the file within",
    "excel": "a spreadsheet; save the sheet as CSV (File, Save As, CSV UTF-8)",
    "json": "JSON; convert it to CSV: pandas.read_json(path).to_csv(new_path, index=False)",
    "pdf": "a PDF document; save the table as CSV",
}


def kind_of(path: Path, head: bytes) -> str:
    """Return the kind of a file by its first bytes: a compression, a format, or ``"text"``."""
    kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), "text")
    kind = "tar" if head[257:262] == b"ustar" else kind
    ending = _ENDINGS.get(path.suffix.lower(), kind)
    if kind == "zip" and b"xl/" in head:
        return _ENDINGS[".xlsx"]
    looks_like_json = head.lstrip(b"\xef\xbb\xbf \t\r\n").replace(b"\n", b"").replace(b" ", b"")[:2]
    return _ENDINGS[".json"] if kind == "text" and looks_like_json in (b'{"', b"[{") else ending


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
    if kind_of(path, head) != "text":
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
