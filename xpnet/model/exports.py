"""What a model can be converted to, for other libraries."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from xpnet.files import write_output

if TYPE_CHECKING:
    from xpnet.model.model import Model

__all__ = ["Exports"]


class Exports:
    """The conversions of a `Model`."""

    def to_onnx(self, path: str | Path | None = None, *, opset: int = 17, dtype: str | None = None) -> Any:
        """Convert to ONNX: scaling, encoding, network, output function and labels in one graph.

        The input is ``x``, (n_samples, n_features). A model of tables has an input of the name of each column, of shape
        (n_samples, 1): numbers and truth values as floating-point numbers, NaN where they are missing; categories as
        text, empty where it is missing; dates as int64 microseconds since 1970. `xpnet.model.onnx.onnx_feeds` makes the
        inputs from a table.

        The outputs are ``label``, (n_samples,), and ``probabilities``, (n_samples, n_classes). For several labels
        ``label`` is a 0/1 matrix. Of a regression the output is ``values``, as `predict` returns them. Where the
        outputs of the network are no probabilities, they are in ``scores``.

        Parameters
        ----------
        path : str or Path, optional
            File to write.
        opset : int
            Version of the operators, 17 or newer.
        dtype : {"float32", "float64"} or None
            Type of the numbers in inputs and outputs; None takes that of the parameters. The network computes in the
            type of its parameters.

        Returns
        -------
        onnx.ModelProto

        Raises
        ------
        LibraryNotInstalledError
            onnx is not installed: ``pip install 'xpnet[onnx]'``.
        InvalidParameterError
            `opset` or `dtype` is not supported, a column cannot be expressed, or the model exceeds 2 GB.
        XpnetError
            The file cannot be written.
        """
        from xpnet.model.onnx import to_onnx

        proto = to_onnx(cast("Model", self), opset=opset, dtype=dtype)
        if path is not None:
            write_output(path, proto.SerializeToString())
        return proto

    def to_torch(self, *, scaling: bool = True, dtype: str | None = None) -> Any:
        """Convert to a plain ``torch.nn.Sequential`` of linear layers, activations and the output function.

        It takes raw features, (n_samples, n_features), and returns what `outputs` returns, except that the targets of a
        regression are not scaled: (n_samples, n_out). ``module[:-1]`` returns the logits where the loss is computed
        from them, as for cross-entropy. The scaling is folded into the first and the last linear layer.

        Parameters
        ----------
        scaling : bool
            Whether the scaling is folded into the layers. If not, the module takes the result of `features` and returns
            scaled targets.
        dtype : {"float32", "float64"} or None
            Of the parameters; None takes that of the model.

        Returns
        -------
        torch.nn.Sequential
            In evaluation mode, on the CPU.

        Raises
        ------
        LibraryNotInstalledError
            PyTorch is not installed.
        InvalidParameterError
            The model is an ensemble, or has a part that no layer can do: see `xpnet.model.layers.plain_layers`.
        """
        from xpnet.libraries import import_library
        from xpnet.model.layers import plain_layers

        library = "torch"
        import_library(library, library)
        layers = plain_layers(cast("Model", self), scaling=scaling, dtype=dtype)
        return import_module(f"xpnet_backends.{library}_sequential").sequential(layers)
