"""The base of both estimators: fitting, the output of the network, conversion and copies."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from xpnet.backend import Array, Backend, dtype_name, get_backend, to_host
from xpnet.data.targets import Task
from xpnet.errors import InvalidParameterError
from xpnet.estimators import conversion
from xpnet.estimators.course import work_of
from xpnet.estimators.fitting import Fit, FitData, begin_history, check_continuation, network_of
from xpnet.estimators.incremental import fit_incremental, is_plain
from xpnet.estimators.inputs import (
    all_on_host,
    check_inputs,
    check_layers,
    check_range,
    check_same_place,
    check_training,
    check_weights,
    data_backend_of,
)
from xpnet.estimators.lbfgs import fit_lbfgs
from xpnet.estimators.monitoring import SklearnCallbackAdapter, split_callbacks
from xpnet.estimators.parameters import (
    SHARED_CONSTRAINTS,
    check_names,
    check_values,
    hidden_sizes,
    predict_device,
    train_device,
)
from xpnet.estimators.solvers import ACTIVATIONS, draw_weights, scikit_learns_name
from xpnet.estimators.stochastic import fit_stochastic
from xpnet.model.model import Model
from xpnet.nn.losses import fitting_losses
from xpnet.nn.network import Network, Parameters
from xpnet.training.outputs import host_outputs, outputs
from xpnet.training.samples import host_inputs, to_device

__all__ = ["BaseMLP"]


class BaseMLP(CallbackSupportMixin, BaseEstimator):
    """Base of `MLPClassifier` and `MLPRegressor`."""

    _parameter_constraints: ClassVar[dict[str, Any]] = SHARED_CONSTRAINTS
    _y_numeric = False
    _task: Task
    _sklearns_losses: tuple[str, ...] = ()  # those that the library has under another name

    # The parameters that this module reads.
    hidden_layer_sizes: int | Sequence[int]
    activation: str | Sequence[str]
    solver: str
    alpha: float
    random_state: Any
    warm_start: bool
    early_stopping: bool
    loss: str
    device: str | Backend | None
    dtype: str | None
    dropout: float | Sequence[float]
    l1: float
    initializer: str | None
    callbacks: Sequence[Any] | None

    n_outputs_: int

    # What classifier and regressor define differently.

    def _learn_targets(self, y: np.ndarray, *, incremental: bool) -> None:
        """Set `n_outputs_` and other attributes from the targets, or check the targets against them."""
        raise NotImplementedError

    def _encode(self, y: np.ndarray) -> np.ndarray:
        """Return targets encoded for the loss: (n_samples,) int32, or (n_samples, n_outputs)."""
        raise NotImplementedError

    def _objective(self) -> dict[str, Any]:
        """Return the arguments of `Network` that describe the loss."""
        raise NotImplementedError

    def _combine_weights(self, sample_weight: np.ndarray | None, y: np.ndarray) -> np.ndarray | None:
        """Return the product of per-sample weights and class weights, or None."""
        return sample_weight

    # Fitting.

    def _validate_params(self) -> None:
        check_names(self, fitting_losses(self._task), self._sklearns_losses)
        check_values(self)

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        incremental: bool = False,
        eval_set: Sequence[Any] | None = None,
        coefs_init: Sequence[Any] | None = None,
        intercepts_init: Sequence[Any] | None = None,
    ) -> Self:
        hidden = hidden_sizes(self.hidden_layer_sizes)
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        xpnet_callbacks, sklearn_callbacks = split_callbacks(self.callbacks)
        x, raw_y = check_training(self, X, y, reset=first, dtype=self.dtype, y_numeric=self._y_numeric)
        self._learn_targets(raw_y, incremental=incremental)
        checked_weight = None if sample_weight is None else check_weights(sample_weight, x.shape[0])
        training = FitData(x, self._encode(raw_y), raw_y, self._combine_weights(checked_weight, raw_y))
        data_backend = data_backend_of(x)
        fit = Fit(
            estimator=self,
            network=self._network((x.shape[1], *hidden, self.n_outputs_)),
            data_backend=data_backend,
            backend=data_backend
            if self.device is None
            else train_device(self.device, work_of(self, x.shape, tuple(hidden))),
            dtype=dtype_name(x),
            rng=cache(partial(check_random_state, self.random_state)),
            training=training,
            validation=None if eval_set is None else self._validation(eval_set),
            callbacks=xpnet_callbacks,
            incremental=incremental,
        )
        if first:
            self._initialize(fit)
        else:
            check_continuation(self, fit.network)
        begin_history(self, anew=first)
        if coefs_init is not None or intercepts_init is not None:
            self._set_params(check_layers(fit.network, coefs_init, intercepts_init))
        self._set_network(fit.network)

        solve = fit_lbfgs if self.solver == "lbfgs" else fit_incremental if is_plain(fit) else fit_stochastic
        before = getattr(self, "_skl_callbacks", [])
        if not (before or sklearn_callbacks or hasattr(self, "_parent_callback_ctx")):
            solve(fit)
            return self
        try:
            self.set_callbacks(*before, *sklearn_callbacks)
            fit_args = {"X": X, "y": y, "metadata": None if sample_weight is None else {"sample_weight": sample_weight}}
            context = self._init_callback_context(max_subtasks=fit.epochs)
            context.call_on_fit_task_begin(estimator=self, **fit_args)
            if before or sklearn_callbacks:
                xpnet_callbacks.append(SklearnCallbackAdapter(self, context, fit_args))
            solve(fit)
            context.call_on_fit_task_end(estimator=self, **fit_args, reconstruction_attributes=dict)
        finally:
            self.set_callbacks(*before)
        return self

    def _initialize(self, fit: Fit) -> None:
        """Draw the initial weights."""
        network, rng = fit.network, fit.rng()
        if self.initializer is None:
            self._set_params(network.pack(draw_weights(rng, network.layer_sizes, network.activation, fit.dtype)))
        else:
            self._set_params(network.init(int(rng.randint(2**31 - 1)), dtype=fit.dtype))

    def _network(self, layer_sizes: Sequence[int]) -> Network:
        given, dropout = self.activation, self.dropout
        names = tuple(ACTIVATIONS.get(name, name) for name in ([given] if isinstance(given, str) else given))
        return network_of(
            layer_sizes,
            activation=names[0] if isinstance(given, str) else names,
            initializer=self.initializer,
            dropout=tuple(dropout) if isinstance(dropout, Iterable) and not isinstance(dropout, str) else dropout,
            l2=float(self.alpha),  # scikit-learn takes True
            l1=float(self.l1),
            penalty_reduction="mean",
            **self._objective(),
        )

    def _validation(self, eval_set: Sequence[Any]) -> FitData:
        if not isinstance(eval_set, tuple | list) or len(eval_set) not in (2, 3):
            raise InvalidParameterError(
                f"eval_set: expected (X, y) or (X, y, sample_weight); received {type(eval_set).__name__}."
            )
        x, raw_y = check_training(self, *eval_set[:2], reset=False, dtype=self.dtype, y_numeric=self._y_numeric)
        sample_weight = check_weights(eval_set[2], x.shape[0]) if len(eval_set) == 3 else None
        return FitData(x, self._encode(raw_y), raw_y, sample_weight)

    def _set_network(self, network: Network) -> None:
        """Set `network_` and the attributes of scikit-learn that follow from it."""
        self.network_ = network
        self.n_layers_ = network.n_layers + 1
        self.out_activation_ = scikit_learns_name(str(network.output))

    # Parameters.

    def _parameters(self) -> Parameters:
        """Return the fitted parameters, on the device where they lie."""
        slopes = getattr(self, "_slopes", [None] * len(self.coefs_))
        return Parameters.of(zip(self.coefs_, self.intercepts_, strict=True), slopes)

    def _set_params(self, params: Parameters) -> None:
        self.coefs_, self.intercepts_ = [W for W, _ in params], [b for _, b in params]
        self._slopes = list(params.slopes)

    def _store_fitted(self, params: Parameters, backend: Backend, data_backend: Backend) -> None:
        """Set the fitted parameters, on the device of the user's data."""
        if backend is not data_backend:
            params = params.map(lambda array: data_backend.asarray(backend.to_numpy(array)))
        self._set_params(params)

    def _with_params(self, params: Parameters, device: Backend | None = None) -> Self:
        """Return a copy of the estimator with these parameters on the host; it predicts on `device`."""
        fitted = copy.copy(self)
        fitted._set_params(params.map(to_host))
        fitted.device = device if device is not None else self.device
        return fitted

    # Conversion.

    @classmethod
    def from_sklearn(cls, fitted: Any) -> Self:
        """Return an estimator with the parameters and the weights of a fitted scikit-learn estimator of the same name.

        The moments of the optimizer are not copied: `partial_fit` starts with new ones.
        """
        return conversion.from_sklearn(cls, fitted)

    def to_sklearn(self) -> Any:
        """Return a scikit-learn estimator of the same name with these weights. It predicts the same.

        Parameters that scikit-learn does not have (dropout, class weights, other solvers and schedules) are left out.
        They matter in training only.
        """
        check_is_fitted(self)
        return conversion.to_sklearn(self)

    @classmethod
    def from_model(cls, model: Model) -> Self:
        """Return an estimator that predicts the same as a `Model` on raw features.

        The scaling of features and targets is folded into the first and the last layer, in float64.
        """
        return conversion.from_model(cls, model)

    def to_model(self) -> Model:
        """Return the `Model` that `xpnet.save_model` writes and ``xpnet predict`` reads."""
        check_is_fitted(self)
        return conversion.to_model(self)

    # Prediction.

    def _output(self, X: Any, method: str, decide: Callable[..., Any] | None = None) -> tuple[Array, Backend]:
        """Return the output, (n_samples, n_outputs), or what `decide` makes of some rows at a time, where `X` lies."""
        if not hasattr(self, "coefs_"):
            check_is_fitted(self)
        check_same_place(self, X, method)
        x = check_inputs(self, X)
        data_backend = data_backend_of(x)
        backend = predict_device(self.device, data_backend)
        dtype = dtype_name(self.coefs_[0])
        check_range(x, dtype)
        with backend.scope(dtype):
            params = self._parameters()
            arrays = (*self.coefs_, *self.intercepts_)
            if any(data_backend_of(array) is not backend or array.dtype != arrays[0].dtype for array in arrays):
                params = params.map(lambda array: to_device(backend, array, dtype))
            if backend is data_backend and not hasattr(x, "tocsr"):
                here = decide and partial(decide, backend=backend)
                return outputs(self.network_, params, to_device(backend, x, dtype), backend, here), data_backend
            rows = host_inputs(backend, x if hasattr(x, "tocsr") else to_host(x), dtype)
            on_host = decide and partial(decide, backend=get_backend("cpu"))
            return data_backend.asarray(host_outputs(self.network_, params, rows, backend, on_host)), data_backend

    # Copies. Pickles hold arrays on the host, so that they can be read on a machine without the device.

    def __copy__(self) -> Self:
        self.__dict__.pop("_session", None)  # else `partial_fit` of one would change the weights of the other
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name != "_session"}
        for name in ("coefs_", "intercepts_", "_slopes", "_state"):
            if name in state:
                state[name] = all_on_host(state[name])
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags
