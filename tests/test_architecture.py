"""The layout, checked by walking the sources: who imports whom, who may know a name, how long a file is."""

from __future__ import annotations

import ast
import graphlib
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from xpnet.backend.registry import BUILTIN
from xpnet.nn.activations import ACTIVATIONS
from xpnet.nn.initializers import INITIALIZERS
from xpnet.nn.losses import LOSSES, OUTPUTS
from xpnet.nn.optimizers import OPTIMIZERS
from xpnet.training.schedules import SCHEDULES

ROOT = Path(__file__).parents[1]
SOURCES = (ROOT, "xpnet"), (ROOT / "backends", "xpnet_backends")

# Folders of the core, bottom to top: each imports only from those above its own line. Modules at the top level stand
# in the first line, and the next lines need nothing of each other.
ORDER = """
    errors constraints libraries specs seeds files locks memory threads tensors terminal json_text html_text markdown \
    subnormals submodules caches launchers
    backend
    communicator
    data
    nn
    training
    model
    estimators
    plot
    report
    bench
    cli
    __main__
"""
RANKS = {name: rank for rank, line in enumerate(ORDER.split("\n")) for name in line.split()}
# Old names of modules, kept for compatibility: each only imports from the module that has the content now.
OLD_NAMES = {
    "xpnet.model_io": "xpnet.model.model_file",
    "xpnet.readers": "xpnet.data.readers",
    "xpnet.state_io": "xpnet.training.checkpoint_file",
}

ARRAY_LIBRARIES = {
    "cupy",
    "cupyx",
    "torch",
    "jax",
    "jaxlib",
    "array_api_strict",
    "numba",
    "onnxruntime",
    "xpnet_backends",
}
BACKEND_NAMES = set(BUILTIN)

# Tables of names, by the module that holds them.
TABLES = {
    "xpnet.nn.activations": ACTIVATIONS,
    "xpnet.nn.initializers": INITIALIZERS,
    "xpnet.nn.losses": {**LOSSES, **OUTPUTS},
    "xpnet.nn.optimizers": OPTIMIZERS,
    "xpnet.training.schedules": SCHEDULES,
}


def _modules() -> Iterator[tuple[str, Path]]:
    for root, package in SOURCES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(_modules())
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def _imports(name: str, *, within_functions: bool = True) -> Iterator[str]:
    """Yield the full name of every module that a module imports."""
    nodes = ast.walk(TREES[name]) if within_functions else iter(TREES[name].body)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are written in full"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else str(node.module)


def _libraries(name: str) -> set[str]:
    return {imported.partition(".")[0] for imported in _imports(name)}


def _layer(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


core_modules = pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("xpnet.")])
adapter_modules = pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("xpnet_backends")])
all_modules = pytest.mark.parametrize("name", MODULES)


def test_the_sources_are_found() -> None:
    assert {"xpnet", "xpnet.nn.network", "xpnet.cli", "xpnet_backends.numpy"} <= set(MODULES)


@core_modules
def test_imports_point_one_way(name: str) -> None:
    if name in OLD_NAMES:
        assert set(_imports(name)) == {OLD_NAMES[name]}
        return
    assert not OLD_NAMES.keys() & set(_imports(name)), f"{name} imports an old name"
    layer = _layer(name)
    assert layer in RANKS, f"xpnet.{layer} has no place in the order"
    for imported in _imports(name):
        if imported == "xpnet":
            assert layer in {"cli", "__main__"}, f"{name} imports the package that imports it"
        elif imported.startswith("xpnet.") and _layer(imported) != layer and RANKS[layer] > 1:
            assert RANKS[_layer(imported)] < RANKS[layer], f"{name} imports {imported}, which is not below it"
        elif imported.startswith("xpnet."):
            assert RANKS[_layer(imported)] == RANKS[layer], f"{name} imports {imported}, which is not below it"


