"""The layout, held by walking the sources: who imports whom, who may know a library, how long a file is."""

from __future__ import annotations

import ast
import graphlib
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = (ROOT, "xpnet"), (ROOT / "backends", "xpnet_backends")

# Folders of the core, bottom to top: each imports only from those above its own line. Modules at the top level stand
# in the first line, and the next lines need nothing of each other.
ORDER = """
    errors constraints specs seeds files memory threads tensors
    backend data
    nn
    training
    model
    estimators
    bench
    cli
    __main__
"""
RANKS = {name: rank for rank, line in enumerate(ORDER.split("\n")) for name in line.split()}

ARRAY_LIBRARIES = {"cupy", "cupyx", "torch", "jax", "jaxlib", "array_api_strict", "numba", "xpnet_backends"}
BACKEND_NAMES = {"numpy", "numba", "cupy", "torch", "jax", "strict"}


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
        library = name.rpartition(".")[2].partition("_")[0]  # jax_pieces belongs to jax
        own = {"strict": "array_api_strict", "cublas": "cupy", "graph": "cupy"}.get(library, library)
        assert _libraries(name) & ARRAY_LIBRARIES <= {own, f"{own}x", "xpnet_backends"}
    else:
        assert not _libraries(name) & ARRAY_LIBRARIES


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("xpnet_backends.peers.")])
def test_a_peer_is_written_without_xpnet(name: str) -> None:
    """Else it would be no peer; and no array API, for it is to be its own library's best code."""
    assert {each for each in _imports(name) if each.startswith("xpnet")} <= {"xpnet.errors"}
    assert "array_api_compat" not in _libraries(name)


@adapter_modules
def test_adapters_know_three_modules_of_the_core(name: str) -> None:
    known = {imported for imported in _imports(name) if imported.partition(".")[0] == "xpnet"}
    assert known <= {"xpnet.errors", "xpnet.backend", "xpnet.memory"}


@pytest.mark.parametrize("name", ["activations", "counter_rng", "losses", "network", "optimizers"])
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


def _questions(name: str) -> Iterator[ast.AST]:
    """Yield what can tell one string from another: comparisons, matches, prefixes, keys of tables."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Compare | ast.MatchValue) or (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "startswith"
        ):
            yield node
        elif isinstance(node, ast.Dict) and name != "xpnet.backend.registry":  # which has the registry's table
            yield from filter(None, node.keys)


@core_modules
def test_no_module_of_the_core_asks_which_backend_it_is(name: str) -> None:
    named = [
        f"line {node.lineno}: {node.value!r}"
        for question in _questions(name)
        for node in ast.walk(question)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.partition(":")[0] in BACKEND_NAMES
    ]
    # Nor by array_api_compat's is_torch_namespace and its like.
    asked = [
        node.id if isinstance(node, ast.Name) else node.attr
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.Name | ast.Attribute)
    ]
    asked = [each for each in asked if each.startswith("is_") and each.split("_")[1] in BACKEND_NAMES]
    assert not named + asked


@all_modules
def test_every_module_says_what_it_exports(name: str) -> None:
    path = MODULES[name]
    if path.name == "__main__.py" or name in ("xpnet_backends", "xpnet_backends.peers"):
        pytest.skip("exports nothing")
    if name.startswith("xpnet_backends."):
        for library in _libraries(name) & ARRAY_LIBRARIES:
            pytest.importorskip(library)
    module = importlib.import_module(name)
    if path.name == "__init__.py" and len(TREES[name].body) == 1:
        pytest.skip("a folder with nothing but its docstring")
    exported = module.__all__
    assert len(exported) == len(set(exported)) > 0
    missing = [each for each in exported if not hasattr(module, each)]
    assert not missing


@all_modules
def test_every_file_can_be_read_at_one_sitting(name: str) -> None:
    lines = MODULES[name].read_text(encoding="utf-8").count("\n")
    assert lines <= 300
