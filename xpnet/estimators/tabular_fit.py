"""From a table with its target to a trained model, in one call."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from xpnet.data.tables.files import TableFile, TableOptions
from xpnet.data.tables.frames import as_table
from xpnet.data.tables.leaks import find_leaks
from xpnet.data.tables.summary import TableSummary
from xpnet.data.tables.survey import describe_rows, find_target, no_target
from xpnet.data.tables.target import plan_target
from xpnet.data.tables.values import decimal_sign
from xpnet.data.targets import Task
from xpnet.errors import DataError, InvalidParameterError, UnknownNameError, XpnetWarning, shown
from xpnet.estimators.tabular import TabularClassifier, TabularRegressor
from xpnet.model.model import Model

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["fit"]

_ESTIMATORS: dict[Task, type[TabularClassifier | TabularRegressor]] = {
    "classification": TabularClassifier,
    "regression": TabularRegressor,
}


def fit(table: Any, target: str | None = None, *, task: Task | None = None, **parameters: Any) -> Model:
    """Train a model that predicts one column of a table from the others.

    It is a `TabularClassifier` or a `TabularRegressor`, as ``xpnet train`` decides: a target of text, truth values or
    few whole numbers means classification, other numbers regression. Rows without a target are left out with a
    warning, and another one names columns that give the target away.

    Parameters
    ----------
    table : data frame, Arrow table, mapping of columns, or path
        A path is that of a CSV, Parquet or Arrow file, or of a folder of these.
    target : str, optional
        The column to predict. By default it is the one called target, label, class or y.
    task : {"classification", "regression"}, optional
        None lets the values of the target decide.
    **parameters
        Those of the estimator, such as `device`, `random_state`, `max_iter`, `n_ensemble` and `drop`.

    Returns
    -------
    Model
        It knows the name of the target: ``model.evaluate(other)`` takes the targets from that column.

    Raises
    ------
    DataError
        The target is missing, has no values or only one class, or a column cannot be used.
    InvalidParameterError
        The task does not fit the target, or a parameter is unknown or has an invalid value.

    Examples
    --------
    >>> import xpnet
    >>> table = {"age": [31, None, 7, 52] * 20, "sex": ["m", "f", "m", "f"] * 20}
    >>> table["member"] = ["yes", "no", "no", "yes"] * 20
    >>> model = xpnet.fit(table, target="member", max_iter=20, random_state=0)
    >>> model.predict({"age": [40, 9], "sex": ["m", "f"]}).tolist()
    ['yes', 'no']
    >>> model.evaluate(table)["accuracy"]
    1.0
    """
    if task is not None and task not in _ESTIMATORS:
        raise InvalidParameterError(f"task: expected {' or '.join(_ESTIMATORS)}; received {shown(task):.40}.")
    name = None if target is None else str(target)
    columns, where, duplicates = _read(table, name)
    target_name = find_target(columns.column_names, name)
    if target_name is None:
        raise no_target(columns.column_names, name)
    if target_name in duplicates:
        raise DataError(f"target: expected one column {shown(target_name):.60}; received several; rename the others")
    summary = TableSummary()
    summary.add(columns.select([target_name]))
    plan = plan_target(summary.columns[0], task, where=where)
    y, keep = plan.read(columns.column(target_name), decimal_sign(columns.schema))
    if plan.n_left_out:
        warnings.warn(describe_rows(plan, where), XpnetWarning, stacklevel=2)
        columns = columns.filter(keep)
    if (y == y[0]).all():
        raise DataError(
            f"target {shown(target_name):.60}: expected different values; received only {shown(y[0]):.60}; "
            "there is nothing to learn"
        )
    estimator = _make_estimator(plan.task, parameters)
    model = estimator.fit(columns.drop_columns([target_name]), y).to_model()
    for leak in find_leaks(columns, estimator.plans_, plan, summary.columns[0]):
        message = f"column {shown(leak.name):.60} may give the target away: {leak.reason}; leave it out with drop="
        warnings.warn(f"{message}[{shown(leak.name):.60}]", XpnetWarning, stacklevel=2)
    return replace(model, target_name=target_name)


def _read(table: Any, target: str | None) -> tuple[pa.Table, Callable[[int], str], tuple[str, ...]]:
    """Return a table, the place of a row in it, and the names of which only the first column is read."""
    if not isinstance(table, str | os.PathLike):
        return as_table(table), lambda row: f"row {row + 1}", ()
    file = TableFile(os.fspath(table), TableOptions(names=frozenset(() if target is None else (target,))))
    return file.read(), file.where, file.duplicates


def _make_estimator(task: Task, parameters: dict[str, Any]) -> TabularClassifier | TabularRegressor:
    cls = _ESTIMATORS[task]
    known = cls._get_param_names()
    for parameter in parameters:
        if parameter not in known:
            raise UnknownNameError.among(f"parameter of {cls.__name__}", parameter, known)
    return cls(**parameters)
