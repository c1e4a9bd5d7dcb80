"""ONNX Runtime as the tests use it: one thread, and products that do not saturate."""

import onnxruntime


def run(model: bytes, images):
    """First output of a serialized model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # Without VNNI, ONNX Runtime's u8 x s8 products saturate at 16 bits unless it is told not to.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"images": images})[0]
