"""Give damaged and hostile files to xpnet: ``python benchmarks/fuzz.py --inputs 1000000 --jobs 2``.

Small valid files of each kind are overwritten, cut, repeated and spliced at random, and each is read in one of the
ways. Some go through the commands too: inspect, train, predict and evaluate. Other inputs are sound but have hostile
names, labels and cells, and what xpnet writes from them is read back. Each input must give a result or an error of one
line, within budgets of memory, of processor time and of time. Inputs that do not are kept in a folder, and the exit
code is 1.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

from fuzz_commands import USES, run_commands, write_hostile_results
from fuzz_files import damaged, seeds

from xpnet.cli import run_pictures
from xpnet.errors import XpnetWarning, size_text
from xpnet.memory import current_bytes, peak_bytes

# Budgets of one input, which is at most a few kilobytes. A command is a run of its own, with a network and a report.
# xpnet allows the content of a small file 64 MiB.
MEMORY, CPU_SECONDS, SECONDS = 192 << 20, 2.0, 30
ADDRESS_SPACE = 4 << 30
OUTPUTS = "hostile names"
# Commands take a hundred times as long as reading, so fewer inputs go through them.
COMMANDS_SHARE = 0.002


class Result(NamedTuple):
    """Inputs, accepted inputs and failures by kind, and the largest use of memory and of processor time."""

    inputs: Counter[str]
    accepted: Counter[str]
    failures: list[str]
    memory: int
    cpu: float


class _OverBudgetError(Exception):
    pass


def _hang(*_: Any) -> None:
    raise _OverBudgetError(f"more than {SECONDS} s")


def _forget_peak() -> None:
    """Let the peak of this process' memory begin anew; Linux only."""
    Path("/proc/self/clear_refs").write_text("5")


def start() -> None:
    """Prepare a process for `run`."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", XpnetWarning)
    run_pictures.draw_pictures = lambda *_: []  # pictures are slow; those of hostile names are drawn apart
    signal.signal(signal.SIGALRM, _hang)


def run(inputs: int, seed: int, keep: Path) -> Result:
    """Give a process' share of the inputs to xpnet."""
    rng, counts, accepted = random.Random(seed), Counter[str](), Counter[str]()
    failures: list[str] = []
    worst_memory, worst_cpu = 0, 0.0
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        folder = Path(name)
        cases = seeds(folder)
        kinds = [*cases, OUTPUTS]
        weights = [1 if kind in cases and cases[kind].kind != "config" else 20 * COMMANDS_SHARE for kind in kinds]
        place = folder / "input"
        for i in range(-len(cases), inputs):  # first every valid file, which must be accepted and loads the libraries
            kind = list(cases)[i] if i < 0 else rng.choices(kinds, weights)[0]
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            taken = False
            before, cpu = current_bytes(), time.process_time()
            if peak_bytes() > before + MEMORY // 4:
                _forget_peak()
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
            try:
                if kind == OUTPUTS:
                    write_hostile_results(rng, place)
                    taken = True
                else:
                    case = cases[kind]
                    for file, data in (case.files if i < 0 else damaged(rng, case)).items():
                        (place / file).write_bytes(data)
                    uses = USES[case.kind] if i < 0 else (rng.choice(USES[case.kind]),)
                    taken = sum(use(place / case.target) for use in uses) > 0
                    if case.kind == "data" and (i < 0 or rng.random() < COMMANDS_SHARE):
                        taken = run_commands(place / case.target, folder / "input") or taken
                signal.setitimer(signal.ITIMER_REAL, 0)
                cpu, used = time.process_time() - cpu, peak_bytes() - before
                if i < 0:
                    if not taken:
                        raise ValueError("a valid file was refused")
                    continue
                worst_memory, worst_cpu = max(worst_memory, used), max(worst_cpu, cpu)
                if used > MEMORY or cpu > CPU_SECONDS:
                    raise _OverBudgetError(f"{size_text(used)} of memory, {cpu:.1f} s of processor time")
            except Exception as exc:
                kept = keep / f"{seed}-{i}"
                shutil.copytree(place, kept, dirs_exist_ok=True)
                last = traceback.extract_tb(exc.__traceback__)[-1]
                where = f"{last.filename}:{last.lineno}"
                failures.append(f"{kind}: {type(exc).__name__}: {str(exc)[:500]} ({where}); kept in {kept}")
                print(failures[-1], file=sys.stderr, flush=True)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            counts[kind] += i >= 0
            accepted[kind] += i >= 0 and taken
    return Result(counts, accepted, failures, worst_memory, worst_cpu)


def main() -> int:
    """Run, and print the number of inputs, the time and the peak memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"))
    given = parser.parse_args()
    started = time.perf_counter()
    share = -(-given.inputs // given.jobs)
    with multiprocessing.get_context("spawn").Pool(given.jobs, start) as pool:
        results = pool.starmap(run, [(share, given.seed + job, given.keep) for job in range(given.jobs)])
    inputs, accepted = (sum((getattr(r, name) for r in results), Counter[str]()) for name in ("inputs", "accepted"))
    for kind, count in inputs.items():
        print(f"{kind:<16}{count:>10,}{accepted[kind] / count:>8.1%} accepted")
    failures = sum(len(result.failures) for result in results)
    print(
        f"{inputs.total():,} inputs in {time.perf_counter() - started:,.0f} s, {failures} failures; the most for one "
        f"input: {size_text(max(r.memory for r in results))} of memory, {max(r.cpu for r in results):.2f} s of "
        "processor time"
    )
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
