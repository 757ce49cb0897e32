"""The peers of ``benchmarks/tables.py``, in a Python environment of their own, one process for each fit.

``python table_peers.py export FOLDER TABLE ...`` writes CSV files, and
``python table_peers.py fit TABLE COMPETITOR SEED TRAIN.csv TEST.csv`` prints score and seconds as JSON.

All peers get the same preparation of the columns, whose statistics come from the training part: columns that number
the rows, text that is unique to each row and constant columns are left out, and dates become numbers. Reading the files
and importing the libraries is not in the seconds; preparing, fitting and predicting is.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from table_list import CLASSES, Table, export, get_table

ROW_NUMBER = re.compile(r"unnamed.*|row.*|index|(.*[ _.])?(id|key|no|number)", re.IGNORECASE)
DATE = re.compile(r"\d{4}[-/]\d\d?[-/]\d\d?([ T]\d\d?:\d\d(:\d\d)?Z?)?")
MOST_CATEGORIES = 254  # HistGradientBoosting accepts 255, of which one is for those of no training row


def read(path: Path, table: Table) -> pd.DataFrame:
    """Read a part without the rows that have no target."""
    separator = r"\s+" if table.delimiter is None else table.delimiter
    frame = pd.read_csv(path, sep=separator, header=0 if table.header else None, na_values=["?"])
    frame.columns = pd.Index([str(name) if table.header else str(int(name) + 1) for name in frame.columns])
    return frame.dropna(subset=[table.target])


def is_useless(column: pd.Series[Any]) -> bool:
    """Whether a column numbers the rows, names each row or is constant."""
    present = column.dropna()
    distinct = present.nunique()
    if distinct <= 1 and len(present) in (0, len(column)):
        return True
    if pd.api.types.is_numeric_dtype(column):
        is_named_so = ROW_NUMBER.fullmatch(str(column.name)) is not None
        return is_named_so and distinct == len(column) and bool((column % 1 == 0).all())
    return distinct >= 0.95 * len(present) and not is_date(column)


def is_date(column: pd.Series[Any]) -> bool:
    """Whether all values of a text column are dates."""
    return not pd.api.types.is_numeric_dtype(column) and all(DATE.fullmatch(str(cell)) for cell in column.dropna())


def prepare(train: pd.DataFrame, test: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return numbers as float64 and text as pandas categories, whose rare values are pooled if there are too many."""
    parts: tuple[dict[str, Any], dict[str, Any]] = {}, {}
    for name in train.columns:
        if is_useless(train[name]):
            continue
        for own, frame in zip(parts, (train, test), strict=True):
            column = frame[name]
            if pd.api.types.is_numeric_dtype(train[name]):
                own[name] = pd.to_numeric(column, errors="coerce").astype(float)
            elif is_date(train[name]):
                dates = pd.to_datetime(column, format="mixed", errors="coerce", utc=True).dt
                for part in ("year", "month", "day", "day_of_week", "hour", "minute"):
                    own[f"{name} {part}"] = getattr(dates, part).astype(float)
            else:
                known = train[name].dropna().astype(str).value_counts().index[:MOST_CATEGORIES]
                text = column.astype(str).where(column.notna())
                own[name] = pd.Categorical(text.where(text.isin(known) | text.isna(), "other values"),
                                           [*known, *({"other values"} - {*known})])  # fmt: skip
    x, x_test = (pd.DataFrame(own, index=frame.index) for own, frame in zip(parts, (train, test), strict=True))
    varying = [name for name in x if x[name].nunique(dropna=False) > 1]
    return x[varying], x_test[varying]


