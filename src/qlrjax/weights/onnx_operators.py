"""One function an ONNX operator: what it adds to our graph, or why it is refused."""

import dataclasses
from collections.abc import Callable

import numpy as np
from onnx import NodeProto

from qlrjax.network import IMAGES, Kind
from qlrjax.network.build import NO_PADDING, Window
from qlrjax.weights.onnx_layers import Layers
from qlrjax.weights.onnx_values import (
    REASONS,
    Value,
    attributes_of,
    float32,
    name_of,
    refusal,
)


def add_node(graph: Layers, node: NodeProto) -> None:
    """Takes one node in.

    Raises:
        Refused: It is not understood.
    """
    sources = [name for name in node.input if name in graph.values]
    if node.op_type not in _OPERATORS or not sources:
        raise refusal(node, REASONS.get(node.op_type, "is no operator that qlrjax learns with"))
    value = graph.values[sources[0]]
    if value.padding != NO_PADDING and node.op_type not in ("Conv", "Pad"):
        raise refusal(node, "follows a Pad, which only convolutions may")
    graph.values[node.output[0]] = _OPERATORS[node.op_type](graph, node, value)


def _conv(graph: Layers, node: NodeProto, value: Value) -> Value:
    weight = graph.constant(node, 1, "its weights")
    if weight.ndim != 4:
        raise refusal(node, f"convolves {weight.ndim - 2} axes; images have 2")
    if value.channels_last or value.flat:
        raise refusal(node, "takes an activation that is not n, c, h, w")
    attributes = attributes_of(node)
    channels, (c_out, c_group, *_) = graph.shape(value)[2], weight.shape
    group = attributes.get("group", 1)
    window = graph.window(node, weight.shape[2:], value)
    if group == 1:
        kind: Kind = "conv"
        weight = weight.transpose(2, 3, 1, 0)
        if window == Window(padding=NO_PADDING):
            kind, weight = "pointwise", weight[0, 0]
    elif group == channels == c_out and c_group == 1:
        kind, weight = "depthwise", weight[:, 0].transpose(1, 2, 0)
    else:
        raise refusal(
            node,
            f"is a convolution in {group} groups of {channels} channels to {c_out}; qlrjax has "
            "full convolutions and depthwise ones that keep their channels",
        )
    name = graph.append(node, value, kind, c_out, window)
    graph.parameters[name] = {"weight": float32(weight), "bias": graph.bias(node, c_out)}
    return Value(name)


def _gemm(graph: Layers, node: NodeProto, value: Value) -> Value:
    attributes = attributes_of(node)
    if len([name for name in node.input[:2] if name in graph.values]) == 2:
        raise refusal(node, "multiplies two activations, as attention does")
    weight = graph.constant(node, 1, "its weights")
    if attributes.get("transB"):
        weight = weight.T
    plain = (attributes.get("alpha", 1.0), attributes.get("beta", 1.0)) == (1.0, 1.0)
    if not plain or attributes.get("transA") or weight.ndim != 2 or not value.flat:
        raise refusal(node, "is no linear layer of plain features")
    height, width, channels = graph.shape(value)
    if height * width * channels != weight.shape[0]:
        raise refusal(node, f"takes {weight.shape[0]} features, not those before it")
    c_out = weight.shape[1]
    if (height, width) == (1, 1):
        name = graph.append(node, value, "linear", c_out, Window())
    else:  # all pixels at once: a convolution as large as the image
        name = graph.append(node, value, "conv", c_out, Window((height, width)))
        if value.channels_last:
            weight = weight.reshape(height, width, channels, c_out)
        else:
            weight = weight.reshape(channels, height, width, c_out).transpose(1, 2, 0, 3)
    bias = graph.bias(node, c_out) if node.op_type == "Gemm" else np.zeros(c_out, np.float32)
    graph.parameters[name] = {"weight": float32(weight), "bias": bias}
    return Value(name, flat=True)


def _batch_norm(graph: Layers, node: NodeProto, value: Value) -> Value:
    layer = graph.open_layer(node, value, "normalises what is no convolution's only output")
    if layer.batch_norm or not layer.has_weights or layer.kind == "linear":
        raise refusal(node, "normalises what is no convolution's only output")
    found = [float32(graph.constant(node, index, "its statistics")) for index in range(1, 5)]
    gamma, beta, mean, variance = found
    own = graph.parameters[layer.name]
    own |= {"gamma": gamma, "beta": beta, "mean": mean - own.pop("bias"), "variance": variance}
    graph.epsilons[layer.name] = float(attributes_of(node).get("epsilon", 1e-5))
    graph.change(layer, batch_norm=True)
    return value


