"""Read damaged files with all readers and both file formats: ``python benchmarks/fuzz.py --inputs 1000000``.

Small valid files are overwritten, cut, repeated and spliced at random. Each input must give a result or an error of
xpnet with a message of one line, within a limit of time and of address space. Inputs that do not are kept in a folder,
and the exit code is 1.
"""

from __future__ import annotations

import argparse
import gzip
import io
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.data.readers import read_dataset, read_features
from xpnet.data.readers.idx import IDX_NAMES
from xpnet.data.streams import open_source
from xpnet.errors import XpnetError, size_text
from xpnet.memory import peak_bytes
from xpnet.model.model import Model
from xpnet.model.model_file import load_model, save_model
from xpnet.nn.network import Network
from xpnet.training.checkpoint_file import load_state, save_state
from xpnet.training.trainer import Trainer

X, Y = np.arange(12.0).reshape(6, 2), np.array([0, 1, 1, 0, 1, 0])
PIECES = [
    *(b"nan", b"1e999", b"-inf", b"9" * 30, b"\0", b"\n", b'"', b",", b":", b"\xff\xff\xff\xff", b"-1", b"1_0", b"("),
    *(b" ", b"{", b"}", b"[" * 100, b"null", b"..", b"/", b'":', struct.pack("<Q", 1 << 60), b"PK\3\4", b"\x1f\x8b"),
]
SECONDS, ADDRESS_SPACE = 10, 4 << 30


def bytes_of(write: Callable[[Any], Any]) -> bytes:
    """Return the bytes that a function writes into a file."""
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def idx(array: np.ndarray) -> bytes:
    """Return an array of small integers in IDX format."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def read_data(path: Path) -> None:
    """Read a file into memory, for a prediction, and in pieces."""
    for use in (
        lambda: read_dataset(path),
        lambda: read_features(path, feature_names=None, target_name=None),
        lambda: list(open_source(path)),
    ):
        attempt(use)


def predict(path: Path) -> None:
    """Load a model and predict with it."""
    model = load_model(path)
    model.predict(np.ones((2, model.network.layer_sizes[0])))


def attempt(use: Callable[[], Any]) -> None:
    """Call a function; the message of an error of xpnet must be one short line."""
    try:
        use()
    except XpnetError as exc:
        if "\n" in str(exc) or len(str(exc)) > 2000:
            raise ValueError(f"a message that is not one short line: {str(exc)[:200]!r}") from exc


def seeds(folder: Path) -> dict[str, tuple[dict[str, bytes], str, Callable[[Path], None]]]:
    """Return valid files, the path to read, and the function that reads it, by name."""
    images = {IDX_NAMES[0]: idx(np.ones((6, 2, 2))), IDX_NAMES[1]: idx(Y)}
    cases: dict[str, tuple[dict[str, bytes], str, Callable[[Path], None]]] = {
        "csv": ({"a.csv": b'\xef\xbb\xbfa,"b",target\r\n1,2,u\r\n3,4e1,v\r\n'}, "a.csv", read_data),
        "libsvm": ({"a.svm": b"1 1:2 3:4\n-1 2:1.5 # comment\n1 qid:3 1:1\n"}, "a.svm", read_data),
        "npy": (
            {"x.npy": bytes_of(lambda f: np.save(f, X)), "y.npy": bytes_of(lambda f: np.save(f, Y))},
            "x.npy",
            read_data,
        ),
        "npz": ({"a.npz": bytes_of(lambda f: np.savez(f, x=X, y=Y))}, "a.npz", read_data),
        "npz, deflated": ({"a.npz": bytes_of(lambda f: np.savez_compressed(f, x=X, y=Y))}, "a.npz", read_data),
        "idx": (images, ".", read_data),
        "idx, gzip": ({f"{name}.gz": gzip.compress(data) for name, data in images.items()}, ".", read_data),
    }  # fmt: skip
    network = Network([2, 3, 2])
    save_model(folder / "m", Model(network, network.init().vector, "classification", np.asarray(["a", "b"])))
    save_state(folder / "s", network, Trainer(network, epochs=1).fit(X, Y).state)
    cases["model"] = {"m": (folder / "m").read_bytes()}, "m", predict
    cases["state"] = {"s": (folder / "s").read_bytes()}, "s", lambda path: load_state(path) and None
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        return cases
    table = pa.table({"a": X[:, 0], "target": Y})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    cases["parquet"] = {"a.parquet": bytes_of(lambda f: pq.write_table(table, f))}, "a.parquet", read_data
    cases["arrow"] = {"a.arrow": sink.getvalue().to_pybytes()}, "a.arrow", read_data
    return cases


def mutated(rng: random.Random, data: bytes) -> bytes:
    """Return a damaged copy: 1 to 4 places are changed."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        start = rng.randint(0, len(out))
        stop = min(len(out), start + rng.randint(0, 8))
        kind = rng.randrange(6)
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
            out[start:start] = out[start:stop] * 3
        elif out:
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def main() -> int:
    """Run, and print the number of inputs, the time and the peak memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"))
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    warnings.simplefilter("error")

    def hang(*_: Any) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    signal.signal(signal.SIGALRM, hang)
    rng, counts, failures = random.Random(given.seed), Counter[str](), 0
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        folder = Path(name)
        cases = seeds(folder)
        before, started = peak_bytes(), time.perf_counter()
        for i in range(given.inputs):
            kind = list(cases)[i % len(cases)]
            files, target, use = cases[kind]
            place = folder / "input"
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            for file, data in files.items():
                damage = len(files) == 1 or rng.random() < 0.7
                (place / file).write_bytes(mutated(rng, data) if damage else data)
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
            try:
                attempt(partial(use, place / target))
            except Exception as exc:
                failures += 1
                kept = given.keep / f"{given.seed}-{i}"
                shutil.copytree(place, kept, dirs_exist_ok=True)
                last = traceback.extract_tb(exc.__traceback__)[-1]
                print(f"{kind}: {type(exc).__name__}: {exc} ({last.filename}:{last.lineno}); kept in {kept}")
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            counts[kind] += 1
        seconds = time.perf_counter() - started
    for kind, count in counts.items():
        print(f"{kind:<16}{count:>10,}")
    print(
        f"{sum(counts.values()):,} inputs in {seconds:,.0f} s, {failures} failures; "
        f"peak memory {size_text(peak_bytes())}, {size_text(peak_bytes() - before)} of it in the run"
    )
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
