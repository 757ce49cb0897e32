"""Data sets of scikit-learn, read from its files, because importing it takes more than a second."""

from __future__ import annotations

import dataclasses
import itertools
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xpnet.data.dataset import Dataset

__all__ = ["read_sklearn"]


class _File(NamedTuple):
    """A file of scikit-learn with one row for each sample: the features, then the class.

    Attributes
    ----------
    name : str
    header_rows : int
    feature_names : tuple of str
    loader : str
        The function of `sklearn.datasets` that reads the file.
    image_shape : tuple of int or None
        Shape of a sample, if the samples are images.
    """

    name: str
    header_rows: int
    feature_names: tuple[str, ...]
    loader: str
    image_shape: tuple[int, ...] | None = None


_NUCLEUS = (
    "radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave points", "symmetry",
    "fractal dimension",
)  # fmt: skip
_FILES = {
    "digits": _File(
        "digits.csv.gz",
        0,
        tuple(f"pixel_{row}_{column}" for row, column in itertools.product(range(8), repeat=2)),
        "load_digits",
        (8, 8),
    ),
    "iris": _File(
        "iris.csv",
        1,
        ("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"),
        "load_iris",
    ),
    "wine": _File(
        "wine_data.csv",
        1,
        (
            "alcohol", "malic_acid", "ash", "alcalinity_of_ash", "magnesium", "total_phenols", "flavanoids",
            "nonflavanoid_phenols", "proanthocyanins", "color_intensity", "hue", "od280/od315_of_diluted_wines",
            "proline",
        ),
        "load_wine",
    ),
    "breast-cancer": _File(
        "breast_cancer.csv",
        1,
        (
            *(f"mean {each}" for each in _NUCLEUS), *(f"{each} error" for each in _NUCLEUS),
            *(f"worst {each}" for each in _NUCLEUS),
        ),
        "load_breast_cancer",
    ),
}  # fmt: skip


def read_sklearn(name: str) -> Dataset:
    """Return a data set of classes, as the function of `sklearn.datasets` returns it."""
    file = _FILES[name]
    package = find_spec("sklearn")  # this does not import it
    folders = (package.submodule_search_locations if package else None) or ()
    paths = (Path(folder, "datasets", "data", file.name) for folder in folders)
    path = next(filter(Path.is_file, paths), None)
    if path is None:  # another version may keep its files elsewhere
        return dataclasses.replace(load_with_sklearn(name, file.loader), image_shape=file.image_shape)
    table = np.loadtxt(path, delimiter=",", skiprows=file.header_rows)
    x, y = table[:, :-1].copy(), table[:, -1].astype(np.int64)
    return Dataset(name, x, y, file.feature_names, "target", image_shape=file.image_shape)


def load_with_sklearn(name: str, loader: str) -> Dataset:
    """Return a data set that a function of `sklearn.datasets` loads."""
    from sklearn import datasets

    bunch = getattr(datasets, loader)()
    y = bunch.target.astype(np.int64) if bunch.target.dtype.kind == "i" else bunch.target
    return Dataset(name, bunch.data.astype(np.float64), y, tuple(map(str, bunch.feature_names)), "target")
