"""``runs/latest``, and the paths that stand for a run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command_line import refused, train, xpnet
from xpnet.cli import latest_run
from xpnet.cli.latest_run import link_latest, run_folder
from xpnet.errors import InvalidParameterError, ModelFormatError
from xpnet.model.model_file import load_model

pytestmark = [
    pytest.mark.usefixtures("folder"),
    pytest.mark.skipif(os.name != "posix", reason="every user may make links"),
]

SMALL = ("iris", "--quiet", "--device", "cpu")
LATEST = Path("runs/latest")


def runs() -> list[str]:
    return sorted(path.name for path in Path("runs").iterdir() if not path.is_symlink())


def test_it_leads_to_the_newest_run() -> None:
    train(*SMALL)
    first = os.readlink(LATEST)
    assert runs() == [first]
    train(*SMALL)
    assert os.readlink(LATEST) != first
    assert {first, os.readlink(LATEST)} == {*runs()}
    train(*SMALL, "--out", "runs/mine")
    assert os.readlink(LATEST) == "mine"
    assert list(Path("runs/mine").glob(".latest*")) == []


def test_a_run_elsewhere_changes_nothing() -> None:
    train(*SMALL, "--out", "run")
    assert not Path("runs").exists()
    train(*SMALL)
    latest = os.readlink(LATEST)
    train(*SMALL, "--out", "other/runs/x")
    assert os.readlink(LATEST) == latest
    assert not Path("other/runs/latest").is_symlink()


def test_a_run_that_does_not_begin_changes_nothing() -> None:
    refused("train", *SMALL, "--lr", "-1")
    assert not Path("runs").exists()


def test_it_is_there_from_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is killed can be resumed by it."""
    train(*SMALL, "--checkpoint-every", 1)
    first = os.readlink(LATEST)
    Path("runs", first, "model.safetensors").unlink()
    assert "received a folder without model.safetensors" in refused("predict", LATEST, "iris")
    assert xpnet("resume", LATEST, "--quiet").code == 0
    assert Path("runs", first, "model.safetensors").exists()


def file(path: Path) -> None:
    path.write_text("mine")


def folder(path: Path) -> None:
    path.mkdir()


def link_elsewhere(path: Path) -> None:
    Path("elsewhere").mkdir()
    path.symlink_to("../elsewhere")


def link_up(path: Path) -> None:
    path.symlink_to("..")


@pytest.mark.parametrize("make", [file, folder, link_elsewhere, link_up])
def test_what_a_user_made_stays(make: Callable[[Path], None]) -> None:
    Path("runs").mkdir()
    make(LATEST)
    before = LATEST.lstat()
    train(*SMALL)
    train(*SMALL, "--out", "runs/mine")
    assert os.path.samestat(LATEST.lstat(), before)


def test_a_run_may_have_this_name() -> None:
    train(*SMALL, "--out", LATEST)
    train(*SMALL)
    assert not LATEST.is_symlink()
    assert load_model(LATEST)


def test_a_link_to_nothing() -> None:
    train(*SMALL)
    gone = os.readlink(LATEST)
    shutil.rmtree(LATEST.resolve())
    words = f"runs/latest, a link to {gone}, which does not exist"
    for command in (["report"], ["show"], ["resume"], ["evaluate"], ["info"], ["runs"]):
        assert words in refused(*command, LATEST)
    assert words in refused("export", LATEST, "m.onnx")
    assert f"received a link to {gone}, which does not exist" in refused("predict", LATEST, "iris")
    with pytest.raises(ModelFormatError, match="which does not exist"):
        load_model(LATEST)
    train(*SMALL)
    assert load_model(LATEST)


@pytest.mark.parametrize("error", [NotImplementedError(), OSError(1, "no links here"), PermissionError(13, "")])
def test_a_system_without_links(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(latest_run.os, "symlink", refuse)
    assert "link" not in train(*SMALL).err
    assert len(list(Path("runs").iterdir())) == 1


def test_a_system_that_replaces_no_links_to_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "")

    for name in ("a", "b"):
        Path("runs", name).mkdir(parents=True)
    link_latest(Path("runs/a"))
    monkeypatch.setattr(latest_run.os, "replace", refuse)
    link_latest(Path("runs/b"))
    assert os.readlink(LATEST) == "b"
    assert list(Path("runs/b").iterdir()) == []


def test_two_runs_that_begin_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one makes the link after this one has seen that there is none."""
    for name in ("a", "b"):
        Path("runs", name).mkdir(parents=True)
    real = os.symlink

    def symlink(target: str, path: Path, **options: bool) -> None:
        if path == LATEST:
            real("a", LATEST)
        real(target, path, **options)

    monkeypatch.setattr(latest_run.os, "symlink", symlink)
    link_latest(Path("runs/b"))
    assert os.readlink(LATEST) == "b"


def test_a_command_stays_with_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that begins while the report of the last one is made gets no report of the other."""
    from xpnet.report import sections

    train(*SMALL)
    first, real = os.readlink(LATEST), sections.report_page

    def report_page(run: object) -> bytes:
        train(*SMALL)
        return real(run)

    monkeypatch.setattr(sections, "report_page", report_page)
    assert xpnet("report", LATEST) == (0, f"runs/{first}/report.html\n", "")
    assert os.readlink(LATEST) != first
    assert not Path(LATEST, "report.html").exists()


def test_paths_that_stand_for_a_run(models: dict[str, Path]) -> None:
    iris = models["iris"]
    shutil.copytree(iris.parent, "run")
    Path("link").symlink_to("run")
    Path("again").symlink_to("link")
    for path in ("run", "run/model.safetensors", "link", "again"):
        assert run_folder(Path(path)) == Path("run")
        np_equal = load_model(path).vector == load_model(iris).vector
        assert np_equal.all()
    assert run_folder(Path("nothing")) == Path("nothing")
    Path("round").symlink_to("round")
    with pytest.raises(InvalidParameterError):
        run_folder(Path("round"))


def test_a_run_wherever_a_model_is(models: dict[str, Path]) -> None:
    shutil.copytree(models["iris"].parent, "run")
    out = xpnet("predict", "run/model.safetensors", "iris").out
    assert xpnet("predict", "run", "iris") == (0, out, "")
    assert xpnet("evaluate", "run", "iris").out == xpnet("evaluate", "run/model.safetensors", "iris").out
    assert (
        xpnet("export", "run", "a.safetensors").code == xpnet("export", "run/model.safetensors", "b.safetensors").code
    )
    assert Path("a.safetensors").read_bytes() == Path("b.safetensors").read_bytes()
    for command in ("report", "show"):
        assert xpnet(command, "run/model.safetensors").out.startswith("run/")
