"""Parity of several ranks: the same runs, trained by processes that a launcher starts, compared with a single process.

As a program, ``python -m xpnet.bench.rank_parity FOLDER``, it is one of these processes: it trains what the folder
holds, and rank 0 writes what it recorded.
"""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from xpnet.backend import Backend, get_backend
from xpnet.bench.parity import TOLERANCES, Case, Comparison, Recorder, comparison, train
from xpnet.communicator import get_communicator
from xpnet.errors import LibraryNotInstalledError, XpnetError
from xpnet.threads import THREAD_VARIABLES

__all__ = ["compare_ranks"]

_CASES, _FOUND = "cases.pickle", "found.pickle"
_SECONDS = 600


def compare_ranks(cases: Sequence[Case], reference: Backend, ranks: int) -> dict[str, list[Comparison]]:
    """Return by dtype, for each case, the comparison of several ranks with a single process on the same device.

    Raises
    ------
    LibraryNotInstalledError
        There is no mpirun.
    XpnetError
        The ranks failed.
    """
    mpirun = shutil.which("mpirun")
    if mpirun is None:
        raise LibraryNotInstalledError(
            "ranks: expected the launcher mpirun on the path; received none. Install it: pip install 'xpnet[mpi]'"
        )
    with TemporaryDirectory() as folder:
        jobs = [(case, dtype) for dtype in TOLERANCES for case in cases]
        Path(folder, _CASES).write_bytes(pickle.dumps((reference.name, jobs)))
        _launch(mpirun, ranks, folder)
        recorded: list[Recorder] = pickle.loads(Path(folder, _FOUND).read_bytes())
    found: dict[str, list[Comparison]] = {dtype: [] for dtype in TOLERANCES}
    for (case, dtype), recorder in zip(jobs, recorded, strict=True):
        expected = train(case, reference, dtype)
        found[dtype].append(comparison(case, f"{ranks} ranks", reference.name, dtype, recorder, expected))
    return found


def _launch(mpirun: str, ranks: int, folder: str) -> None:
    command = [mpirun, "--oversubscribe", "-n", str(ranks), sys.executable, "-m", __name__, folder]
    # Ranks share the processors, and Open MPI refuses to be root unless told so.
    as_root = ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM") if os.geteuid() == 0 else ()
    more = dict.fromkeys((*THREAD_VARIABLES, *as_root), "1")
    paths = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        command, env={**os.environ, **more, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=_SECONDS,
        check=False,
    )  # fmt: skip
    if done.returncode:
        said = " ".join(done.stderr.split())[-500:]
        raise XpnetError(f"ranks: expected {ranks} processes that train; received exit code {done.returncode}: {said}")


def main() -> None:
    """Train the cases of a folder as one of several ranks."""
    folder = Path(sys.argv[1])
    communicator = get_communicator("mpi")
    name, jobs = pickle.loads((folder / _CASES).read_bytes())
    backend = get_backend(name)
    found = [
        train(case._replace(trainer=replace(case.trainer, communicator=communicator)), backend, dtype)
        for case, dtype in jobs
    ]
    if communicator is None or communicator.rank == 0:
        (folder / _FOUND).write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    main()
