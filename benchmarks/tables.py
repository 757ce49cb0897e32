"""Measure scores and times on real tables as they come: xpnet, scikit-learn and pytabkit's RealMLP.

``python benchmarks/tables.py FILE|FOLDER ... --peer-python PYTHON --work FOLDER [--out FOLDER]``

`PYTHON` runs the peers: it needs scikit-learn, pytabkit and the packages of the tables (``--list``). The files and
folders hold the tables that no package has: ``--list`` prints their names too.

A fifth of the rows, drawn with a fixed seed and for each class by itself, is the test part. Rows are cut from the CSV
file byte for byte, and every competitor gets the same two files, with its defaults. The score is accuracy or R2 on the
test part, the median over the seeds of training. Every fit is a process; its result is kept in ``--work``, so that a
run which was stopped goes on. With ``--validation`` each training part is cut again, and its test part stays unused:
choose settings there. ``--rounds N`` measures seconds, the competitors in turns: run it on a quiet machine. Those of
xpnet are of its two commands, with all imports; those of the peers are without.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from table_list import CLASSES, FILES, PACKAGED, TABLES, Table
from table_parts import cut, records
from writing import show, write

from xpnet.bench.report import TextTable
from xpnet.files import write_atomically

PEERS = Path(__file__).with_name("table_peers.py")
XPNET, BOOSTING, REALMLP = "xpnet", "boosting", "RealMLP_TD_S"
DEFAULT = (XPNET, BOOSTING, "sklearn-mlp", REALMLP)


class CommandError(Exception):
    """A command failed; the message is the last line that it wrote."""


def run(command: Sequence[str | Path]) -> str:
    """Return what a command prints."""
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no message"]
        raise CommandError(f"exit code {done.returncode}: {lines[-1]}")
    return done.stdout


class Study:
    """A folder with the parts of the tables and the results of all fits."""

    def __init__(self, folder: Path, peer_python: str, validation: bool, seed: int = 0) -> None:
        self._folder, self._peer_python, self._validation, self._seed = folder, peer_python, validation, seed

    def folder(self, table: Table) -> Path:
        """Return the folder of a table's parts and results."""
        return self._folder / table.name / ("validation" if self._validation else "test")

    def export(self, tables: Sequence[Table], given: dict[str, Path]) -> None:
        """Bring the tables that are not here yet, and cut them."""
        missing = [table for table in tables if not (self._folder / table.name / "table.csv").exists()]
        packaged = [table.name for table in missing if table.package]
        if packaged:
            run([self._peer_python, PEERS, "export", self._folder, *packaged])
        for table in missing:
            if not table.package:
                (self._folder / table.name).mkdir(parents=True, exist_ok=True)
                write_atomically(self._folder / table.name / "table.csv", given[table.item].read_bytes())
        for table in tables:
            train, held = cut((self._folder / table.name / "table.csv").read_bytes(), table, 0.2, self._seed)
            if self._validation:
                train, held = cut(train, table, 0.25, self._seed + 1)
            self.folder(table).mkdir(parents=True, exist_ok=True)
            for name, part in (("train.csv", train), ("test.csv", held)):
                path = self.folder(table) / name
                if not path.exists() or path.read_bytes() != part:
                    write_atomically(path, part)

    def path(self, table: Table, competitor: str, seed: int) -> Path:
        """Return the file of a fit's result."""
        return self.folder(table) / f"{competitor}-{seed}.json"

    def result(self, table: Table, competitor: str, seed: int) -> dict[str, Any]:
        """Return the result of a fit, which is empty if there is none yet."""
        path = self.path(table, competitor, seed)
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def fit(self, table: Table, competitor: str, seed: int) -> dict[str, Any]:
        """Fit a competitor in a process of its own, and return its score and seconds, or why there are none."""
        train, test = self.folder(table) / "train.csv", self.folder(table) / "test.csv"
        started = time.perf_counter()
        try:
            if competitor == XPNET:
                result = fit_xpnet(table, seed, train, test)
            else:
                fit: list[str | Path] = [PEERS, "fit", table.name, competitor, str(seed), train, test]
                result = json.loads(run([self._peer_python, *fit]))
        except CommandError as exc:
            result = {"error": str(exc)}
        return {**result, "process_seconds": time.perf_counter() - started}


