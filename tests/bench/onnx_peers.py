"""The frozen layers as ONNX Runtime runs them: in float32, and as its own tools quantize them."""

import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
from bench.turns import CORES
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnxruntime import quantization

from qlrjax.network import Cut
from qlrjax.network.floating import Parameters

_CALIBRATION = 64


def session(model: ModelProto | bytes | str) -> onnxruntime.InferenceSession:
    """A session on all cores of this process."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = CORES
    options.log_severity_level = 3
    data = model if isinstance(model, bytes | str) else model.SerializeToString()
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def normalised(cut: Cut, images: np.ndarray) -> np.ndarray:
    """float32 [n, c, h, w], as ONNX Runtime likes them best."""
    mean = np.asarray(cut.network.pixel_mean, np.float32)
    std = np.asarray(cut.network.pixel_std, np.float32)
    values = (images.astype(np.float32) - mean) / std
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))


def floating(cut: Cut, parameters: Parameters) -> ModelProto:
    """The layers below the cut, batch norm folded into convolutions: NCHW in and out."""
    nodes, constants, x = [], [], "x"
    for layer in cut.below:
        own = {
            name: np.asarray(value, np.float64) for name, value in parameters[layer.name].items()
        }
        gain = own["gamma"] / np.sqrt(own["variance"] + cut.network.bn_epsilon)
        weight = own["weight"].reshape(*layer.kernel_hw, -1, layer.out_channels) * gain
        weight = weight.transpose(3, 2, 0, 1)
        (top, bottom), (left, right) = layer.padding
        for name, value in (("w", weight), ("b", own["beta"] - own["mean"] * gain)):
            array = value.astype(np.float32)
            constants.append(numpy_helper.from_array(array, f"{layer.name}/{name}"))
        names = [x, f"{layer.name}/w", f"{layer.name}/b"]
        convolved, x = f"{layer.name}/conv", f"{layer.name}/relu"
        nodes.append(
            helper.make_node(
                "Conv",
                names,
                [convolved],
                group=layer.in_channels if layer.kind == "depthwise" else 1,
                kernel_shape=layer.kernel_hw,
                pads=[top, left, bottom, right],
                strides=[layer.stride] * 2,
            )
        )
        nodes.append(helper.make_node("Clip", [convolved, "zero", "six"], [x]))
    for name, bound in (("zero", 0.0), ("six", 6.0)):
        constants.append(numpy_helper.from_array(np.array(bound, np.float32), name))
    if cut.is_pooled:
        nodes.append(helper.make_node("GlobalAveragePool", [x], ["pooled"]))
        x = "pooled"
    height, width, channels = cut.image_shape
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", channels, height, width])
    out = helper.make_tensor_value_info(x, TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "frozen", [given], [out], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def quantized(model: ModelProto, images: np.ndarray) -> bytes:
    """What `quantize_static` makes of it: QDQ, uint8 maps, int8 weights channel by channel."""

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = [{"x": images[i : i + 1]} for i in range(min(len(images), _CALIBRATION))]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return self.rest.pop() if self.rest else None

    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        before.write_bytes(model.SerializeToString())
        prepared = Path(folder) / "prepared.onnx"
        quantization.quant_pre_process(str(before), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(after),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        return after.read_bytes()
