"""Change one operator, comparison, constant or keyword of the source at a time, and report which tests notice.

Each mutant lives in a copy of the repository, so the working tree stays as it is. A mutant that no test notices is
printed as a survivor: either the change has no effect, or a test is missing. Use it before tests are thinned (with
``--matrix``, which records every test that fails) and afterwards:

    python benchmarks/mutation.py --per-file 3 --matrix --out before.json
    python benchmarks/mutation.py --per-file 3 --out after.json xpnet/nn/losses.py
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT = 240  # seconds that the tests of a mutant may take; an endless loop counts as noticed

# The tests of a file, where they are not in the file of the same name in the mirrored folder.
TESTS = {
    "xpnet/backend/steps.py": ["tests/nn/test_step.py"],
    "xpnet/nn/parameters.py": ["tests/nn/test_network.py", "tests/nn/test_initializers.py"],
    "xpnet/nn/network.py": ["tests/nn/test_network.py", "tests/nn/test_losses.py"],
    "xpnet/nn/backprop.py": ["tests/nn/test_backprop.py", "tests/nn/test_network.py", "tests/nn/test_micro_batch.py"],
    "xpnet/nn/optimizers.py": ["tests/nn/test_optimizers.py", "tests/nn/test_step.py"],
    "xpnet/training/loop.py": ["tests/training/test_trainer.py", "tests/training/test_trainer_state.py"],
    "xpnet/data/streams/source.py": ["tests/data/test_streams.py"],
    "xpnet/data/readers/csv.py": ["tests/data/test_readers.py"],
    "xpnet/data/readers/idx.py": ["tests/data/test_readers.py"],
    "xpnet/estimators/conversion.py": ["tests/estimators/test_arrays.py", "tests/estimators/test_beyond.py"],
    "xpnet/estimators/classifier.py": ["tests/estimators/test_arrays.py", "tests/estimators/test_beyond.py"],
    "xpnet/estimators/stochastic.py": ["tests/estimators/test_against_sklearn.py", "tests/estimators/test_beyond.py"],
    "xpnet/estimators/monitoring.py": ["tests/estimators/test_against_sklearn.py"],
    "xpnet/cli/choices.py": ["tests/cli/test_options.py", "tests/cli/test_errors.py"],
    "backends/xpnet_backends/compiler/memory_plan.py": [
        "tests/compiler/test_passes.py",
        "tests/compiler/test_numpy_codegen.py",
    ],
    "backends/xpnet_backends/compiler/trace.py": [
        "tests/compiler/test_passes.py",
        "tests/compiler/test_numpy_codegen.py",
    ],
    "backends/xpnet_backends/compiler/numpy_codegen.py": ["tests/compiler/test_numpy_codegen.py"],
}
FILES = [
    *("xpnet/nn/activations.py", "xpnet/nn/losses.py", "xpnet/nn/counter_rng.py", "xpnet/nn/initializers.py"),
    *("xpnet/nn/step.py", "xpnet/nn/gradcheck.py", "xpnet/training/evaluation.py", "xpnet/training/samples.py"),
    *(
        "xpnet/training/early_stopping.py",
        "xpnet/training/schedules.py",
        "xpnet/data/scaling.py",
        "xpnet/data/targets.py",
    ),
    *TESTS,
]

OPERATORS: dict[type, tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.Pow: ("**", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "*"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
    ast.BitXor: ("^", "&"),
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
}


class Mutant(NamedTuple):
    """A replacement of the text from `start` to `end` of a file."""

    file: str
    line: int
    start: int
    end: int
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.old!r} -> {self.new!r}"


class _Sites(ast.NodeVisitor):
    """Collect every place of a file that can be mutated, but for annotations, defaults and docstrings."""

    def __init__(self, file: str, source: str) -> None:
        self.file, self.source, self.found = file, source, list[Mutant]()
        self._starts = [0]
        for line in source.encode().splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def _offset(self, line: int, column: int) -> int:
        return self._starts[line - 1] + column

    def _add(self, line: int, start: int, end: int, new: str) -> None:
        self.found.append(Mutant(self.file, line, start, end, self.source.encode()[start:end].decode(), new))

    def _between(self, left: ast.expr, operator: ast.AST, right: ast.expr) -> None:
        if type(operator) not in OPERATORS:
            return
        old, new = OPERATORS[type(operator)]
        start = self._offset(left.end_lineno or 0, left.end_col_offset or 0)
        between = self.source.encode()[start : self._offset(right.lineno, right.col_offset)].decode()
        at = start + between.index(old)
        self._add(left.end_lineno or 0, at, at + len(old), new)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        self._between(node.left, node.op, node.right)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        for left, operator, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
            self._between(left, operator, right)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._between(left, node.op, right)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._between(node.target, node.op, node.value)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.USub | ast.Not):
            start = self._offset(node.lineno, node.col_offset)
            self._add(node.lineno, start, self._offset(node.operand.lineno, node.operand.col_offset), "")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        start, end = (self._offset(node.lineno, node.col_offset), self._offset(node.lineno, node.end_col_offset or 0))
        if isinstance(node.value, bool):
            self._add(node.lineno, start, end, str(not node.value))
        elif isinstance(node.value, int):
            self._add(node.lineno, start, end, str(node.value + 1))
        elif isinstance(node.value, float):
            self._add(node.lineno, start, end, repr(node.value * 1.01))

    def visit_Call(self, node: ast.Call) -> None:
        values = [*node.args, *(keyword.value for keyword in node.keywords)]
        for keyword in node.keywords:
            before = values[values.index(keyword.value) - 1] if keyword.value is not values[0] else None
            if keyword.arg and before:  # with the comma in front of it
                start, end = (
                    self._offset(each.end_lineno or 0, each.end_col_offset or 0) for each in (before, keyword)
                )
                self._add(keyword.lineno, start, end, "")
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for statement in node.body:
            self.visit(statement)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)


def mutants(file: str, n: int, seed: int) -> list[Mutant]:
    """Return `n` mutants of a file, drawn from all places that can be mutated."""
    source = (ROOT / file).read_text(encoding="utf-8")
    sites = _Sites(file, source)
    sites.visit(ast.parse(source))
    return sorted(random.Random(f"{file}{seed}").sample(sites.found, min(n, len(sites.found))))


def tests_of(file: str) -> list[str]:
    """Return the test files that are run for a source file."""
    _, *folders, name = Path(file).parts
    mirrored = str(Path("tests", *folders, f"test_{name}"))
    return TESTS.get(file, [mirrored])


def failures(copy: Path, tests: list[str], options: list[str]) -> list[str] | None:
    """Run tests in the copy, and return the names of those that fail; None if they did not end in time."""
    report = copy / "report.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider", f"--junitxml={report}"]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command += ["-o", "junit_family=xunit1", *options, *tests]
    try:
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return None
    if not report.exists():  # not even pytest's own start
        return [done.stdout[-500:] + done.stderr[-500:]]
    cases = ElementTree.parse(report).getroot().iter("testcase")
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    return [f"{case.get('classname')}::{case.get('name')}" for case in failed]


def outcomes(chosen: list[Mutant], options: list[str]) -> Iterator[dict[str, Any]]:
    """Yield what each mutant's tests came to."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch, "copy")
        ignored = shutil.ignore_patterns(".*", "__pycache__", "results", "runs")
        shutil.copytree(ROOT, copy, ignore=ignored)
        tests = sorted({test for mutant in chosen for test in tests_of(mutant.file)})
        if failed := failures(copy, tests, ["-x"]):
            raise SystemExit(f"the tests of the source as it is fail: {failed}")
        for mutant in chosen:
            path = copy / mutant.file
            whole = path.read_bytes()
            path.write_bytes(whole[: mutant.start] + mutant.new.encode() + whole[mutant.end :])
            started = time.perf_counter()
            failed = failures(copy, tests_of(mutant.file), options)
            path.write_bytes(whole)
            yield {
                "mutant": str(mutant),
                "dies": failed is None or bool(failed),
                "failed": failed if failed is not None else ["out of time"],
                "seconds": round(time.perf_counter() - started, 1),
            }


def main() -> None:
    """Print a line for each mutant, and write all outcomes as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", default=FILES)
    parser.add_argument("--per-file", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--matrix", action="store_true", help="run on after the first failure")
    parser.add_argument("--out", type=Path)
    given, options = parser.parse_known_args()
    chosen = [mutant for file in given.files for mutant in mutants(file, given.per_file, given.seed)]
    results = []
    for outcome in outcomes(chosen, options if given.matrix else ["-x", *options]):
        results.append(outcome)
        count = len(outcome["failed"])
        what = f"noticed by {count}" if outcome["dies"] else "SURVIVES"
        print(re.sub(r"\s+", " ", f"{outcome['seconds']:6.1f} s  {what:<14} {outcome['mutant']}"), flush=True)
        if given.out:
            given.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    died = sum(outcome["dies"] for outcome in results)
    print(f"{died} of {len(results)} mutants are noticed")


if __name__ == "__main__":
    main()