def fit_xpnet(table: Table, seed: int, train: Path, test: Path) -> dict[str, Any]:
    """Train and evaluate from the command line; its seconds are those of both commands, with all imports."""
    xpnet: list[str | Path] = [sys.executable, "-m", "xpnet"]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        started = time.perf_counter()
        options = ["--target", table.target, "--test-fraction", "0", "--seed", str(seed), "--out", str(out), "--quiet"]
        run([*xpnet, "train", str(train), *options])
        found = json.loads(run([*xpnet, "evaluate", str(out / "model.safetensors"), str(test), "--json"]))
        seconds = time.perf_counter() - started
    scores = {**found, **found.get("metrics", {})}
    name = "accuracy" if table.task == CLASSES else "r2"
    if name not in scores:
        return {"error": f"no {name} in {found}"}
    return {"score": scores[name], "seconds": seconds, "evaluation": found}


def find(paths: Sequence[Path]) -> dict[str, Path]:
    """Return the given files by their names; a folder gives its files."""
    files = [file for path in paths for file in (path.iterdir() if path.is_dir() else [path])]
    return {file.name: file for file in files}


def columns_of(results: dict[str, dict[str, list[dict[str, Any]]]], key: str) -> dict[str, dict[str, float]]:
    """Return the medians of a number over the fits, by table and competitor, without those that failed."""
    return {
        table: {
            name: statistics.median(fit[key] for fit in fits)
            for name, fits in own.items()
            if fits and all(key in fit for fit in fits)
        }
        for table, own in results.items()
    }


def verdicts(scores: dict[str, dict[str, float]], seconds: dict[str, dict[str, float]]) -> Iterator[str]:
    """Yield what the scores and times say about xpnet beside its peers, a line for each comparison."""
    pairs = {name: own for name, own in scores.items() if XPNET in own}
    against = {name: own[XPNET] - own[BOOSTING] for name, own in pairs.items() if BOOSTING in own}
    if against:
        worst = min(against, key=lambda name: against[name])
        wins = sum(value > 0 for value in against.values())
        yield (
            f"- xpnet minus boosting: worst {against[worst]:+.4f} ({worst}); "
            f"above it on {wins} of {len(against)} tables"
        )
    beside = [own[XPNET] - own[REALMLP] for own in pairs.values() if REALMLP in own]
    if beside:
        yield f"- xpnet minus {REALMLP}: mean {statistics.mean(beside):+.4f} over {len(beside)} tables"
    ratios = {name: own[XPNET] / own[REALMLP] for name, own in seconds.items() if {XPNET, REALMLP} <= {*own}}
    if ratios:
        slowest = max(ratios, key=lambda name: ratios[name])
        middle = statistics.median(ratios.values())
        yield f"- time of xpnet / time of {REALMLP}: median {middle:.2f}, largest {ratios[slowest]:.2f} ({slowest})"
    wide = "RealMLP_TD"
    for other in (wide, f"{REALMLP}-4"):
        gains = [own[other] - own[REALMLP] for own in scores.values() if {other, REALMLP} <= {*own}]
        if gains:
            wins = sum(gain > 0 for gain in gains)
            yield f"- {other} minus {REALMLP}: mean {statistics.mean(gains):+.4f}, better on {wins} of {len(gains)}"


def grid(
    title: str, tables: Sequence[Table], competitors: Sequence[str], values: dict[str, dict[str, float]], form: str
) -> TextTable:
    """Return a table with a row for each table and a column for each competitor."""
    rows = []
    for table in tables:
        own = values[table.name]
        rows.append((table.name, *(format(own[name], form) if name in own else "-" for name in competitors)))
    return TextTable(title, ("table", *competitors), rows)


def describe(table: Table, data: bytes) -> tuple[str, ...]:
    """Return the row of a table in the list: name, size, target, task, where it comes from."""
    rows = records(data)
    columns = len(rows[0].split(None if table.delimiter is None else table.delimiter.encode()))
    source = f"{table.package}: {table.item}" if table.package else "a file"
    return (table.name, str(len(rows) - table.header), str(columns), table.target, table.task, source, table.origin)


LIST = ("table", "rows", "columns", "target", "task", "package and item", "origin and licence")


