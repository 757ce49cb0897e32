"""Small valid files of each kind that xpnet reads, and damaged copies of them, for `fuzz.py`."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xpnet.cli.config import write_config
from xpnet.cli.options import TrainOptions
from xpnet.data.readers.idx import IDX_NAMES
from xpnet.model.model import Model
from xpnet.model.model_file import save_model
from xpnet.nn.network import Network
from xpnet.training.checkpoint_file import save_state
from xpnet.training.trainer import Trainer

__all__ = ["Seed", "damaged", "seeds"]

PIECES = [
    *(b"nan", b"1e999", b"1e39", b"-inf", b"9" * 30, b"9" * 5000, b"\0", b"\n", b"\r", b'"', b",", b";", b":", b"\t"),
    *(b"\xff\xff\xff\xff", b"-1", b"1_0", b"(", b" ", b"{", b"}", b"[" * 100, b"null", b"..", b"/", b'":'),
    *(struct.pack("<Q", 1 << 60), struct.pack("<I", 1 << 31), struct.pack(">I", 10**8), b"100000000:1", b"PK\3\4"),
    *(b"\xed\xa0\x80", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x1b[31m", "\u202e".encode(), b"007", b"2019", b"target"),
]  # fmt: skip


# In place of a value of JSON.
VALUES: list[Any] = [
    *(None, True, -1, 0, 1, 2, 3, 10**8, 10**400, 0.5, -0.0, 1e308, float("nan"), "", "a", "\ud800", "x" * 9999),
    *([], {}, [0] * 9999, [[[]]], {"a": {}}, [2, 3, 2], [2, 10**9, 2], [1e9, 1], ["b", "a"], ["a", "a"], "relu"),
]  # fmt: skip


class Seed(NamedTuple):
    """Valid files of one kind.

    Attributes
    ----------
    files : dict of str to bytes
    target : str
        The path to give to xpnet: a file, or the folder itself.
    kind : {"data", "model", "state", "config"}
        What xpnet does with it.
    """

    files: dict[str, bytes]
    target: str
    kind: str = "data"


def seeds(folder: Path) -> dict[str, Seed]:
    """Return valid files by name; `folder` takes temporary ones."""
    x, y = np.arange(12.0).reshape(6, 2), np.array([0, 1, 1, 0, 1, 0])
    text = b'\xef\xbb\xbfa,"b",target\r\n' + b"1,2,u\r\n3,4e1,v\r\n-5,,u\r\n" * 3
    files = {"x.npy": _written(np.save, x)}
    bits = np.ones((6, 99), bool)
    options = TrainOptions(hidden="16,8", preset="plain")
    images = {IDX_NAMES[0]: _idx(np.ones((6, 2, 2))), IDX_NAMES[1]: _idx(y)}
    table = pa.table(
        {
            "a": x[:, 0],
            "day": pa.array(range(6), pa.date32()),
            "word": pa.array(["p", "q", None, "p", "q", "q"]).dictionary_encode(),
            "target": y,
        }
    )
    cases = {
        "csv": Seed({"a.csv": text}, "a.csv"),
        "csv, utf-16": Seed({"a.txt": text[3:].decode().encode("utf-16")}, "a.txt"),
        "csv, gzip": Seed({"a.csv.gz": gzip.compress(text)}, "a.csv.gz"),
        "csv, bzip2": Seed({"a.csv.bz2": bz2.compress(text)}, "a.csv.bz2"),
        "csv, zstd": Seed({"a.csv.zst": pa.compress(text, "zstd", asbytes=True)}, "a.csv.zst"),
        "csv, folder": Seed({"a.csv": text, "b.csv": text}, "."),
        "libsvm": Seed({"a.svm": b"1 1:2 3:4\n-1 2:1.5 # comment\n1 qid:3 1:1\n"}, "a.svm"),
        "npy": Seed(files | {"y.npy": _written(np.save, y)}, "x.npy"),
        "npy, text": Seed(files | {"y.npy": _written(np.save, np.array(list("abcabc")))}, "x.npy"),
        "npz": Seed({"a.npz": _written(lambda f: np.savez(f, x=x, y=y))}, "a.npz"),
        "npz, deflated": Seed({"a.npz": _written(lambda f: np.savez_compressed(f, x=bits, y=y))}, "a.npz"),
        "npz, folder": Seed({f"{i}.npz": _written(lambda f: np.savez(f, x=x, y=y)) for i in range(2)}, "."),
        "idx": Seed(images, "."),
        "idx, gzip": Seed({f"{name}.gz": gzip.compress(data) for name, data in images.items()}, "."),
        "parquet": Seed({"a.parquet": _parquet(table, "none")}, "a.parquet"),
        "parquet, zstd": Seed({"a.parquet": _parquet(table, "zstd")}, "a.parquet"),
        "arrow": Seed({"a.arrow": _arrow(table)}, "a.arrow"),
        "arrow, lz4": Seed({"a.arrow": _arrow(table, "lz4")}, "a.arrow"),
        "config": Seed({"c.toml": write_config("digits", options)}, "c.toml", "config"),
    }  # fmt: skip
    network = Network([2, 3, 2], activation="prelu")
    save_model(folder / "m", Model(network, network.init().vector, "classification", np.asarray(["a", "b"])))
    cases["model"] = Seed({"m": (folder / "m").read_bytes()}, "m", "model")
    run = Trainer(network, epochs=2, early_stopping="loss").fit(x, y, validation=(x, y))
    save_state(folder / "s", network, run.state)
    cases["state"] = Seed({"s": (folder / "s").read_bytes()}, "s", "state")
    return cases


def _written(write: Callable[..., Any], *values: Any) -> bytes:
    """Return the bytes that a function writes into a file."""
    file = io.BytesIO()
    write(file, *values)
    return file.getvalue()


def _idx(array: np.ndarray) -> bytes:
    """Return an array of small integers in IDX format."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def _parquet(table: pa.Table, compression: str) -> bytes:
    return _written(lambda file: pq.write_table(table, file, compression=compression))


