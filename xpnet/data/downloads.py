"""The files of MNIST and Fashion-MNIST: found in a local folder, or downloaded."""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpnet.data.readers.idx import IDX_NAMES, find_idx
from xpnet.errors import DataError
from xpnet.terminal import can_redraw

__all__ = ["REMOTES", "Remote", "locate"]

_SYSTEM_FOLDER = Path("/usr/share/datasets")  # the folder of Debian's package dataset-fashion-mnist
_TIMEOUT = 10.0  # seconds without an answer
_LABELS = IDX_NAMES[3]  # the smallest of the four files


@dataclass(frozen=True)
class Remote:
    """Files on a server.

    Attributes
    ----------
    base_url : str
        The address of their folder, with a slash at the end.
    files : dict of str to str
        The SHA-256 hash of each file, by name.
    """

    base_url: str
    files: dict[str, str]


REMOTES: dict[str, Remote] = {
    "mnist": Remote(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
    ),
    "fashion-mnist": Remote(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
            "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
            "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
            "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
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
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return any(digest == remote.files[path.name] for other, remote in REMOTES.items() if other != name)


def _fetch(name: str, folders: list[Path]) -> Path:
    remote = REMOTES[name]
    by_hand = f"put {', '.join(remote.files)} from {remote.base_url} in a folder and give it as data_dir or $XPNET_DATA"
    searched = f"{name} is in none of {', '.join(map(str, folders))}"
    try:
        import pooch
    except ImportError as exc:
        raise DataError(f"{searched}, and the download needs pooch: pip install pooch; or {by_hand}") from exc
    # Its messages on stderr would repeat what the progress bar shows.
    pooch.get_logger().setLevel("WARNING")
    folder = Path(pooch.os_cache("xpnet")) / name
    fetcher = pooch.create(path=folder, base_url=remote.base_url, registry=remote.files)
    for file in remote.files:
        bar: Any = _DownloadBar(f"{name} {file}")  # pooch's annotations lack these types
        downloader: Any = pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 16, timeout=_TIMEOUT)
        try:
            fetcher.fetch(file, downloader=downloader)
        except (OSError, ValueError) as exc:  # network errors are OSErrors, a wrong hash is a ValueError
            response = getattr(exc, "response", None)
            if response is not None:
                response.close()  # pooch does not close it
            reason = " ".join(str(exc).split())
            raise DataError(f"{searched}, and the download of {file} failed ({reason:.500}); {by_hand}") from exc
        finally:
            bar.close()
    return folder


class _DownloadBar:
    """A progress bar with the interface that pooch expects; it is shown on a terminal only."""

    def __init__(self, label: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        self.total = 0
        self._progress = Progress(
            *columns, console=console, disable=not (console.is_terminal and can_redraw(sys.stderr))
        )
        self._task = self._progress.add_task(label, total=None)

    def update(self, size: int) -> None:
        self._progress.start()
        self._progress.update(self._task, total=self.total or None, advance=size)

    def reset(self) -> None:
        self._progress.reset(self._task)

    def close(self) -> None:
        self._progress.stop()
