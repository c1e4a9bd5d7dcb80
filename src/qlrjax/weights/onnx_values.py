"""What the ONNX reader passes around: activations, constants of nodes, and refusals."""

import dataclasses
from typing import Any

import numpy as np
from onnx import NodeProto, helper

from qlrjax.network import Padding
from qlrjax.network.build import NO_PADDING

# Why an operator is refused, where there is more to say than that it is unknown.
REASONS = {
    "Concat": "joins channels, and qlrjax joins branches by adding them",
    "Sigmoid": "gates channels, as squeeze-and-excitation and SiLU do; qlrjax has ReLU and ReLU6",
    "HardSigmoid": "gates channels, as squeeze-and-excitation does; qlrjax has ReLU and ReLU6",
    "HardSwish": "is no activation of qlrjax, which has ReLU and ReLU6",
    "LeakyRelu": "is no activation of qlrjax, which has ReLU and ReLU6",
    "PRelu": "is no activation of qlrjax, which has ReLU and ReLU6",
    "Gelu": "is no activation of qlrjax, which has ReLU and ReLU6",
    "Erf": "computes GELU, and qlrjax has ReLU and ReLU6",
    "LayerNormalization": "normalises every sample by itself, as transformers do",
    "Attention": "is attention, whose weights depend on the image",
}


class Refused(ValueError):
    """A model has something that our graph cannot hold."""


@dataclasses.dataclass(frozen=True)
class Value:
    """An activation of the ONNX graph.

    Attributes:
        layer: Whose output it is, or `IMAGES`.
        channels_last: Axes n, h, w, c instead of ONNX's n, c, h, w.
        flat: Axes n and features; the features of an image are in the order of the axes before.
        padding: Zeros put around it by a Pad, not yet part of any layer.
    """

    layer: str
    channels_last: bool = False
    flat: bool = False
    padding: Padding = NO_PADDING


def name_of(node: NodeProto) -> str:
    """The node's name, or that of its output where it has none."""
    return node.name or node.output[0]


def attributes_of(node: NodeProto) -> dict[str, Any]:
    """Attributes by name."""
    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}


def float32(values: np.ndarray) -> np.ndarray:
    """A contiguous float32 copy."""
    return np.ascontiguousarray(values).astype(np.float32)


def refusal(node: NodeProto, reason: str) -> Refused:
    """The error that names a node and its operator."""
    return Refused(f"node {name_of(node)} ({node.op_type}) {reason}")