def _arrow(table: pa.Table, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def damaged(rng: random.Random, seed: Seed) -> dict[str, bytes]:
    """Return the files of a seed, some or all of them damaged."""
    return {
        name: _mutated(rng, data) if len(seed.files) == 1 or rng.random() < 0.7 else data
        for name, data in seed.files.items()
    }


def _with_other_value(rng: random.Random, data: bytes) -> bytes:
    """Return a safetensors file in which one value of the JSON, or of the JSON in its metadata, is another."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    ((key, text),) = header["__metadata__"].items()
    values = json.loads(text)
    place: Any = {"metadata": values, "header": header}
    name: Any = rng.choice(list(place))
    while isinstance(place[name], dict | list) and place[name] and rng.random() < 0.9:
        place = place[name]
        name = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
    place[name] = rng.choice(VALUES)
    if isinstance(header.get("__metadata__"), dict):
        header["__metadata__"][key] = json.dumps(values)
    encoded = json.dumps(header).encode()
    return len(encoded).to_bytes(8, "little") + encoded + data[end:]


def _mutated(rng: random.Random, data: bytes) -> bytes:
    """Return a copy that is damaged in one place, or in up to four. The content of a gzip file may be damaged too."""
    if data.startswith(b"\x1f\x8b") and rng.random() < 0.5:
        return gzip.compress(_mutated(rng, gzip.decompress(data)), compresslevel=1)
    if data[8:9] == b"{" and rng.random() < 0.7:
        return _with_other_value(rng, data)
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        start = rng.randint(0, len(out))
        stop = min(len(out), start + rng.randint(0, 8))
        kind = rng.choice((0, 0, 1, 1, 2, 3, 4, 5, 6, 6, 6))
        piece = rng.choice(PIECES) if rng.random() < 0.5 else rng.randbytes(rng.randint(1, 8))
        if kind == 0:
            out[start : start + len(piece)] = piece
        elif kind == 1:
            out[start:start] = piece
        elif kind == 2:
            del out[start:stop]
        elif kind == 3:
            del out[start:]
        elif kind == 4:
            out[start:start] = out[start:stop] * rng.choice((3, 3, 1000))
        elif kind == 5:
            out += out[start:]
        elif out:
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)