def _relu(graph: Layers, node: NodeProto, value: Value) -> Value:
    return graph.activate(node, value, "relu")


def _clip(graph: Layers, node: NodeProto, value: Value) -> Value:
    """Clip, or Keras' Min and Max with a constant."""
    attributes = attributes_of(node)
    low, high = attributes.get("min"), attributes.get("max")
    bounds = [graph.constants.get(name) for name in node.input[1:]]
    if node.op_type == "Clip":
        bounds = [*bounds, None, None]
        low = low if bounds[0] is None else float(bounds[0])
        high = high if bounds[1] is None else float(bounds[1])
    else:
        found = [graph.constants[name] for name in node.input if name in graph.constants]
        if len(node.input) != 2 or len(found) != 1 or found[0].size != 1:
            raise refusal(node, "compares activations")
        low = float(found[0].reshape(())) if node.op_type == "Max" else None
        high = float(found[0].reshape(())) if node.op_type == "Min" else None
    layer = graph.layer(value)
    positive = layer is not None and layer.activation == "relu"
    low = 0.0 if positive and (low is None or low < 0) else low
    if low == 0.0 and (high is None or high >= 3e38):
        return graph.activate(node, value, "relu")
    if low == 0.0 and high == 6.0:
        return graph.activate(node, value, "relu6")
    raise refusal(node, f"clips to {low}..{high}; qlrjax has ReLU (0..) and ReLU6 (0..6)")


def _pool(graph: Layers, node: NodeProto, value: Value) -> Value:
    attributes = attributes_of(node)
    if value.channels_last or value.flat:
        raise refusal(node, "takes an activation that is not n, c, h, w")
    if attributes.get("ceil_mode"):
        raise refusal(node, "rounds its output size up (ceil_mode)")
    window = graph.window(node, attributes["kernel_shape"], value)
    kind: Kind = "max_pool" if node.op_type == "MaxPool" else "average_pool"
    skips = kind == "average_pool" and not attributes.get("count_include_pad")
    if skips and window.padding != NO_PADDING:
        raise refusal(node, "averages over fewer pixels at the border (count_include_pad is 0)")
    return Value(graph.append(node, value, kind, None, window))


def _global_pool(graph: Layers, node: NodeProto, value: Value) -> Value:
    attributes = attributes_of(node)
    keep = True
    if node.op_type == "ReduceMean":
        axes = attributes.get("axes")
        if axes is None and len(node.input) > 1:
            axes = graph.constant(node, 1, "its axes").tolist()
        wanted = [1, 2] if value.channels_last else [2, 3]
        if axes is None or sorted(axis % 4 for axis in axes) != wanted:
            raise refusal(node, f"averages over axes {axes}, not over the pixels")
        keep = bool(attributes.get("keepdims", 1))
    height, width, _ = graph.shape(value)
    name = graph.append(node, value, "average_pool", None, Window((height, width)))
    return Value(name, value.channels_last and keep, flat=not keep)


def _arithmetic(graph: Layers, node: NodeProto, value: Value) -> Value:
    """Two activations added, or one with a constant: a bias, a gain, the image's own scale."""
    sources = [name for name in node.input if name in graph.values]
    if len(sources) == 2:
        return _add(graph, node, *(graph.values[name] for name in sources))
    constant = graph.constant(node, 1 - list(node.input).index(sources[0]), "its constant")
    first = node.input[0] == sources[0]
    if node.op_type == "Div" and not first:
        raise refusal(node, "divides by an activation")
    channels = graph.shape(value)[2]
    row = graph.row(node, constant, value, channels).astype(np.float64)
    gain, offset = np.ones(channels), np.zeros(channels)
    match node.op_type:
        case "Add":
            offset = row
        case "Sub":
            gain, offset = (gain, -row) if first else (-gain, row)
        case "Mul":
            gain = row
        case _:
            gain = 1 / row
    if value.layer == IMAGES:
        if graph.build.layers:
            raise refusal(node, "changes an image that layers already take")
        graph.image_changed = True
        graph.image_gain, graph.image_offset = (
            graph.image_gain * gain,
            graph.image_offset * gain + offset,
        )
        return value
    layer = graph.open_layer(node, value, "changes what is no product's only output")
    own = graph.parameters.get(layer.name, {})
    if layer.batch_norm or "bias" not in own:
        raise refusal(node, "changes what is no product's only output")
    own["weight"] = float32(own["weight"] * gain)
    own["bias"] = float32(own["bias"] * gain + offset)
    return value


