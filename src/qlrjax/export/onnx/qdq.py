"""The integer stage in QDQ form, for toolchains that take quantized models as float ones.

    QuantizeLinear <- Conv <- DequantizeLinear (codes, int8 weights per channel, int32 bias)

This is an approximation of `frozen.apply`. Scales are float32 and biases whole multiples of
S_in * S_w, so a value next to a rounding boundary can fall on its other side: codes differ by one
there, and later layers carry that on. How often is measured by `experiments/exactness.py`. Where a
multiple of S_in * S_w is too coarse (channels of tiny variance, whose every unit of the accumulator
is many codes), the rest of the bias is added in float32 after the convolution.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from onnx import ModelProto

from qlrjax.export.onnx import graph as onnx_graph
from qlrjax.export.onnx.graph import Graph
from qlrjax.integer import contract
from qlrjax.integer.fixedpoint import code_max
from qlrjax.integer.frozen import IntegerLayer, Stage, sources

_INT32_MAX = 2**31 - 1
_COARSEST = 0.1  # what rounding a bias may move a code


@dataclasses.dataclass(frozen=True)
class _Ends:
    """What codes mean on both sides of a layer: code q is scale * (q - zero).

    Attributes:
        inputs: (scale, zero) of every input.
        output: (scale, zero).
    """

    inputs: tuple[tuple[float, int], ...]
    output: tuple[float, int]


def export(
    stage: Stage,
    in_shape: tuple[int, int, int],
    ranges: Sequence[float] | None = None,
    zeros: Sequence[int] = (),
) -> ModelProto:
    """Builds the graph from uint8 images [n, h, w, c] to uint8 codes [n, h2, w2, c2].

    Args:
        stage: Any integer stage; may be empty.
        in_shape: Height, width and channels of the images.
        ranges: Real span of the codes of every layer's output, as in `QuantizedStage`; without
            them, a code stands for itself.
        zeros: Code of zero of every layer's output, likewise; empty is 0 everywhere.

    Raises:
        ContractViolation: The stage is not a valid one.
        ValueError: There are not as many ranges as layers.
    """
    shapes = [in_shape, *contract.check_stage(stage, in_shape)]
    if ranges is not None and len(ranges) != len(stage):
        raise ValueError(f"{len(ranges)} ranges do not fit {len(stage)} layers; give one for each")
    scales = [1.0, *(np.asarray(ranges if ranges is not None else [255.0] * len(stage)) / 255)]
    codes = list(zip(scales, [0, *(zeros or [0] * len(stage))], strict=True))
    graph = Graph()
    outputs = [graph.add("Transpose", onnx_graph.INPUT, perm=[0, 3, 1, 2])]
    for index, layer in enumerate(stage):
        name = f"layer{index:02d}"
        taken = [at + 1 for at in sources(layer, index)]  # the image is first in these lists
        ends = _Ends(tuple(codes[at] for at in taken), codes[index + 1])
        if layer.weight.ndim > 1:
            source = outputs[taken[0]]
            real = _convolve(graph, layer, source, shapes[taken[0]], ends, name)
        else:
            inputs = [outputs[at] for at in taken]
            real = _combine(graph, layer, inputs, shapes[taken[0]], ends, name)
        scale, zero = ends.output
        if layer.bits < 8:
            top = np.array(scale * (code_max(layer.bits) - zero), np.float32)
            real = graph.add("Clip", real, "", graph.constant(f"{name}.top", top))
        row = _scale(graph, name, scale, zero)
        outputs.append(graph.add("QuantizeLinear", real, *row, output=f"{name}.codes"))
    graph.add("Transpose", outputs[-1], output=onnx_graph.OUTPUT, perm=[0, 2, 3, 1])
    metadata = {"layers": str(len(stage)), "output_scale": repr(float(scales[-1]))}
    if codes[-1][1]:
        metadata["output_zero"] = str(codes[-1][1])
    return graph.model(in_shape, shapes[-1], metadata, "Frozen stage in QDQ form, approximate.")


def _convolve(
    graph: Graph,
    layer: IntegerLayer,
    x: str,
    in_shape: tuple[int, int, int],
    ends: _Ends,
    name: str,
) -> str:
    pads = np.asarray(layer.pad_value)
    uniform = bool((pads == pads[0]).all())
    # A convolution pads with real zero: one code for all channels can be the zero point.
    zero_point = int(pads[0]) if uniform else 0
    padding = layer.padding
    if not uniform:
        x, padding = onnx_graph.pad(graph, x, layer, in_shape, name)
    weight, scale, bias = _parameters(layer, ends, zero_point)
    scale_in, scale_out = ends.inputs[0][0], ends.output[0]
    real = graph.add("DequantizeLinear", x, *_scale(graph, f"{name}.in", scale_in, zero_point))
    filters = graph.add(
        "DequantizeLinear",
        graph.constant(f"{name}.weight", weight),
        graph.constant(f"{name}.weight_scale", scale.astype(np.float32)),
        graph.constant(f"{name}.weight_zero", np.zeros(len(scale), np.int8)),
        axis=0,
    )
    whole, step = np.round(bias), scale * scale_in
    offset = graph.add(
        "DequantizeLinear",
        graph.constant(f"{name}.bias", whole.astype(np.int32)),
        graph.constant(f"{name}.bias_scale", step.astype(np.float32)),
        graph.constant(f"{name}.bias_zero", np.zeros(len(step), np.int32)),
        axis=0,
    )
    y = graph.add("Conv", real, filters, offset, **onnx_graph.geometry(layer, padding))
    rest = (bias - whole) * step
    if np.abs(rest).max() <= _COARSEST * scale_out:
        return y
    row = rest.astype(np.float32).reshape(1, -1, 1, 1)
    return graph.add("Add", y, graph.constant(f"{name}.bias_rest", row))


def _parameters(
    layer: IntegerLayer, ends: _Ends, zero_point: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """int8 weights [Cout, ...], their float64 scales [Cout] and biases [Cout] in S_in * S_w.

    A code is floor(m * acc + a); rounding m * acc + a - 1/2 gives the same but at ties.
    """
    weight = onnx_graph.filters(layer).astype(np.int64)
    multiplier = np.asarray(layer.kappa).astype(np.float64) / 2.0**layer.shift
    addend = np.asarray(layer.lam).astype(np.float64) / 2.0**layer.shift - 0.5 - ends.output[1]
    # Scales are positive by convention, so a negative multiplier goes into the weights, where an
    # imported network's -128 would become 128: it is cut to 127. `quantize` never gives -128.
    sign = np.where(multiplier < 0, -1, 1)
    weight = np.clip(weight * sign[:, None, None, None], -128, 127)
    multiplier = np.abs(multiplier)
    with np.errstate(divide="ignore", invalid="ignore"):
        bias = addend / multiplier + zero_point * weight.sum(axis=(1, 2, 3))
    # A bias beyond int32 dwarfs every accumulator: the channel is as good as constant.
    constant = ~(np.abs(bias) <= _INT32_MAX)
    multiplier = np.where(constant, 2.0**-16, multiplier)
    weight[constant] = 0
    limit = _INT32_MAX * 2.0**-16
    bias = np.where(constant, np.clip(addend, -limit, limit) * 2**16, bias)
    return weight.astype(np.int8), multiplier * ends.output[0] / ends.inputs[0][0], bias


def _combine(
    graph: Graph,
    layer: IntegerLayer,
    inputs: Sequence[str],
    in_shape: tuple[int, int, int],
    ends: _Ends,
    name: str,
) -> str:
    """An add or a pooling in real values; what its multipliers say beyond that is made up for."""
    scale_out, zero_out = ends.output
    kappas = [layer.kappa] if layer.kappa_b is None else [layer.kappa, layer.kappa_b]
    pixels = {"pool": in_shape[0] * in_shape[1], "average_pool": layer.window[0] * layer.window[1]}
    count = pixels.get(layer.kind, 1)
    offset = np.asarray(layer.lam) / 2.0**layer.shift - 0.5 - zero_out
    parts = []
    rows = zip(("in", "in_b"), inputs, kappas, ends.inputs, strict=False)
    for field, x, kappa, (scale, zero) in rows:
        padding = layer.padding
        if layer.kind == "average_pool":
            x, padding = onnx_graph.pad(graph, x, layer, in_shape, name)
        real = graph.add("DequantizeLinear", x, *_scale(graph, f"{name}.{field}", scale, zero))
        match layer.kind:
            case "pool":
                real = graph.add("GlobalAveragePool", real)
            case "max_pool":
                real = graph.add("MaxPool", real, **onnx_graph.window(layer, padding))
            case "average_pool":
                window = onnx_graph.window(layer, padding)
                real = graph.add("AveragePool", real, count_include_pad=1, **window)
        gain = np.asarray(kappa) / 2.0**layer.shift * count
        offset = offset + gain * zero
        part = name if field == "in" else f"{name}.b"
        parts.append(_row(graph, "Mul", real, gain * scale_out / scale, part))
    total = graph.add("Add", *parts) if len(parts) > 1 else parts[0]
    return _row(graph, "Add", total, offset * scale_out, name)


def _row(graph: Graph, operator: str, x: str, values: np.ndarray, name: str) -> str:
    """Multiplies by or adds one number a channel, unless that changes nothing."""
    if np.abs(values - (operator == "Mul")).max() <= 1e-6:
        return x
    row = values.astype(np.float32).reshape(1, -1, 1, 1)
    return graph.add(operator, x, graph.constant(f"{name}.{operator.lower()}", row))


def _scale(graph: Graph, name: str, scale: float, zero_point: int) -> tuple[str, str]:
    return (
        graph.constant(f"{name}.scale", np.array(scale, np.float32)),
        graph.constant(f"{name}.zero", np.array(zero_point, np.uint8)),
    )
