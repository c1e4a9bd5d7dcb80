"""Speed of the integer stage beside ONNX Runtime's on the same graph and images: read the ratio.

make bench
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qlrjax import weights
from qlrjax.export.onnx import exact as onnx_exact
from qlrjax.integer import frozen, quantize
from qlrjax.network import Cut
from qlrjax.streams import builtin

LAYER, IMAGES = 23, 32


@pytest.fixture(scope="module")
def stage_and_images():
    source = builtin.source((128, 128))
    images = source.read(np.linspace(0, len(source.labels) - 1, IMAGES).astype(int))
    network, parameters = weights.load("builtin", 10, 128)
    return quantize.quantize(Cut(network, LAYER), parameters, images), images


@pytest.mark.benchmark(group="frozen stage to l = 23, 32 images of 128x128")
def test_ours(benchmark, stage_and_images):
    quantized, images = stage_and_images
    apply = jax.jit(frozen.apply)
    batch = jnp.asarray(images)
    jax.block_until_ready(apply(quantized.stage, batch))
    benchmark(lambda: jax.block_until_ready(apply(quantized.stage, batch)))


@pytest.mark.benchmark(group="frozen stage to l = 23, 32 images of 128x128")
def test_onnx_runtime_exact(benchmark, stage_and_images):
    import onnxruntime

    quantized, images = stage_and_images
    model = onnx_exact.export(quantized.stage, (128, 128, 3), quantized.latent_max)
    data = model if isinstance(model, bytes) else model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    benchmark(lambda: session.run(None, {name: images}))
