"""A trained model on the host: network, parameters, scaling and labels, everything that prediction needs."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from xpnet.backend import Backend, get_backend, to_host
from xpnet.data.checks import as_floats, feature_array
from xpnet.data.scaled_bytes import ScaledBytes, scaled_bytes
from xpnet.data.scaling import Scaler
from xpnet.data.shared_rows import SharedRows
from xpnet.data.streams import Source
from xpnet.data.targets import Task, encode_targets
from xpnet.errors import InvalidParameterError, ModelFormatError
from xpnet.model.evaluation import Evaluation
from xpnet.model.exports import Exports
from xpnet.nn.layer_table import layers_html
from xpnet.nn.network import Network, Parameters
from xpnet.training.metrics import fitting_metrics
from xpnet.training.outputs import host_outputs
from xpnet.training.samples import host_inputs

if TYPE_CHECKING:
    from xpnet.data.tables.encoding import TableEncoding
    from xpnet.data.tables.unknown import UnknownValues

__all__ = ["Model"]


@dataclass(frozen=True, eq=False)
class Model(Evaluation, Exports):
    """A network with its parameters, and the scaling and the labels of the user's data.

    Parameters
    ----------
    network : Network
    vector : (n_parameters,) or (n_members, n_parameters)
        Parameter vector, from any device; it is moved to the host. A matrix has the vectors of an ensemble, whose
        logits or values are averaged.
    task : {"classification", "regression", "multilabel"}
    classes : (n_classes,) ndarray or None
        Labels of the class indices, sorted.
    scaler, target_scaler : Scaler or None
        Scaling of the features, and of the targets of a regression. None leaves them unchanged.
    feature_names, target_name : tuple of str, str, or None
        Names of the columns, if the data had names.
    index_base : int or None
        The index of the first feature in the LIBSVM file of the training data, 0 or 1; None for other data.
    encoding : TableEncoding or None
        Encoding of the columns of a table; then there is no `scaler`, and features may be a data frame, an Arrow table
        or a mapping of columns.
    image_shape : tuple of int or None
        Shape of a sample, if the samples are images that were flattened: (height, width), or with the channels in front
        or behind. Pictures need it, predictions do not.

    Examples
    --------
    >>> import numpy as np, xpnet
    >>> network = xpnet.Network([2, 2], initializer="zeros")
    >>> params = network.init()
    >>> model = xpnet.Model(network, params.vector, "classification", classes=np.asarray(["no", "yes"]))
    >>> model.predict_proba(np.ones((1, 2)))
    array([[0.5, 0.5]])
    >>> model.predict(np.ones((1, 2))).tolist()
    ['no']
    """

    network: Network
    vector: Any
    task: Task
    classes: np.ndarray | None = None
    scaler: Scaler | None = None
    target_scaler: Scaler | None = None
    feature_names: tuple[str, ...] | None = None
    target_name: str | None = None
    index_base: int | None = None
    encoding: TableEncoding | None = None
    image_shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "vector", to_host(self.vector))

    def __repr__(self) -> str:
        sizes = " -> ".join(map(str, self.network.layer_sizes))
        said = [f"{self.task}: {sizes}, {self.network.n_parameters} parameters"]
        if self.target_name is not None:
            said.append(f"target {self.target_name!r}")
        if self.classes is not None:
            said.append(f"{len(self.classes)} classes {reprlib.repr(self.classes.tolist())}")
        if self.feature_names is not None:
            said.append(f"features {reprlib.repr(list(self.feature_names))}")
        return f"<Model for {'; '.join(said)}>"

    def _repr_html_(self) -> str:
        title, *more = repr(self)[1:-1].split("; ", 1)
        return layers_html(self.network, title, *more)

    @cached_property
    def members(self) -> tuple[Parameters, ...]:
        """Parameters of each member of an ensemble, as NumPy arrays; one for a single network."""
        return tuple(Parameters(vector, self.network) for vector in np.atleast_2d(self.vector))

    @property
    def params(self) -> Parameters:
        """``(W, b)`` of each layer as NumPy arrays; of an ensemble, those of its first member."""
        return self.members[0]

    @property
    def metric(self) -> str:
        """``"accuracy"`` or ``"r2"``."""
        return fitting_metrics(self.task)[0]

    def features(self, x: Any, *, first_row: int = 0, unknown: UnknownValues | None = None) -> np.ndarray:
        """Return raw features as the network takes them, (n_samples, n_in): encoded or scaled, in its dtype.

        Parameters
        ----------
        x : (n_samples, n_columns) array, data frame or Arrow table; with an `encoding` also a mapping of columns
            Columns with names are taken by their names, if the model has names too.
        first_row : int
            The row of the whole data with which `x` begins, for messages.
        unknown : UnknownValues, optional
            Counts values of a table that training did not have, for one warning at the end of data that come in
            pieces. Without it, there is a warning at once.

        Raises
        ------
        ModelFormatError
            The number of features differs from the training data.
        DataError
            A column is missing, or a value cannot be used: text, NaN, infinity, or too large for the network's dtype.
        """
        if self.encoding is not None:
            from xpnet.data.tables.frames import as_table
            from xpnet.data.tables.unknown import UnknownValues

            seen = UnknownValues() if unknown is None else unknown
            features = self.encoding.transform(as_table(x), self.vector.dtype, first_row=first_row, unknown=seen)
            if unknown is None:
                seen.warn()
            return features
        x = self.checked(x)
        dtype = self.vector.dtype
        if self.scaler is None:
            return as_floats(x, dtype, "features", self.feature_names)
        return self.scaler.transform(x, dtype, first_row=first_row)

    def checked(self, x: Any) -> np.ndarray:
        """Return raw features as an array, (n_samples, n_in), whose columns are those of the training data."""
        array = feature_array(x, self.feature_names)
        n_in = self.network.layer_sizes[0]
        if array.ndim != 2 or array.shape[1] != n_in:
            raise ModelFormatError(
                f"features: expected the shape (n_samples, {n_in}), as in training; received the shape {array.shape}. "
                "Give the columns that the model was trained on."
            )
        return array

    def inputs(
        self, x: Any, *, first_row: int = 0, unknown: UnknownValues | None = None
    ) -> np.ndarray | ScaledBytes | SharedRows:
        """Return raw features as `Trainer.fit` takes them: the result of `features`, or bytes with their scaling."""
        if isinstance(x, SharedRows):
            return x.map(lambda own: self.inputs(own, first_row=x.positions.start))  # type: ignore[no-any-return]
        if self.encoding is None:
            x = self.checked(x)
            kept = scaled_bytes(x, self.scaler, self.vector.dtype)
            if kept is not None:
                return kept
        return self.features(x, first_row=first_row, unknown=unknown)

    def targets(self, y: np.ndarray) -> np.ndarray:
        """Return raw targets as the loss takes them: class indices (n_samples,), or scaled values (n_samples, n_out).

        Raises
        ------
        DataError
            A label did not occur in training, or the targets do not fit the task.
        """
        classes = np.arange(max(self.network.layer_sizes[-1], 2)) if self.classes is None else self.classes
        encoded, _ = encode_targets(y, self.task, classes)
        if self.task == "classification":
            return encoded
        dtype = self.vector.dtype
        if self.target_scaler is not None:
            return self.target_scaler.transform(encoded, dtype)
        return as_floats(encoded, dtype, "targets")

    @overload
    def encode(self, data: Source, unknown: UnknownValues | None = None) -> Source: ...
    @overload
    def encode(
        self, data: tuple[Any, np.ndarray], unknown: UnknownValues | None = None
    ) -> tuple[np.ndarray, np.ndarray]: ...
    def encode(
        self, data: tuple[Any, np.ndarray] | Source, unknown: UnknownValues | None = None
    ) -> tuple[np.ndarray, np.ndarray] | Source:
        """Return raw features and targets as `Trainer.fit` takes them: arrays, or a source of such arrays.

        `unknown` is as for `features`.
        """
        if isinstance(data, Source):
            return data.map(
                lambda x, y: (self.features(x, unknown=unknown), self.targets(y)), self.network.layer_sizes[0]
            )
        x, y = data
        return self.features(x, unknown=unknown), self.targets(y)

    def params_on(self, backend: Backend) -> tuple[Parameters, ...]:
        """Return the parameters of each member on a device."""
        return tuple(Parameters(backend.asarray(vector), self.network) for vector in np.atleast_2d(self.vector))

    def outputs(
        self, x: Any, device: str | Backend = "cpu", *, first_row: int = 0, unknown: UnknownValues | None = None
    ) -> np.ndarray:
        """Return the network's output for raw features, (n_samples, n_out); parameters are as for `features`."""
        return self._outputs(x, device, first_row=first_row, unknown=unknown)

    def _outputs(
        self, x: Any, device: str | Backend, decide: Callable[[np.ndarray], np.ndarray] | None = None, **data: Any
    ) -> np.ndarray:
        backend = get_backend(device)
        with backend.scope(self.vector.dtype.name):
            rows = host_inputs(backend, self.inputs(x, **data), self.vector.dtype.name)
            return host_outputs(self.network, self.params_on(backend), rows, backend, decide)

    @property
    def gives_probabilities(self) -> bool:
        """Whether the model has probabilities of classes or labels."""
        return self.task != "regression" and self.network.gives_probabilities

    def predict_proba(self, x: Any, device: str | Backend = "cpu") -> np.ndarray:
        """Return the probability of each class or label, (n_samples, n_classes).

        Raises
        ------
        InvalidParameterError
            The outputs of the network are not probabilities.
        """
        return self.probabilities(self.outputs(x, device))

    def probabilities(self, output: np.ndarray) -> np.ndarray:
        """Return the probability of each class or label from the network's output; see `predict_proba`."""
        if not self.gives_probabilities:
            raise InvalidParameterError(
                f"probabilities: expected a model of classes or labels with an output that gives probabilities; "
                f"received a {self.task} with the output {self.network.output}."
            )
        return self._by_class(output)

    def _by_class(self, output: np.ndarray) -> np.ndarray:
        """Return one column for each class; a single output is the probability of class 1."""
        if self.task == "classification" and output.shape[1] == 1:
            return np.hstack([1 - output, output])
        return output

    def predict(self, x: Any, device: str | Backend = "cpu") -> np.ndarray:
        """Predict for raw features.

        Returns
        -------
        ndarray
            Labels (n_samples,), a 0/1 matrix (n_samples, n_labels), or values (n_samples,) or (n_samples, n_out).
        """
        return self._outputs(x, device, self.decide)

    def decide(self, output: np.ndarray) -> np.ndarray:
        """Return the predictions of `predict` from the network's output."""
        if self.task == "classification":
            predicted: np.ndarray = np.argmax(self._by_class(output), axis=1)
            if self.classes is not None:
                predicted = self.classes[predicted]
            return predicted
        if self.task == "multilabel":
            return (output > 0.5).astype(np.int64)
        if self.target_scaler is not None:
            output = self.target_scaler.inverse(output)
        return output[:, 0] if output.shape[1] == 1 else output
