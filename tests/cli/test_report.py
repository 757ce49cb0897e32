"""``report.html``: at the end of a run, and made again by ``xpnet report``."""

from __future__ import annotations

import json
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, make_moons
from sklearn.metrics import precision_recall_fscore_support

from tests.command_line import refused, train, write_csv, xpnet
from xpnet import load_model
from xpnet.cli.config import read_config
from xpnet.cli.job import prepare

VOID = {"meta", "br", "img"}


class Page(HTMLParser):
    """The texts of a page: its tables by section, and its pictures by title."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[list[str]]]] = {}
        self.pictures: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self._open: list[str] = []
        self._text = ""
        self._section = ""
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert tag not in ("script", "link", "iframe")
        assert not [name for name in given if name.startswith("on")]
        self.links += [link for name in ("href", "src", "xlink:href") if (link := given.get(name))]
        self.ids += [name] if (name := given.get("id")) else []
        if tag not in VOID:
            self._open.append(tag)
        if tag == "section":
            self._section = given["id"] or ""
        if tag == "table":
            self.tables.setdefault(self._section, []).append([])
        if tag == "tr":
            self.tables[self._section][-1].append([])
        self._text = ""

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag in ("td", "th"):
            self.tables[self._section][-1][-1].append(self._text)
        if tag == "h3":
            self.pictures.append(self._text)

    def handle_data(self, data: str) -> None:
        self._text += data

    def scores(self) -> dict[tuple[str, str], dict[str, str]]:
        """Return the scores by part and model."""
        head, *rows = self.tables["scores"][0]
        return {(row[0], row[1]): dict(zip(head, row, strict=True)) for row in rows}


def page_of(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture
def moons(tmp_path: Path) -> Path:
    x, y = make_moons(300, noise=0.2, random_state=0)
    names = np.asarray(["up", "<script>alert(1)</script>"])[y]
    return write_csv(
        tmp_path / "moons.csv", "x $1$,<b>y</b>,kind", *(f"{a},{b},{c}" for (a, b), c in zip(x, names, strict=True))
    )


def test_a_run_ends_with_a_report(tmp_path: Path) -> None:
    out = train("digits", "--out", tmp_path / "run", "--report").out
    assert out.splitlines()[-1].strip() == str(tmp_path / "run" / "report.html")
    page = page_of(tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    for part, name in (("train", "training part"), ("validation", "validation part"), ("test", "test part")):
        shown = page.scores()[name, "network"]
        assert shown["accuracy"] == f"{summary[part]['accuracy']:.4f}"
        assert shown["loss"] == f"{summary[part]['loss']:.4f}"
    assert float(page.scores()["test part", "linear model"]["accuracy"]) > 0.9
    assert float(page.scores()["test part", "majority class"]["accuracy"]) < 0.15
    assert (tmp_path / "run" / "report.html").stat().st_size < 2_000_000


def test_the_scores_of_the_classes(tmp_path: Path) -> None:
    train("digits", "--out", tmp_path / "run", "--report")
    data, options = read_config(tmp_path / "run" / "config.toml")
    x, y = prepare(data, options).parts["test"]
    predicted = load_model(tmp_path / "run" / "model.safetensors").predict(x)
    _, *rows = page_of(tmp_path / "run").tables["errors"][0]
    expected = precision_recall_fscore_support(y, predicted, zero_division=0)
    for row, *figures in zip(rows, *expected, strict=True):
        assert row[1:] == [*(f"{value:.3f}" for value in figures[:3]), f"{figures[3]:,}"]


@pytest.mark.parametrize("data", ["digits", "iris"])
def test_the_report_is_made_again_with_the_same_bytes(data: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(data, "--out", folder, "--report")
    before = (folder / "report.html").read_bytes()
    (folder / "report.html").unlink()
    code, out, err = xpnet("report", folder)
    assert (code, out, err) == (0, f"{folder / 'report.html'}\n", "")
    assert (folder / "report.html").read_bytes() == before
    assert xpnet("report", folder).code == 0  # its own file is replaced


@pytest.mark.parametrize("option", ["--no-report", "--quiet"])
def test_without_a_report(option: str, tmp_path: Path) -> None:
    code, _, _ = xpnet("train", "iris", "--epochs", 1, "--out", tmp_path / "run", option)
    assert code == 0
    assert not (tmp_path / "run" / "report.html").exists()
    assert (tmp_path / "run" / "summary.json").exists()


def test_a_page_needs_nothing_else(moons: Path, tmp_path: Path) -> None:
    train(moons, "--target", "kind", "--out", tmp_path / "run", "--report")
    page = page_of(tmp_path / "run")
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert [name for name, count in Counter(page.ids).items() if count > 1] == []
    assert {link[1:] for link in page.links if link.startswith("#")} <= {*page.ids}


def test_names_from_a_file_stay_text(moons: Path, tmp_path: Path) -> None:
    train(moons, "--target", "kind", "--out", tmp_path / "run", "--report")
    text = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<b>y" not in text
    _, *rows = page_of(tmp_path / "run").tables["errors"][0]
    assert [row[0] for row in rows] == ["<script>alert(1)</script>", "up"]


def test_regression(tmp_path: Path) -> None:
    train("diabetes", "--out", tmp_path / "run", "--report", "--epochs", 20)
    page = page_of(tmp_path / "run")
    _, y = load_diabetes(return_X_y=True)
    assert len(y) == sum(json.loads((tmp_path / "run" / "summary.json").read_text())["samples"].values())
    assert {"loss", "R2", "RMSE", "MAE"} <= set(page.scores()["test part", "network"])
    assert abs(float(page.scores()["test part", "mean"]["R2"])) < 0.1
    assert {"Predicted against true", "Residuals", "Errors"} <= set(page.pictures)


def test_a_report_of_other_data(moons: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(moons, "--target", "kind", "--out", folder)
    head, *rows = moons.read_text().splitlines()
    other = write_csv(tmp_path / "other.csv", head, *rows[:40])
    code, _, err = xpnet("report", folder, other, "--out", tmp_path / "other.html")
    assert (code, err) == (0, "")
    assert not (folder / "report.html").exists()
    page = Page((tmp_path / "other.html").read_text(encoding="utf-8"))
    assert [*page.scores()] == [("data", "network")]
    evaluated = json.loads(xpnet("evaluate", folder / "model.safetensors", other, "--json").out)
    assert page.scores()["data", "network"]["accuracy"] == f"{evaluated['accuracy']:.4f}"
    assert page.scores()["data", "network"]["samples"] == "40"


def test_a_run_on_a_folder_of_tables(tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    for name in "ab":
        write_csv(folder / f"{name}.csv", "x,y,kind", *(f"{i % 7},{i % 5},{'uv'[i % 7 > 3]}" for i in range(100)))
    train(folder, "--target", "kind", "--out", tmp_path / "run", "--report")
    assert not (tmp_path / "run" / "report.html").exists()  # the data do not lie in memory
    assert xpnet("report", tmp_path / "run").code == 0
    assert page_of(tmp_path / "run").scores()["test part", "network"]["samples"] == "40"


def test_data_that_have_changed_or_gone(moons: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    train(moons, "--target", "kind", "--out", "run")
    moons.write_text("\n".join(moons.read_text().splitlines()[:200]))
    assert "expected the data with which the run trained" in refused("report", "run")
    moons.unlink()
    assert "received no such file" in refused("report", "run")


def test_what_is_no_run_or_holds_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "expected" in refused("report", "nothing")
    train("iris", "--out", "run")
    Path("run/report.html").write_text("mine")
    assert "received others: report.html" in xpnet("report", "run").err
    assert Path("run/report.html").read_text() == "mine"
    Path("run/report.html").unlink()
    for text in ("[]", "nothing", "[" * 100_000):
        Path("run/summary.json").write_text('"xpnet": ' + text)
        assert "expected the summary of a run" in refused("report", "run")
    Path("run/summary.json").write_text('{"xpnet": "1", "versions": 3, "samples_per_second": "<i>", "seconds": {}}')
    assert xpnet("report", "run").code == 0
    assert "<i>" not in Path("run/report.html").read_text()
    Path("run/model.safetensors").unlink()
    assert "which has no model.safetensors" in refused("report", "run")


def test_the_command_repeats_the_run(moons: Path, tmp_path: Path) -> None:
    given = [moons, "--target", "kind", "--hidden", "6,5", "--activation", "tanh", "--activation", "relu", "--l2", 0.01]
    train(*given, "--out", tmp_path / "run", "--no-input-scale")
    command = json.loads((tmp_path / "run" / "summary.json").read_text())["command"]
    import shlex

    words = shlex.split(command)
    assert words[:2] == ["xpnet", "train"]
    assert xpnet(*words[1:], "--out", tmp_path / "again", "--quiet").code == 0
    first, again = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("run", "again"))
    assert first == again


@pytest.mark.parametrize(("sign", "delimiter"), [(".", ","), (",", ";")])
def test_two_columns_of_text_are_a_plane(sign: str, delimiter: str, tmp_path: Path) -> None:
    x, y = make_moons(120, noise=0.2, random_state=0)
    rows = (
        delimiter.join([*(f"{value:.3f}".replace(".", sign) for value in row), "ab"[k]])
        for row, k in zip(x, y, strict=True)
    )
    data = write_csv(tmp_path / "moons.csv", delimiter.join(["x", "y", "kind"]), *rows)
    train(data, "--target", "kind", "--out", tmp_path / "run", "--report")
    assert "Decision regions" in page_of(tmp_path / "run").pictures


def test_two_columns_of_which_one_is_no_plain_number_are_none(tmp_path: Path) -> None:
    rows = (f"{i % 50}%,2024-01-{1 + i % 28:02},{'ab'[i % 50 > 25]}" for i in range(120))
    data = write_csv(tmp_path / "data.csv", "share,day,kind", *rows)
    train(data, "--target", "kind", "--out", tmp_path / "run", "--report")
    assert "Decision regions" not in page_of(tmp_path / "run").pictures
