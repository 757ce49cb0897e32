"""Models as ONNX graphs: scaling, encoding, network, output function and labels in one file.

The formulas of activations and output functions are not written again: `graph` is a namespace in the sense of the array
API standard whose functions add nodes to a graph, and the network's own formulas are called with it.
"""

from xpnet.model.onnx.convert import to_onnx
from xpnet.model.onnx.feeds import onnx_feeds

__all__ = ["onnx_feeds", "to_onnx"]
