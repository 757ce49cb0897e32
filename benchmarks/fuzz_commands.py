"""What `fuzz.py` does with a file, and what must hold of every result: messages, run folders, predictions, pictures."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from cyclopts import CycloptsError

from xpnet.cli import main
from xpnet.cli.config import read_config
from xpnet.data.readers import read_dataset, read_features
from xpnet.data.streams import open_source
from xpnet.errors import XpnetError
from xpnet.model.model import Model
from xpnet.model.model_file import load_model, save_model, specification_of
from xpnet.nn.network import Network
from xpnet.report.finished_run import FinishedRun
from xpnet.report.sections import report_page
from xpnet.training.checkpoint_file import load_state, save_state

__all__ = ["USES", "attempt", "run_commands", "write_hostile_results"]

# Names, labels and cells that spreadsheets, terminals, Markdown, JSON or Matplotlib could take for something else.
TEXTS = [
    *("a,b", 'say "x"', "a\nb", "a\rb", "a\r\nb", "\t", " a ", "=1+1", "[red]x[/red]", "$x^", "|", "a\\|b", "`", "<b>"),
    *("\x1b[31m", "\u202e", "é", "\u2028", "#", "target", "prediction", "probability_0", "1", "1.0", "true", "NA"),
    *("007", "-1e5", "x" * 300, "😀", "\x7f", "\\", "%s", "{}", "_", "2020-01-01", "None", "nan", "x" * 20 + "\n"),
]  # fmt: skip


_SCALAR = re.compile(r"np\.\w+\(")  # a NumPy scalar as Python shows it


def attempt(use: Callable[[], Any]) -> bool:
    """Call a function and return whether it succeeded; the message of an error of xpnet must be one short line."""
    try:
        use()
    except (XpnetError, CycloptsError) as exc:
        message = str(exc)
        if isinstance(exc, XpnetError) and ("\n" in message or len(message) > 10_000 or _SCALAR.search(message)):
            raise ValueError(f"a message that is not one short line: {message[:200]!r}") from exc
        return False
    return True


def _use_model(path: Path) -> bool:
    """Load a model, predict with it, and write it again: what is written must be what was read."""

    def use() -> None:
        model = load_model(path)
        first = model.predict(np.ones((2, model.network.layer_sizes[0])))
        save_model(path.with_name("again"), model)
        again = load_model(path.with_name("again"))
        assert again.predict(np.ones((2, again.network.layer_sizes[0]))).tolist() == first.tolist()
        assert specification_of(again) == specification_of(model)
        assert repr(model).count("\n") == 0

    return attempt(use)


def _use_state(path: Path) -> bool:
    """Load a checkpoint, and write it again."""

    def use() -> None:
        network, state = load_state(path)
        save_state(path.with_name("again"), network, state)
        again = load_state(path.with_name("again"))[1]
        assert again.params.tobytes() == state.params.tobytes()
        assert repr(again.history) == repr(state.history)

    return attempt(use)


USES: dict[str, tuple[Callable[[Path], bool], ...]] = {
    "data": (  # into memory, for a prediction, and in pieces
        lambda path: attempt(lambda: read_dataset(path)),
        lambda path: attempt(lambda: read_features(path, feature_names=None, target_name=None)),
        lambda path: attempt(lambda: list(open_source(path))),
    ),
    "model": (_use_model,),
    "state": (_use_state,),
    "config": (lambda path: attempt(lambda: read_config(path)),),
}
"""What to do with a file by its kind, in one way or another; each function returns whether the file was accepted."""


class _Done(NamedTuple):
    code: int
    out: str
    err: str


def _command(*arguments: str | Path) -> _Done:
    """Run a command in this process. Whatever the input, it must end with a code that says what happened.

    A message is one line on stderr, and nothing that a terminal would obey is ever written to it.
    """
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(list(map(str, arguments)))
    done = _Done(code, out.getvalue(), err.getvalue())
    assert code in (0, 2, 3), f"exit {code}: {done}"
    assert "Traceback" not in done.out + done.err, done
    assert all(line.startswith("xpnet: ") for line in done.err.splitlines()), done.err
    assert done.err or code != 2, "no message"
    assert not _SCALAR.search(done.err), done.err
    _check_printable(done.err)
    return done


def _check_printable(text: str) -> None:
    bad = {char for char in text if char != "\n" and not char.isprintable()}
    assert not bad, f"characters that a terminal obeys: {bad}"


def run_commands(path: Path, place: Path) -> bool:
    """Inspect data, train on it, predict and evaluate; return whether training succeeded."""
    shown = _command("inspect", path)
    _check_printable(shown.out)
    run = place / "run"
    quick = ("--epochs", "1", "--hidden", "2", "--device", "cpu", "--val-fraction", "0", "--test-fraction", "0")
    done = _command("train", path, *quick, "--json", "--quiet", "--out", run)
    if done.code == 2:
        assert not run.exists(), "bad input left a folder"
        assert not done.out, "an error wrote to the standard output"
        return False
    assert {"loss"} <= json.loads(done.out)["train"].keys() or done.code == 3
    assert [json.loads(line)["epoch"] for line in (run / "metrics.jsonl").read_text().splitlines()] in ([1], [])
    assert read_config(run / "config.toml")[0] == str(path.resolve())
    model = load_model(run / "model.safetensors")
    if (run / "columns.md").exists():
        table = [line for line in (run / "columns.md").read_text().splitlines() if line.startswith("|")]
        assert len(table) >= 2
        assert len({re.sub(r"\\.", "", line).count("|") for line in table}) == 1, f"a broken table: {table}"
    _predict(run / "model.safetensors", model, path, place)
    scores = _command("evaluate", run / "model.safetensors", path, "--json")
    assert scores.code == 2 or json.loads(scores.out)["samples"] > 0
    return True


def _predict(file: Path, model: Model, data: Path, place: Path) -> list[list[str]]:
    """Predict into a file and return its rows; a command that fails leaves the file that was there."""
    out = place / "predictions.csv"
    out.write_text("before")
    keep = ("--keep", "all") if model.encoding is not None else ()
    done = _command("predict", file, data, "--out", out, "--probabilities" if model.gives_probabilities else "", *keep)
    assert not done.out
    assert not [other for other in place.iterdir() if other.name.endswith(".part")], "left a temporary file"
    if done.code:
        assert out.read_text() == "before"
        return []
    with out.open(newline="", encoding="utf-8") as opened:
        rows = list(csv.reader(opened, strict=True))
    assert {len(row) for row in rows} == {len(rows[0])}, "uneven rows"
    if model.classes is not None and "prediction" in rows[0]:
        labels = {str(label).encode("utf-8", "backslashreplace").decode() for label in model.classes}
        column = rows[0].index("prediction")
        assert {row[column] for row in rows[1:]} <= labels, "a prediction that is no label"
    return rows


def write_hostile_results(rng: random.Random, place: Path) -> None:
    """Write models, tables and pictures whose names, labels and cells are hostile, and read them back."""
    if rng.random() < 0.5:
        _hostile_model(rng, place)
    else:
        _hostile_table(rng, place)


def _hostile_model(rng: random.Random, place: Path) -> None:
    labels = np.unique(np.asarray(rng.sample(TEXTS, rng.randint(2, 5))))
    names = tuple(rng.sample(TEXTS, 3))
    two = len(labels) == 2
    network = Network([3, 1] if two else [3, len(labels)], loss="binary_cross_entropy" if two else "cross_entropy")
    model = Model(network, network.init(rng.randrange(99)).vector, "classification", labels, feature_names=names)
    save_model(place / "m", model)
    loaded = load_model(place / "m")
    assert specification_of(loaded) == specification_of(model), (specification_of(loaded), specification_of(model))
    x = np.random.default_rng(rng.randrange(99)).normal(size=(20, 3))
    np.savez(place / "d.npz", x=x)
    rows = _predict(place / "m", loaded, place / "d.npz", place)
    _same(rows[0], ["prediction", *(f"probability_{label}" for label in labels)])
    _same([row[0] for row in rows[1:]], model.predict(x).tolist())
    written, expected = np.asarray([row[1:] for row in rows[1:]], model.vector.dtype), model.predict_proba(x)
    assert np.array_equal(written, expected), (written.shape, expected.shape, np.abs(written - expected).max())
    if rng.random() < 0.005:  # slow
        y = np.asarray(rng.choices(labels.tolist(), k=20))
        settings = {"target": str(labels[0]), "out": rng.choice(TEXTS)}
        page = report_page(FinishedRun(rng.choice(TEXTS), loaded, {"test": (x, y)}, (), settings, settings)).decode()
        _check_printable(page)
        assert page.count("<b>") == page.count("</b>"), "a name became a tag"


def _hostile_table(rng: random.Random, place: Path) -> None:
    names = [*rng.sample(TEXTS, 3), "goal"]
    labels = rng.sample(TEXTS, 2)
    cells = [[rng.choice(TEXTS), str(rng.random()), rng.choice(TEXTS), rng.choice(labels)] for _ in range(30)]
    path = place / "hostile.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([names, *cells])
    if run_commands(path, place):
        model = load_model(place / "run" / "model.safetensors")
        rows = _predict(place / "run" / "model.safetensors", model, path, place)
        if rows:
            column = rows[0].index(names[1].strip()) if names[1].strip() else 1
            _same([row[column] for row in rows[1:]], [row[1] for row in cells])


def _same(received: list[str], expected: list[str]) -> None:
    assert received == expected, f"read back {received}, written {expected}"
