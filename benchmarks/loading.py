"""Measure the time from the start of ``xpnet train fashion-mnist`` to its first steps, phase by phase.

Run it as ``python benchmarks/loading.py --data-dir DIR [--rounds 7]``. Each round is a new process. The files may be
gzipped or plain; unpacking counts as reading. xpnet is responsible for the phases after ``import numpy, sklearn``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from writing import show, write

from xpnet.bench.report import TextTable

CHILD = """
import json, sys, time
laps = {}
began = float(sys.argv[1])
def lap(name):
    global began
    now = time.time()
    laps[name] = now - began
    began = now
lap("start of the interpreter")
import numpy, sklearn
lap("import numpy, sklearn")
import xpnet.cli, xpnet_backends.numpy
import sklearn.model_selection
lap("import xpnet's command line and its dependencies")
from dataclasses import replace
from xpnet import Callback, StopTraining
from xpnet.cli import job, job_data
from xpnet.cli.options import TrainOptions

load = job_data.load_dataset
def timed(*arguments, **keywords):
    lap("options")
    dataset = load(*arguments, **keywords)
    lap("reading and checking the files")
    return dataset
job_data.load_dataset = timed

class First(Callback):
    def on_start(self, n_steps, epochs):
        lap("scaling, checking, placing the data")
    def on_steps(self, epoch, done):
        lap(f"the first {done} steps")
        raise StopTraining

ready = job.prepare("fashion-mnist", TrainOptions(device="cpu", **json.loads(sys.argv[2])))
lap("splitting, encoding, drawing weights")
replace(ready.trainer, callbacks=[First()]).fit(**ready.arguments(), params=ready.model.params)
print(json.dumps(laps))
"""
OWN_FROM = 2  # the phases before this one are not xpnet's


def main() -> None:
    """Print the median of each phase, of the whole, and of the phases of xpnet alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    options = json.dumps({"data_dir": str(given.data_dir)} if given.data_dir else {})
    rounds = []
    for _ in range(1 + given.rounds):
        command = [sys.executable, "-c", CHILD, repr(time.time()), options]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        rounds.append(json.loads(done.stdout))
    rounds = rounds[1:]  # the first round fills the file cache and writes the bytecode
    totals = {
        "all": [sum(each.values()) for each in rounds],
        "after import numpy, sklearn": [sum([*each.values()][OWN_FROM:]) for each in rounds],
    }
    phases = {name: [each[name] for each in rounds] for name in rounds[0]}
    cells = [(name, f"{statistics.median(row) * 1e3:,.0f}") for name, row in (phases | totals).items()]
    table = TextTable("xpnet train fashion-mnist, to its first steps", ("phase", "ms"), cells)
    show(table)
    write(given.out, "loading", [table], [], {"rounds": rounds})


if __name__ == "__main__":
    main()
