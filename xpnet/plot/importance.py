"""Which features a model needs."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.backend import get_backend
from xpnet.plot.figures import COLOURS, axes_or_new, grid, label_text
from xpnet.plot.predictions import Predictions
from xpnet.training.metric_functions import r2
from xpnet.training.outputs import host_outputs

__all__ = ["feature_importance"]

_MOST_SAMPLES = 1000
_MOST_COLUMNS = 40
_MOST_BARS = 20
_N_REPEATS = 3


def feature_importance(model: Any, x: Any = None, y: Any = None, ax: Any = None) -> Any:
    """Draw by how much the score falls if the values of a column are shuffled: the permutation importance.

    The score is the accuracy or R2 on at most 1,000 samples. The 20 most important columns are drawn, with the
    standard deviation of three shuffles. Of more than 40 columns, the 40 with the largest weights are shuffled.
    Breiman (2001), Machine Learning 45, 5-32; `sklearn.inspection.permutation_importance`.

    Parameters
    ----------
    model : Model, fitted estimator, or Predictions
        With `Predictions`, `x` and `y` are not needed.
    x, y
        Raw features and raw targets.
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    from sklearn.inspection import permutation_importance

    each = model if isinstance(model, Predictions) else Predictions.of(model, x, y, _MOST_SAMPLES)
    shuffled = _Shuffled(each.some(_MOST_SAMPLES))
    drawn = shuffled.columns
    rows = np.tile(np.arange(len(shuffled.features))[:, None], len(drawn))
    found = permutation_importance(
        shuffled, rows, None, scoring=lambda model, rows, _: model.score(rows), n_repeats=_N_REPEATS, random_state=0
    )
    order = np.argsort(-found.importances_mean, kind="stable")[:_MOST_BARS][::-1]
    ax = axes_or_new(ax, 6, 0.8 + 0.24 * len(order))
    means, spreads = found.importances_mean[order], found.importances_std[order]
    ax.barh(range(len(order)), means, xerr=spreads, color=COLOURS[0], ecolor=COLOURS[7])
    ax.set_yticks(range(len(order)), [label_text(shuffled.names[drawn[i]], 24) for i in order], parse_math=False)
    ax.set_xlabel(f"decrease in {'accuracy' if shuffled.each.model.metric == 'accuracy' else 'R2'}")
    grid(ax, "x")
    if len(order) < len(shuffled.names):
        ax.set_title(f"the first {len(order)} of {len(shuffled.names):,} columns")
    return ax


class _Shuffled:
    """A model of rows in place of values: column j of its input says from which row the values of column j come.

    So a column of a table is shuffled with all features that it is encoded as, whatever the table's library, and the
    table is encoded once.
    """

    def __init__(self, each: Predictions) -> None:
        self.each, model = each, each.model
        self.features = model.features(each.x)
        n_features = self.features.shape[1]
        self.column_of = np.arange(n_features)
        names = model.feature_names or [f"feature {i}" for i in range(1, 1 + n_features)]
        if model.encoding is not None:
            names = model.encoding.input_names
            self.column_of = np.repeat(np.arange(len(names)), [column.n_features for column in model.encoding.columns])
        self.names = names
        W = np.abs(np.asarray(model.params.scaled_layers()[0][0])) * self.features.std(axis=0)[:, None]
        weights = np.bincount(self.column_of, W.sum(axis=1), minlength=len(names))
        self.columns = np.sort(np.argsort(-weights, kind="stable")[:_MOST_COLUMNS])

    def fit(self, *_: Any) -> None:
        """Do nothing: scikit-learn asks for an estimator."""

    def score(self, rows: np.ndarray) -> float:
        """Return the accuracy or R2 for the values of these rows, (n_samples, n_columns)."""
        model, true = self.each.model, self.each.true
        sources = np.tile(np.arange(len(rows))[:, None], len(self.names))
        sources[:, self.columns] = rows
        features = np.take_along_axis(self.features, sources[:, self.column_of], axis=0)
        output = host_outputs(model.network, model.members, features, get_backend("cpu"))
        predicted = Predictions(model, self.each.x, self.each.rows, true, output).predicted
        if model.task == "regression":
            return r2(predicted, true)
        return float(np.mean((predicted == true).reshape(len(true), -1).all(axis=1)))
