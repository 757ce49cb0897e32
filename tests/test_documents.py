"""The documents: the command line accepts their commands, and their links and paths lead to files and headings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

import xpnet
import xpnet.plot
from xpnet.cli import app
from xpnet.cli.config import write_config
from xpnet.cli.options import TrainOptions

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
CODE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`[^`\n]+`")
COMMAND = re.compile(r"^ *(?:.* && )?(?:\S*/)?(xpnet (?!-).*)$", re.MULTILINE)
INLINE_COMMAND = re.compile(r"`(xpnet [a-z]+ [^`]*--[^`]*)`")
PATH = re.compile(r"`((?:backends|benchmarks|docs|examples|tests|xpnet)/[\w./-]*)")
INDEX_LINE = re.compile(r"^\| (.+) \| `(\S+\.py)` \|$", re.MULTILINE)
FILE = re.compile(r"[\w.-]+(?:/[\w.-]+)*\.[a-z][a-z0-9]*|[\w.-]+(?:/[\w.-]+)+")
QUOTED = re.compile(r'(?:open|open_source|read_csv|read_table|load_model|load_file|fit)\("([^"{]+)"')
LINK = re.compile(r"\]\(([^()\s]+)\)")

each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def commands(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each command in a document: in code blocks, and in the text where it has options."""
    in_blocks = [command for block in CODE.findall(text) for command in COMMAND.findall(block)]
    for command in in_blocks + INLINE_COMMAND.findall(CODE.sub("", text)):
        yield shlex.split(command, comments=True)[1:]


def anchors(text: str) -> set[str]:
    """Return what a link may name in a document: each heading in lower case, with hyphens for spaces."""
    headings = re.findall(r"^#+ (.*)$", CODE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@each_document
def test_its_commands_are_accepted(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for run in ("run", "RUN"):
        Path(run).mkdir()
        Path(run, "config.toml").write_bytes(write_config("digits", TrainOptions()))
    for arguments in commands(path.read_text(encoding="utf-8")):
        # It parses and converts all arguments, and runs nothing.
        command, *_ = app.parse_args(arguments, exit_on_error=False, print_error=False)
        assert callable(command), arguments


def written(arguments: list[str]) -> list[str]:
    """Return the file or the folder that a command writes."""
    outputs = [value for option, value in pairwise(arguments) if option == "--out"]
    if arguments[0] == "train" and not outputs:
        outputs = ["runs/latest"]
    return outputs + (arguments[2:3] if arguments[0] == "export" else [])


def is_users(name: str) -> bool:
    """Return True for a name that stands for the reader's own file: one with a word in capitals."""
    return any(re.fullmatch(r"[A-Z]+", part.partition(".")[0]) for part in name.split("/"))


@each_document
def test_the_files_of_its_commands_are_there(path: Path) -> None:
    """They lie in the repository, an earlier command has written them, or they stand for the reader's own."""
    text = path.read_text(encoding="utf-8")
    known: set[str] = set()
    unknown = []

    def check(name: str, place: object) -> None:
        folders = {str(folder) for folder in Path(name).parents} - {"."}
        if not ((ROOT / name).exists() or is_users(name) or name in known or folders & known):
            unknown.append((name, place))

    for arguments in commands(text):
        outputs = written(arguments)
        for argument in arguments:
            if FILE.fullmatch(argument) and argument not in outputs:
                check(argument, " ".join(arguments))
        known.update(outputs)
    for name in filter(FILE.fullmatch, QUOTED.findall("".join(CODE.findall(text)))):
        check(name, "Python")
    assert unknown == []


def test_files_are_found_in_commands() -> None:
    assert all(FILE.fullmatch(name) for name in ("new.csv", "run/model.safetensors", "runs/first", "a.b.npz"))
    assert not any(FILE.fullmatch(name) for name in ("digits", "0.002", "64,32", "loss:patience=5", "jax:cpu", "--out"))
    assert written(["train", "digits", "--out", "run"]) == ["run"]
    assert written(["export", "run", "model.onnx", "--opset", "21"]) == ["model.onnx"]
    assert is_users("NEW.csv")
    assert is_users("runs/RUN")
    assert not is_users("new.csv")


@each_document
def test_its_links_lead_somewhere(path: Path) -> None:
    for link in LINK.findall(INLINE.sub("", CODE.sub("", path.read_text(encoding="utf-8")))):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name) if name else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


@each_document
def test_the_paths_that_it_names_exist(path: Path) -> None:
    text = CODE.sub("", path.read_text(encoding="utf-8"))
    assert [name for name in PATH.findall(text) if not (ROOT / name).exists()] == []


def test_the_index_leads_from_each_question_to_a_file() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = text[text.index("## Where is it?") :].split("\n\n")[0]
    lines = section.splitlines()[3:]  # without the heading and the head of the table
    found = [INDEX_LINE.fullmatch(line) for line in lines]
    assert len(found) >= 20
    assert all(found)
    assert len({match[1] for match in found if match}) == len(lines)
    assert [match[2] for match in found if match and not (ROOT / match[2]).is_file()] == []


def test_the_table_of_folders_has_each_folder_with_modules() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    packages = [path.parent for name in ("xpnet", "backends") for path in (ROOT / name).rglob("__init__.py")]
    folders = {folder.relative_to(ROOT) for folder in packages if folder.parent != ROOT}
    assert len(folders) > 10
    assert [str(folder) for folder in folders if f"| `{folder}" not in text] == []


@pytest.mark.parametrize(("module", "page"), [(xpnet, "api"), (xpnet.plot, "plot")])
def test_the_reference_lists_each_public_name_once(module: ModuleType, page: str) -> None:
    text = (ROOT / "docs" / "reference" / f"{page}.md").read_text(encoding="utf-8")
    listed = re.findall(r"^   (\w+)$", text, re.MULTILINE)
    assert sorted(listed) == sorted(set(module.__all__) - {"__version__"})


def test_commands_are_found_in_the_documents() -> None:
    found = [arguments for path in DOCUMENTS for arguments in commands(path.read_text(encoding="utf-8"))]
    names = {name for name in app if not name.startswith("-")}
    assert {arguments[0] for arguments in found} == names  # each command of `xpnet --help` has an example
    assert ["train", "digits"] in found


def test_the_command_for_the_tests_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    pattern = re.search(r'grep -m1 -o "(.*)" README.md', script)
    assert pattern is not None
    assert re.search(pattern[1], readme)


def test_the_readme_fits_on_a_screen_and_a_half() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 100
