"""Float ONNX networks as PyTorch's two exporters and Keras' write them, read into our graph.

Batch norm is kept where the file keeps it, and takes a convolution's bias into its mean; where the
exporter folded it, layers have a bias and no batch norm. Images are turned to NHWC. What a pixel
means is not part of an ONNX file: the metadata entries `qlrjax.pixel_mean` and `qlrjax.pixel_std`
(three numbers with commas, in codes of 0..255) say it; without them, a network that normalises its
own input gets codes 0..255, and any other gets ImageNet's mean and deviation as torchvision has
them. Everything that is not understood is refused by the name of its node and operator.
"""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, NodeProto, numpy_helper

from qlrjax.network import Network
from qlrjax.weights.onnx_folding import fold, load
from qlrjax.weights.onnx_layers import Layers
from qlrjax.weights.onnx_operators import add_node
from qlrjax.weights.onnx_values import Refused
from qlrjax.weights.parameters import Parameters, WeightsError

_IMAGENET_MEAN = (123.675, 116.28, 103.53)
_IMAGENET_STD = (58.395, 57.12, 57.375)
_SIDE = 128  # pixels, where nobody says how large images are
_SIDE_AT_MOST, _CHANNELS_AT_MOST, _NODES_AT_MOST = 2**16, 2**12, 5000
# What a node raises whose inputs, attributes or constants are not those of its operator.
_DAMAGE = (LookupError, TypeError, ArithmeticError, AttributeError, MemoryError)
# Operators whose second and later inputs are no activations, whoever computes them.
_ONE_INPUT = ("Reshape", "Squeeze", "Unsqueeze", "Clip", "Pad", "Dropout", "ReduceMean", "Cast")


def read(path: Path, resolution: int | tuple[int, int] | None) -> tuple[Network, Parameters]:
    """The network of an ONNX file and its parameters.

    Args:
        path: The file.
        resolution: Pixels of the images; a file that fixes its own has to agree. None is what the
            file says, or 128.

    Raises:
        WeightsError: The file is damaged, has a node that is not understood (its name and operator
            are in the sentence), or takes other images.
    """
    try:
        model = load(path)
    except (DecodeError, onnx.checker.ValidationError, ValueError, OSError) as error:
        raise WeightsError(
            f"{path} is not a readable ONNX model: {str(error).strip().splitlines()[0]}"
        ) from error
    try:
        return _convert(model, path, resolution)
    except (Refused, ValueError) as error:
        raise WeightsError(f"{path}: {error}") from error
    except _DAMAGE as error:
        raise WeightsError(
            f"{path} holds what no exporter writes ({type(error).__name__}: {error})"
        ) from error


def _convert(
    model: ModelProto, path: Path, resolution: int | tuple[int, int] | None
) -> tuple[Network, Parameters]:
    graph = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    inputs = [entry for entry in graph.input if entry.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise Refused(
            f"has {len(inputs)} inputs and {len(graph.output)} outputs; a network has one of each"
        )
    output = graph.output[0].name
    nodes = _needed(fold(list(graph.node), constants), output, constants)
    if len(nodes) > _NODES_AT_MOST:
        raise Refused(f"has {len(nodes)} nodes, more than any network that is trained")
    uses: Counter[str] = Counter([output])
    for node in nodes:
        uses.update(data_inputs(node, constants))
    in_shape, channels_last = _image(inputs[0], nodes, resolution)
    layers = Layers(in_shape, constants, uses)
    layers.start(inputs[0].name, channels_last)
    for node in nodes:
        add_node(layers, node)
    network, parameters = layers.finish(output)
    mean, std = _pixels(model, layers, in_shape[2])
    network = dataclasses.replace(network, pixel_mean=mean, pixel_std=std, name=path.name)
    return network, parameters


def data_inputs(node: NodeProto, constants: dict[str, np.ndarray]) -> list[str]:
    """Names of the activations that a node takes."""
    names = node.input[:1] if node.op_type in _ONE_INPUT else node.input
    return [name for name in names if name and name not in constants]


def _needed(
    nodes: list[NodeProto], output: str, constants: dict[str, np.ndarray]
) -> list[NodeProto]:
    """The nodes that the output depends on by way of activations, in order."""
    wanted, kept = {output}, []
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(data_inputs(node, constants))
    return kept[::-1]


def _image(
    entry: Any, nodes: list[NodeProto], resolution: int | tuple[int, int] | None
) -> tuple[tuple[int, int, int], bool]:
    """Height, width and channels of the image, and whether the file has the channels last."""
    dims = [dim.dim_value for dim in entry.type.tensor_type.shape.dim]
    if len(dims) != 4:
        raise Refused(f"input {entry.name} has {len(dims)} axes; images have 4")
    first = next((node for node in nodes if entry.name in node.input), None)
    turned = first is not None and first.op_type == "Transpose"
    last = turned or (dims[1] not in (1, 3) and dims[3] in (1, 3))
    height, width, channels = dims[1:] if last else (*dims[2:], dims[1])
    if not 1 <= channels <= _CHANNELS_AT_MOST:
        raise Refused(f"input {entry.name} does not say how many channels an image has")
    if not 0 <= min(height, width) <= max(height, width) <= _SIDE_AT_MOST:
        raise Refused(f"takes images of {height} x {width} pixels, which nothing takes")
    if resolution is None:
        resolution = (height or _SIDE, width or _SIDE)
    asked = (resolution, resolution) if isinstance(resolution, int) else resolution
    own = tuple(fixed or wanted for fixed, wanted in zip((height, width), asked, strict=True))
    if own != asked:
        raise Refused(
            f"takes images of {own[0]} x {own[1]} pixels, not {asked[0]} x {asked[1]}; choose "
            f"resolution {own[0]}"
        )
    return (own[0], own[1], channels), last


def _pixels(
    model: ModelProto, layers: Layers, channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """pixel_mean and pixel_std, with what the graph itself does to its input taken in."""
    said = {entry.key: entry.value for entry in model.metadata_props}
    plain = channels != 3 or layers.image_changed
    mean = np.array([0.0] * channels if plain else _IMAGENET_MEAN)
    std = np.array([1.0] * channels if plain else _IMAGENET_STD)
    if "qlrjax.pixel_mean" in said:
        mean = _numbers(said["qlrjax.pixel_mean"], channels)
    if "qlrjax.pixel_std" in said:
        std = _numbers(said["qlrjax.pixel_std"], channels)
    gain, offset = layers.image_gain, layers.image_offset
    if (gain * std == 0).any():
        raise Refused("multiplies its input by zero")
    mean, std = mean - offset * std / gain, std / gain
    return tuple(map(float, mean)), tuple(map(float, std))


def _numbers(text: str, channels: int) -> np.ndarray:
    try:
        values = np.array([float(part) for part in text.split(",")])
    except ValueError as error:
        raise Refused(f"its metadata says pixels are {text!r}; give {channels} numbers") from error
    if values.shape != (channels,) or not np.isfinite(values).all():
        raise Refused(f"its metadata says pixels are {text!r}; give {channels} numbers")
    return values