def boosting(task: str, seed: int) -> Any:
    """Return scikit-learn's histogram gradient boosting with its defaults."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    make = HistGradientBoostingClassifier if task == CLASSES else HistGradientBoostingRegressor
    return make(random_state=seed, categorical_features="from_dtype")


def mlp(task: str, seed: int) -> Any:
    """Return scikit-learn's MLP with its defaults behind the usual preparation."""
    from sklearn.compose import TransformedTargetRegressor, make_column_selector, make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    columns = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include="category")),
    )
    if task == CLASSES:
        return make_pipeline(columns, MLPClassifier(random_state=seed))
    regressor = TransformedTargetRegressor(MLPRegressor(random_state=seed), transformer=StandardScaler())
    return make_pipeline(columns, regressor)


class RealMLP:
    """An estimator of pytabkit with its defaults; missing numbers become medians, missing text a category."""

    def __init__(self, form: str, task: str, seed: int, models: int = 1) -> None:
        import pytabkit

        make = getattr(pytabkit, f"RealMLP_{form}_{'Classifier' if task == CLASSES else 'Regressor'}")
        threads = int(os.environ["OMP_NUM_THREADS"])  # it does not read it itself
        self.models = [
            make(device="cpu", n_threads=threads, random_state=1000 * i + seed, n_cv=1) for i in range(models)
        ]

    def fit(self, x: pd.DataFrame, y: Any) -> None:
        """Fit the models, each with a validation part of its own."""
        self.medians = x.median(numeric_only=True)
        for model in self.models:
            model.fit(self.fill(x), y)

    def fill(self, x: pd.DataFrame) -> pd.DataFrame:
        """Return the features without missing values."""
        filled = x.fillna(self.medians)
        for name in filled.select_dtypes("category"):
            filled[name] = filled[name].cat.add_categories("missing value").fillna("missing value")
        return filled

    def predict(self, x: pd.DataFrame) -> Any:
        """Return the predictions; several models are averaged."""
        filled = self.fill(x)
        if not hasattr(self.models[0], "predict_proba"):
            return np.mean([np.ravel(model.predict(filled)) for model in self.models], axis=0)
        mean = np.mean([model.predict_proba(filled) for model in self.models], axis=0)
        return self.models[0].classes_[np.argmax(mean, axis=1)]


COMPETITORS: dict[str, Callable[[str, int], Any]] = {
    "boosting": boosting,
    "sklearn-mlp": mlp,
    "RealMLP_TD_S": lambda task, seed: RealMLP("TD_S", task, seed),
    "RealMLP_TD": lambda task, seed: RealMLP("TD", task, seed),
    "RealMLP_TD_S-4": lambda task, seed: RealMLP("TD_S", task, seed, 4),
}


def fit(table: Table, competitor: str, seed: int, train_path: Path, test_path: Path) -> dict[str, Any]:
    """Train on one part and return the score and the predictions' number on the other, and the seconds."""
    train, test = read(train_path, table), read(test_path, table)
    kind: type = str if table.task == CLASSES else float
    y, y_test = train.pop(table.target).astype(kind).to_numpy(), test.pop(table.target).astype(kind).to_numpy()
    model = COMPETITORS[competitor](table.task, seed)  # imports the library
    started = time.perf_counter()
    x, x_test = prepare(train, test)
    model.fit(x, y)
    found = np.ravel(model.predict(x_test))
    seconds = time.perf_counter() - started
    if table.task == CLASSES:
        score = np.mean(found == y_test)
    else:
        score = 1 - np.sum((found - y_test) ** 2) / np.sum((y_test - np.mean(y_test)) ** 2)
    return {"score": float(score), "seconds": seconds, "samples": len(y_test), "columns": [*x.columns]}


def main() -> None:
    """Export tables, or fit one competitor."""
    command, *arguments = sys.argv[1:]
    if command == "export":
        folder = Path(arguments[0])
        for name in arguments[1:]:
            (folder / name).mkdir(parents=True, exist_ok=True)
            (folder / name / "table.csv").write_bytes(export(get_table(name)))
        return
    warnings.filterwarnings("ignore")
    name, competitor, seed, train, test = arguments
    print(json.dumps(fit(get_table(name), competitor, int(seed), Path(train), Path(test))))


if __name__ == "__main__":
    main()
