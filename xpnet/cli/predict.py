"""``xpnet predict`` and ``xpnet evaluate``."""

from __future__ import annotations

import csv
import io
import json as json_format
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import Parameter
from rich.console import Console

from xpnet.backend import get_backend
from xpnet.cli.options import whole
from xpnet.data.named import DATASETS, load_dataset
from xpnet.data.readers import read_features
from xpnet.errors import DataError
from xpnet.files import write_atomically
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
    threads: Annotated[int | None, Parameter(converter=whole)] = None,
    data_dir: Path | None = None,
) -> int:
    """Predict with a trained model, and write a CSV file with one row a sample.

    Parameters
    ----------
    model : Path
        The model.safetensors of a run.
    data : str
        A file with the features of training, with or without the target; or a named data set.
    out : Path
        The file to write; without it the rows go to stdout.
    probabilities : bool
        Add a column with each class's or label's probability.
    device : str
        [backend:]cpu|gpu|auto[:index]
    threads : int
        Of BLAS and of all else [default: all processors]
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
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    # NumPy's own text of a float32 is the shortest that gives the same number back.
    writer.writerows(zip(*(map(str, column) for column in columns.values()), strict=True))
    if out is None:
        sys.stdout.write(text.getvalue())
    else:
        write_atomically(out, text.getvalue().encode())
    return 0


def evaluate(
    model: Path,
    data: str,
    *,
    device: str = "cpu",
    threads: Annotated[int | None, Parameter(converter=whole)] = None,
    data_dir: Path | None = None,
    json: bool = False,
) -> int:
    """Evaluate a trained model: loss and accuracy or R2, on the test part of data that have one, else on all samples.

    Parameters
    ----------
    model : Path
        The model.safetensors of a run.
    data : str
        A file with features and target, or a named data set.
    device : str
        [backend:]cpu|gpu|auto[:index]
    threads : int
        Of BLAS and of all else [default: all processors]
    data_dir : Path
        Folder with the IDX files of mnist or fashion-mnist.
    json : bool
        One JSON object on stdout.
    """
    with limit_threads(threads):
        loaded = load_model(model)
        backend = get_backend(device)
        x, y, part = _read(loaded, data, data_dir)
        if y is None:
            raise DataError(
                f"{data}: expected the target {loaded.target_name!r} beside the features; received features only. "
                "To predict without targets: xpnet predict"
            )
        scores = loaded.evaluate(x, y, backend)
    if json:
        print(
            json_format.dumps({"task": loaded.task, "device": backend.name, "samples": len(x), "part": part} | scores)
        )
    else:
        figures = "  ".join(f"{METRIC_NAMES.get(name, name)} {value:.4f}" for name, value in scores.items())
        Console().print(f"{data}: {len(x):,} {part}  {figures}", highlight=False, markup=False)
    return 0


def _read(model: Model, data: str, data_dir: Path | None) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Return features, targets where they are there, and which samples these are."""
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
        return dataset.x, dataset.y, "samples, those of training too"
    x, y = read_features(data, feature_names=model.feature_names, target_name=model.target_name, n_features=n_features)
    return x, y, "samples"


def _columns(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    if values.ndim == 1:
        return {name: values}
    return {f"{name}_{i}": values[:, i] for i in range(values.shape[1])}
