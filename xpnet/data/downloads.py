"""The files of MNIST and Fashion-MNIST: found in a local folder, or downloaded."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from xpnet.caches import cache_folder
from xpnet.data.readers.idx import IDX_NAMES, find_idx
from xpnet.errors import DataError
from xpnet.terminal import can_redraw

__all__ = ["REMOTES", "Remote", "RemoteFile", "locate"]

_SYSTEM_FOLDER = Path("/usr/share/datasets")  # the folder of Debian's package dataset-fashion-mnist
_LABELS = IDX_NAMES[3]  # the smallest of the four files
# The same labels, compressed anew for Debian's package.
_PACKAGED_LABELS = {"8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05": "fashion-mnist"}


class RemoteFile(NamedTuple):
    """What is known of a file on a server: its size in bytes and its SHA-256 hash."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Remote:
    """Files on a server.

    Attributes
    ----------
    base_url : str
        The address of their folder, with a slash at the end.
    files : dict of str to RemoteFile
        By name.
    """

    base_url: str
    files: dict[str, RemoteFile]


REMOTES: dict[str, Remote] = {
    "mnist": Remote(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte.gz": RemoteFile(
                9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
            ),
            "train-labels-idx1-ubyte.gz": RemoteFile(
                28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
            ),
            "t10k-images-idx3-ubyte.gz": RemoteFile(
                1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
            ),
            "t10k-labels-idx1-ubyte.gz": RemoteFile(
                4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
            ),
        },
    ),
    "fashion-mnist": Remote(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte.gz": RemoteFile(
                26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
            ),
            "train-labels-idx1-ubyte.gz": RemoteFile(
                29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
            ),
            "t10k-images-idx3-ubyte.gz": RemoteFile(
                4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
            ),
            "t10k-labels-idx1-ubyte.gz": RemoteFile(
                5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
            ),
        },
    ),
}


def locate(name: str, data_dir: Path | None) -> Path:
    """Return the folder that holds the files of a data set; download them if there is no such folder.

    The function searches `data_dir`, ``$XPNET_DATA`` and Debian's folder, in each first the subfolder `name` and then
    the folder itself. Downloads go to the user's cache folder.

    Parameters
    ----------
    name : str
        A key of `REMOTES`.
    data_dir : Path or None

    Raises
    ------
    DataError
        `data_dir` is not a folder, or the files are not found and cannot be downloaded.
    """
    if data_dir is not None and not data_dir.is_dir():
        raise DataError(f"{data_dir}: no such folder: expected one that holds the files of {name}")
    variable = os.environ.get("XPNET_DATA")
    roots = [data_dir, Path(variable) if variable else None, _SYSTEM_FOLDER]
    folders = [folder for root in roots if root is not None for folder in (root / name, root)]
    for folder in folders:
        if any(find_idx(folder, file) for file in IDX_NAMES) and not _is_other_dataset(name, folder):
            return folder
    return _fetch(name, folders)


def _is_other_dataset(name: str, folder: Path) -> bool:
    """Return whether a folder holds another data set of the table, whose files have the same names."""
    path = folder / f"{_LABELS}.gz"
    if not path.is_file():
        return False
    names = {remote.files[path.name].sha256: other for other, remote in REMOTES.items()} | _PACKAGED_LABELS
    with path.open("rb") as file:
        return names.get(hashlib.file_digest(file, "sha256").hexdigest(), name) != name


def _fetch(name: str, folders: list[Path]) -> Path:
    from http.client import HTTPException  # slow to import, and rarely needed

    from xpnet.data.fetch import fetch

    remote = REMOTES[name]
    by_hand = f"put {', '.join(remote.files)} from {remote.base_url} in a folder and give it as data_dir or $XPNET_DATA"
    searched = f"{name} is in none of {', '.join(map(str, folders))}"
    caches = cache_folder()
    if caches is None:
        raise DataError(f"{searched}, and there is no cache folder to download it to: set XDG_CACHE_HOME; or {by_hand}")
    folder = caches / name
    for file, expected in remote.files.items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _progress(f"{name} {file}", expected.size) as show:
                fetch(remote.base_url + file, folder / file, expected, show)
        except (OSError, ValueError, HTTPException) as exc:
            reason = " ".join(str(exc).split()) or type(exc).__name__
            raise DataError(f"{searched}, and the download of {file} failed ({reason:.500}); {by_hand}") from exc
    return folder


@contextmanager
def _progress(label: str, size: int) -> Iterator[Callable[[int], object]]:
    """Draw a progress bar on a terminal; it is given the number of bytes that have come."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    disable = not (console.is_terminal and can_redraw(sys.stderr))
    progress = Progress(*columns, console=console, disable=disable, auto_refresh=False)
    task = progress.add_task(label, total=size)

    def show(n_bytes: int) -> None:
        progress.start()  # here, because most calls download nothing
        progress.update(task, completed=n_bytes, refresh=True)

    try:
        yield show
    finally:
        progress.stop()