def test_there_are_no_cycles() -> None:
    graph = {
        name: {imported for imported in _imports(name, within_functions=False) if imported in MODULES}
        for name in MODULES
    }
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


@all_modules
def test_only_adapters_import_array_libraries(name: str) -> None:
    if name.startswith("xpnet_backends"):
        library = name.rpartition(".")[2].partition("_")[0]  # jax_segments belongs to jax
        if name.startswith("xpnet_backends.cuda.") and library != "torch":
            library = "cupy"
        own = {"strict": "array_api_strict"}.get(library, library)
        assert _libraries(name) & ARRAY_LIBRARIES <= {own, f"{own}x", "xpnet_backends"}
    else:
        assert not _libraries(name) & ARRAY_LIBRARIES


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("xpnet_backends.peers.")])
def test_a_peer_is_written_without_xpnet(name: str) -> None:
    """Else it would be no peer; and no array API, for it is to be its own library's best code."""
    assert {each for each in _imports(name) if each.startswith("xpnet")} <= {"xpnet.errors"}
    assert "array_api_compat" not in _libraries(name)


@adapter_modules
def test_adapters_know_few_modules_of_the_core(name: str) -> None:
    known = {imported for imported in _imports(name) if imported.partition(".")[0] == "xpnet"}
    few = ("errors", "backend", "memory", "subnormals", "caches", "communicator", "libraries")
    assert known <= {f"xpnet.{module}" for module in few}


@pytest.mark.parametrize(
    "name", ["activations", "backprop", "counter_rng", "dropout", "elementwise", "losses", "network", "optimizers"]
)
def test_the_mathematics_knows_the_standard_only(name: str) -> None:
    """NumPy is for the host: shapes, drawing, reading files; here even that is not needed."""
    third_party = _libraries(f"xpnet.nn.{name}") - {
        "__future__",
        "collections",
        "dataclasses",
        "functools",
        "math",
        "typing",
    }
    assert third_party <= {"array_api_compat", "xpnet"}


def _strings(node: ast.AST) -> Iterator[ast.Constant]:
    """Yield the string constants in a piece of code."""
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each


def _compared(name: str) -> Iterator[ast.Constant]:
    """Yield the strings of a module that something is compared with: by an operator, a match, a prefix or a suffix."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Compare | ast.MatchValue) or (
            isinstance(node, ast.Call) and ast.unparse(node.func).endswith((".startswith", ".endswith"))
        ):
            yield from _strings(node)


def _listed(name: str) -> Iterator[ast.Constant]:
    """Yield the strings of a module that something may be looked up among: keys of tables, elements of collections."""
    exported = {each for node in TREES[name].body if _is_all(node) for each in ast.walk(node)}
    for node in ast.walk(TREES[name]):
        if node in exported:
            continue
        if isinstance(node, ast.Dict):
            yield from (string for key in node.keys if key is not None for string in _strings(key))
        elif isinstance(node, ast.Tuple | ast.List | ast.Set):
            yield from (each for each in node.elts if isinstance(each, ast.Constant) and isinstance(each.value, str))


def _is_all(node: ast.AST) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"


def _bare(string: ast.Constant) -> str:
    """Return the name of a spec or of a device: what stands before the colon."""
    return str(string.value).partition(":")[0]


@core_modules
def test_no_module_of_the_core_asks_which_backend_it_is(name: str) -> None:
    strings = [*_compared(name), *(() if name in NAMING else _listed(name))]
    named = [f"line {string.lineno}: {string.value!r}" for string in strings if _bare(string) in BACKEND_NAMES]
    # Nor by array_api_compat's is_torch_namespace and its like.
    asked = [
        node.id if isinstance(node, ast.Name) else node.attr
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.Name | ast.Attribute)
    ]
    asked = [each for each in asked if each.startswith("is_") and each.split("_")[1] in BACKEND_NAMES]
    assert not named + asked


LIBRARY = re.compile(r"(?<![a-z])(numba|cupy|(py)?torch|jax|jaxlib|xla)(?![a-z])", re.IGNORECASE)
# Strings of the core that may name a library, and why; docstrings may too.
NAMING = {
    "xpnet.backend.registry": "the built-in adapters",
    "xpnet.bench.implementations": "the peers, which are other libraries' own networks",
    "xpnet.bench.machine": "the packages and variables that a figure depends on",
    "xpnet.cli": "the description of the program",
    "xpnet.model.exports": "the library whose module a model becomes",
}


@core_modules
def test_the_core_names_no_library(name: str) -> None:
    """A library's messages, types and switches are its adapter's business."""
    documentation = {
        node.value
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    named = [
        f"line {string.lineno}: {string.value!r}"
        for string in _strings(TREES[name])
        if string not in documentation and LIBRARY.search(string.value)
    ]
    assert bool(named) == (name in NAMING), named


def _names_of_others(name: str) -> set[str]:
    """Return the names in all tables but a module's own."""
    return {each for table in TABLES.values() for each in table} - set(TABLES.get(name, ()))


