"""Rows of the table of exactness about the QDQ export: how often it is off, and by how much."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
from exactness_row import Row

from qlrjax.export.onnx import qdq as onnx_qdq
from qlrjax.integer import frozen
from qlrjax.integer.quantize import QuantizedStage


def qdq(stage: QuantizedStage, name: str, images: np.ndarray) -> Iterator[Row]:
    """Single layers on exact inputs, then whole stages, which carry every difference on."""
    codes = [images, *map(np.asarray, jax.jit(frozen.trace)(stage.stage, jnp.asarray(images)))]
    scales = (1.0, *(value / 255 for value in stage.ranges))
    alone = []
    for index, layer in enumerate(stage.stage):
        ranges = (255 * scales[index + 1] / scales[index],)
        model = onnx_qdq.export((layer,), codes[index].shape[1:], ranges)
        alone.append(difference(model, codes[index], codes[index + 1]))
    share = float(np.mean([np.mean(part > 0) for part in alone]))
    yield Row(
        "ONNX QDQ export, each layer alone",
        "frozen.apply",
        f"{len(images)} {name}",
        max(part.max() for part in alone),
        "qdq",
        share,
    )
    for cut, layers in ((19, 19), (23, 23), (27, 28)):
        model = onnx_qdq.export(stage.stage[:layers], images.shape[1:], stage.ranges[:layers])
        off = difference(model, images, codes[layers])
        yield Row(
            f"ONNX QDQ export, whole stage, l = {cut}",
            "frozen.apply",
            f"{len(images)} {name}",
            off.max(),
            "qdq",
            float((off > 0).mean()),
            float(off.mean()),
        )


def difference(model: onnx.ModelProto, images: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """|codes - expected| of a model in ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    # Without VNNI, ONNX Runtime's u8 x s8 products saturate at 16 bits unless it is told not to.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    got = np.asarray(session.run(None, {"images": images})[0])
    return np.abs(got.astype(np.int64) - expected)
