"""What a command imports before its result is there: each library costs a part of a second."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import xpnet as library
from tests.command_line import train, write_csv
from xpnet.cli import _COMMANDS, run_pictures
from xpnet.cli.process import _PyarrowWithoutPandas, own_process

SLOW = {
    "sklearn", "scipy", "pandas", "torch", "jax", "cupy", "numba", "matplotlib", "rich", "array_api_strict",
}  # fmt: skip

# Runs the command as its installed script does. The modules are those at the end of the command, or before it draws.
COMMAND = """
import sys

def show(*_):
    print("modules", *sys.modules)
    return []

from xpnet.cli import main

if "train" in sys.argv:
    import xpnet.cli.run_pictures

    xpnet.cli.run_pictures.draw_pictures = show
main()
if "train" not in sys.argv:
    show()
"""


def imported(environment: dict[str, str], code: str, *arguments: object) -> set[str]:
    """Return the modules that a process has imported when it shows them."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("modules "))
    return set(line.split()[1:])


def libraries(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = (f"{i % 7},{'abc'[i % 3]},{i % 11 > 4}" for i in range(200))
    return write_csv(tmp_path / "table.csv", "size,kind,target", *rows)


@pytest.mark.subprocess
def test_training_on_a_table(environment: dict[str, str], table: Path, tmp_path: Path) -> None:
    options = ("--target", "target", "--epochs", 1, "--quiet", "--device", "cpu", "--out", tmp_path / "out")
    modules = imported(environment, COMMAND, "train", table, *options)
    assert "pyarrow" in modules
    assert libraries(modules).isdisjoint(SLOW)
    assert not any(name.startswith("xpnet.bench") for name in modules)
    assert len(modules) < 650


@pytest.mark.subprocess
def test_training_on_digits(environment: dict[str, str], tmp_path: Path) -> None:
    options = ("--epochs", 1, "--quiet", "--device", "cpu", "--out", tmp_path / "out")
    modules = imported(environment, COMMAND, "train", "digits", *options)
    assert libraries(modules).isdisjoint({*SLOW, "pyarrow"})
    assert len(modules) < 600


@pytest.mark.subprocess
def test_prediction_imports_no_trainer(environment: dict[str, str], table: Path, tmp_path: Path) -> None:
    train(table, "--target", "target", "--epochs", 1, "--preset", "tabular", "--out", tmp_path / "out")
    modules = imported(
        environment, COMMAND, "predict", tmp_path / "out" / "model.safetensors", table, "--out", tmp_path / "p.csv"
    )
    assert libraries(modules).isdisjoint(SLOW)
    assert not {"xpnet.training.trainer", "xpnet.cli.options"} & modules
    assert len(modules) < 560


@pytest.mark.subprocess
def test_a_look_at_runs_imports_no_trainer(environment: dict[str, str], tmp_path: Path) -> None:
    train("iris", "--quiet", "--out", tmp_path / "runs" / "a")
    for command in (["runs", tmp_path / "runs"], ["info", tmp_path / "runs" / "a"]):
        modules = imported(environment, COMMAND, *command, "--json")
        assert libraries(modules).isdisjoint({*SLOW, "pyarrow"})
        assert "xpnet.training.trainer" not in modules
        assert len(modules) < 480


@pytest.mark.subprocess
def test_an_evaluation_of_data_imports_no_trainer(environment: dict[str, str], table: Path, tmp_path: Path) -> None:
    train(table, "--target", "target", "--epochs", 1, "--preset", "tabular", "--quiet", "--out", tmp_path / "out")
    (tmp_path / "out" / "model.safetensors").rename(tmp_path / "m.safetensors")
    modules = imported(environment, COMMAND, "evaluate", tmp_path / "m.safetensors", table, "--json")
    assert libraries(modules).isdisjoint(SLOW)
    assert "xpnet.training.trainer" not in modules
    assert len(modules) < 580


@pytest.mark.subprocess
def test_help_and_the_library_import_no_array_library(environment: dict[str, str]) -> None:
    modules = imported(environment, COMMAND, "--help")
    assert libraries(modules).isdisjoint((SLOW - {"rich"}) | {"numpy", "pyarrow"})
    assert len(modules) < 400
    alone = imported(environment, "import sys, xpnet\nprint('modules', *sys.modules)")
    assert not [name for name in alone if name.startswith("xpnet.")]
    assert len(alone) < 100


SAYS = """
import sys

import xpnet.cli

def show(line):
    print("modules", *sys.modules)
    assert line == "reading nope.csv"
    sys.exit()

xpnet.cli.can_redraw, xpnet.cli.say = lambda stream: True, show
xpnet.cli.main()
"""


@pytest.mark.subprocess
@pytest.mark.parametrize("command", ["train", "predict model", "evaluate model", "inspect"])
def test_the_first_line_comes_before_what_is_slow(environment: dict[str, str], command: str) -> None:
    modules = imported(environment, SAYS, *command.split(), "nope.csv")
    assert libraries(modules).isdisjoint({*SLOW, "numpy", "pyarrow"})
    assert len(modules) < 300


@pytest.mark.parametrize("name", _COMMANDS)
def test_help_says_what_the_docstring_says(name: str) -> None:
    place, description = _COMMANDS[name]
    module, _, attribute = place.partition(":")
    command = getattr(import_module(f"xpnet.cli.{module}"), attribute)
    text = command.help if name == "bench" else inspect.getdoc(command).partition("\n\nParameters\n")[0]
    assert " ".join(description.split()) == " ".join(text.split())


def test_each_name_of_the_library_is_found() -> None:
    listed = {name: module for module, names in library._MODULES.items() for name in names}
    assert listed.keys() == {*library.__all__} - {"__version__"}
    tree = ast.parse(Path(library.__file__).read_text(encoding="utf-8"))
    (for_checkers,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in for_checkers.body if isinstance(node, ast.ImportFrom)]
    assert {name.name: node.module for node in imports for name in node.names} == listed
    assert all(getattr(library, name) is not None for name in library.__all__)
    with pytest.raises(AttributeError, match="'Trainr'"):
        _ = library.Trainr


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("Network", "nn.gradcheck"),
        ("load_dataset", "data.streams"),
        ("load_dataset", "data.tables.paths"),
        ("Callback", "training.trainer"),
        ("Model", "model.model_file"),
        ("errors", "errors"),
        ("get_backend", "backend.registry"),
    ],
)
def test_import_of_the_library_suffices_for_its_modules(environment: dict[str, str], name: str, module: str) -> None:
    code = f"import xpnet\nxpnet.{name}\nassert xpnet.{module}.__name__ == 'xpnet.{module}'"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_module_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(AttributeError, match=r"'xpnet\.nn' has no attribute 'gradchek'"):
        _ = library.nn.gradchek
    (tmp_path / "lacking.py").write_text("import no_such_library")
    monkeypatch.setattr(library.nn, "__path__", [*library.nn.__path__, str(tmp_path)])
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        _ = library.nn.lacking


def test_the_summary_comes_before_the_pictures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def draw(*_: object) -> list[Path]:
        print("DRAWS")
        return [tmp_path / "picture.png"]

    monkeypatch.setattr(run_pictures, "draw_pictures", draw)
    out = train("iris", "--out", tmp_path / "out").out
    assert out.index("samples/s") < out.index("DRAWS") < out.index("model.safetensors") < out.index("picture.png")


def test_pandas_is_hidden_from_pyarrow_only() -> None:
    finder = _PyarrowWithoutPandas()
    assert finder.find_spec("pandas") is None
    assert finder.find_spec("numpy") is None
    for importer in ("xpnet.data.tables.parse", "pyarrow.compute"):
        with pytest.raises(ModuleNotFoundError):
            eval("find('pandas')", {"__name__": importer, "find": finder.find_spec})
    eval("find('numpy')", {"__name__": "pyarrow.compute", "find": finder.find_spec})
    exec("find('pandas')", {"find": finder.find_spec})  # code without a module


def test_pandas_is_hidden_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    own_process()
    own_process()
    assert sum(isinstance(finder, _PyarrowWithoutPandas) for finder in sys.meta_path) == 1