def main() -> None:
    """Fit all competitors to all tables, and print and write the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path, metavar="FILE|FOLDER")
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--work", type=Path, default=Path("tables-work"), help="parts and results so far")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", nargs="+", metavar="TABLE", help="default: all")
    parser.add_argument("--competitors", nargs="+", default=DEFAULT, help="also RealMLP_TD, RealMLP_TD_S-4")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--validation", action="store_true")
    parser.add_argument("--again", action="store_true", help="fit again what was fitted before")
    parser.add_argument("--report", action="store_true", help="fit nothing")
    parser.add_argument("--rounds", type=int, help="measure seconds only, in so many rounds")
    parser.add_argument("--list", action="store_true")
    given = parser.parse_args()
    if given.list:
        for table in TABLES:
            print(f"{table.name:16} {table.package or 'a file':14} {table.item}")
        return
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(given.threads)
    files = find(given.paths)
    tables = [table for table in (*FILES, *PACKAGED) if table.package or table.item in files]
    tables = [table for table in tables if given.only is None or table.name in given.only]
    study = Study(given.work.resolve(), given.peer_python, given.validation)
    study.export(tables, files)
    if given.rounds:
        time_again(study, tables, given.competitors, given.rounds)
    elif not given.report:
        for seed in range(given.seeds):
            for table in tables:
                for competitor in given.competitors:
                    if given.again or "score" not in study.result(table, competitor, seed):
                        fit_one(study, table, competitor, seed)
    report(study, tables, given.competitors, given.seeds, given.out)


def fit_one(study: Study, table: Table, competitor: str, seed: int) -> None:
    """Fit, keep the result and print it."""
    result = study.fit(table, competitor, seed)
    write_atomically(study.path(table, competitor, seed), json.dumps(result, indent=1).encode())
    found = result.get("error") or f"{result['score']:.4f} in {result['seconds']:.1f} s"
    print(f"{table.name}, {competitor}, seed {seed}: {found}", flush=True)


def time_again(study: Study, tables: Sequence[Table], competitors: Sequence[str], rounds: int) -> None:
    """Measure seconds, one competitor after the other in each round, and keep them beside the results."""
    for table in tables:
        found: dict[str, list[float]] = {name: [] for name in competitors}
        for seed in range(rounds):
            for competitor in competitors:
                result = study.fit(table, competitor, seed)
                if "seconds" in result:
                    found[competitor].append(result["seconds"])
        write_atomically(study.folder(table) / "times.json", json.dumps(found).encode())
        ranges = (f"{name} {min(own):.1f} to {max(own):.1f} s" for name, own in found.items() if own)
        print(f"{table.name}: {', '.join(ranges)}", flush=True)


def report(study: Study, tables: Sequence[Table], competitors: Sequence[str], seeds: int, out: Path | None) -> None:
    """Print and write the list, the scores and the times."""
    results = {
        table.name: {
            name: [fit for seed in range(seeds) if (fit := study.result(table, name, seed))] for name in competitors
        }
        for table in tables
    }
    scores = columns_of(results, "score")
    seconds: dict[str, dict[str, float]] = {table.name: {} for table in tables}
    for table in tables:  # only those of --rounds: the fits for the scores may have run on a busy machine
        path = study.folder(table) / "times.json"
        if path.exists():
            own = json.loads(path.read_text())
            seconds[table.name] = {name: statistics.median(times) for name, times in own.items() if times}
    part = study.folder(tables[0]).name
    listed = [describe(table, (study.folder(table).parent / "table.csv").read_bytes()) for table in tables]
    shown = [
        grid(
            f"accuracy or R2 on the {part} part, median of seeds 0 to {seeds - 1}", tables, competitors, scores, ".4f"
        ),
    ]
    timed = [table for table in tables if seconds[table.name]]
    if timed:
        title = "seconds, median: xpnet with the start of its commands and its pictures, the others without imports"
        shown.append(grid(title, timed, competitors, seconds, ".1f"))
    for each in shown:
        show(each)
    failures = [
        f"- {table}, {name}: {fit['error']}"
        for table, own in results.items()
        for name, fits in own.items()
        for fit in fits[:1]
        if "error" in fit
    ]
    name = "tables" if part == "test" else f"tables-{part}"
    write(out, name, [TextTable("the tables", LIST, listed), *shown], [*verdicts(scores, seconds), *failures],
          {"scores": {table: {name: [fit.get("score") for fit in fits] for name, fits in own.items()}
                      for table, own in results.items()}, "seconds": seconds})  # fmt: skip


if __name__ == "__main__":
    main()
