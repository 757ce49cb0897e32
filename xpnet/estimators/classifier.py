"""The classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.metrics import accuracy_score
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels

from xpnet.backend import Array, Backend, dtype_name
from xpnet.estimators import labels
from xpnet.estimators.base import BaseMLP
from xpnet.estimators.inputs import host
from xpnet.estimators.parameters import SHARED_CONSTRAINTS, store
from xpnet.estimators.solvers import is_stochastic
from xpnet.nn.losses import get_loss
from xpnet.training.schedules import Schedule

__all__ = ["MLPClassifier"]


class MLPClassifier(ClassifierMixin, BaseMLP):
    """Multilayer perceptron for classes and labels, a replacement for scikit-learn's ``MLPClassifier``.

    The parameters up to `max_fun` have the meaning and the defaults of scikit-learn. With the same `random_state` the
    initial weights, the validation part and the shuffles are the same. The parameters after `max_fun` are new.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Units of each hidden layer; empty for no hidden layers.
    activation : str or sequence of str
        Activation of all hidden layers, or of each: ``"identity"``, ``"logistic"``, ``"tanh"``, ``"relu"`` or a name in
        `xpnet.nn.activations.ACTIVATIONS`.
    solver : str
        ``"adam"``, ``"sgd"`` (with `momentum`) and ``"lbfgs"`` as in scikit-learn, or a name in
        `xpnet.nn.optimizers.OPTIMIZERS` with options: ``"adamw:weight_decay=0.1"``.
    alpha : float
        L2 penalty ``alpha/2 sum W^2``, divided by the batch size.
    batch_size : int or "auto"
        ``"auto"`` is ``min(200, n_samples)``.
    learning_rate : str or Schedule
        ``"constant"``, ``"invscaling"`` and ``"adaptive"`` as in scikit-learn, for the solver ``"sgd"``; or a name in
        `xpnet.training.schedules.SCHEDULES`, e.g. ``"cosine"``, for every solver but ``"lbfgs"``.
    learning_rate_init, power_t : float
        Initial learning rate, and exponent of ``"invscaling"``.
    max_iter : int
        Largest number of epochs, or of iterations with ``"lbfgs"``.
    shuffle : bool
    random_state : int, RandomState or None
    tol : float
        Training stops if the loss, or the validation score with `early_stopping`, does not improve by at least `tol`
        for more than `n_iter_no_change` epochs.
    verbose : bool
        Print the loss of each epoch.
    warm_start : bool
        Start from the fitted parameters.
    momentum, nesterovs_momentum : float, bool
        Momentum of ``"sgd"``.
    early_stopping : bool
        Stop by the score of a validation part, and restore the parameters of the best epoch.
    validation_fraction : float
        Fraction of the training data used as validation part if there is no `eval_set`.
    beta_1, beta_2, epsilon, n_iter_no_change, max_fun
        As in scikit-learn.
    loss : str
        ``"log_loss"`` (cross-entropy), or a name in `xpnet.nn.losses.LOSSES` for classes. With ``"squared_error"`` and
        ``"huber"`` the outputs are sigmoids, and the probabilities are the outputs divided by their sum.
    class_weight : dict, list of dict, "balanced" or None
        Weight of each class label, multiplied with `sample_weight`. For several labels, a list with one dict for each.
    device : str, Backend or None
        Where to train and to predict, e.g. ``"gpu"`` or ``"torch:gpu:1"``. None uses the device of the data: the CPU
        for NumPy arrays, the GPU for CuPy arrays. Results are always arrays of the data's library and device.
    dtype : {"float32", "float64"} or None
        None keeps the dtype of the data; integers become float64.
    dropout : float or sequence of float
        Probability that a hidden unit is dropped in training.
    l1 : float
        L1 penalty, divided by the batch size.
    label_smoothing : float
        Share of the target that is spread evenly over all classes.
    clip_norm : float or None
        Largest norm of the gradient.
    initializer : str or None
        Name in `xpnet.nn.initializers.INITIALIZERS`; None draws the weights as scikit-learn does.
    scoring : str, callable, sequence, dict or None
        Scorers of scikit-learn. Their scores are recorded in `history_` after each epoch, and `early_stopping` uses the
        first one. None uses the accuracy.
    callbacks : sequence of Callback or None
        Callbacks of xpnet, or of scikit-learn's callback protocol.

    Attributes
    ----------
    coefs_, intercepts_ : list of arrays
        Weights, (n_in, n_out), and biases, (n_out,), of each layer.
    classes_ : ndarray
    loss_, best_loss_ : float
        Loss of the last epoch, and the lowest loss (None with early stopping).
    loss_curve_, validation_scores_, best_validation_score_ : list of float, list of float, float
        The last two are None without early stopping.
    history_ : dict of str to list of float
        One value per epoch for ``train_loss`` and ``learning_rate``. With a validation part or scorers also for
        ``validation_loss``, ``validation_accuracy``, ``train_<scorer>``, ``validation_<scorer>``.
    n_iter_, t_ : int
        Epochs of the last fit, and total number of samples seen.
    network_ : Network

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from xpnet import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = MLPClassifier(max_iter=500, random_state=0).fit(X, y)
    >>> bool(clf.score(X, y) > 0.95)
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **SHARED_CONSTRAINTS,
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
        "label_smoothing": SHARED_CONSTRAINTS["validation_fraction"],
    }

    _task, _sklearns_losses = "classification", ("log_loss",)
    class_weight: Any
    label_smoothing: float

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str | Sequence[str] = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str | Schedule = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        loss: str = "log_loss",
        class_weight: Mapping[Any, float] | list[Mapping[Any, float]] | str | None = None,
        device: str | Backend | None = None,
        dtype: str | None = None,
        dropout: float | Sequence[float] = 0.0,
        l1: float = 0.0,
        label_smoothing: float = 0.0,
        clip_norm: float | None = None,
        initializer: str | None = None,
        scoring: Any = None,
        callbacks: Sequence[Any] | None = None,
    ) -> None:
        store(self, locals())

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        eval_set: Sequence[Any] | None = None,
        coefs_init: Sequence[Any] | None = None,
        intercepts_init: Sequence[Any] | None = None,
    ) -> Self:
        """Fit the network to training data.

        Parameters
        ----------
        X : (n_samples, n_features) array of any library, data frame or SciPy sparse matrix
        y : (n_samples,) labels, or (n_samples, n_labels) of 0 and 1
        sample_weight : (n_samples,), optional
        eval_set : (X, y) or (X, y, sample_weight), optional
            Validation part, evaluated after each epoch.
        coefs_init, intercepts_init : sequence of arrays, optional
            Initial weights and biases.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, eval_set=eval_set, coefs_init=coefs_init, intercepts_init=intercepts_init)

    @available_if(is_stochastic)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train for one more epoch, with the state of the optimizer from the last call.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        classes : (n_classes,), optional
            All labels that will occur. The first call needs them, unless `y` is a matrix of labels.

        Returns
        -------
        self
        """
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight 'balanced' is not supported for partial_fit, which does not see all data. Compute the "
                "weights with sklearn.utils.compute_class_weight('balanced', ...) and give them as a dict."
            )
        multilabel = not labels.is_vector(y) and type_of_target(host(y)).startswith("multilabel")
        if multilabel and classes is None and not hasattr(self, "classes_"):
            classes = np.arange(np.shape(y)[1])
        if _check_partial_fit_first_call(self, classes):
            self._multilabel = multilabel
        return self._fit(X, y, sample_weight, incremental=True)

    def _learn_targets(self, y: Any, *, incremental: bool) -> None:
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self.classes_: np.ndarray
            self.classes_, self._multilabel = labels.learn(y)
        elif self.warm_start and set(unique_labels(y)) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                f"Previously got {self.classes_}, `y` has {unique_labels(y)}"
            )
        two = len(self.classes_) <= 2 and get_loss(self._loss()).targets.are_binary
        self.n_outputs_ = 1 if two and not self._multilabel else len(self.classes_)

    def _encode(self, y: Any) -> np.ndarray:
        return labels.encode(y, self.classes_, multilabel=self._multilabel)

    def _loss(self) -> str:
        return self._usual_loss() if self.loss == "log_loss" else self.loss

    def _usual_loss(self) -> str:
        """Return the name of the loss that ``"log_loss"`` stands for."""
        return "binary_cross_entropy" if len(self.classes_) <= 2 or self._multilabel else "cross_entropy"

    def _objective(self) -> dict[str, Any]:
        loss = self._loss()
        return {
            "loss": loss,
            "output": None if get_loss(loss).output else "sigmoid",
            "label_smoothing": self.label_smoothing,
        }

    def _combine_weights(self, sample_weight: np.ndarray | None, y: Any) -> np.ndarray | None:
        if self.class_weight is None:
            return sample_weight
        return labels.combine_weights(y, self.classes_, self.class_weight, sample_weight, multilabel=self._multilabel)

    def predict(self, X: Any) -> Array:
        """Return labels, (n_samples,), or a matrix of 0 and 1, (n_samples, n_labels), where `X` lies.

        Labels that are not numbers are returned as a NumPy array.
        """
        indices, data_backend = self._output(
            X, "predict", lambda output, backend: labels.decide(output, backend, multilabel=self._multilabel)
        )
        with data_backend.scope("float64"):
            return labels.decode(indices, data_backend, self.classes_, multilabel=self._multilabel)

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, or of each label, (n_samples, n_classes), where `X` lies."""
        return self._probabilities(X, "predict_proba")[0]

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of `predict_proba`."""
        probabilities, data_backend = self._probabilities(X, "predict_log_proba")
        with data_backend.scope(dtype_name(probabilities)):
            return data_backend.xp.log(probabilities)

    def _probabilities(self, X: Any, method: str) -> tuple[Array, Backend]:
        output, data_backend = self._output(X, method)
        if self._multilabel or self.network_.loss_function.targets.sum_to_one:
            return output, data_backend
        with data_backend.scope(dtype_name(output)):
            return labels.normalised(output, data_backend), data_backend

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy. With several labels, a sample counts as correct if all its labels are."""
        return float(accuracy_score(host(y), host(self.predict(X)), sample_weight=host(sample_weight)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
