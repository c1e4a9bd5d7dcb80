"""ONNX Runtime as the tests use it: one thread, and products that do not saturate."""

import onnx
import onnxruntime


def trace(model, images, names):
    """Values of uint8 tensors inside a model."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    for name in names:
        model.graph.output.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, None)
        )
    return _session(model.SerializeToString()).run(names, {"images": images})


def run(model: bytes, images):
    """First output of a serialized model."""
    return _session(model).run(None, {"images": images})[0]


def _session(model: bytes):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # Without VNNI, ONNX Runtime's u8 x s8 products saturate at 16 bits unless it is told not to.
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
