"""The estimators of tables: a classifier and a regressor that take data frames as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin, _fit_context
from sklearn.utils._param_validation import StrOptions

from xpnet.backend import Backend
from xpnet.errors import DataError
from xpnet.estimators import labels
from xpnet.estimators.inputs import check_weights
from xpnet.estimators.parameters import store
from xpnet.estimators.table_inputs import read_features
from xpnet.estimators.table_targets import name_of, read_labels, read_values
from xpnet.estimators.tabular_base import BaseTabular

__all__ = ["TabularClassifier", "TabularRegressor"]


class TabularClassifier(ClassifierMixin, BaseTabular):
    """Classify the rows of a table as it comes: numbers, categories, dates and truth values, with gaps.

    It trains RealMLP-TD-S: Holzmüller, Grinsztajn, Steinwart (2024), arXiv:2407.04491. The columns are encoded by what
    they hold; see `TableEncoder`. The parameters of the epoch with the best validation accuracy are kept.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
    max_iter : int
        Epochs.
    batch_size : int
    learning_rate_init : float
        Rate of Adam, which the schedule "coslog4" changes from step to step.
    validation_fraction : float
        Fraction of the rows that choose the epoch; with 0 the last epoch is taken.
    n_ensemble : int
        Number of networks, each from another seed, whose outputs are averaged.
    categorical, numeric, date, drop : sequence of str
        Columns that are taken as such, whatever they hold, and columns to leave out. Without names, as in an array,
        columns are given by their indices.
    class_weight : dict, "balanced" or None
        Weight of each label, multiplied with `sample_weight`.
    random_state : int, RandomState or None
    device : str, Backend or None
        Where to train and to predict, e.g. ``"gpu"``; None: the CPU.
    dtype : {"float32", "float64"}
    verbose : bool
        Show the progress.

    Attributes
    ----------
    model_ : Model
        The model that `xpnet.save_model` writes and ``xpnet predict`` reads.
    encoding_ : TableEncoding
    plans_ : tuple of ColumnPlan
        What is done with each column, and why.
    classes_ : ndarray
    n_features_in_, feature_names_in_ : int, ndarray of str
        Number of columns, and their names, if they have names.
    n_iter_ : int
        Epochs.
    loss_curve_, validation_scores_ : list of float
        One value for each epoch, of the first network. Without a validation part there are no scores.

    Examples
    --------
    >>> from xpnet import TabularClassifier
    >>> table = {"age": [31, None, 7, 52] * 20, "sex": ["m", "f", "f", "m"] * 20}
    >>> clf = TabularClassifier(max_iter=20, random_state=0).fit(table, ["yes", "no", "no", "yes"] * 20)
    >>> clf.predict({"age": [40, 9], "sex": ["m", "f"]}).tolist()
    ['yes', 'no']
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseTabular._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }
    _task = "classification"

    class_weight: Any

    def __init__(
        self,
        *,
        hidden_layer_sizes: int | Sequence[int] = (256, 256, 256),
        max_iter: int = 256,
        batch_size: int = 256,
        learning_rate_init: float = 0.04,
        validation_fraction: float = 0.1,
        n_ensemble: int = 1,
        categorical: Sequence[str] = (),
        numeric: Sequence[str] = (),
        date: Sequence[str] = (),
        drop: Sequence[str] = (),
        class_weight: Mapping[Any, float] | str | None = None,
        random_state: Any = None,
        device: str | Backend | None = None,
        dtype: str = "float32",
        verbose: bool | int = False,
    ) -> None:
        store(self, locals())

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the encoding and the network.

        Parameters
        ----------
        X : data frame, Arrow table, mapping of columns, or (n_samples, n_features) array
        y : (n_samples,) labels of one type, none missing
            The model knows the name of a series: ``model_.evaluate(frame)`` takes the targets from that column.
        sample_weight : (n_samples,), optional

        Raises
        ------
        DataError
            A target is missing, no column is left, or a column holds free text.
        InvalidParameterError
            A parameter has an invalid value.
        """
        table = read_features(self, X, reset=True)
        given = read_labels(y)
        weight = None if sample_weight is None else check_weights(sample_weight, len(given))
        classes = np.unique(given)
        if len(classes) < 2:
            raise DataError(f"y: expected at least two classes; received only one class, {classes[0]}")
        if self.class_weight is not None:
            weight = labels.combine_weights(given, classes, self.class_weight, weight, multilabel=False)
        self._fit(table, labels.encode(given, classes, multilabel=False), weight, classes, name_of(y))
        self.classes_ = classes
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, (n_samples, n_classes)."""
        return self._apply("predict_proba", X)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithm of `predict_proba`."""
        return np.log(self.predict_proba(X))


class TabularRegressor(RegressorMixin, BaseTabular):
    """Predict numbers from the rows of a table as it comes: numbers, categories, dates and truth values, with gaps.

    It trains RealMLP-TD-S, as `TabularClassifier` does. Targets are standardised, and predictions are within the range
    of the targets of the training part. The parameters of the epoch with the best validation R2 are kept.

    Parameters
    ----------
    hidden_layer_sizes, max_iter, ...
        As in `TabularClassifier`, without `class_weight`.

    Attributes
    ----------
    model_, encoding_, ...
        As in `TabularClassifier`, without `classes_`.

    Examples
    --------
    >>> from xpnet import TabularRegressor
    >>> table = {"rooms": [1, 2, 3, 4] * 20, "city": ["A", "A", "B", None] * 20}
    >>> reg = TabularRegressor(max_iter=20, random_state=0).fit(table, [10.0, 20.0, 30.0, 40.0] * 20)
    >>> bool(reg.score(table, [10.0, 20.0, 30.0, 40.0] * 20) > 0.9)
    True
    """

    _task = "regression"

    def __init__(
        self,
        *,
        hidden_layer_sizes: int | Sequence[int] = (256, 256, 256),
        max_iter: int = 256,
        batch_size: int = 256,
        learning_rate_init: float = 0.07,
        validation_fraction: float = 0.1,
        n_ensemble: int = 1,
        categorical: Sequence[str] = (),
        numeric: Sequence[str] = (),
        date: Sequence[str] = (),
        drop: Sequence[str] = (),
        random_state: Any = None,
        device: str | Backend | None = None,
        dtype: str = "float32",
        verbose: bool | int = False,
    ) -> None:
        store(self, locals())

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the encoding and the network; see `TabularClassifier.fit`.

        The targets are numbers, (n_samples,) or (n_samples, n_outputs), none missing.
        """
        table = read_features(self, X, reset=True)
        values = read_values(y)
        weight = None if sample_weight is None else check_weights(sample_weight, len(values))
        return self._fit(table, values.reshape(len(values), -1), weight, None, name_of(y))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