@core_modules
def test_no_name_of_a_table_is_compared_outside_of_it(name: str) -> None:
    """What depends on a loss, an activation, an optimizer ... is in its entry, not in a comparison elsewhere."""
    names = _names_of_others(name)
    if name.startswith("xpnet.estimators."):
        names -= {"adaptive"}  # scikit-learn's rule for the learning rate is not the library's schedule of that name
    assert not [f"line {string.lineno}: {string.value!r}" for string in _compared(name) if _bare(string) in names]


# Collections with names of a table, by module, and why they are no second table.
LISTING = {
    "xpnet.bench.runs.fit": {"sgd", "adam"},  # scikit-learn's solvers
    "xpnet.bench.runs.long": {"momentum", "adam", "rmsprop"},  # the optimizers of the run
    "xpnet.bench.sklearn_peers": {"sgd", "momentum", "adam"},  # scikit-learn's parameters
    "xpnet.cli.presets": {"sigmoid", "relu", "tanh"},  # options of each preset
    # scikit-learn's names, and what they are here.
    "xpnet.estimators.conversion": {"identity", "relu", "tanh", "exp", "sgd", "adam", "constant", "adaptive"},
    "xpnet.estimators.parameters": {"momentum"},
    "xpnet.estimators.solvers": {"squared_error", "adam", "adaptive"},
    "xpnet.training.recipes": {"normal", "zeros"},  # the initializer of each layer
    "xpnet.training.search_spaces": {"relu", "selu", "mish", "adam", "adamw"},  # those of RealMLP's paper
}


@core_modules
def test_names_are_listed_in_their_table_only(name: str) -> None:
    assert {_bare(string) for string in _listed(name)} & _names_of_others(name) == LISTING.get(name, set())


@all_modules
def test_every_module_says_what_it_exports(name: str) -> None:
    path = MODULES[name]
    if path.name == "__main__.py" or name in ("xpnet_backends", "xpnet_backends.peers"):
        pytest.skip("exports nothing")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if not name.startswith("xpnet_backends.") or str(exc.name).partition(".")[0] not in {
            *ARRAY_LIBRARIES,
            "llvmlite",
            "onnx",
        }:
            raise
        pytest.skip(f"needs {exc.name}")
    last = ast.unparse(TREES[name].body[-1])
    if path.name == "__init__.py" and (len(TREES[name].body) == 1 or last == "__getattr__ = submodules_of(__name__)"):
        pytest.skip("a folder with nothing but its docstring and its modules")
    exported = module.__all__
    assert len(exported) == len(set(exported)) > 0
    missing = [each for each in exported if not hasattr(module, each)]
    assert not missing


@all_modules
def test_every_file_can_be_read_at_one_sitting(name: str) -> None:
    lines = MODULES[name].read_text(encoding="utf-8").count("\n")
    assert lines <= 300
