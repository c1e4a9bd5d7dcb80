"""Our graph as an ONNX model's nodes build it up, and what all operators ask of it."""

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
from onnx import NodeProto

from qlrjax.network import IMAGES, Activation, Kind, Layer, Network
from qlrjax.network.build import NO_PADDING, Builder, Window, padding_of
from qlrjax.weights.onnx_values import Refused, Value, attributes_of, float32, name_of, refusal
from qlrjax.weights.parameters import Parameters


class Layers:
    """Our graph as far as the nodes that were added lead."""

    def __init__(
        self, in_shape: tuple[int, int, int], constants: dict[str, np.ndarray], uses: Counter[str]
    ) -> None:
        """Starts with the image.

        Args:
            in_shape: Height, width, channels.
            constants: By tensor name.
            uses: How many nodes take each activation; a graph's output counts as a use.
        """
        self.build = Builder(in_shape)
        self.constants, self.uses = constants, uses
        self.values: dict[str, Value] = {}
        self.parameters: Parameters = {}
        self.epsilons: dict[str, float] = {}
        self.image_changed = False
        self.image_gain, self.image_offset = np.ones(in_shape[2]), np.zeros(in_shape[2])

    def start(self, name: str, channels_last: bool) -> None:
        """Says which activation the image is."""
        self.values[name] = Value(IMAGES, channels_last)

    def finish(self, output: str) -> tuple[Network, Parameters]:
        """The graph, with the classifier it ends in or room for one after pooled features."""
        value, layers = self.values[output], self.build.layers
        if not layers or value.layer != layers[-1].name:
            raise Refused("its output is not what its last layer gives")
        last, classes, name = layers[-1], 2, "linear"
        linear = last.kind == "linear" or (last.kind == "pointwise" and not last.batch_norm)
        if linear and last.out_hw == (1, 1) and last.activation == "none":
            classes, name = last.out_channels, last.name
            self._pop()
        last = layers[-1]
        whole = last.kernel_hw == last.in_hw and last.padding == NO_PADDING
        if last.kind == "average_pool" and whole and last.activation == "none":
            self._pop()  # the classifier pools
        elif last.out_hw != (1, 1):
            raise Refused(
                f"ends in {last.name} with {last.out_hw[0]} x {last.out_hw[1]} pixels; a network "
                "ends in global average pooling and at most one linear classifier"
            )
        epsilon = min(self.epsilons.values(), default=1e-5)
        for layer, own in self.epsilons.items():
            variance = self.parameters[layer]["variance"]
            self.parameters[layer]["variance"] = (variance + (own - epsilon)).astype(np.float32)
        network = self.build.finish(
            classes, name, bn_epsilon=epsilon, pixel_mean=(), pixel_std=(), name="onnx"
        )
        return network, self.parameters

    def _pop(self) -> None:
        """Takes the last layer away, which has to follow the one before."""
        last = self.build.layers.pop()
        if last.inputs != (self.build.top,) or not self.build.layers:
            raise Refused(f"layer {last.name} does not follow the layer before it")

    def activate(self, node: NodeProto, value: Value, activation: Activation) -> Value:
        """Gives the layer behind a value its activation."""
        layer = self.layer(value)
        fused = layer is not None and layer.activation == "relu" and activation == "relu6"
        if layer is None or not (fused or layer.activation == "none"):
            raise refusal(node, "follows what is no layer of its own")
        if self.uses[next(name for name in node.input if name in self.values)] > 1:
            raise refusal(node, "follows a value that other nodes take before it")
        self.change(layer, activation=activation)
        return value

    def open_layer(self, node: NodeProto, value: Value, reason: str) -> Layer:
        """The layer behind a value, if nothing but this node follows it."""
        layer = self.layer(value)
        source = next(name for name in node.input if name in self.values)
        if layer is None or layer.activation != "none" or self.uses[source] > 1:
            raise refusal(node, reason)
        return layer

    def layer(self, value: Value) -> Layer | None:
        """The layer whose output a value is; None for the image."""
        return next((row for row in self.build.layers if row.name == value.layer), None)

    def change(self, layer: Layer, **changes: Any) -> None:
        """Replaces fields of a layer."""
        self.build.layers[layer.index] = dataclasses.replace(layer, **changes)

    def shape(self, value: Value) -> tuple[int, int, int]:
        """Height, width and channels."""
        return self.build.shape(value.layer)

    def append(
        self, node: NodeProto, value: Value, kind: Kind, c_out: int | None, window: Window
    ) -> str:
        """Appends a layer without batch norm or activation and returns its name."""
        return self.build.append(
            name_of(node), kind, c_out, inputs=(value.layer,), window=window, batch_norm=False
        )

    def window(self, node: NodeProto, kernel: Any, value: Value) -> Window:
        """Kernel, stride and padding of a convolution or pooling."""
        attributes = attributes_of(node)
        strides = attributes.get("strides", [1, 1])
        if len(kernel) != 2 or strides[0] != strides[1]:
            raise refusal(node, f"steps by {strides}; qlrjax steps alike in both directions")
        if any(step != 1 for step in attributes.get("dilations", [])):
            raise refusal(node, f"is dilated by {attributes['dilations']}")
        kernel_hw = (int(kernel[0]), int(kernel[1]))
        top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
        auto = attributes.get("auto_pad", b"NOTSET")
        if auto in (b"SAME_UPPER", b"SAME_LOWER"):
            same = padding_of(self.shape(value)[:2], kernel_hw, strides[0], "tensorflow")
            (top, bottom), (left, right) = same
            if auto == b"SAME_LOWER":
                top, bottom, left, right = bottom, top, right, left
        (above, below), (before, behind) = value.padding
        padding = ((top + above, bottom + below), (left + before, right + behind))
        return Window(kernel_hw, int(strides[0]), padding)

    def constant(self, node: NodeProto, index: int, what: str) -> np.ndarray:
        """A constant input; refuses the node where it is computed from the image."""
        if index >= len(node.input) or node.input[index] not in self.constants:
            raise refusal(node, f"computes {what}, which have to be constant")
        return self.constants[node.input[index]]

    def bias(self, node: NodeProto, c_out: int) -> np.ndarray:
        """The third input, or zeros."""
        if len(node.input) < 3 or not node.input[2]:
            return np.zeros(c_out, np.float32)
        return float32(np.broadcast_to(self.constant(node, 2, "its bias").reshape(-1), (c_out,)))

    def row(self, node: NodeProto, constant: np.ndarray, value: Value, channels: int) -> np.ndarray:
        """A constant that has one number a channel, or one for all."""
        axis = 1 if value.flat else (3 if value.channels_last else 1)
        rank = 2 if value.flat else 4
        shape = (1,) * (rank - constant.ndim) + constant.shape
        wanted = tuple(channels if i == axis else 1 for i in range(rank))
        if constant.size == 1:
            return np.full(channels, constant.reshape(()))
        if shape != wanted:
            raise refusal(node, f"has a constant of shape {list(constant.shape)}")
        return constant.reshape(channels)
