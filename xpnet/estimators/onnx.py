"""Estimators in skl2onnx's registry of converters, so that a whole pipeline becomes one ONNX graph."""

from __future__ import annotations

from typing import Any

from xpnet.estimators.classifier import MLPClassifier
from xpnet.estimators.regressor import MLPRegressor
from xpnet.libraries import import_library

__all__ = ["register_onnx_converters"]


def register_onnx_converters() -> None:
    """Make ``skl2onnx.to_onnx`` convert `MLPClassifier` and `MLPRegressor`, also within a pipeline.

    Call it once before a conversion. The network computes in the type of its parameters. The opset must be 17 or newer.

    Raises
    ------
    LibraryNotInstalledError
        skl2onnx is not installed: ``pip install 'xpnet[skl2onnx]'``.

    Examples
    --------
    ::

        from xpnet.estimators.onnx import register_onnx_converters

        register_onnx_converters()
        pipeline = make_pipeline(StandardScaler(), MLPClassifier()).fit(x, y)
        onx = skl2onnx.to_onnx(pipeline, x[:1].astype("float32"), options={"zipmap": False})
    """
    skl2onnx = import_library("skl2onnx", "skl2onnx")
    skl2onnx.update_registered_converter(
        MLPClassifier,
        "XpnetMLPClassifier",
        _classifier_shapes,
        _convert,
        options={"zipmap": [True, False, "columns"], "nocl": [False]},
    )
    skl2onnx.update_registered_converter(MLPRegressor, "XpnetMLPRegressor", _regressor_shapes, _convert)


def _classifier_shapes(operator: Any) -> None:
    from skl2onnx.common.data_types import Int64TensorType, StringTensorType

    estimator, samples = operator.raw_operator, operator.inputs[0].get_first_dimension()
    label, probabilities = operator.outputs
    n_classes = len(estimator.classes_)
    kind = StringTensorType if estimator.classes_.dtype.kind in "OUT" else Int64TensorType
    label.set_type(kind([samples, n_classes] if estimator._multilabel else [samples]))
    probabilities.type.shape = [samples, n_classes]


def _regressor_shapes(operator: Any) -> None:
    samples = operator.inputs[0].get_first_dimension()
    operator.outputs[0].type.shape = [samples, operator.raw_operator.network_.layer_sizes[-1]]


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Add the graph of an estimator to that of a pipeline, with names that are free there."""
    from onnx import TensorProto, helper
    from skl2onnx.common.data_types import DoubleTensorType

    dtype = "float64" if isinstance(operator.inputs[0].type, DoubleTensorType) else "float32"
    graph = operator.raw_operator.to_model().to_onnx(opset=container.main_opset, dtype=dtype).graph
    names = {
        value.name: scope.get_unique_variable_name(value.name)
        for value in (*graph.input, *graph.output, *graph.initializer)
    }

    def cast(source: str, target: str, kind: int) -> None:
        container.add_node("Cast", source, target, name=scope.get_unique_operator_name("Cast"), to=kind)

    (x,) = graph.input
    cast(operator.inputs[0].full_name, names[x.name], x.type.tensor_type.elem_type)
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.STRING:
            container.add_initializer(names[tensor.name], tensor.data_type, tensor.dims, list(tensor.string_data))
        else:
            container.add_initializer(names[tensor.name], tensor.data_type, None, tensor)
    for node in graph.node:
        names |= {output: scope.get_unique_variable_name(output) for output in node.output if output not in names}
        container.add_node(
            node.op_type,
            [names[each] for each in node.input],
            [names[each] for each in node.output],
            op_domain=node.domain,
            name=scope.get_unique_operator_name(node.op_type),
            **{each.name: helper.get_attribute_value(each) for each in node.attribute},
        )
    for ours, theirs in zip(graph.output, operator.outputs, strict=True):
        kind = theirs.type.to_onnx_type().tensor_type.elem_type
        if theirs.type.shape[1:] == [1]:  # scikit-learn's single value of a sample is a column there
            shape = scope.get_unique_variable_name("shape")
            container.add_initializer(shape, TensorProto.INT64, [2], [-1, 1])
            column = scope.get_unique_variable_name("column")
            container.add_node(
                "Reshape", [names[ours.name], shape], column, name=scope.get_unique_operator_name("Reshape")
            )
            names[ours.name] = column
        cast(names[ours.name], theirs.full_name, kind)
