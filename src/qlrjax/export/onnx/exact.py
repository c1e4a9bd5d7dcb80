"""The integer stage as an ONNX graph of integer operators, equal to `frozen.apply` bit for bit.

    ConvInteger -> Cast int64 -> Mul kappa -> Add lam -> Div 2**shift -> Clip -> Cast uint8

ONNX's integer Div truncates toward zero and the contract floors; they differ on negative values
only, and those the clip sends to 0 either way.
"""

import numpy as np
from onnx import ModelProto, TensorProto

from qlrjax.export.onnx import graph as onnx_graph
from qlrjax.export.onnx.graph import Graph
from qlrjax.integer import contract
from qlrjax.integer.fixedpoint import code_max
from qlrjax.integer.frozen import IMAGE, IntegerLayer, Stage, sources

# Weights are stored as uint8 with this zero point: on x86 without VNNI, ONNX Runtime's
# uint8 x int8 product adds pairs in saturating 16 bits, its uint8 x uint8 product is exact.
_ZERO_POINT = 128


def export(
    stage: Stage,
    in_shape: tuple[int, int, int],
    latent_max: float | None = None,
    replay_bits: int = 8,
    latent_min: float = 0.0,
) -> ModelProto:
    """Builds the graph from uint8 images [n, h, w, c] to uint8 codes [n, h2, w2, c2].

    Args:
        stage: Any integer stage, also an imported one; may be empty.
        in_shape: Height, width and channels of the images.
        latent_max: Span of the codes, the real value of the largest one after a ReLU; written into
            the model's metadata.
        replay_bits: Below 8, the codes are narrowed at the end as the replay memory stores them.
        latent_min: Real value of code 0, where latents can be negative.

    Raises:
        ContractViolation: The stage is not a valid one.
    """
    shapes = contract.check_stage(stage, in_shape)
    graph = Graph()
    x = graph.add("Transpose", onnx_graph.INPUT, perm=[0, 3, 1, 2])
    outputs, known = {IMAGE: x}, {IMAGE: in_shape} | dict(enumerate(shapes))
    for index, layer in enumerate(stage):
        name, taken = f"layer{index:02d}", sources(layer, index)
        inputs = [outputs[at] for at in taken]
        if layer.kind == "add":
            value = _add(graph, layer, inputs, name)
        else:
            acc = _accumulate(graph, layer, inputs[0], known[taken[0]], name)
            value = _row_times(graph, f"{name}.kappa", layer.kappa, acc)
        x = outputs[index] = _requantize(graph, layer, value, name)
    if replay_bits < 8:
        x = _narrow(graph, x, replay_bits)
    graph.add("Transpose", x, output=onnx_graph.OUTPUT, perm=[0, 2, 3, 1])
    metadata = {"layers": str(len(stage)), "bits": str(replay_bits)}
    if latent_max is not None:
        metadata["latent_max"] = repr(latent_max)
    if latent_min:
        metadata["latent_min"] = repr(latent_min)
    return graph.model(
        in_shape, shapes[-1] if shapes else in_shape, metadata, "Integer frozen stage, bit exact."
    )


def _accumulate(
    graph: Graph, layer: IntegerLayer, x: str, in_shape: tuple[int, int, int], name: str
) -> str:
    """int64 accumulators, NCHW."""
    if layer.kind == "pool":
        wide = graph.add("Cast", x, output=f"{name}.wide", to=TensorProto.INT64)
        axes = graph.constant("image_axes", np.array([2, 3], np.int64))
        return graph.add("ReduceSum", wide, axes, keepdims=1)
    if layer.kind == "max_pool":
        window = onnx_graph.window(layer, layer.padding)
        return graph.add("Cast", graph.add("MaxPool", x, **window), to=TensorProto.INT64)
    x, padding = onnx_graph.pad(graph, x, layer, in_shape, name)
    shifted = (onnx_graph.filters(layer).astype(np.int16) + _ZERO_POINT).astype(np.uint8)
    weight = graph.constant(f"{name}.weight", shifted)
    zero = graph.constant("zero_point", np.array(_ZERO_POINT, np.uint8))
    acc = graph.add("ConvInteger", x, weight, "", zero, **onnx_graph.geometry(layer, padding))
    return graph.add("Cast", acc, to=TensorProto.INT64)


def _add(graph: Graph, layer: IntegerLayer, inputs: list[str], name: str) -> str:
    """Kappa * a + kappa_b * b, int64."""
    parts = []
    for field, x in zip(("kappa", "kappa_b"), inputs, strict=True):
        wide = graph.add("Cast", x, to=TensorProto.INT64)
        parts.append(_row_times(graph, f"{name}.{field}", getattr(layer, field), wide))
    return graph.add("Add", *parts)


def _row_times(graph: Graph, name: str, values: object, acc: str) -> str:
    row = np.asarray(values, np.int64).reshape(1, -1, 1, 1)
    return graph.add("Mul", acc, graph.constant(name, row))


def _requantize(graph: Graph, layer: IntegerLayer, value: str, name: str) -> str:
    row = np.asarray(layer.lam, np.int64).reshape(1, -1, 1, 1)
    value = graph.add("Add", value, graph.constant(f"{name}.lam", row))
    if layer.shift:
        value = graph.add("Div", value, _scalar(graph, 2**layer.shift))
    value = graph.add("Clip", value, _scalar(graph, 0), _scalar(graph, code_max(layer.bits)))
    return graph.add("Cast", value, output=f"{name}.codes", to=TensorProto.UINT8)


def _narrow(graph: Graph, x: str, bits: int) -> str:
    """(2 * limit * code + 255) // 510, see `fixedpoint.narrow`."""
    value = graph.add("Cast", x, to=TensorProto.INT64)
    value = graph.add("Mul", value, _scalar(graph, 2 * code_max(bits)))
    value = graph.add("Add", value, _scalar(graph, 255))
    value = graph.add("Div", value, _scalar(graph, 510))
    return graph.add("Cast", value, output="narrowed", to=TensorProto.UINT8)


def _scalar(graph: Graph, value: int) -> str:
    return graph.constant(f"int64_{value}", np.array(value, np.int64))
