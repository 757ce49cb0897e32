"""One sample's way through a network: the forward pass and the backward pass, layer by layer.

Each layer is a table, as its formulas say. The inputs a are beside the rows of the weights W, and each unit is a
column: the sums ``z = a W + b`` are below. In the backward pass delta is above the columns, and ``dL/dW = a^T delta``
is the table of the products of a and delta.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from xpnet.data.images import as_images
from xpnet.errors import DataError
from xpnet.model.model import Model
from xpnet.nn.layer_values import LayerValues, layer_values
from xpnet.nn.parameters import Parameters
from xpnet.plot.figures import label_text
from xpnet.plot.fitted import as_model
from xpnet.plot.predictions import Predictions, class_labels, raw_features, taken
from xpnet.plot.sheet import Sheet
from xpnet.training.progress import figure

__all__ = ["SampleValues", "backward_pass", "forward_pass", "passes_size", "values_of"]

_ROWS_ABOVE = 3  # of the backward pass


class SampleValues(NamedTuple):
    """What the layers of a network compute for one sample, in float64.

    Attributes
    ----------
    layers : list of LayerValues
        Of a batch of one sample; the last output is that of the network, such as probabilities.
    weights : list of (W, b)
        Of each layer.
    loss : float or None
        Without penalties. This and the gradients are None without a target.
    target : (n_out,) ndarray or None
        The target as the loss takes it, such as a one-hot row.
    """

    layers: list[LayerValues]
    weights: list[tuple[np.ndarray, np.ndarray]]
    loss: float | None
    target: np.ndarray | None


def values_of(model: Any, x: Any, y: Any = None) -> SampleValues:
    """Return what the layers compute for one sample, without dropout and without penalties.

    Parameters
    ----------
    model : Model or fitted estimator
        Of an ensemble, the first member is taken.
    x : (n_features,) or (1, n_features), or a table of one row
        Raw features.
    y : label, value, or (n_outputs,) of values, optional
        Raw target.

    Raises
    ------
    DataError
        There is not exactly one sample, or it does not fit the model.

    Examples
    --------
    >>> import numpy as np, xpnet
    >>> network = xpnet.Network((2, 1), loss="squared_error")
    >>> params = network.pack([(np.asarray([[1.0], [2.0]]), np.asarray([0.5]))])
    >>> model = xpnet.Model(network, params.vector, "regression")
    >>> values = values_of(model, [3.0, 1.0], 4.0)
    >>> values.layers[0].z, values.layers[0].delta, values.loss
    (array([[5.5]]), array([[1.5]]), 1.125)
    >>> values.layers[0].grad_W.ravel()
    array([4.5, 1.5])
    """
    model = as_model(model)
    if model.encoding is None:
        x = np.asarray(x) if np.ndim(x) != 1 else np.asarray(x)[None]
    x = raw_features(model, x)
    if len(x) != 1:
        raise DataError(f"x: expected one sample; received {len(x):,}. Choose one row.")
    network = model.network
    params = Parameters(np.asarray(model.params.vector, np.float64), network)
    features = model.features(x).astype(np.float64)
    weights = [(np.asarray(W), np.asarray(b)) for W, b in params.scaled_layers()]
    if y is None:
        _, layers = layer_values(network, params, features)
        return SampleValues(layers, weights, None, None)
    raw = np.asarray(y)
    several = model.task != "classification" and network.layer_sizes[-1] > 1
    targets = model.targets(raw.reshape(1, -1) if several else raw.reshape(1))
    targets = targets if targets.dtype.kind in "iu" else targets.astype(np.float64)
    loss, layers = layer_values(network, params, features, targets)
    return SampleValues(layers, weights, loss, np.asarray(network.targets(np, targets, np.float64))[0])


def forward_pass(model: Any, x: Any = None, ax: Any = None) -> Any:
    """Draw how one sample goes through a network: weights, z and the outputs of each layer, with the formulas.

    Small networks have numbers, larger ones maps. Blue is positive, orange negative; each table has a scale of its own.

    Parameters
    ----------
    model : Model, fitted estimator, or Predictions
        With `Predictions`, their first sample is taken. Of an ensemble, the first member is drawn.
    x : (n_features,) or (1, n_features), or a table of one row
        Raw features.
    ax : Axes, optional
        It should have the size that `passes_size` gives.

    Returns
    -------
    Axes

    Raises
    ------
    DataError
        There is not exactly one sample, or it does not fit the model.
    """
    model, x, _ = _sample(model, x, None)
    values = values_of(model, x)
    sheet, names = _sheet(model), _Names(model)
    sheet.begin(ax, f"forward pass: {_prediction(model, values)}")
    for i, (layer, (W, b)) in enumerate(zip(values.layers, values.weights, strict=True)):
        sheet.begin_layer(i, names.layer(i))
        sheet.inputs(layer.a[0], names.a(i), names.inputs(i), _image(model, x, i))
        sheet.table(W, names.of_layer("W", i + 1))
        sheet.row(b, names.of_layer("b", i + 1))
        sheet.row(layer.z[0], names.of_layer("z", i + 1))
        sheet.row(layer.out[0], names.a(i + 1))
        if i == names.last:
            sheet.column_labels(names.outputs())
        sheet.formulas(names.sum_formula(i), names.output_formula(i))
        sheet.end_layer(forward=True)
    return sheet.ax


def backward_pass(model: Any, x: Any = None, y: Any = None, ax: Any = None) -> Any:
    """Draw how the gradient of one sample's loss goes back through a network: delta and the gradients of each layer.

    ``delta = dL/dz`` is above the columns, and the table ``dL/dW = a^T delta`` has the products of a and delta.

    Parameters
    ----------
    model : Model, fitted estimator, or Predictions
        With `Predictions`, their first sample is taken. Of an ensemble, the first member is drawn.
    x : (n_features,) or (1, n_features), or a table of one row
        Raw features.
    y : label, value, or (n_outputs,) of values
        Raw target.
    ax : Axes, optional
        It should have the size that `passes_size` gives.

    Returns
    -------
    Axes

    Raises
    ------
    DataError
        There is not exactly one sample, or it does not fit the model.
    """
    model, x, y = _sample(model, x, y)
    values = values_of(model, x, y)
    sheet, names = _sheet(model), _Names(model)
    sheet.begin(
        ax, f"backward pass: loss {figure(values.loss or 0.0)}, {_prediction(model, values)}, {_true(model, y)}"
    )
    for i, layer in enumerate(values.layers):
        sheet.begin_layer(i, names.layer(i), rows_above=_ROWS_ABOVE)
        sheet.row(layer.out[0], names.a(i + 1))
        if i == names.last:
            sheet.row(values.target, "t")
        else:
            sheet.row(layer.grad[0], names.of_layer("∂L/∂a", i + 1))
        sheet.row(layer.delta[0], names.of_layer("δ", i + 1))
        sheet.inputs(layer.a[0], names.a(i), names.inputs(i), _image(model, x, i))
        sheet.table(layer.grad_W, names.of_layer("∂L/∂W", i + 1))
        sheet.formulas(*names.gradient_formulas(i))
        sheet.end_layer(forward=False)
    return sheet.ax


def passes_size(model: Any) -> tuple[float, float]:
    """Return width and height of the picture of a pass, in inches."""
    return _sheet(_sample(model, None, None)[0]).size


def _sample(model: Any, x: Any, y: Any) -> tuple[Model, Any, Any]:
    if not isinstance(model, Predictions):
        return as_model(model), x, y
    true = model.true[0]
    return (
        model.model,
        taken(model.x, np.arange(1)),
        true if model.model.task != "classification" else model.labels[true],
    )


def _sheet(model: Model) -> Sheet:
    return Sheet(model.network.layer_sizes, has_image=model.image_shape is not None)


def _image(model: Model, x: Any, layer: int) -> np.ndarray | None:
    """Return the sample as an image, for the first layer of a model of images."""
    if model.image_shape is None or layer > 0:
        return None
    image = as_images(np.asarray(x).reshape(1, -1), model.image_shape)[0].astype(np.float64)
    return np.asarray((image - image.min()) / ((image.max() - image.min()) or 1))


def _prediction(model: Model, values: SampleValues) -> str:
    """Return what the model predicts, as text."""
    out = np.asarray(values.layers[-1].out)
    decided = model.decide(out)[0]
    if model.task == "classification":
        labels = [label_text(label) for label in class_labels(model)]
        chosen = int(np.argmax(np.hstack([1 - out, out]) if out.shape[1] == 1 else out, axis=1)[0])
        sure = f" with probability {model.probabilities(out)[0, chosen]:.3f}" if model.gives_probabilities else ""
        return f"predicted {labels[chosen]}{sure}"
    return "predicted " + ", ".join(label_text(f"{value:.4g}") for value in np.atleast_1d(decided)[:6])


def _true(model: Model, y: Any) -> str:
    """Return the target as text."""
    if model.task == "classification":
        return f"true {label_text(np.asarray(y).reshape(()))}"
    return "true " + ", ".join(label_text(f"{value:.4g}") for value in np.ravel(y)[:6])


_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class _Names:
    """The names and the formulas of the layers, as text: no other is as fast to draw."""

    model: Model

    @property
    def last(self) -> int:
        return self.model.network.n_layers - 1

    def layer(self, i: int) -> str:
        name = self.model.network.activation_names[i] if i < self.last else self._output_function
        return f"{'output' if i == self.last else f'hidden layer {i + 1}'}: {name}"

    @property
    def _output_function(self) -> str:
        return str(self.model.network.output)

    def of_layer(self, symbol: str, layer: int) -> str:
        """Return a symbol with the number of its layer as a superscript."""
        return f"{symbol}⁽{str(layer).translate(_SUPERSCRIPTS)}⁾"

    def a(self, layer: int) -> str:
        """Return the name of the input, of a layer's output, or of the network's output."""
        return "x" if layer == 0 else "y" if layer == self.last + 1 else self.of_layer("a", layer)

    def inputs(self, layer: int) -> list[str]:
        """Return labels of the features, in front of the first layer."""
        model = self.model
        names = model.feature_names if model.encoding is None else model.encoding.feature_names
        return [] if layer > 0 or names is None else [label_text(name) for name in names]

    def outputs(self) -> list[str]:
        """Return labels of the outputs; a single one has none."""
        model, n_out = self.model, self.model.network.layer_sizes[-1]
        if n_out == 1 or model.task != "classification":
            return []
        return [label_text(label) for label in class_labels(model)]

    def _gain(self, i: int) -> str:
        return "" if self.model.network.gains[i] == 1 else "g "

    def sum_formula(self, i: int) -> str:
        z, W, b = (self.of_layer(symbol, i + 1) for symbol in "zWb")
        return f"{z} = {self._gain(i)}{self.a(i)} {W} + {b}"

    def output_formula(self, i: int) -> str:
        name = self.layer(i).partition(": ")[2].partition(":")[0]
        return f"{self.a(i + 1)} = {name}({self.of_layer('z', i + 1)})"

    def gradient_formulas(self, i: int) -> list[str]:
        """Return the formulas of delta, of the gradients, and of the gradient that goes to the layer below."""
        delta, z, W, b = (self.of_layer(symbol, i + 1) for symbol in "δzWb")
        fused = i == self.last and self.model.network.loss_function.output
        formulas = [
            f"{delta} = y - t" if fused else f"{delta} = ∂L/∂{self.a(i + 1)} ⊙ f'({z})",
            f"∂L/∂{W} = {self._gain(i)}{self.a(i)}ᵀ {delta}",
            f"∂L/∂{b} = {delta}",
        ]
        return formulas if i == 0 else [*formulas, f"∂L/∂{self.a(i)} = {self._gain(i)}{delta} {W}ᵀ"]
