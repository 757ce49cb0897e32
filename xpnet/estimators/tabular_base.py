"""The base of the estimators of tables: encoding, training, prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from xpnet.backend import Backend, get_backend
from xpnet.data.scaling import fit_scaler
from xpnet.data.split import split_rows
from xpnet.data.tables.fitting import fit_encoding
from xpnet.data.targets import Task
from xpnet.estimators.parameters import SHARED_CONSTRAINTS, check_values, hidden_sizes, predict_device, train_device
from xpnet.estimators.table_inputs import COLUMN_CONSTRAINTS, plan_features, read_features, table_tags
from xpnet.model.model import Model
from xpnet.nn.losses import fitting_losses
from xpnet.nn.network import Network, Parameters
from xpnet.training.auto_device import choice_for
from xpnet.training.evaluation import evaluate
from xpnet.training.history import Scores
from xpnet.training.loop import Evaluate
from xpnet.training.metrics import DEFAULT_SCORING, Scoring
from xpnet.training.progress import Progress
from xpnet.training.recipes import TABULAR
from xpnet.training.samples import to_samples
from xpnet.training.trainer import Trainer

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["BaseTabular"]

_LARGEST_SEED = 2**31 - 1


class BaseTabular(BaseEstimator):
    """Base of `TabularClassifier` and `TabularRegressor`."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **{
            name: SHARED_CONSTRAINTS[name]
            for name in (
                *("hidden_layer_sizes", "learning_rate_init", "max_iter", "validation_fraction", "random_state"),
                *("verbose", "device"),
            )
        },
        **COLUMN_CONSTRAINTS,
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "n_ensemble": [Interval(Integral, 1, None, closed="left")],
        "dtype": [StrOptions({"float32", "float64"})],
    }
    _task: Task

    hidden_layer_sizes: int | Sequence[int]
    learning_rate_init: float
    max_iter: int
    batch_size: int
    validation_fraction: float
    n_ensemble: int
    random_state: Any
    device: str | Backend | None
    dtype: str
    verbose: bool | int

    def _validate_params(self) -> None:
        check_values(self)

    def _fit(
        self,
        table: pa.Table,
        y: np.ndarray,
        sample_weight: np.ndarray | None,
        classes: np.ndarray | None,
        target_name: str | None,
    ) -> Self:
        """Encode the table, train each member of the ensemble, and set the fitted attributes.

        Parameters
        ----------
        y : (n_samples,) class indices, or (n_samples, n_outputs)
        sample_weight : (n_samples,) or None
        classes : (n_classes,) or None
        target_name : str or None
        """
        hidden = hidden_sizes(self.hidden_layer_sizes)
        device = self.device or "cpu"
        train_device(device)  # a wrong one is refused first
        rng = check_random_state(self.random_state)
        check_consistent_length(y, range(len(table)))
        if sample_weight is not None and not (used := sample_weight != 0).all():
            table, y, sample_weight = table.filter(used), y[used], sample_weight[used]  # as if they were not there
        plans = plan_features(self, table)
        train, validation, _ = split_rows(
            y,
            validation_fraction=self.validation_fraction,
            test_fraction=0.0,
            stratify=classes is not None,
            seed=int(rng.randint(_LARGEST_SEED)),
        )
        recipe = TABULAR[self._task]
        encoding = fit_encoding(plans, [table.take(train)], scale=str(recipe.scale))
        arguments = {"loss": fitting_losses(self._task)[0], **recipe.network_arguments(len(hidden))}
        target_scaler, scoring = None, DEFAULT_SCORING
        if classes is None:
            target_scaler = fit_scaler("standard", y[train])
            scoring = Scoring(("rmse",), target_scaler.scale)  # in the target's unit, for the progress
            y = target_scaler.transform(y, self.dtype)
            arguments["output_range"] = y[train].min(axis=0), y[train].max(axis=0)
        n_out = y.shape[1] if classes is None else len(classes)
        network = Network((encoding.n_features, *hidden, n_out), **arguments)
        trainer = Trainer(
            network,
            **{
                **recipe.trainer_arguments(len(train), validation=len(validation) > 0),
                "learning_rate": float(self.learning_rate_init),
                "batch_size": min(int(self.batch_size), len(train)),
                "epochs": int(self.max_iter),
            },
            dtype=self.dtype,
            device=device,
            callbacks=[Progress(len(train))] if self.verbose else (),
        )
        backend = choice_for(trainer, device, len(train)).backend
        trainer = replace(trainer, device=backend)

        def part(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
            x = encoding.transform(table.take(rows), self.dtype)
            return x, y[rows], None if sample_weight is None else sample_weight[rows]

        x, targets, weight = part(train)
        evaluation: Evaluate | None = None
        if len(validation):
            held_out = part(validation)
            with backend.scope(self.dtype):
                samples = to_samples(network, backend, self.dtype, *held_out[:2])

            def evaluate_part(params: Parameters) -> Scores:
                with backend.scope(self.dtype):
                    return evaluate(network, params, samples.x, samples.y, backend, held_out[2], scoring=scoring)

            evaluation = evaluate_part
        seeds = rng.randint(_LARGEST_SEED, size=self.n_ensemble).tolist()
        runs = [
            replace(trainer, seed=seed).fit(x, targets, sample_weight=weight, validation=evaluation) for seed in seeds
        ]
        vectors = [backend.to_numpy(run.params.vector) for run in runs]
        self.model_ = Model(
            network,
            np.stack(vectors) if len(vectors) > 1 else vectors[0],
            self._task,
            classes,
            target_scaler=target_scaler,
            feature_names=encoding.input_names,
            target_name=target_name,
            encoding=encoding,
        )
        self.plans_, self.encoding_, self.network_ = plans, encoding, network
        self.n_iter_ = len(runs[0].history)
        self.loss_curve_ = [record.loss for record in runs[0].history]
        self.validation_scores_ = None
        if len(validation):
            self.validation_scores_ = [(each.validation or {})[self.model_.metric] for each in runs[0].history]
        return self

    def _apply(self, method: str, X: Any) -> np.ndarray:
        """Return what a method of the model returns for a table."""
        check_is_fitted(self)
        table = read_features(self, X, reset=False)
        device = predict_device(self.device, get_backend("cpu"))
        result: np.ndarray = getattr(self.model_, method)(table, device=device)
        return result

    def to_model(self) -> Model:
        """Return the model that `xpnet.save_model` writes and ``xpnet predict`` reads."""
        check_is_fitted(self)
        return self.model_

    def predict(self, X: Any) -> np.ndarray:
        """Return labels, (n_samples,), or values, (n_samples,) or (n_samples, n_outputs).

        Columns are found by name; others are ignored.

        Parameters
        ----------
        X : data frame, Arrow table, mapping of columns, or (n_samples, n_features) array

        Raises
        ------
        DataError
            A column is missing, or its values cannot be read.
        """
        return self._apply("predict", X)

    def __sklearn_tags__(self) -> Any:
        return table_tags(super().__sklearn_tags__())
