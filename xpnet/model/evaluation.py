"""How well a model does on raw data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from xpnet.backend import Backend, get_backend
from xpnet.communicator import Communicator
from xpnet.data.streams import Source
from xpnet.errors import InvalidParameterError
from xpnet.training.evaluation import assess, evaluate
from xpnet.training.history import Scores
from xpnet.training.metrics import METRICS, Scoring, fitting_metrics
from xpnet.training.samples import host_inputs
from xpnet.training.streaming import evaluate_source

if TYPE_CHECKING:
    from xpnet.model.model import Model

__all__ = ["Evaluation"]

_MOST_OUTPUTS = 1 << 20  # of more, the host holds all only if they are far fewer than the features


class Evaluation:
    """The evaluation of a `Model`."""

    def evaluate(
        self,
        x: Any,
        y: np.ndarray | None = None,
        device: str | Backend = "cpu",
        communicator: Communicator | None = None,
        *,
        metrics: Sequence[str] = (),
    ) -> Scores:
        """Return the mean loss (of scaled targets, without penalties) and all metrics of the task on raw data.

        The metrics are those of `xpnet.training.metrics.METRICS`: of classes ``accuracy``, ``balanced_accuracy``,
        ``f1`` and ``auc``; of labels ``accuracy``, ``f1`` and ``auc``; of values ``r2``, and in the target's unit
        ``rmse`` and ``mae``. The area under the ROC curve needs the outputs of all samples: it is left out for a source
        and where there are many of them, unless `metrics` has it.

        Parameters
        ----------
        x : (n_samples, n_features) or Source
        y : (n_samples,) or (n_samples, n_outputs), optional
            Raw targets. A source brings its own, and so does a table that has a column with the name of the target.
        device : str or Backend
        communicator : Communicator, optional
            Of ranks that read the source together.
        metrics : sequence of str
            Metrics that are computed in any case.
        """
        model = cast("Model", self)
        if isinstance(x, Source):
            if y is not None:
                raise InvalidParameterError("y must be omitted when x is a Source (it brings its own targets).")
            backend, dtype = get_backend(device), model.vector.dtype.name
            with backend.scope(dtype):
                params, scoring = model.params_on(backend), _scoring(model, None, metrics)
                unknown = None
                if model.encoding is not None:
                    from xpnet.data.tables.unknown import UnknownValues

                    unknown = UnknownValues()
                source = model.encode(x, unknown)
                scores = evaluate_source(model.network, params, source, backend, dtype, communicator, scoring)
            if unknown is not None:
                unknown.warn()
            return scores
        if y is None:
            x, y = _with_targets(model, x)
        with (backend := get_backend(device)).scope(model.vector.dtype.name):
            rows = host_inputs(backend, model.inputs(x), model.vector.dtype.name)
            params, scoring = model.params_on(backend), _scoring(model, len(y), metrics)
            return evaluate(model.network, params, rows, model.targets(y), backend, scoring=scoring)

    def assess(
        self, x: Any, y: np.ndarray, device: str | Backend = "cpu", *, metrics: Sequence[str] = ()
    ) -> tuple[Scores, np.ndarray]:
        """Return the scores of `evaluate` and the predictions of `predict` in one pass over the samples."""
        model = cast("Model", self)
        with (backend := get_backend(device)).scope(model.vector.dtype.name):
            rows = host_inputs(backend, model.inputs(x), model.vector.dtype.name)
            params, scoring = model.params_on(backend), _scoring(model, len(y), metrics)
            return assess(model.network, params, rows, model.targets(y), backend, model.decide, scoring=scoring)


def _scoring(model: Model, n_samples: int | None, metrics: Sequence[str]) -> Scoring:
    """Return all metrics of the task, but for those that need outputs if the host should not hold those of all samples.

    Parameters
    ----------
    n_samples : int or None
        None for samples that are read in pieces.
    metrics : sequence of str
        Metrics that are returned in any case.
    """
    n_in, n_out = model.network.layer_sizes[0], model.network.layer_sizes[-1]
    are_few = n_samples is not None and (n_samples * n_out <= _MOST_OUTPUTS or 4 * n_out <= n_in)
    fitting = (name for name in fitting_metrics(model.task) if METRICS[name].needs == "decisions" or are_few)
    kept = tuple(dict.fromkeys([*fitting, *metrics]))
    return Scoring(kept, None if model.target_scaler is None else model.target_scaler.scale)


def _with_targets(model: Model, x: Any) -> tuple[Any, np.ndarray]:
    """Return the rows of a table that have a target, and the targets: the column that was the target in training."""
    if isinstance(x, np.ndarray) or not (hasattr(x, "columns") or hasattr(x, "keys") or hasattr(x, "schema")):
        raise InvalidParameterError("y must be given when x is an array; received none. Give the targets of x.")
    import pyarrow as pa

    from xpnet.data.tables.frames import as_table
    from xpnet.data.tables.survey import plan_known_target
    from xpnet.data.tables.values import decimal_sign

    table, name = as_table(x), model.target_name
    if name is None or name not in table.column_names:
        raise InvalidParameterError(
            f"y must be given when x has no column with the target{f' {name!r}' if name else ''}; received none."
        )
    y, keep = plan_known_target(name, model.task, model.classes).read(table.column(name), decimal_sign(table.schema))
    return table.filter(pa.array(keep)), y
