"""``xpnet predict`` and ``xpnet evaluate``."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import Parameter

from xpnet.backend import get_backend
from xpnet.cli.console import make_console
from xpnet.cli.options import parse_int
from xpnet.data.named import DATASETS, load_dataset
from xpnet.data.readers import read_features
from xpnet.errors import DataError
from xpnet.files import open_output
from xpnet.json_text import json_text
from xpnet.model.model import Model
from xpnet.model.model_file import load_model
from xpnet.threads import limit_threads
from xpnet.training.progress import METRIC_NAMES

__all__ = ["evaluate", "predict"]


def predict(
    model: Path,
    data: str,
    *,
    out: Path | None = None,
    probabilities: bool = False,
    device: str = "cpu",
    threads: Annotated[int | None, Parameter(converter=parse_int)] = None,
    data_dir: Path | None = None,
) -> int:
    """Predict with a trained model, and write a CSV file with one row for each sample.

    Parameters
    ----------
    model : Path
        File model.safetensors of a run.
    data : str
        A file with the features of the training data, with or without the target; or a named data set.
    out : Path
        CSV file to write [default: stdout]
    probabilities : bool
        Add a column with the probability of each class or label.
    device : str
        [backend:]cpu|gpu|auto[:index]
    threads : int
        Threads for BLAS and everything else [default: all processors]
    data_dir : Path
        Folder with the IDX files of mnist or fashion-mnist.
    """
    with limit_threads(threads):
        loaded = load_model(model)
        backend = get_backend(device)
        x, _, _ = _read(loaded, data, data_dir)
        columns = _columns("prediction", loaded.predict(x, backend))
        if probabilities:
            p = loaded.predict_proba(x, backend)
            labels = range(p.shape[1]) if loaded.classes is None else loaded.classes
            columns |= {f"probability_{label}": p[:, i] for i, label in enumerate(labels)}
    with open_output(out) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        # NumPy's text of a float32 is the shortest one that reads back as the same number.
        writer.writerows(zip(*(map(str, column) for column in columns.values()), strict=True))
    return 0


def evaluate(
    model: Path,
    data: str,
    *,
    device: str = "cpu",
    threads: Annotated[int | None, Parameter(converter=parse_int)] = None,
    data_dir: Path | None = None,
    json: bool = False,
) -> int:
    """Evaluate a trained model on the test part that comes with the data, or else on all samples.

    Parameters
    ----------
    model : Path
        File model.safetensors of a run.
    data : str
        A file with features and target, or a named data set.
    device : str
        [backend:]cpu|gpu|auto[:index]
    threads : int
        Threads for BLAS and everything else [default: all processors]
    data_dir : Path
        Folder with the IDX files of mnist or fashion-mnist.
    json : bool
        Print one JSON object on stdout.
    """
    with limit_threads(threads):
        loaded = load_model(model)
        backend = get_backend(device)
        x, y, part = _read(loaded, data, data_dir)
        if y is None:
            raise DataError(
                f"{data}: expected the target {loaded.target_name!r} and the features; received features only. "
                "To predict without targets: xpnet predict"
            )
        scores = loaded.evaluate(x, y, backend)
    if json:
        print(json_text({"task": loaded.task, "device": backend.name, "samples": len(x), "part": part} | scores))
    else:
        figures = "  ".join(f"{METRIC_NAMES.get(name, name)} {value:.4f}" for name, value in scores.items())
        make_console().print(f"{data}: {len(x):,} {part}  {figures}")
    return 0


def _read(model: Model, data: str, data_dir: Path | None) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Return features, targets or None, and a description of the samples."""
    n_features = model.network.layer_sizes[0]
    if data in DATASETS or not Path(data).exists():
        dataset = load_dataset(data, data_dir=data_dir)
        if dataset.x.shape[1] != n_features:
            raise DataError(
                f"{data}: features: expected {n_features}, as in training; received {dataset.x.shape[1]}. "
                "Give data with the features that the model was trained on."
            )
        if dataset.x_test is not None:
            return dataset.x_test, dataset.y_test, "test samples"
        return dataset.x, dataset.y, "samples, including those of training"
    x, y = read_features(
        data,
        feature_names=model.feature_names,
        target_name=model.target_name,
        n_features=n_features,
        index_base=model.index_base,
    )
    return x, y, "samples"


def _columns(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    if values.ndim == 1:
        return {name: values}
    return {f"{name}_{i}": values[:, i] for i in range(values.shape[1])}