def _add(graph: Layers, node: NodeProto, a: Value, b: Value) -> Value:
    if node.op_type != "Add":
        reason = "multiplies two activations, as squeeze-and-excitation does"
        raise refusal(
            node, reason if node.op_type == "Mul" else "combines two activations otherwise"
        )
    if graph.shape(a) != graph.shape(b) or a.channels_last != b.channels_last or a.flat or b.flat:
        raise refusal(node, "adds activations of different shapes")
    name = graph.build.append(name_of(node), "add", inputs=(a.layer, b.layer))
    return Value(name, a.channels_last)


def _flatten(graph: Layers, node: NodeProto, value: Value) -> Value:
    """Flatten, Squeeze, or a Reshape that keeps every sample's features in order."""
    height, width, channels = graph.shape(value)
    target = graph.constants.get(node.input[1]) if len(node.input) > 1 else None
    axes = attributes_of(node)
    if node.op_type == "Flatten" and axes.get("axis", 1) == 1:
        return dataclasses.replace(value, flat=True)
    if node.op_type == "Squeeze" and (height, width) == (1, 1):
        return dataclasses.replace(value, flat=True)
    if node.op_type == "Reshape":
        if target is None or target.size == 2:
            return dataclasses.replace(value, flat=True)
        kept = 1 in (channels, height * width)  # either order of the axes is the same
        if kept and target.tolist()[1:] == [channels, height, width]:
            return Value(value.layer)
        if kept and target.tolist()[1:] == [height, width, channels]:
            return Value(value.layer, channels_last=True)
    raise refusal(node, "rearranges pixels")


def _unsqueeze(graph: Layers, node: NodeProto, value: Value) -> Value:
    if graph.shape(value)[:2] != (1, 1):
        raise refusal(node, "rearranges pixels")
    return Value(value.layer)


def _transpose(graph: Layers, node: NodeProto, value: Value) -> Value:
    order = list(attributes_of(node).get("perm", []))
    if not value.flat and order == ([0, 3, 1, 2] if value.channels_last else [0, 2, 3, 1]):
        return dataclasses.replace(value, channels_last=not value.channels_last)
    raise refusal(node, "swaps axes other than the channels'")


def _pad(graph: Layers, node: NodeProto, value: Value) -> Value:
    attributes = attributes_of(node)
    sizes = attributes.get("pads")
    if sizes is None:
        sizes = graph.constant(node, 1, "its sizes").tolist()
    filled = node.input[2] if len(node.input) > 2 and node.input[2] else None
    constant = float(attributes.get("value", 0.0))
    if filled is not None:
        constant = float(graph.constant(node, 2, "its value"))
    mode = attributes.get("mode", b"constant")
    axes = (1, 2) if value.channels_last else (2, 3)
    others = [i for i in range(4) if i not in axes]
    if (
        mode != b"constant"
        or constant != 0
        or len(sizes) != 8
        or min(sizes) < 0
        or any(sizes[i] or sizes[i + 4] for i in others)
    ):
        raise refusal(node, "pads otherwise than with zeros around the image")
    pad = tuple(
        (before + sizes[i], after + sizes[i + 4])
        for i, (before, after) in zip(axes, value.padding, strict=True)
    )
    return dataclasses.replace(value, padding=(pad[0], pad[1]))


def _same(graph: Layers, node: NodeProto, value: Value) -> Value:
    return value


def _softmax(graph: Layers, node: NodeProto, value: Value) -> Value:
    if graph.shape(value)[:2] != (1, 1) or not value.flat:
        raise refusal(node, "weighs activations, as attention does")
    return value


_OPERATORS: dict[str, Callable[[Layers, NodeProto, Value], Value]] = {
    "Conv": _conv,
    "BatchNormalization": _batch_norm,
    "Relu": _relu,
    "Clip": _clip,
    "Min": _clip,
    "Max": _clip,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GlobalAveragePool": _global_pool,
    "ReduceMean": _global_pool,
    "Gemm": _gemm,
    "MatMul": _gemm,
    "Add": _arithmetic,
    "Sub": _arithmetic,
    "Mul": _arithmetic,
    "Div": _arithmetic,
    "Flatten": _flatten,
    "Reshape": _flatten,
    "Squeeze": _flatten,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Pad": _pad,
    "Dropout": _same,
    "Identity": _same,
    "Cast": _same,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
}
