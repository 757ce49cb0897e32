"""Named data sets: small ones from scikit-learn, generated ones, and MNIST and Fashion-MNIST."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from xpnet.communicator import Communicator, agreed
from xpnet.data.dataset import Dataset
from xpnet.data.downloads import REMOTES, locate
from xpnet.data.readers import SUFFIXES, read_dataset
from xpnet.data.shared_rows import scattered
from xpnet.data.sklearn_files import load_with_sklearn, read_sklearn
from xpnet.errors import InvalidParameterError, UnknownNameError, shown

__all__ = ["DATASETS", "DatasetInfo", "load_dataset"]


@dataclass(frozen=True)
class DatasetInfo:
    """One named data set.

    Attributes
    ----------
    name : str
    samples, features : int
        Without the test part that comes with some data sets.
    classes : int
        0 for regression.
    origin, licence, description : str
        `origin` is a name or the address of the files.
    load : callable
        Takes the user's data folder, or None, and returns the `Dataset`.
    """

    name: str
    samples: int
    features: int
    classes: int
    origin: str
    licence: str
    description: str
    load: Callable[[Path | None], Dataset]


def load_dataset(
    name_or_path: str,
    *,
    data_dir: str | Path | None = None,
    target: str | None = None,
    communicator: Communicator | None = None,
) -> Dataset:
    """Load a named data set, or read a file or folder.

    A name takes precedence over a path: for a folder called ``digits`` write ``./digits``.

    Parameters
    ----------
    name_or_path : str
    data_dir : str or Path, optional
        The first folder in which mnist and fashion-mnist are searched, either directly or in a subfolder of that name.
    target : str, optional
        The target of a file, see `xpnet.data.readers.read_dataset`. It must be omitted for a named data set.
    communicator : Communicator, optional
        Each rank keeps its share of the features, see `xpnet.data.readers.read_dataset`.

    Raises
    ------
    UnknownNameError
        `name_or_path` is neither a known name nor a path.
    InvalidParameterError
        `target` is given for a named data set.
    DataError
        As for `read_dataset`; or the files are not found and cannot be downloaded.

    Examples
    --------
    >>> iris = load_dataset("iris")
    >>> iris.x.shape, iris.feature_names[0]
    ((150, 4), 'sepal length (cm)')
    """
    info = DATASETS.get(name_or_path)
    if info is not None:
        if target is not None:
            raise InvalidParameterError(
                f"target: must be omitted for {info.name}, which has a fixed target; received {shown(target)}"
            )
        folder = None if data_dir is None else Path(data_dir)
        if communicator is None:
            return info.load(folder)
        if name_or_path not in REMOTES:
            return scattered(communicator, lambda: info.load(folder))
        agreed(communicator, lambda: locate(info.name, folder) if communicator.rank == 0 else None)  # downloads it
        path = agreed(communicator, lambda: locate(info.name, folder))
        return dataclasses.replace(read_dataset(path, communicator=communicator), name=info.name)
    separators = {os.sep, os.altsep or os.sep, "/"}
    known_form = any(separator in name_or_path for separator in separators) or name_or_path.lower().endswith(SUFFIXES)
    try:
        is_path = known_form or Path(name_or_path).exists()
    except OSError:  # too long for a file name
        is_path = False
    if not is_path:
        error = UnknownNameError.among("data", name_or_path, DATASETS)
        beside = [file for suffix in SUFFIXES if os.path.isfile(file := f"{name_or_path}{suffix}")]
        raise UnknownNameError(f"{error} There is a file {shown(beside[0])}.") if beside else error
    return read_dataset(name_or_path, target=target, communicator=communicator)


def _from_sklearn(name: str, _: Path | None) -> Dataset:
    return read_sklearn(name)


def _diabetes(_: Path | None) -> Dataset:
    return load_with_sklearn("diabetes", "load_diabetes")  # which scales the features


def _circles(_: Path | None) -> Dataset:
    from sklearn.datasets import make_circles

    return _plane("circles", *make_circles(1000, noise=0.08, factor=0.5, random_state=0))


def _moons(_: Path | None) -> Dataset:
    from sklearn.datasets import make_moons

    return _plane("moons", *make_moons(1000, noise=0.1, random_state=0))


def _xor(_: Path | None) -> Dataset:
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 250, dtype=np.float64)
    noise = np.random.default_rng(0).normal(scale=0.1, size=corners.shape)
    return _plane("xor", corners + noise, corners[:, 0] != corners[:, 1])


def _plane(name: str, x: ArrayLike, y: ArrayLike) -> Dataset:
    return Dataset(name, np.asarray(x), np.asarray(y, dtype=np.int64), ("x1", "x2"), "target")


def _idx(name: str, data_dir: Path | None) -> Dataset:
    return dataclasses.replace(read_dataset(locate(name, data_dir)), name=name)


_SKLEARN = "scikit-learn"
_UCI = "CC BY 4.0"
_GENERATED = "none needed"

DATASETS: dict[str, DatasetInfo] = {
    info.name: info
    for info in (
        DatasetInfo(
            "digits", 1797, 64, 10, _SKLEARN, _UCI, "handwritten digits, 8 x 8 pixels of 0 to 16",
            partial(_from_sklearn, "digits"),
        ),
        DatasetInfo(
            "iris", 150, 4, 3, _SKLEARN, _UCI, "three species by the size of their sepals and petals",
            partial(_from_sklearn, "iris"),
        ),
        DatasetInfo(
            "wine", 178, 13, 3, _SKLEARN, _UCI, "three cultivars by chemical analysis",
            partial(_from_sklearn, "wine"),
        ),
        DatasetInfo(
            "breast-cancer", 569, 30, 2, _SKLEARN, _UCI, "malignant (0) or benign (1), by the shape of cell nuclei",
            partial(_from_sklearn, "breast-cancer"),
        ),
        DatasetInfo(
            "diabetes", 442, 10, 0, _SKLEARN, "not stated", "progression in a year, by age, body and blood measures",
            _diabetes,
        ),
        DatasetInfo("circles", 1000, 2, 2, "generated", _GENERATED, "one ring in another, with noise", _circles),
        DatasetInfo("moons", 1000, 2, 2, "generated", _GENERATED, "two interleaving half circles, with noise", _moons),
        DatasetInfo("xor", 1000, 2, 2, "generated", _GENERATED, "four corners of a square, with noise", _xor),
        DatasetInfo(
            "mnist", 60000, 784, 10, REMOTES["mnist"].base_url, "CC BY-SA 3.0",
            "handwritten digits, 28 x 28 pixels; 10000 more to test", partial(_idx, "mnist"),
        ),
        DatasetInfo(
            "fashion-mnist", 60000, 784, 10, REMOTES["fashion-mnist"].base_url, "MIT",
            "articles of clothing, 28 x 28 pixels; 10000 more to test", partial(_idx, "fashion-mnist"),
        ),
    )
}  # fmt: skip
"""The named data sets by name; to add one, add an entry."""
