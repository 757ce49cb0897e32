"""``xpnet show``: which pictures a run gets, where they are written, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import make_moons

from tests.command_line import house_csv, idx_folder, refused, train, xpnet
from xpnet.cli.finished_run import open_finished_run
from xpnet.cli.run_files import IS_OWN, PICTURES
from xpnet.cli.show import _PICTURES


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def moons_npz(n: int = 60) -> str:
    x, y = make_moons(n, noise=0.1, random_state=0)
    np.savez("moons.npz", X=x, y=y)
    return "moons.npz"


def lines(*arguments: object) -> dict[str, str]:
    """Run the command; return what each line says of a picture, by path."""
    code, out, err = xpnet("show", *arguments)
    assert (code, err) == (0, "")
    return dict(line.split(": ", 1) for line in out.splitlines())


def test_the_names_are_those_of_the_pictures() -> None:
    assert tuple(picture.name for picture in _PICTURES) == PICTURES


@pytest.mark.slow
def test_two_features() -> None:
    train(moons_npz(), "--out", "run", "--quiet", "--epochs", 3)
    shown = lines("run", "--film")
    assert [Path(path).name for path in shown] == [
        "regions.png", "forward.png", "backward.png", "symmetry.png", "film.gif",
    ]  # fmt: skip
    assert shown["run/film.gif"] == "the decision regions from epoch to epoch"
    with Image.open("run/film.gif") as film:
        assert film.n_frames == 4
    for path in shown:
        is_own = IS_OWN[Path(path).name]
        assert is_own is not None
        assert is_own(Path(path))
    before = {path: Path(path).read_bytes() for path in shown}
    assert lines("run", "--film") == shown  # its own pictures are replaced
    assert {path: Path(path).read_bytes() for path in shown} == before


@pytest.mark.slow
def test_images() -> None:
    idx_folder("data/mnist")
    train("mnist", "--data-dir", "data", "--out", "run", "--quiet", "--hidden", "5,4")
    shown = lines("run", "--film", "--layer", 2, "--out", "pictures/of run")
    assert [Path(path).name for path in shown] == [
        "units.png", "patterns.png", "forward.png", "backward.png", "film.gif",
    ]  # fmt: skip
    assert shown["pictures/of run/film.gif"] == "the weights of the hidden units from epoch to epoch"
    assert not Path("run/units.png").exists()
    assert "layer: expected a hidden layer from 1 to 2; received 3" in xpnet("show", "run", "--layer", 3).err


def test_a_table_of_more_columns() -> None:
    train("iris", "--out", "run", "--quiet")
    assert list(lines("run")) == ["run/forward.png", "run/backward.png"]
    first = Path("run/forward.png").read_bytes()
    lines("run", "--sample", 2)
    assert Path("run/forward.png").read_bytes() != first


def test_other_data_and_a_regression() -> None:
    train(house_csv(), "--target", "price", "--out", "run", "--quiet")
    other = house_csv("other.csv", n=30)
    assert next(iter(lines("run", other, "--out", "pictures"))) == "pictures/regions.png"
    assert not Path("run/regions.png").exists()


def test_the_sample_is_the_one_with_the_highest_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    train("iris", "--out", "run", "--quiet")
    drawn = []
    monkeypatch.setattr("xpnet.plot.forward_pass", lambda model, x, ax: drawn.append(x), raising=False)
    lines("run")
    run = open_finished_run(Path("run"))
    x, y = run.parts["test"]
    losses = [run.model.evaluate(x[i : i + 1], y[i : i + 1])["loss"] for i in range(len(y))]
    (sample,) = drawn
    np.testing.assert_array_equal(sample, x[[np.argmax(losses)]])


def test_what_is_refused() -> None:
    train("iris", "--out", "run", "--quiet")
    assert "sample: expected a number from 1 to 30; received 31" in refused("show", "run", "--sample", 31)
    assert "film: expected a run on two features or on images" in refused("show", "run", "--film")
    assert "no-run" in refused("show", "no-run")


def test_nothing_foreign_is_overwritten() -> None:
    train("iris", "--out", "run", "--quiet")
    Path("pictures").mkdir()
    Path("pictures/forward.png").write_text("mine")
    assert "pictures/forward.png: expected a picture of xpnet or nothing" in refused("show", "run", "--out", "pictures")
    Path("run/backward.png").write_text("mine")
    assert "received others: backward.png" in refused("show", "run")
    Path("run/backward.png").unlink()
    Path("elsewhere").write_text("mine")
    Path("pictures/forward.png").unlink()
    Path("pictures/forward.png").symlink_to(Path("elsewhere").absolute())
    assert "pictures/forward.png" in refused("show", "run", "--out", "pictures")
    assert Path("elsewhere").read_text() == "mine"
