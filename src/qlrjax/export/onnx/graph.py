"""A small builder of ONNX graphs, and the parts that both exports share."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

from qlrjax.integer.frozen import IntegerLayer
from qlrjax.network import Padding

# Old enough for most runtimes; everything used here exists since operator set 13.
OPSET, IR_VERSION = 17, 8
INPUT, OUTPUT = "images", "codes"
NO_PADDING: Padding = ((0, 0), (0, 0))


@dataclasses.dataclass
class Graph:
    """Nodes in order and named constants."""

    nodes: list[NodeProto] = dataclasses.field(default_factory=list)
    constants: dict[str, TensorProto] = dataclasses.field(default_factory=dict)

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Appends a node and returns the name of its output; "" is an input left out."""
        output = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], output, **attributes))
        return output

    def constant(self, name: str, array: np.ndarray) -> str:
        """Stores an array under `name`, once, and returns the name."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def model(
        self,
        in_shape: tuple[int, int, int],
        out_shape: tuple[int, int, int],
        metadata: Mapping[str, str],
        description: str,
    ) -> ModelProto:
        """The checked model from INPUT to OUTPUT, uint8 NHWC with any batch size."""
        graph = helper.make_graph(
            self.nodes,
            "frozen_stage",
            [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["n", *in_shape])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.UINT8, ["n", *out_shape])],
            list(self.constants.values()),
            doc_string=description,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="qlrjax"
        )
        model.ir_version = IR_VERSION
        helper.set_model_props(model, dict(metadata))
        checker.check_model(model, full_check=True)
        return model


def pad(
    graph: Graph, x: str, layer: IntegerLayer, in_shape: tuple[int, int, int], name: str
) -> tuple[str, Padding]:
    """Pads NCHW codes with the layer's code of each channel.

    Returns:
        The padded tensor, and the padding that is left to the convolution (which adds code 0).
    """
    if layer.padding == NO_PADDING or not np.any(layer.pad_value):
        return x, layer.padding
    (top, bottom), (left, right) = layer.padding
    values = np.asarray(layer.pad_value)
    pads = graph.constant(
        f"{name}.pads", np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
    )
    same = (values == values[0]).all()
    fill = graph.constant(f"{name}.pad_value", np.array(values[0] if same else 0, np.uint8))
    x = graph.add("Pad", x, pads, fill, mode="constant")
    if same:
        return x, NO_PADDING
    # Pad has one constant for all channels, so the border is chosen from a row of codes instead.
    height, width, _ = in_shape
    inside = np.zeros((1, 1, top + height + bottom, left + width + right), bool)
    inside[:, :, top : top + height, left : left + width] = True
    mask = graph.constant(f"{name}.inside", inside)
    row = graph.constant(f"{name}.pad_values", values.reshape(1, -1, 1, 1))
    return graph.add("Where", mask, x, row), NO_PADDING


def filters(layer: IntegerLayer) -> np.ndarray:
    """int8 weights as ONNX wants them: [Cout, Cin / group, kh, kw]."""
    weight = np.asarray(layer.weight)
    match layer.kind:
        case "conv":
            return weight.transpose(3, 2, 0, 1)
        case "depthwise":
            return weight.transpose(2, 0, 1)[:, None]
        case "average_pool":  # a sum: every channel by itself, with weights of 1
            return np.ones((layer.kappa.shape[0], 1, *layer.window), np.int8)
        case _:
            return weight.T[:, :, None, None]


def geometry(layer: IntegerLayer, padding: Padding) -> dict[str, Any]:
    """Attributes of the convolution."""
    (top, bottom), (left, right) = padding
    by_channel = layer.kind in ("depthwise", "average_pool")
    return {
        "strides": [layer.stride, layer.stride],
        "pads": [top, left, bottom, right],
        "group": layer.kappa.shape[0] if by_channel else 1,
    }


def window(layer: IntegerLayer, padding: Padding) -> dict[str, Any]:
    """Attributes of a pooling."""
    attributes = geometry(layer, padding)
    del attributes["group"]
    return attributes | {"kernel_shape": list(layer.window)}
