"""What the command line adds for ranks, the processes that train one network together: one voice, and the same run."""

from __future__ import annotations

import hashlib
import inspect
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import xpnet
from xpnet.backend import Backend, get_backend, kind_of, to_host
from xpnet.communicator import Communicator, get_communicator, started_communicator
from xpnet.data.tables.paths import STANDARD_INPUT
from xpnet.errors import DeviceIndexError, InvalidParameterError, XpnetError, shown

if TYPE_CHECKING:
    from xpnet.cli.job import Job
    from xpnet.cli.options import TrainOptions

__all__ = [
    "agree_on_kind",
    "check_same",
    "check_shareable",
    "fail_together",
    "get_device",
    "ranks",
    "shared_values",
    "speed_of_ranks",
]


@contextmanager
def ranks(spec: str) -> Iterator[Communicator | None]:
    """Start the communicator of ``--distributed``, check that all ranks run the same code, and let rank 0 alone speak.

    Raises
    ------
    XpnetError
        MPI cannot be started, or a rank has another version.
    """
    communicator = get_communicator(spec)
    if communicator is not None:
        check_same(communicator, _code(communicator))
    if communicator is None or communicator.rank == 0:
        yield communicator
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield communicator


def fail_together(show: Callable[[str], None], code: int, *, is_own: bool) -> int:
    """Let one of the ranks that failed say why, and return the exit code; see `Communicator.fail`.

    Parameters
    ----------
    show : (rank) -> None
        Say why, with the name of the rank before it; empty for rank 0.
    code : int
    is_own : bool
        Whether this rank has an error of its own.
    """
    communicator = started_communicator()
    if communicator is None:  # the error came early
        with suppress(XpnetError):  # there is no MPI
            communicator = get_communicator("auto")
    if communicator is None:
        show("")
        return code
    name = f"rank {communicator.rank} on {platform.node()}: " if communicator.rank else ""
    return communicator.fail(lambda: show(name), code, is_own=is_own)


def check_same(communicator: Communicator, values: Mapping[str, Any]) -> None:
    """Check that values are the same on all ranks.

    Raises
    ------
    XpnetError
        The message names what differs, and the ranks.
    """
    all_values = communicator.gather(dict(values))
    for name in values:
        found: dict[str, list[int]] = {}
        for rank, each in enumerate(all_values):
            found.setdefault(shown(each.get(name)), []).append(rank)
        if len(found) > 1:
            received = "; ".join(f"{value} on {_numbers(where)}" for value, where in found.items())
            raise XpnetError(
                f"expected the same {name} on all {communicator.size} ranks; received {received}. "
                "Give all machines the same environment and the same files."
            )


def _numbers(numbers: Sequence[int]) -> str:
    many = f", ... ({len(numbers)} ranks)" if len(numbers) > 8 else ""
    return f"rank{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers[:8]))}{many}"


def _code(communicator: Communicator) -> dict[str, str]:
    """Return what decides how a run computes, besides its options."""
    digest = hashlib.sha256()
    for module in (xpnet.__file__, inspect.getfile(type(communicator))):
        for path in sorted(Path(module).parent.rglob("*.py")):
            digest.update(path.read_bytes())
    return {
        "version of xpnet": xpnet.__version__,
        "code of xpnet (its SHA-256)": digest.hexdigest()[:12],
        "version of NumPy": np.__version__,
        "version of Python": platform.python_version(),
    }


def get_device(device: str, communicator: Communicator | None) -> Backend:
    """Return the backend of a device; each rank of a machine has a GPU of its own.

    Raises
    ------
    InvalidParameterError
        There are more ranks than GPUs, or the device names one GPU for all.
    """
    if communicator is None:
        return get_backend(device)
    where, at, precision = device.partition("@")
    visible = communicator.gather(os.environ.get("CUDA_VISIBLE_DEVICES"))
    here = [visible[rank] for rank in communicator.local_ranks]
    number, n_ranks = communicator.local_ranks.index(communicator.rank), len(here)
    has_index = where.rpartition(":")[2].isdecimal()
    if not has_index and len({*here}) < n_ranks:  # else whoever started the ranks gave each a GPU of its own
        where += f":{number}" * ("gpu" in where.split(":"))
    try:
        backend = get_backend(where + at + precision)
    except DeviceIndexError as exc:
        if has_index:
            raise
        raise InvalidParameterError(
            f"device: expected a GPU for each of the {n_ranks} ranks on {platform.node()}; received fewer: {exc} "
            "Start fewer ranks, or train with --device cpu."
        ) from exc
    if has_index and n_ranks > 1 and kind_of(backend) == "gpu":
        raise InvalidParameterError(
            f"device: expected a GPU without an index, such as gpu, for the {n_ranks} ranks of a machine; received "
            f"{device!r}. Each rank takes its own."
        )
    return backend


def check_shareable(data: str, options: TrainOptions) -> None:
    """Check that several processes can train this together."""
    alone = "Train it in one process, or with --distributed off."
    if options.ensemble > 1:
        raise InvalidParameterError(
            f"ensemble: expected 1 for ranks that train one network; received {options.ensemble}. {alone}"
        )
    if options.cv is not None:
        raise InvalidParameterError(f"cv: expected none for ranks; received {options.cv}. {alone}")
    if data == STANDARD_INPUT:
        raise InvalidParameterError(
            "data: expected a file or a folder, which each rank reads; received the standard input, which one rank "
            "gets. Write the data to a file."
        )


def shared_values(job: Job) -> dict[str, Any]:
    """Return what must be the same on all ranks, so that they train one network."""
    library, kind = job.backend.name.partition("@")[0].split(":")[:2]
    return {
        "command": job.command,
        "device": f"{library}:{kind}",
        "network": str(job.model.network),
        "numbers of samples": job.data.sizes,
        "features": job.data.feature_names,
        "classes": None if job.data.classes is None else job.data.classes.tolist(),
        "data": job.data.fingerprint,
        "initial parameters": float(np.abs(to_host(job.model.vector)).sum()),
    }


def agree_on_kind(backend: Backend, communicator: Communicator | None) -> Backend:
    """Return the backend that ``--device auto`` gives all ranks: GPUs if each rank would take one."""
    if communicator is None:
        return backend
    kinds = {*communicator.gather(kind_of(backend))}
    return get_device("gpu" if kinds == {"gpu"} else "cpu", communicator)


def speed_of_ranks(communicator: Communicator | None, seconds: float) -> dict[str, Any]:
    """Return the number of ranks and the share of a time that they spent in sums, for the summary; nothing for one."""
    if communicator is None:
        return {}
    share = sum(communicator.gather(communicator.seconds)) / communicator.size / seconds
    return {"ranks": communicator.size, "communication": share}
