"""What the tests of the command line share: the command in this process, small data files, and what a run wrote."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xpnet.cli import main
from xpnet.data.readers.idx import IDX_NAMES

NO_BETTER = "is no better than"  # in the line about a run that reaches no more than the trivial baseline


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


def xpnet(*arguments: object) -> Outcome:
    """Run a command in this process. What it says of a run that learned nothing is left out: most of them are short."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = main([str(argument) for argument in arguments])
    lines = (line for line in err.getvalue().splitlines(keepends=True) if NO_BETTER not in line)
    return Outcome(code, out.getvalue(), "".join(lines))


def train(*arguments: object) -> Outcome:
    """Train a small plain network on iris for two epochs, or whatever the arguments say; it must work."""
    small = {"--hidden": "8", "--epochs": "2", "--preset": "plain"}
    given = {str(argument).partition("=")[0] for argument in arguments}
    if "--config" in given:
        given.add("--preset")
    defaults = [part for option, value in small.items() if option not in given for part in (option, value)]
    if "--report" not in given:  # most tests do not look at it
        defaults.append("--no-report")
    data = [] if arguments and not str(arguments[0]).startswith("--") else ["iris"]
    outcome = xpnet("train", *data, *arguments, *defaults)
    assert outcome.code == 0, outcome.err
    return outcome


def listing(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder, with the files' contents."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def refused(*arguments: object) -> str:
    """Run a command that must be refused as bad input, and return its one line."""
    before = listing(Path())
    code, out, err = xpnet(*arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("xpnet: ")
    assert err.endswith("\n")
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err
    assert listing(Path()) == before
    return err


def write_csv(path: str | Path, header: str, *rows: object) -> Path:
    path = Path(path)
    path.write_text("\n".join([header, *map(str, rows)]) + "\n", encoding="utf-8")
    return path


def house_csv(path: str | Path = "house.csv", n: int = 60) -> Path:
    """Write a regression: the price follows from area and rooms."""
    rows = ((area := 40 + 7 * i % 83, rooms := 1 + i % 5, 1000.5 * area + 9000 * rooms) for i in range(n))
    return write_csv(path, "area,rooms,price", *(",".join(map(str, row)) for row in rows))


def species_csv(path: str | Path = "species.csv", n: int = 60) -> Path:
    """Write a classification with text labels, told apart by the sum of two columns."""
    rows = ((i % 10, i // 10, "gentoo" if i % 10 + i // 10 > 7 else "adelie") for i in range(n))
    return write_csv(path, "bill,flipper,species", *(",".join(map(str, row)) for row in rows))


def labels_npz(path: str | Path = "labels.npz", n: int = 60) -> Path:
    """Write a multilabel set: each label follows from a feature of its own."""
    x = np.random.default_rng(0).normal(size=(n, 3))
    np.savez(path, X=x, y=(x > 0).astype(np.int64))
    return Path(path)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def idx_folder(folder: str | Path, n: int = 40, *, zipped: bool = False) -> Path:
    """Write the four files of an MNIST-like set: images of 2 x 2 pixels, bright for class 1."""
    folder, suffix, pack = Path(folder), ".gz" if zipped else "", gzip.compress if zipped else bytes
    folder.mkdir(parents=True)
    labels = np.arange(n) % 2
    images = labels[:, None, None] * 200 + np.arange(4).reshape(2, 2)
    for name, array in zip(IDX_NAMES, (images, labels, images[: n // 2], labels[: n // 2]), strict=True):
        (folder / f"{name}{suffix}").write_bytes(pack(idx(array)))
    return folder


def records(run: str | Path) -> list[dict[str, Any]]:
    """Return the records of the epochs that a run wrote."""
    return [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]


def without_timings(run: str | Path) -> list[dict[str, Any]]:
    """Return the records of the epochs that a run wrote, without what differs from run to run."""
    return [
        {k: v for k, v in record.items() if "seconds" not in k and "per_second" not in k} for record in records(run)
    ]
